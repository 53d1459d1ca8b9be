//! Where nodes go. The shape of the graph decides:
//!
//! | graph | layout |
//! |---|---|
//! | a cycle | circle, folded into a band if it is long; the legend fits in the middle |
//! | a path | snake |
//! | a hub and its leaves | the hub in the middle of circles |
//! | a tree | top-down from its centre, leaves of one parent in staggered rows |
//! | anything else | force-directed (`stress`) |
//!
//! Up to [`MAX_SINGLE`] nodes; above that, single nodes and links cannot be told apart (`rings`).

use super::canvas::Point;
use super::stress;
use crate::plan::topology::Graph;
use std::f64::consts::{PI, TAU};

/// Largest network that is drawn node by node.
pub(super) const MAX_SINGLE: usize = 3_000;
/// Largest extent of a drawing, in pixels.
const MAX_WIDTH: f64 = 1_240.0;
const MAX_HEIGHT: f64 = 980.0;
/// Largest distance between neighbours on paper.
const MAX_PITCH: f64 = 150.0;
/// Radius of the discs of nodes.
const MAX_RADIUS: f64 = 22.0;
const MIN_RADIUS: f64 = 1.5;

/// The neighbours of each node.
pub(super) type Neighbours = Vec<Vec<usize>>;

/// The places of the nodes of a graph.
#[derive(Debug)]
pub(super) struct Layout {
    /// By node, from (0, 0) to `size`.
    pub(super) places: Vec<Point>,
    /// Width and height.
    pub(super) size: Point,
    /// Radius of a node's disc. No two discs overlap by more than a quarter of it.
    pub(super) radius: f64,
    /// Radius of an empty circle in the middle.
    pub(super) hollow: Option<f64>,
}

impl Layout {
    /// Moves `places` so that the smallest coordinates are 0.
    fn new(mut places: Vec<Point>, radius: f64) -> Layout {
        let fold = |pick: fn(f64, f64) -> f64, from: f64| {
            places.iter().fold((from, from), |at, to| (pick(at.0, to.0), pick(at.1, to.1)))
        };
        let (low, high) = (fold(f64::min, f64::INFINITY), fold(f64::max, f64::NEG_INFINITY));
        for at in &mut places {
            *at = (at.0 - low.0, at.1 - low.1);
        }
        Layout { places, size: (high.0 - low.0, high.1 - low.1), radius, hollow: None }
    }
}

/// The shape of a graph, with the nodes in the order of the layout.
#[derive(Debug, PartialEq)]
enum Shape {
    /// In order around the cycle.
    Ring(Vec<usize>),
    /// From end to end.
    Line(Vec<usize>),
    /// The hub.
    Star(usize),
    /// The root.
    Tree(usize),
    Other,
}

/// Neighbours by node.
pub(super) fn neighbours(graph: &Graph) -> Neighbours {
    let mut neighbours = vec![Vec::new(); graph.names.len()];
    for &(a, b) in &graph.edges {
        neighbours[a].push(b);
        neighbours[b].push(a);
    }
    neighbours
}

/// Places the nodes of `graph`, which has at most [`MAX_SINGLE`].
pub(super) fn layout(graph: &Graph) -> Layout {
    let neighbours = neighbours(graph);
    match shape(graph, &neighbours) {
        Shape::Ring(order) => ring(&order),
        Shape::Line(order) => snake(&order),
        Shape::Star(hub) => star(hub, neighbours.len()),
        Shape::Tree(root) => tree(root, &neighbours),
        Shape::Other => other(&neighbours, &graph.edges),
    }
}

