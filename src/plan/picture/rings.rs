//! A search in a large network: a ring per hop around the searcher, with density instead of single
//! nodes and lines.
//!
//! Nodes of a ring stand in the order of the nodes their first copies came from, so that first copies
//! never cross on paper. A dot stands for the nodes in its cell, and is larger the more there are; lines
//! from ring to ring stand for the copies from one sector to another, and a band inside each ring is the
//! darker the more duplicates arrived there. The size of the drawing does not depend on the network's.

use super::canvas::{HIT, HOPS, PAPER, Pen, Point, UNREACHED, colour};
use super::legend::{Entry, Mark, Sheet};
use super::search::{hop_entries, note, title};
use crate::plan::topology::Graph;
use crate::plan::trace::{Step, Trace};
use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write;

const OUTER: f64 = 610.0;
/// Radius of the searcher's disc.
const ORIGIN: f64 = 15.0;
/// Cells of nodes.
const CELL: f64 = 9.5;
/// Parts of a circle between which copies are counted together.
const SECTORS: f64 = 144.0;
const BAND: f64 = 5.0;
const BAND_COLOUR: &str = "#555b66";

/// The ring of nodes reached at one hop, or of those not reached.
struct Ring {
    inner: f64,
    outer: f64,
    hop: Option<u8>,
    nodes: Vec<usize>,
}

/// The places of all nodes.
pub(super) struct Rings {
    rings: Vec<Ring>,
    /// The ring of each node, counted from 0.
    ring: Vec<usize>,
    /// Part of the circle, from 0 to 1, by node.
    turn: Vec<f64>,
    /// By node, from (0, 0) to (2 OUTER, 2 OUTER).
    pub(super) places: Vec<Point>,
}

impl Rings {
    pub(super) const SIZE: Point = (2.0 * OUTER, 2.0 * OUTER);

    pub(super) fn new(graph: &Graph, trace: &Trace) -> Rings {
        let (reached, numbers) = (trace.reached_at(graph), graph.numbers());
        let mut parent = vec![0; graph.names.len()];
        for step in trace.copies.iter().filter(|step| !step.duplicate) {
            if let (Some(&from), Some(&to)) =
                (numbers.get(step.from.as_str()), numbers.get(step.to.as_str()))
            {
                parent[to] = from;
            }
        }
        let mut by_hop: BTreeMap<(bool, u8), Vec<usize>> = BTreeMap::new();
        for (node, hop) in reached.iter().enumerate() {
            by_hop.entry((hop.is_none(), hop.unwrap_or(0))).or_default().push(node);
        }
        let mut turn = vec![0.0f64; graph.names.len()];
        let mut ring = vec![0; graph.names.len()];
        let mut rings = Vec::new();
        for (number, ((missed, hop), mut nodes)) in by_hop.into_iter().enumerate() {
            if !missed {
                nodes.sort_by(|a, b| turn[parent[*a]].total_cmp(&turn[parent[*b]]));
            }
            let count = nodes.len() as f64;
            for (rank, &node) in nodes.iter().enumerate() {
                turn[node] = (rank as f64 + 0.5) / count;
                ring[node] = number;
            }
            let hop = (!missed).then_some(hop);
            rings.push(Ring { inner: 0.0, outer: 0.0, hop, nodes });
        }
        size_rings(&mut rings);
        let mut places = vec![(OUTER, OUTER); graph.names.len()];
        for Ring { inner, outer, nodes, hop } in &rings {
            for (rank, &node) in nodes.iter().enumerate().filter(|_| *hop != Some(0)) {
                // Multiples of the golden ratio fill the depth of the ring evenly.
                let along = (rank as f64 * 0.618_033_988_75).fract();
                places[node] = at(inner + (outer - inner) * along, turn[node]);
            }
        }
        Rings { rings, ring, turn, places }
    }
}

/// Shares the radius: each ring as deep as the root of its number of nodes asks, with gaps for lines.
fn size_rings(rings: &mut [Ring]) {
    let asks: f64 = rings.iter().skip(1).map(|ring| (ring.nodes.len() as f64).sqrt()).sum();
    let gap = (0.38 * OUTER / rings.len() as f64).min(70.0);
    let depth = OUTER - ORIGIN - gap * (rings.len() as f64 - 1.0);
    let least = 8.0f64.min(depth / rings.len() as f64);
    let share = depth - least * (rings.len() as f64 - 1.0);
    let mut from = ORIGIN;
    for ring in rings.iter_mut().skip(1) {
        ring.inner = from + gap;
        ring.outer = ring.inner + least + share * (ring.nodes.len() as f64).sqrt() / asks.max(1.0);
        from = ring.outer;
    }
}

