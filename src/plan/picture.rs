//! A search as a self-contained SVG: nodes in rings around the searcher, the flood coloured by hop,
//! duplicates faint, the reverse paths of hits bold.

use super::topology::Graph;
use super::trace::Trace;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::f64::consts::TAU;
use std::fmt::Write;

/// Colours by hop; the last also for all further hops.
const HOPS: [&str; 8] =
    ["#1b1b3a", "#30509e", "#2a88b8", "#2bb3a3", "#58c65a", "#b5cf2f", "#f0b429", "#ef7b2c"];
const UNREACHED: &str = "#c9ccd3";
const HIT: &str = "#d7263d";
/// Least distance between two rings.
const RING: f64 = 90.0;
/// Length of a ring per node.
const PITCH: f64 = 26.0;
/// Deviation of a bent edge from the straight line, as a fraction of its length.
const BEND: f64 = 0.12;
const MARGIN: f64 = 60.0;
const LEGEND: f64 = 280.0;

/// Draws `trace` over `graph`.
pub fn svg(graph: &Graph, trace: &Trace) -> String {
    let sheet = Sheet::new(graph, trace);
    let mut out = sheet.begin();
    let firsts: BTreeMap<(&str, &str), u8> = trace
        .copies
        .iter()
        .filter(|step| !step.duplicate)
        .map(|step| ((step.from.as_str(), step.to.as_str()), step.hops + 1))
        .collect();
    for &(a, b) in &graph.edges {
        let (a, b) = (graph.names[a].as_str(), graph.names[b].as_str());
        if !firsts.contains_key(&(a, b)) && !firsts.contains_key(&(b, a)) {
            sheet.bow(&mut out, (a, b), (UNREACHED, 0.8, "0.6"));
        }
    }
    for (&(from, to), &hop) in &firsts {
        line(&mut out, sheet.place(from), sheet.place(to), colour(hop), 2.0, "0.9");
    }
    let home: BTreeSet<(&str, &str)> =
        trace.hits.iter().map(|step| (step.from.as_str(), step.to.as_str())).collect();
    for (from, to) in home {
        line(&mut out, sheet.place(from), sheet.place(to), HIT, 4.5, "0.75");
    }
    let answers: BTreeSet<&str> =
        trace.hits.iter().filter(|step| step.hops == 0).map(|step| step.from.as_str()).collect();
    let reached = trace.reached_at(graph);
    for (node, name) in graph.names.iter().enumerate() {
        let fill = reached[node].map_or(UNREACHED, colour);
        let ring = if answers.contains(name.as_str()) { HIT } else { "#ffffff" };
        let told = reached[node].map_or("not reached".to_owned(), |hop| format!("hop {hop}"));
        dot(&mut out, sheet.places[node], (fill, ring), name, &told);
    }
    sheet.end(out, &legend(trace, &reached))
}

/// Draws `graph`, with absent nodes faint and broken edges dashed.
pub fn map(graph: &Graph, absent: &BTreeSet<usize>, broken: &BTreeSet<usize>) -> String {
    let hub = graph
        .degrees()
        .into_iter()
        .enumerate()
        .max_by_key(|(node, degree)| (*degree, Reverse(*node)));
    let from = hub.map(|(node, _)| graph.names[node].clone()).unwrap_or_default();
    let sheet = Sheet::new(graph, &Trace { from, ..Trace::default() });
    let mut out = sheet.begin();
    for (number, &(a, b)) in graph.edges.iter().enumerate() {
        let pen = match broken.contains(&number) {
            true => (UNREACHED, 1.5, "0.9\" stroke-dasharray=\"4 4"),
            false => (HOPS[2], 1.5, "0.8"),
        };
        sheet.bow(&mut out, (&graph.names[a], &graph.names[b]), pen);
    }
    for (node, name) in graph.names.iter().enumerate() {
        let (fill, told) = match absent.contains(&node) {
            true => (UNREACHED, "down"),
            false => (HOPS[1], "up"),
        };
        dot(&mut out, sheet.places[node], (fill, "#ffffff"), name, told);
    }
    let (up, stand) = (graph.names.len() - absent.len(), graph.edges.len() - broken.len());
    let mut rows = vec![
        (disc(HOPS[1]), format!("servents: {up}")),
        (stroke(HOPS[2], 1.5), format!("links: {stand}")),
    ];
    if !absent.is_empty() || !broken.is_empty() {
        rows.push((disc(UNREACHED), format!("servents down: {}", absent.len())));
        rows.push((stroke(UNREACHED, 1.5), format!("links that do not stand: {}", broken.len())));
    }
    sheet.end(out, &rows)
}

/// Colour, width, opacity.
type Pen = (&'static str, f64, &'static str);

/// A drawing.
struct Sheet<'a> {
    places: Vec<(f64, f64)>,
    /// The parent of each node in the tree of first copies.
    parent: Vec<Option<usize>>,
    at: BTreeMap<&'a str, usize>,
    /// Left and top, right and bottom, with a margin.
    corners: [(f64, f64); 2],
}

