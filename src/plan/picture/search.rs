//! The drawing of one search, node by node: the flood coloured by hop, duplicates dashed, the reverse
//! paths of hits bold.

use super::canvas::{
    HIT, HOPS, INK, PAPER, Pen, Point, UNREACHED, colour, disc, escaped, is_dark, line, shortened,
    text, text_width,
};
use super::layout::layout;
use super::legend::{Entry, Mark, Sheet};
use crate::plan::topology::Graph;
use crate::plan::trace::Trace;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

/// A link no copy crossed.
const IDLE: Pen = Pen { colour: "#d5d8de", width: 1.2, opacity: 1.0, dash: None };
/// A link that only duplicates crossed.
const DUPLICATE: Pen = Pen { colour: "#8a8f99", width: 1.4, opacity: 0.9, dash: Some(5.0) };

/// Draws `trace` over `graph`, which has at most [`MAX_SINGLE`](super::layout::MAX_SINGLE) nodes.
pub(super) fn svg(graph: &Graph, trace: &Trace) -> String {
    let layout = layout(graph);
    let links = Links::new(graph, trace);
    let thin = (layout.radius / 9.0).clamp(0.35, 1.6);
    let (reached, answers) = (trace.reached_at(graph), trace.answering());
    // Nodes that were not reached stand behind the lines of the search.
    let draw_nodes = |out: &mut String, in_front: bool| {
        let nodes = graph.names.iter().enumerate();
        for (node, name) in nodes.filter(|(node, _)| reached[*node].is_some() == in_front) {
            let answers = answers.contains(name.as_str());
            draw_node(out, (layout.places[node], layout.radius), name, reached[node], answers);
            if graph.names.len() <= MAX_NAMED {
                name_below(out, (layout.places[node], layout.radius), name);
            }
        }
    };
    let mut body = String::new();
    let ends = |(a, b): (usize, usize)| (layout.places[a], layout.places[b]);
    for (edges, pen) in [(&links.idle, IDLE), (&links.duplicate, DUPLICATE)] {
        for &edge in edges {
            let (a, b) = ends(edge);
            line(&mut body, a, b, scaled(pen, thin));
        }
    }
    draw_nodes(&mut body, false);
    // Below the first copies, whose colours stay visible.
    for &edge in &links.hit {
        let (a, b) = ends(edge);
        line(&mut body, a, b, scaled(HIT_PEN, thin.max(0.7)));
    }
    for (&edge, &hop) in &links.first {
        let (a, b) = ends(edge);
        line(&mut body, a, b, scaled(first_pen(hop), thin));
    }
    draw_nodes(&mut body, true);
    let (size, hollow) = (layout.size, layout.hollow);
    let mut legend = hop_entries(trace, &reached);
    legend.extend(links.entries(trace));
    Sheet { title: title(trace), note: note(trace, &reached), size, hollow, legend }.render(&body)
}

fn draw_node(
    out: &mut String,
    (at, radius): (Point, f64),
    name: &str,
    reached: Option<u8>,
    answers: bool,
) {
    let told = match reached {
        None => "not reached".to_owned(),
        Some(0) => "searches".to_owned(),
        Some(hop) => format!("hop {hop}"),
    };
    let (rim, least) = match (answers, reached) {
        (true, _) => (HIT, 3.0),
        (_, Some(0)) => (PAPER, 6.0),
        _ => (PAPER, radius),
    };
    let fill = reached.map_or(UNREACHED, colour);
    labelled(out, (at, radius.max(least)), (fill, rim), name, &told);
}

/// Up to this many nodes, a name that does not fit into its disc stands below it.
pub(super) const MAX_NAMED: usize = 40;
const NAME_SIZE: f64 = 13.0;
const MAX_NAME: usize = 13;

const HIT_PEN: Pen = Pen { colour: HIT, width: 7.0, opacity: 0.7, dash: None };

fn first_pen(hop: u8) -> Pen {
    Pen { colour: colour(hop), width: 2.6, opacity: 0.95, dash: None }
}

fn scaled(pen: Pen, by: f64) -> Pen {
    Pen { width: pen.width * by, dash: pen.dash.map(|dash| dash * by.max(0.6)), ..pen }
}

/// The links of a graph by the copies that crossed them; nodes by number.
struct Links {
    idle: Vec<(usize, usize)>,
    duplicate: Vec<(usize, usize)>,
    /// From sender to receiver, with the hop of the receiver.
    first: BTreeMap<(usize, usize), u8>,
    hit: BTreeSet<(usize, usize)>,
}