/// The point at `radius` and a part of the circle, clockwise from the top.
fn at(radius: f64, turn: f64) -> Point {
    let (sin, cos) = (TAU * turn).sin_cos();
    (OUTER + radius * sin, OUTER - radius * cos)
}

fn sector(turn: f64) -> u32 {
    #[expect(clippy::cast_possible_truncation, reason = "below SECTORS")]
    #[expect(clippy::cast_sign_loss, reason = "from 0 to 1")]
    let sector = (turn * SECTORS).floor() as u32;
    sector
}

/// Draws `trace` over `graph`.
pub(super) fn svg(graph: &Graph, trace: &Trace) -> String {
    let rings = Rings::new(graph, trace);
    let reached = trace.reached_at(graph);
    let mut body = String::new();
    draw_bands(&mut body, &rings, graph, trace);
    let firsts = trace.copies.iter().filter(|step| !step.duplicate);
    draw_flows(&mut body, &rings, graph, firsts, |ring| {
        let pen = colour(rings.rings[ring].hop.unwrap_or(0));
        Pen { colour: pen, width: 2.4, opacity: 0.55, dash: None }
    });
    draw_flows(&mut body, &rings, graph, trace.hits.iter(), |_| HIT_PEN);
    for (number, ring) in rings.rings.iter().enumerate().skip(1) {
        draw_cells(&mut body, ring, number);
    }
    let answers = trace.answering();
    for (node, name) in graph.names.iter().enumerate() {
        if answers.contains(name.as_str()) {
            dot(&mut body, rings.places[node], 3.0, HIT);
        }
    }
    let _ = writeln!(
        body,
        "<circle cx=\"{OUTER}\" cy=\"{OUTER}\" r=\"{ORIGIN}\" fill=\"{}\" stroke=\"{PAPER}\" \
         stroke-width=\"3\"/>",
        HOPS[0]
    );
    let mut legend = hop_entries(trace, &reached);
    legend.retain(|(_, words)| !words.starts_with("answer"));
    legend.extend(entries(trace, answers.len()));
    let (title, note) = (title(trace), note(trace, &reached));
    Sheet { title, note, size: Rings::SIZE, hollow: None, legend }.render(&body)
}

const HIT_PEN: Pen = Pen { colour: HIT, width: 3.4, opacity: 0.45, dash: None };

fn entries(trace: &Trace, answers: usize) -> Vec<Entry> {
    let duplicates = trace.copies.iter().filter(|step| step.duplicate).count();
    let firsts = trace.copies.len() - duplicates;
    let line = |colour, width| Mark::Line(Pen { colour, width, opacity: 0.8, dash: None });
    vec![
        (Mark::Disc(HIT, HIT), format!("answer: {answers}")),
        (line(HOPS[2], 2.4), format!("first copies: {firsts}")),
        (line(BAND_COLOUR, BAND), format!("duplicates: {duplicates} (darker is more)")),
        (Mark::Line(HIT_PEN), format!("hits returned: {}", trace.hit_paths().len())),
    ]
}

/// Draws the nodes of a ring: a dot for each cell, its area in proportion to the nodes in it.
fn draw_cells(out: &mut String, ring: &Ring, number: usize) {
    let (inner, depth) = (ring.inner, ring.outer - ring.inner);
    let rows = (depth / CELL).floor().max(1.0);
    let mut cells: BTreeMap<(u32, u32), u32> = BTreeMap::new();
    let columns = |row: f64| (TAU * (inner + depth * (row + 0.5) / rows) / CELL).floor();
    for rank in 0..ring.nodes.len() {
        let row = ((rank as f64 * 0.618_033_988_75).fract() * rows).floor();
        let turn = (rank as f64 + 0.5) / ring.nodes.len() as f64;
        #[expect(clippy::cast_possible_truncation, reason = "a few hundred")]
        #[expect(clippy::cast_sign_loss, reason = "products of positive numbers")]
        let cell = (row as u32, (turn * columns(row)).floor() as u32);
        *cells.entry(cell).or_default() += 1;
    }
    let fill = ring.hop.map_or(UNREACHED, colour);
    let most = cells.values().copied().max().unwrap_or(1);
    let _ = writeln!(out, "<g class=\"ring\" id=\"ring-{number}\" fill=\"{fill}\">");
    for ((row, column), count) in cells {
        let place = at(
            inner + depth * (f64::from(row) + 0.5) / rows,
            (f64::from(column) + 0.5) / columns(f64::from(row)),
        );
        let radius = CELL * 0.5 * (f64::from(count) / f64::from(most)).sqrt().max(0.45);
        let _ = writeln!(
            out,
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius:.1}\"/>",
            place.0, place.1
        );
    }
    out.push_str("</g>\n");
}