fn shape(graph: &Graph, neighbours: &Neighbours) -> Shape {
    let (nodes, edges) = (graph.names.len(), graph.edges.len());
    let connected = || graph.distances_from(0).iter().all(Option::is_some);
    if nodes < 2 || edges + 1 < nodes || edges > nodes || !connected() {
        return Shape::Other;
    }
    let degree = |node: usize| neighbours[node].len();
    let widest = (0..nodes).map(degree).max().unwrap_or(0);
    match (edges + 1 == nodes, widest) {
        (false, 2) => Shape::Ring(walk(0, neighbours)),
        (false, _) => Shape::Other,
        (true, ..=2) => {
            Shape::Line(walk((0..nodes).find(|&n| degree(n) == 1).unwrap_or(0), neighbours))
        }
        (true, widest) if widest + 1 == nodes => {
            Shape::Star((0..nodes).find(|&node| degree(node) == widest).unwrap_or(0))
        }
        (true, _) => Shape::Tree(centre(neighbours)),
    }
}

/// The nodes along a path or cycle.
fn walk(from: usize, neighbours: &Neighbours) -> Vec<usize> {
    let mut known = vec![false; neighbours.len()];
    let (mut order, mut next) = (Vec::new(), Some(from));
    while let Some(node) = next {
        known[node] = true;
        order.push(node);
        next = neighbours[node].iter().copied().find(|other| !known[*other]);
    }
    order
}

/// The node of a tree from which the farthest is nearest: what is left when leaves are taken away
/// again and again.
fn centre(neighbours: &Neighbours) -> usize {
    let mut degrees: Vec<usize> = neighbours.iter().map(Vec::len).collect();
    let mut leaves: Vec<usize> = (0..degrees.len()).filter(|&node| degrees[node] == 1).collect();
    let mut left = degrees.len();
    while left > 2 {
        left -= leaves.len();
        let mut next = Vec::new();
        for leaf in leaves {
            for &other in &neighbours[leaf] {
                degrees[other] = degrees[other].saturating_sub(1);
                if degrees[other] == 1 {
                    next.push(other);
                }
            }
        }
        leaves = next;
    }
    leaves.into_iter().min().unwrap_or(0)
}

fn radius_for(pitch: f64) -> f64 {
    (pitch * 0.36).clamp(MIN_RADIUS, MAX_RADIUS)
}

/// A circle. One that has too little room folds: the line of nodes runs outwards and inwards in turn.
fn ring(order: &[usize]) -> Layout {
    /// Least distance of nodes, and of the folds of a band.
    const PITCH: f64 = 7.0;
    const OUTER: f64 = 470.0;
    let count = order.len() as f64;
    let outer = OUTER.min(210.0 + 14.0 * count);
    let mut band = 1;
    let columns = loop {
        let inner = outer - PITCH * f64::from(band - 1);
        // An even number, so that the end of the last fold is beside the start of the first.
        let columns = (TAU * inner / PITCH / 2.0).floor() * 2.0;
        if columns * f64::from(band) >= count || inner < outer / 2.0 {
            break columns.min(count);
        }
        band += 1;
    };
    let depth = PITCH * f64::from(band - 1);
    let mut places = vec![(0.0, 0.0); order.len()];
    for (slot, &node) in order.iter().enumerate() {
        let column = (slot as f64 * columns / count).floor();
        let first = (column * count / columns).ceil();
        let in_column = ((column + 1.0) * count / columns).ceil() - first;
        let along = (slot as f64 - first) / (in_column - 1.0).max(1.0);
        let outwards = if column % 2.0 == 0.0 { 1.0 - along } else { along };
        let (sin, cos) = (TAU * column / columns - PI / 2.0).sin_cos();
        let far = outer - depth * outwards;
        places[node] = (far * cos, far * sin);
    }
    let radius = radius_for(if band == 1 { TAU * outer / count } else { PITCH });
    Layout { hollow: Some(outer - depth - 2.0 * radius - 24.0), ..Layout::new(places, radius) }
}