impl Links {
    fn new(graph: &Graph, trace: &Trace) -> Links {
        let numbers = graph.numbers();
        let ends = |from: &str, to: &str| Some((*numbers.get(from)?, *numbers.get(to)?));
        let (mut first, mut crossed) = (BTreeMap::new(), BTreeSet::new());
        let sorted = |(a, b): (usize, usize)| (a.min(b), a.max(b));
        for step in &trace.copies {
            let Some(edge) = ends(&step.from, &step.to) else { continue };
            crossed.insert(sorted(edge));
            if !step.duplicate {
                first.insert(edge, step.hop());
            }
        }
        let taken: BTreeSet<_> = first.keys().map(|&edge| sorted(edge)).collect();
        let hit = trace.hits.iter().filter_map(|step| ends(&step.from, &step.to)).collect();
        let idle = graph.edges.iter().copied().filter(|edge| !crossed.contains(edge)).collect();
        let duplicate = crossed.into_iter().filter(|edge| !taken.contains(edge)).collect();
        Links { idle, duplicate, first, hit }
    }

    fn entries(&self, trace: &Trace) -> Vec<Entry> {
        let mut entries = Vec::new();
        let duplicates = trace.copies.iter().filter(|step| step.duplicate).count();
        if !self.first.is_empty() {
            let (pen, copies) = (first_pen(2), trace.copies.len() - duplicates);
            entries.push((Mark::Line(pen), format!("first copies: {copies}")));
        }
        entries.push((Mark::Line(DUPLICATE), format!("duplicates: {duplicates}")));
        if !self.idle.is_empty() {
            entries.push((Mark::Line(IDLE), format!("links without a copy: {}", self.idle.len())));
        }
        entries.push((Mark::Line(HIT_PEN), format!("hits returned: {}", trace.hit_paths().len())));
        entries
    }
}

/// Who searches for what.
pub(super) fn title(trace: &Trace) -> String {
    let (from, criteria) = (shortened(&trace.from, 24), shortened(&trace.criteria, 40));
    format!("node {from} searches for “{criteria}”")
}

/// The cost of the search in one line.
pub(super) fn note(trace: &Trace, reached: &[Option<u8>]) -> String {
    let others = reached.len().saturating_sub(1);
    let count = reached.iter().flatten().filter(|hop| **hop > 0).count();
    let (copies, answers) = (trace.copies.len(), trace.answering().len());
    let answer = match answers {
        0 => "no node answers".to_owned(),
        1 => "1 node answers".to_owned(),
        more => format!("{more} nodes answer"),
    };
    format!("{count} of {others} other nodes reached with {copies} copies; {answer}")
}

/// What the colours of nodes mean.
pub(super) fn hop_entries(trace: &Trace, reached: &[Option<u8>]) -> Vec<Entry> {
    let mut entries = vec![(Mark::Disc(HOPS[0], PAPER), "searches".to_owned())];
    let mut per_hop: BTreeMap<u8, usize> = BTreeMap::new();
    for hop in reached.iter().flatten().filter(|hop| **hop > 0) {
        *per_hop.entry(*hop).or_default() += 1;
    }
    for (hop, count) in per_hop {
        entries.push((Mark::Disc(colour(hop), PAPER), format!("hop {hop}: {count}")));
    }
    let missed = reached.iter().filter(|at| at.is_none()).count();
    if missed > 0 {
        entries.push((Mark::Disc(UNREACHED, PAPER), format!("not reached: {missed}")));
    }
    let answers = trace.answering().len();
    if answers > 0 {
        entries.push((Mark::Disc(PAPER, HIT), format!("answer: {answers}")));
    }
    entries
}

/// Draws a node with its name, if that fits, and a tooltip.
pub(super) fn labelled(
    out: &mut String,
    (at, radius): (Point, f64),
    (fill, rim): (&str, &str),
    name: &str,
    told: &str,
) {
    let _ = write!(out, "<g class=\"node\"><title>{}: {told}</title>", escaped(name));
    disc(out, at, radius, (fill, rim));
    if let Some(size) = size_inside(name, radius) {
        let ink = if is_dark(fill) { PAPER } else { INK };
        text(out, (at.0, at.1 + size * 0.36), size, ("middle", ink), name);
    }
    out.push_str("</g>\n");
}

/// Writes a name that does not fit into its disc below it.
pub(super) fn name_below(out: &mut String, (at, radius): (Point, f64), name: &str) {
    if size_inside(name, radius).is_none() {
        let baseline = at.1 + radius + NAME_SIZE + 1.0;
        text(out, (at.0, baseline), NAME_SIZE, ("middle", INK), &shortened(name, MAX_NAME));
    }
}

/// The text size at which `name` fits into a disc.
fn size_inside(name: &str, radius: f64) -> Option<f64> {
    let size = (1.7 * radius / text_width(name, 1.0)).min(radius * 0.95).min(18.0);
    (size >= super::canvas::MIN_TEXT).then_some(size)
}