fn dot(out: &mut String, at: Point, radius: f64, fill: &str) {
    let _ = writeln!(
        out,
        "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{radius}\" fill=\"{fill}\" stroke=\"{PAPER}\" \
         stroke-width=\"0.6\"/>",
        at.0, at.1
    );
}

/// Draws steps from sector to sector, as wide as the root of their number.
fn draw_flows<'a>(
    out: &mut String,
    rings: &Rings,
    graph: &Graph,
    steps: impl Iterator<Item = &'a Step>,
    pen: impl Fn(usize) -> Pen,
) {
    let numbers = graph.numbers();
    let mut flows: BTreeMap<[usize; 2], BTreeMap<[u32; 2], u32>> = BTreeMap::new();
    for step in steps {
        let ends = [&step.from, &step.to].map(|name| numbers.get(name.as_str()).copied());
        let [Some(from), Some(to)] = ends else { continue };
        let between = flows.entry([from, to].map(|node| rings.ring[node])).or_default();
        *between.entry([from, to].map(|node| sector(rings.turn[node]))).or_default() += 1;
    }
    for (ends, flows) in flows {
        let most = flows.values().copied().max().unwrap_or(1);
        let middle = |ring: usize| {
            if ring == 0 {
                return 0.0;
            }
            (rings.rings[ring].inner + rings.rings[ring].outer) / 2.0
        };
        let outward = ends[0] < ends[1];
        for (sectors, count) in flows {
            let [a, b] =
                [0, 1].map(|end| (middle(ends[end]), (f64::from(sectors[end]) + 0.5) / SECTORS));
            let pen = pen(if outward { ends[1] } else { ends[0] });
            let width = pen.width * (f64::from(count) / f64::from(most)).sqrt().max(0.3);
            spiral(out, a, b, Pen { width, ..pen });
        }
    }
}

/// Draws a line from `a` to `b`, given as radius and turn, that stays between their radii: a straight one
/// would cross the rings inside.
fn spiral(out: &mut String, a: (f64, f64), b: (f64, f64), pen: Pen) {
    // A radius of 0 has no turn of its own.
    let turns = if a.0 == 0.0 {
        [b.1; 2]
    } else if b.0 == 0.0 {
        [a.1; 2]
    } else {
        [a.1, b.1]
    };
    let difference = turns[1] - turns[0];
    let short = difference - difference.round();
    let pieces = (short.abs() * 48.0).ceil().max(1.0);
    out.push_str("<path d=\"M");
    let mut piece = 0.0;
    while piece <= pieces {
        let part = piece / pieces;
        let (x, y) = at(a.0 + (b.0 - a.0) * part, turns[0] + short * part);
        let _ = write!(out, "{x:.1} {y:.1} ");
        piece += 1.0;
    }
    let Pen { colour, width, opacity, .. } = pen;
    let _ = writeln!(
        out,
        "\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"{width:.1}\" \
         stroke-opacity=\"{opacity:.2}\"/>"
    );
}

/// Draws how many duplicates arrived in each sector of each ring.
fn draw_bands(out: &mut String, rings: &Rings, graph: &Graph, trace: &Trace) {
    let numbers = graph.numbers();
    let mut arrived: BTreeMap<(usize, u32), u32> = BTreeMap::new();
    for step in trace.copies.iter().filter(|step| step.duplicate) {
        if let Some(&to) = numbers.get(step.to.as_str()).filter(|to| rings.ring[**to] > 0) {
            *arrived.entry((rings.ring[to], sector(rings.turn[to]))).or_default() += 1;
        }
    }
    let most = arrived.values().copied().max().unwrap_or(1);
    for ((ring, sector), count) in arrived {
        let radius = rings.rings[ring].inner - BAND;
        let [a, b] = [0.0, 1.0].map(|end| at(radius, (f64::from(sector) + end) / SECTORS));
        let opacity = (f64::from(count) / f64::from(most)).sqrt();
        let _ = writeln!(
            out,
            "<path d=\"M{:.1} {:.1}A{radius:.1} {radius:.1} 0 0 1 {:.1} {:.1}\" fill=\"none\" \
             stroke=\"{BAND_COLOUR}\" stroke-width=\"{BAND}\" stroke-opacity=\"{opacity:.2}\" \
             stroke-linecap=\"butt\"/>",
            a.0, a.1, b.0, b.1
        );
    }
}