impl<'a> Sheet<'a> {
    fn new(graph: &'a Graph, trace: &Trace) -> Sheet<'a> {
        let (order, parent, depth) = inside_out(graph, trace);
        let places = places(graph, &order, &parent, &depth);
        let corner = |pick: fn(f64, f64) -> f64, margin: f64| {
            let (x, y) =
                places.iter().fold((0.0, 0.0), |at, to| (pick(at.0, to.0), pick(at.1, to.1)));
            (x + margin, y + margin)
        };
        let corners = [corner(f64::min, -MARGIN), corner(f64::max, MARGIN)];
        let at = graph.names.iter().enumerate().map(|(n, name)| (name.as_str(), n)).collect();
        Sheet { places, parent, at, corners }
    }

    fn place(&self, name: &str) -> (f64, f64) {
        self.at.get(name).map_or((0.0, 0.0), |&node| self.places[node])
    }

    /// Draws an edge. One outside the tree is bent, so that it does not run through other nodes.
    fn bow(&self, out: &mut String, ends: (&str, &str), (colour, width, opacity): Pen) {
        let (a, b) = (self.place(ends.0), self.place(ends.1));
        let (dx, dy) = (b.0 - a.0, b.1 - a.1);
        let is_branch = |from: &str, to: &str| {
            let (Some(&from), Some(&to)) = (self.at.get(from), self.at.get(to)) else {
                return false;
            };
            self.parent[to] == Some(from)
        };
        if is_branch(ends.0, ends.1) || is_branch(ends.1, ends.0) {
            return line(out, a, b, colour, width, opacity);
        }
        let (x, y) = ((a.0 + b.0) / 2.0 - dy * BEND, (a.1 + b.1) / 2.0 + dx * BEND);
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} {:.1} Q{x:.1} {y:.1} {:.1} {:.1}\" fill=\"none\" stroke=\"{colour}\" \
             stroke-width=\"{width}\" stroke-opacity=\"{opacity}\" stroke-linecap=\"round\"/>",
            a.0, a.1, b.0, b.1
        );
    }

    fn begin(&self) -> String {
        let [(left, top), (right, bottom)] = self.corners;
        let (width, height) = (right - left + LEGEND, (bottom - top).max(LEGEND));
        format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" \
             height=\"{height:.0}\" viewBox=\"{left:.0} {top:.0} {width:.0} {height:.0}\" \
             font-family=\"sans-serif\">\n<rect x=\"{left:.0}\" y=\"{top:.0}\" width=\"100%\" \
             height=\"100%\" fill=\"#fdfdfb\"/>\n"
        )
    }

    /// Ends the drawing with a legend of marks and their meanings.
    fn end(&self, mut out: String, rows: &[(String, String)]) -> String {
        let [(_, top), (right, _)] = self.corners;
        let (x, mut y) = (right - MARGIN / 2.0, top + MARGIN / 2.0);
        for (mark, words) in rows {
            let _ = writeln!(
                out,
                "<g transform=\"translate({x:.1} {y:.1})\">{mark}<text x=\"26\" y=\"4\" \
                 font-size=\"13\" fill=\"#1b1b1b\">{words}</text></g>"
            );
            y += 22.0;
        }
        out.push_str("</svg>\n");
        out
    }
}

fn colour(hop: u8) -> &'static str {
    HOPS[usize::from(hop).min(HOPS.len() - 1)]
}

/// Places each node on its ring, within the sector of its parent.
fn places(
    graph: &Graph,
    order: &[usize],
    parent: &[Option<usize>],
    depth: &[usize],
) -> Vec<(f64, f64)> {
    let mut on_ring: Vec<f64> = Vec::new();
    for &node in order {
        on_ring.resize(on_ring.len().max(depth[node] + 1), 0.0);
        on_ring[depth[node]] += 1.0;
    }
    let mut radius = vec![0.0f64];
    for count in on_ring.iter().skip(1) {
        let inner = radius.last().copied().unwrap_or(0.0);
        radius.push((inner + RING).max(count * PITCH / TAU));
    }
    // The angle each node needs: for itself on its ring, or for all its children.
    let mut below = vec![0.0f64; graph.names.len()];
    let mut asked = vec![0.0f64; graph.names.len()];
    for &node in order.iter().rev() {
        asked[node] = below[node].max(PITCH / radius[depth[node]].max(PITCH));
        if let Some(above) = parent[node] {
            below[above] += asked[node];
        }
    }
    // If all together need more than a full circle, rings are wider.
    let scale = order.first().map_or(1.0, |origin| (below[*origin] / TAU).max(1.0));
    radius.iter_mut().for_each(|radius| *radius *= scale);
    let mut sector = vec![(0.0, TAU); graph.names.len()];
    let mut used = vec![0.0f64; graph.names.len()];
    let mut places = vec![(0.0, 0.0); graph.names.len()];
    for &node in order {
        if let Some(above) = parent[node] {
            let (start, width) = sector[above];
            let share = width * asked[node] / below[above];
            sector[node] = (start + used[above], share);
            used[above] += share;
        }
        let (start, width) = sector[node];
        let angle = start + width / 2.0;
        let far = radius[depth[node]];
        places[node] = (far * angle.cos(), far * angle.sin());
    }
    place_unreachable(graph, order, &mut places, radius.last().copied().unwrap_or(0.0) + RING);
    places
}