/// Rows that run to the right and to the left in turn.
fn snake(order: &[usize]) -> Layout {
    let count = order.len() as f64;
    let columns = if count <= 8.0 { count } else { (count * 1.7).sqrt().ceil() };
    let rows = (count / columns).ceil();
    let pitch =
        (MAX_WIDTH / (columns - 1.0).max(1.0)).min(MAX_HEIGHT / rows.max(1.0)).min(MAX_PITCH);
    let mut places = vec![(0.0, 0.0); order.len()];
    for (slot, &node) in order.iter().enumerate() {
        let (row, along) = ((slot as f64 / columns).floor(), slot as f64 % columns);
        let column = if row % 2.0 == 0.0 { along } else { columns - 1.0 - along };
        places[node] = (column * pitch, row * pitch);
    }
    Layout::new(places, radius_for(pitch))
}

/// The hub in the middle of circles, as few as give each leaf room.
fn star(hub: usize, count: usize) -> Layout {
    const PITCH: f64 = 13.0;
    let leaves = (count - 1) as f64;
    let outer = (MAX_HEIGHT / 2.0).min(130.0 + 14.0 * leaves);
    // Circles take the outer three quarters of the radius at most.
    let step = |circles: f64| if circles > 1.0 { 0.75 * outer / (circles - 1.0) } else { 0.0 };
    let radii = |circles: usize| -> Vec<f64> {
        (0..circles).map(|circle| outer - step(circles as f64) * circle as f64).collect()
    };
    let room = |radii: &[f64]| TAU * radii.iter().sum::<f64>() / PITCH;
    let circles = (1..40).find(|&circles| room(&radii(circles)) >= leaves).unwrap_or(40);
    let radii = radii(circles);
    let around: f64 = TAU * radii.iter().sum::<f64>();
    let mut places = vec![(0.0, 0.0); count];
    let mut nodes = (0..count).filter(|&node| node != hub);
    let mut begun = 0.0;
    for (circle, &radius) in radii.iter().enumerate() {
        // The share of the leaves by circumference, so that all circles are equally dense.
        let ended = if circle + 1 == radii.len() {
            leaves
        } else {
            (begun + leaves * TAU * radius / around).round().min(leaves)
        };
        let mut slot = begun;
        while slot < ended {
            let Some(node) = nodes.next() else { break };
            let angle = TAU * (slot - begun) / (ended - begun) - PI / 2.0 + circle as f64 * 0.35;
            places[node] = (radius * angle.cos(), radius * angle.sin());
            slot += 1.0;
        }
        begun = ended;
    }
    let pitch = (around / leaves).min(if circles > 1 { step(circles as f64) } else { f64::MAX });
    Layout::new(places, radius_for(pitch))
}

/// Parents above their children. The leaves of one parent share a block of `rows` staggered rows;
/// `rows` is what gives nodes the most room.
fn tree(root: usize, neighbours: &Neighbours) -> Layout {
    let mut parent = vec![usize::MAX; neighbours.len()];
    let mut depth = vec![0usize; neighbours.len()];
    let (mut order, mut next) = (vec![root], 0);
    while let Some(&node) = order.get(next) {
        next += 1;
        let above = parent[node];
        for &other in neighbours[node].iter().filter(|other| **other != above) {
            parent[other] = node;
            depth[other] = depth[node] + 1;
            order.push(other);
        }
    }
    let is_leaf = |node: usize| node != root && neighbours[node].len() == 1;
    let deepest = depth.iter().copied().max().unwrap_or(1) as f64;
    let mut best = (0.0, 1, Vec::new());
    for rows in 1..=40 {
        let widths = tree_widths(&order, &parent, &is_leaf, rows);
        let across = MAX_WIDTH / (widths[root] - 1.0).max(1.0);
        let down = MAX_HEIGHT / (rows as f64 - 1.0 + 1.5 * deepest);
        let pitch = across.min(down).min(MAX_PITCH);
        if pitch > best.0 * 1.02 {
            best = (pitch, rows, widths);
        }
    }
    let (pitch, rows, widths) = best;
    let block = (rows as f64 - 1.0) * pitch;
    let level = ((MAX_HEIGHT - block) / deepest).clamp(pitch, 180.0_f64.max(pitch));
    // Left edge of what is below each node, and how much of it is taken.
    let mut left = vec![0.0; neighbours.len()];
    let mut taken = vec![0.0; neighbours.len()];
    let mut leaves = vec![0usize; neighbours.len()];
    let mut places = vec![(0.0, 0.0); neighbours.len()];
    for &node in &order {
        if node == root {
            places[node] = (widths[node] / 2.0 * pitch, 0.0);
            continue;
        }
        let above = parent[node];
        let from = left[above] + taken[above];
        let y = depth[node] as f64 * level;
        if is_leaf(node) && rows > 1 {
            let (column, row) = (leaves[above] / rows, leaves[above] % rows);
            leaves[above] += 1;
            // Not the whole column: the next one may have an inner node at this height.
            let shift = 0.17 + 0.66 * row as f64 / (rows as f64 - 1.0);
            let start = left[above] + widths[above] - leaf_columns(node, &parent, neighbours, rows);
            places[node] = ((start + column as f64 + shift) * pitch, y + row as f64 * pitch);
        } else {
            left[node] = from;
            taken[above] += widths[node];
            places[node] = ((from + widths[node] / 2.0) * pitch, y);
        }
    }
    Layout::new(places, radius_for(pitch.min(level)))
}

