//! The force-directed layout: distances on paper follow distances in the graph.
//!
//! Stress minimisation by stochastic gradient descent over all pairs (Zheng, Pawar, Goodman 2018). Pairs
//! are visited in one random order with a fixed seed, so the same graph gives the same picture, in a
//! number of steps that depends on the number of nodes only.

use super::canvas::Point;
use super::layout::Neighbours;
use crate::plan::chance::unit;
use crate::rng::Rng;
use std::collections::BTreeMap;

/// Passes over all pairs; half as many from [`LARGE`] on.
const PASSES: i32 = 30;
const LARGE: usize = 1_000;
/// Passes that push overlapping nodes apart.
const MAX_PUSHES: usize = 200;

/// Places all nodes; linked nodes are about 1 apart, and the longest extent is horizontal.
pub(super) fn places(neighbours: &Neighbours) -> Vec<Point> {
    let count = neighbours.len();
    let mut rng = Rng::new(1);
    let mut places: Vec<Point> = (0..count).map(|_| (unit(&mut rng), unit(&mut rng))).collect();
    let distances: Vec<Vec<u16>> = (0..count).map(|node| distances(neighbours, node)).collect();
    let nodes = u16::try_from(count).unwrap_or(u16::MAX);
    let mut pairs: Vec<(u16, u16)> = (0..nodes).flat_map(|b| (0..b).map(move |a| (a, b))).collect();
    for at in (1..pairs.len()).rev() {
        pairs.swap(at, rng.below(at + 1));
    }
    let longest = distances.iter().flatten().copied().max().unwrap_or(1).max(1);
    // The step falls from moving the farthest pair all the way to a tenth of the nearest.
    let (first, last) = (f64::from(longest).powi(2), 0.1);
    let passes = if count > LARGE { PASSES / 2 } else { PASSES };
    for pass in 0..passes {
        let step = first * (last / first).powf(f64::from(pass) / f64::from(passes - 1));
        for &(a, b) in &pairs {
            let (a, b) = (usize::from(a), usize::from(b));
            let wanted = f64::from(distances[a][b]);
            let share = (step / (wanted * wanted)).min(1.0);
            let (dx, dy) = (places[a].0 - places[b].0, places[a].1 - places[b].1);
            let apart = dx.hypot(dy).max(1e-9);
            let by = share * (apart - wanted) / (2.0 * apart);
            places[a] = (places[a].0 - by * dx, places[a].1 - by * dy);
            places[b] = (places[b].0 + by * dx, places[b].1 + by * dy);
        }
    }
    lie_down(&mut places);
    places
}

/// Distance of each node from `from`, at least 1; nodes of other components are a little farther than
/// the farthest.
fn distances(neighbours: &Neighbours, from: usize) -> Vec<u16> {
    let mut distances = vec![u16::MAX; neighbours.len()];
    distances[from] = 0;
    let (mut order, mut next) = (vec![from], 0);
    while let Some(&node) = order.get(next) {
        next += 1;
        for &other in &neighbours[node] {
            if distances[other] == u16::MAX {
                distances[other] = distances[node] + 1;
                order.push(other);
            }
        }
    }
    let farthest = order.last().map_or(0, |&node| distances[node]);
    let beyond = farthest.max(3) + 2;
    distances.iter().map(|&distance| distance.clamp(1, beyond)).collect()
}

/// Turns the drawing so that its longest axis is horizontal.
fn lie_down(places: &mut [Point]) {
    let count = places.len().max(1) as f64;
    let sum = places.iter().fold((0.0, 0.0), |sum, at| (sum.0 + at.0, sum.1 + at.1));
    let middle = (sum.0 / count, sum.1 / count);
    let (mut xx, mut xy, mut yy) = (0.0, 0.0, 0.0);
    for at in places.iter() {
        let (x, y) = (at.0 - middle.0, at.1 - middle.1);
        xx += x * x;
        xy += x * y;
        yy += y * y;
    }
    let (sin, cos) = (-0.5 * (2.0 * xy).atan2(xx - yy)).sin_cos();
    for at in places {
        let (x, y) = (at.0 - middle.0, at.1 - middle.1);
        *at = (x * cos - y * sin, x * sin + y * cos);
    }
}

/// Pushes nodes apart until no two are nearer than `apart`, or the passes are used up.
pub(super) fn spread(places: &mut [Point], apart: f64) {
    for _ in 0..MAX_PUSHES {
        let mut cells: BTreeMap<(i64, i64), Vec<usize>> = BTreeMap::new();
        for (node, at) in places.iter().enumerate() {
            cells.entry(cell(*at, apart)).or_default().push(node);
        }
        let mut moved = false;
        for node in 0..places.len() {
            let (column, row) = cell(places[node], apart);
            let around = (-1..=1).flat_map(|dx| (-1..=1).map(move |dy| (column + dx, row + dy)));
            let near: Vec<usize> =
                around.filter_map(|at| cells.get(&at)).flatten().copied().collect();
            for other in near.into_iter().filter(|other| *other > node) {
                moved |= push_apart(places, node, other, apart);
            }
        }
        if !moved {
            return;
        }
    }
}

/// Pushes nodes off the links of others until none is nearer than `apart`, or the passes are used up.
pub(super) fn clear_links(places: &mut [Point], edges: &[(usize, usize)], apart: f64) {
    for _ in 0..MAX_PUSHES / 4 {
        let mut moved = false;
        for &(a, b) in edges {
            for node in (0..places.len()).filter(|node| *node != a && *node != b) {
                moved |= push_off(places, node, (a, b), apart);
            }
        }
        if !moved {
            return;
        }
    }
}

/// Moves `node` and the ends of a link from each other, if the link runs by it too near.
fn push_off(places: &mut [Point], node: usize, (a, b): (usize, usize), apart: f64) -> bool {
    let (from, to, at) = (places[a], places[b], places[node]);
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let length = dx.hypot(dy).max(1e-6);
    let along = ((at.0 - from.0) * dx + (at.1 - from.1) * dy) / (length * length);
    let aside = ((at.1 - from.1) * dx - (at.0 - from.0) * dy) / length;
    if !(0.0..=1.0).contains(&along) || aside.abs() >= apart {
        return false;
    }
    let by = (apart * 1.02 - aside.abs()).copysign(aside) / 2.0;
    let (x, y) = (-dy / length * by, dx / length * by);
    places[node] = (at.0 + x, at.1 + y);
    for end in [a, b] {
        places[end] = (places[end].0 - x / 2.0, places[end].1 - y / 2.0);
    }
    true
}

fn push_apart(places: &mut [Point], a: usize, b: usize, apart: f64) -> bool {
    let (mut dx, mut dy) = (places[b].0 - places[a].0, places[b].1 - places[a].1);
    let mut gap = dx.hypot(dy);
    if gap >= apart {
        return false;
    }
    if gap < 1e-6 {
        // Any direction will do, and different ones for different pairs.
        (dy, dx) = ((a + 7 * b) as f64).sin_cos();
        gap = 1.0;
    }
    // A little more than needed, so that the passes come to an end.
    let by = (apart * 1.02 - gap.min(apart)) / (2.0 * gap);
    places[a] = (places[a].0 - by * dx, places[a].1 - by * dy);
    places[b] = (places[b].0 + by * dx, places[b].1 + by * dy);
    true
}

fn cell(at: Point, size: f64) -> (i64, i64) {
    #[expect(clippy::cast_possible_truncation, reason = "pixels, and casts saturate")]
    let cell = ((at.0 / size).floor() as i64, (at.1 / size).floor() as i64);
    cell
}