/// Places nodes of other components on one more ring.
fn place_unreachable(graph: &Graph, known: &[usize], places: &mut [(f64, f64)], far: f64) {
    let known: BTreeSet<usize> = known.iter().copied().collect();
    let others: Vec<usize> = (0..graph.names.len()).filter(|node| !known.contains(node)).collect();
    let far = far.max(others.len() as f64 * PITCH / TAU);
    for (slot, &node) in others.iter().enumerate() {
        let angle = TAU * slot as f64 / others.len() as f64;
        places[node] = (far * angle.cos(), far * angle.sin());
    }
}

type Order = (Vec<usize>, Vec<Option<usize>>, Vec<usize>);

/// Nodes by distance, their parents and their rings: those that the flood reached by first copies, the
/// others by the shortest path from those.
fn inside_out(graph: &Graph, trace: &Trace) -> Order {
    let at: BTreeMap<&str, usize> =
        graph.names.iter().enumerate().map(|(node, name)| (name.as_str(), node)).collect();
    let mut parent = vec![None; graph.names.len()];
    let mut depth = vec![usize::MAX; graph.names.len()];
    let mut order: Vec<usize> = at.get(trace.from.as_str()).copied().into_iter().collect();
    for &origin in &order {
        depth[origin] = 0;
    }
    for step in trace.copies.iter().filter(|step| !step.duplicate) {
        if let (Some(&from), Some(&to)) = (at.get(step.from.as_str()), at.get(step.to.as_str())) {
            parent[to] = Some(from);
            depth[to] = usize::from(step.hops) + 1;
            order.push(to);
        }
    }
    order.sort_by_key(|&node| depth[node]);
    let mut neighbours = vec![Vec::new(); graph.names.len()];
    for &(a, b) in &graph.edges {
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    let mut next = 0;
    while let Some(&node) = order.get(next) {
        next += 1;
        for &other in &neighbours[node] {
            if depth[other] == usize::MAX {
                depth[other] = depth[node] + 1;
                parent[other] = Some(node);
                order.push(other);
            }
        }
    }
    (order, parent, depth)
}

fn line(out: &mut String, a: (f64, f64), b: (f64, f64), colour: &str, width: f64, opacity: &str) {
    let _ = writeln!(
        out,
        "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" stroke=\"{colour}\" \
         stroke-width=\"{width}\" stroke-opacity=\"{opacity}\" stroke-linecap=\"round\"/>",
        a.0, a.1, b.0, b.1
    );
}

fn dot(out: &mut String, at: (f64, f64), (fill, ring): (&str, &str), name: &str, told: &str) {
    let name = escaped(name);
    let ink = if HOPS[..3].contains(&fill) { "#ffffff" } else { "#1b1b1b" };
    let _ = writeln!(
        out,
        "<g><title>{name}: {told}</title><circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"10\" \
         fill=\"{fill}\" stroke=\"{ring}\" stroke-width=\"2.5\"/><text x=\"{x:.1}\" y=\"{text:.1}\" \
         font-size=\"8\" text-anchor=\"middle\" fill=\"{ink}\">{name}</text></g>",
        x = at.0,
        y = at.1,
        text = at.1 + 3.0
    );
}

fn disc(fill: &str) -> String {
    format!("<circle r=\"7\" fill=\"{fill}\" stroke=\"#ffffff\"/>")
}

fn stroke(colour: &str, width: f64) -> String {
    let top = -width / 2.0;
    format!("<rect x=\"-8\" y=\"{top}\" width=\"16\" height=\"{width}\" fill=\"{colour}\"/>")
}

fn legend(trace: &Trace, reached: &[Option<u8>]) -> Vec<(String, String)> {
    let (from, criteria) = (escaped(&trace.from), escaped(&trace.criteria));
    let mut rows = vec![(disc(HOPS[0]), format!("node {from} searches for “{criteria}”"))];
    let farthest = reached.iter().flatten().copied().max().unwrap_or(0);
    for hop in 1..=farthest {
        let count = reached.iter().filter(|at| **at == Some(hop)).count();
        rows.push((disc(colour(hop)), format!("hop {hop}: {count}")));
    }
    let missed = reached.iter().filter(|at| at.is_none()).count();
    if missed > 0 {
        rows.push((disc(UNREACHED), format!("not reached: {missed}")));
    }
    let doubles = trace.copies.iter().filter(|step| step.duplicate).count();
    rows.push((stroke(HOPS[2], 2.0), "first copies".to_owned()));
    rows.push((stroke(UNREACHED, 1.5), format!("duplicates: {doubles}")));
    let answers = trace.hits.iter().filter(|step| step.hops == 0).count();
    rows.push((stroke(HIT, 5.0), format!("hits returned: {answers}")));
    rows
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