/// Columns of the block of leaves that `leaf` is in.
fn leaf_columns(leaf: usize, parent: &[usize], neighbours: &Neighbours, rows: usize) -> f64 {
    let above = parent[leaf];
    let siblings = neighbours[above]
        .iter()
        .filter(|&&other| other != parent[above] && neighbours[other].len() == 1);
    siblings.count().div_ceil(rows) as f64
}

/// The width of each node with all that is below it, in columns.
fn tree_widths(
    order: &[usize],
    parent: &[usize],
    is_leaf: &dyn Fn(usize) -> bool,
    rows: usize,
) -> Vec<f64> {
    let mut widths = vec![0.0f64; order.len()];
    let mut leaves = vec![0usize; order.len()];
    for &node in order.iter().rev() {
        let block = leaves[node].div_ceil(rows) as f64;
        widths[node] = (widths[node] + block).max(1.0);
        let Some(above) = parent.get(node).copied().filter(|&above| above != usize::MAX) else {
            continue;
        };
        match is_leaf(node) && rows > 1 {
            true => leaves[above] += 1,
            false => widths[above] += widths[node],
        }
    }
    widths
}

fn other(neighbours: &Neighbours, edges: &[(usize, usize)]) -> Layout {
    let mut places = stress::places(neighbours);
    let size = Layout::new(places.clone(), 1.0).size;
    let scale = (MAX_WIDTH / size.0.max(1e-6)).min(MAX_HEIGHT / size.1.max(1e-6)).min(MAX_PITCH);
    let area = size.0 * size.1 * scale * scale;
    let radius = ((area / neighbours.len() as f64).sqrt() * 0.24).clamp(MIN_RADIUS, MAX_RADIUS);
    for at in &mut places {
        *at = (at.0 * scale, at.1 * scale);
    }
    // In small sparse graphs there is room to keep links from running behind nodes.
    if neighbours.len() <= 120 && edges.len() <= 3 * neighbours.len() {
        stress::clear_links(&mut places, edges, radius * 1.6);
    }
    stress::spread(&mut places, 2.0 * radius * 1.25);
    let spread = Layout::new(places, radius);
    // Pushing nodes apart may have made the drawing larger.
    let fit =
        (MAX_WIDTH / spread.size.0.max(1.0)).min(MAX_HEIGHT / spread.size.1.max(1.0)).min(1.0);
    let places = spread.places.iter().map(|at| (at.0 * fit, at.1 * fit)).collect();
    Layout::new(places, (radius * fit).max(MIN_RADIUS))
}
