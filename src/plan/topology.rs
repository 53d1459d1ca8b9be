//! Topologies: generated graphs and edge lists.

use super::chance::unit;
use crate::rng::Rng;
use serde::Deserialize;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::str::FromStr;

/// The shape of a network.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "String")]
pub enum Topology {
    /// Each node is linked with the one before.
    Line,
    /// A line that closes.
    Ring,
    /// All nodes are linked with the first.
    Star,
    /// A complete tree; determines the number of nodes.
    Tree {
        /// Children of each inner node.
        branching: usize,
        /// Links from the root to a leaf.
        depth: usize,
    },
    /// A random graph in which all nodes have the same degree.
    Regular {
        /// Links of each node.
        degree: usize,
    },
    /// Each pair is linked with this probability (Erdős–Rényi).
    Random {
        /// From 0 to 1.
        probability: f64,
    },
    /// Preferential attachment (Barabási–Albert): each new node links with nodes in proportion to their
    /// degree.
    ScaleFree {
        /// Links of each new node.
        links: usize,
    },
    /// Ultrapeers in a random graph of [`ULTRAPEER_LINKS`] links each, and leaves at
    /// [`ULTRAPEERS_OF_LEAF`] of them; determines the number of nodes. Ultrapeers come first.
    Ultrapeers {
        /// Number of ultrapeers.
        count: usize,
        /// Number of leaves.
        leaves: usize,
    },
    /// An edge list in a file; determines the number of nodes.
    File {
        /// Its path.
        path: String,
    },
}

/// Links between ultrapeers, at each: as in the usual topology.
const ULTRAPEER_LINKS: usize = 4;
/// Ultrapeers of each leaf (our own leaves, gtk-gnutella and LimeWire keep 3).
const ULTRAPEERS_OF_LEAF: usize = 3;
/// Most leaves of an ultrapeer (the default of `--max-leaves`).
const LEAVES_OF_ULTRAPEER: usize = 100;

/// An undirected graph of named nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Graph {
    /// The names of the nodes, by number.
    pub names: Vec<String>,
    /// Each edge once, the lower node first, sorted.
    pub edges: Vec<(usize, usize)>,
}

/// Why a topology makes no graph.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopologyError(String);

impl fmt::Display for TopologyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TopologyError {}

fn wrong<T>(text: impl Into<String>) -> Result<T, TopologyError> {
    Err(TopologyError(text.into()))
}

impl FromStr for Topology {
    type Err = TopologyError;

    fn from_str(text: &str) -> Result<Topology, TopologyError> {
        let (kind, value) = text.split_once(':').unwrap_or((text, ""));
        let number = |text: &str| text.parse::<usize>().ok().filter(|&n| n > 0);
        let parsed = match (kind, value) {
            ("line", "") => Some(Topology::Line),
            ("ring", "") => Some(Topology::Ring),
            ("star", "") => Some(Topology::Star),
            ("tree", value) => value.split_once(',').and_then(|(branching, depth)| {
                Some(Topology::Tree { branching: number(branching)?, depth: number(depth)? })
            }),
            ("regular", value) => number(value).map(|degree| Topology::Regular { degree }),
            ("random", value) => {
                let probability = value.parse().ok().filter(|p| (0.0..=1.0).contains(p));
                probability.map(|probability| Topology::Random { probability })
            }
            ("scale-free", value) => number(value).map(|links| Topology::ScaleFree { links }),
            ("ultrapeers", value) => value.split_once(',').and_then(|(count, leaves)| {
                let leaves = leaves.parse().ok()?;
                Some(Topology::Ultrapeers { count: number(count)?, leaves })
            }),
            ("file", path) if !path.is_empty() => Some(Topology::File { path: path.to_owned() }),
            _ => None,
        };
        parsed.map_or_else(
            || {
                wrong(format!(
                    "\"{text}\" is not a topology: give line, ring, star, tree:BRANCHING,DEPTH, \
                     regular:DEGREE, random:PROBABILITY, scale-free:LINKS, ultrapeers:COUNT,LEAVES \
                     or file:EDGELIST"
                ))
            },
            Ok,
        )
    }
}

impl TryFrom<String> for Topology {
    type Error = TopologyError;

    fn try_from(text: String) -> Result<Topology, TopologyError> {
        text.parse()
    }
}

impl Graph {
    /// A graph of `count` nodes; trees and ultrapeers ignore `count`. Edge lists are read by
    /// [`Graph::from_edge_list`].
    ///
    /// # Errors
    /// When the topology is impossible with this count.
    pub fn generate(
        topology: &Topology,
        count: usize,
        rng: &mut Rng,
    ) -> Result<Graph, TopologyError> {
        let has_own_count = matches!(topology, Topology::Tree { .. } | Topology::Ultrapeers { .. });
        if count < 2 && !has_own_count {
            return wrong(format!("a network needs at least 2 nodes; {count} asked for"));
        }
        let edges: Vec<(usize, usize)> = match *topology {
            Topology::Line => (1..count).map(|n| (n - 1, n)).collect(),
            Topology::Ring => (0..count).map(|n| (n, (n + 1) % count)).collect(),
            Topology::Star => (1..count).map(|n| (0, n)).collect(),
            Topology::Tree { branching, depth } => return tree(branching, depth),
            Topology::Regular { degree } => regular(count, degree, rng)?,
            Topology::Random { probability } => random(count, probability, rng),
            Topology::ScaleFree { links } => scale_free(count, links, rng)?,
            Topology::Ultrapeers { count, leaves } => return ultrapeers(count, leaves, rng),
            Topology::File { ref path } => {
                return wrong(format!("the edge list {path} has to be read first"));
            }
        };
        Ok(Graph::new((0..count).map(|n| n.to_string()).collect(), edges))
    }

    /// Reads an edge list: two names a line, separated by white space; `#` starts a comment. Loops are
    /// ignored, repeated edges count once.
    ///
    /// # Errors
    /// The first malformed line.
    pub fn from_edge_list(text: &str) -> Result<Graph, TopologyError> {
        let mut numbers: BTreeMap<&str, usize> = BTreeMap::new();
        let (mut names, mut edges) = (Vec::new(), Vec::new());
        for (line, text) in (1..).zip(text.lines()) {
            let content = text.split('#').next().unwrap_or_default();
            let words: Vec<&str> = content.split_whitespace().collect();
            match words[..] {
                [] => {}
                [from, to, ..] => {
                    let mut number = |name| {
                        *numbers.entry(name).or_insert_with(|| {
                            names.push(str::to_owned(name));
                            names.len() - 1
                        })
                    };
                    edges.push((number(from), number(to)));
                }
                [_] => {
                    return wrong(format!("line {line} has one name instead of two: \"{text}\""));
                }
            }
        }
        if names.len() < 2 {
            return wrong("the edge list names fewer than two nodes");
        }
        Ok(Graph::new(names, edges))
    }

    fn new(names: Vec<String>, edges: Vec<(usize, usize)>) -> Graph {
        let ordered = edges.into_iter().map(|(a, b)| (a.min(b), a.max(b))).filter(|(a, b)| a != b);
        let edges: BTreeSet<(usize, usize)> = ordered.collect();
        Graph { names, edges: edges.into_iter().collect() }
    }

    /// The number of each node by name.
    pub(crate) fn numbers(&self) -> BTreeMap<&str, usize> {
        self.names.iter().enumerate().map(|(node, name)| (name.as_str(), node)).collect()
    }

    /// The degree of each node.
    pub fn degrees(&self) -> Vec<usize> {
        let mut degrees = vec![0; self.names.len()];
        for &(a, b) in &self.edges {
            degrees[a] += 1;
            degrees[b] += 1;
        }
        degrees
    }

    /// Number of nodes at each distance from `origin`; index 0 is the origin. A Query over links of
    /// equal latency reaches exactly these per hop.
    pub fn distances(&self, origin: usize) -> Vec<usize> {
        let mut counts = Vec::new();
        for distance in self.distances_from(origin).into_iter().flatten() {
            counts.resize(counts.len().max(distance + 1), 0);
            counts[distance] += 1;
        }
        counts
    }

    /// Distance of each node from `origin`; `None` if there is no path.
    pub fn distances_from(&self, origin: usize) -> Vec<Option<usize>> {
        let mut neighbours = vec![Vec::new(); self.names.len()];
        for &(a, b) in &self.edges {
            neighbours[a].push(b);
            neighbours[b].push(a);
        }
        let mut distances = vec![None; self.names.len()];
        distances[origin] = Some(0);
        let mut shell = vec![origin];
        for distance in 1.. {
            let mut next = Vec::new();
            for node in shell {
                for &other in &neighbours[node] {
                    if distances[other].is_none() {
                        distances[other] = Some(distance);
                        next.push(other);
                    }
                }
            }
            if next.is_empty() {
                break;
            }
            shell = next;
        }
        distances
    }
}

fn tree(branching: usize, depth: usize) -> Result<Graph, TopologyError> {
    const MOST: usize = 10_000_000;
    let mut edges = Vec::new();
    let (mut level, mut count) = (vec![0], 1);
    for _ in 0..depth {
        let mut next = Vec::new();
        for parent in level {
            if count + branching > MOST {
                return wrong(format!("a tree:{branching},{depth} has more than {MOST} nodes"));
            }
            for child in count..count + branching {
                edges.push((parent, child));
                next.push(child);
            }
            count += branching;
        }
        level = next;
    }
    Ok(Graph::new((0..count).map(|n| n.to_string()).collect(), edges))
}

/// Leaves take ultrapeers from a shuffled pack, so that none has more than one leaf above the others.
fn ultrapeers(count: usize, leaves: usize, rng: &mut Rng) -> Result<Graph, TopologyError> {
    let each = ULTRAPEERS_OF_LEAF.min(count);
    if count + leaves < 2 {
        return wrong("a network needs at least 2 nodes");
    }
    if leaves.saturating_mul(each) > count.saturating_mul(LEAVES_OF_ULTRAPEER) {
        let most = count * LEAVES_OF_ULTRAPEER / each;
        return wrong(format!(
            "{count} ultrapeers take {most} leaves, {LEAVES_OF_ULTRAPEER} each with every leaf at \
             {each} of them; {leaves} asked for"
        ));
    }
    let mut edges = match count {
        1 => Vec::new(),
        _ => regular(count, ULTRAPEER_LINKS.min(count - 1), rng)?,
    };
    let mut pack: Vec<usize> = Vec::new();
    for leaf in count..count + leaves {
        let mut chosen = BTreeSet::new();
        while chosen.len() < each {
            // What the leaf has already stays for the next one.
            let at = pack.iter().rposition(|ultrapeer| !chosen.contains(ultrapeer));
            if let Some(at) = at {
                chosen.insert(pack.remove(at));
                continue;
            }
            let mut more: Vec<usize> = (0..count).collect();
            for at in (1..count).rev() {
                more.swap(at, rng.below(at + 1));
            }
            more.append(&mut pack);
            pack = more;
        }
        edges.extend(chosen.into_iter().map(|ultrapeer| (ultrapeer, leaf)));
    }
    Ok(Graph::new((0..count + leaves).map(|n| n.to_string()).collect(), edges))
}

/// The configuration model: ends of links are paired at random; a pair that is a loop or a repeated
/// link swaps an end with another random pair.
fn regular(
    count: usize,
    degree: usize,
    rng: &mut Rng,
) -> Result<Vec<(usize, usize)>, TopologyError> {
    if degree >= count || (count * degree) % 2 == 1 {
        return wrong(format!(
            "regular:{degree} needs more than {degree} nodes, and nodes × degree must be even; \
             there are {count} nodes"
        ));
    }
    if 2 * degree >= count {
        // In a dense graph random pairs hardly ever fit: the complement is drawn instead.
        let absent = regular(count, count - 1 - degree, rng)?;
        let absent: BTreeSet<(usize, usize)> = absent.into_iter().collect();
        let all = (0..count).flat_map(|a| (a + 1..count).map(move |b| (a, b)));
        return Ok(all.filter(|edge| !absent.contains(edge)).collect());
    }
    let mut ends: Vec<usize> =
        (0..count).flat_map(|node| std::iter::repeat_n(node, degree)).collect();
    for at in (1..ends.len()).rev() {
        ends.swap(at, rng.below(at + 1));
    }
    let pair = |ends: &[usize], at: usize| {
        let (a, b) = (ends[2 * at], ends[2 * at + 1]);
        (a.min(b), a.max(b))
    };
    let pairs = ends.len() / 2;
    let mut count_of: BTreeMap<(usize, usize), usize> = BTreeMap::new();
    for at in 0..pairs {
        *count_of.entry(pair(&ends, at)).or_default() += 1;
    }
    let is_bad = |edge: (usize, usize), times: usize| edge.0 == edge.1 || times > 1;
    // Each swap repairs its pair with high probability; the bound is for tiny dense graphs.
    let mut budget = 1_000 * pairs;
    for at in 0..pairs {
        while is_bad(pair(&ends, at), count_of[&pair(&ends, at)]) {
            if budget == 0 {
                return wrong(format!(
                    "found no graph of {count} nodes with {degree} links at each"
                ));
            }
            budget -= 1;
            let other = rng.below(pairs);
            let before = [pair(&ends, at), pair(&ends, other)];
            ends.swap(2 * at + 1, 2 * other + 1);
            let after = [pair(&ends, at), pair(&ends, other)];
            let fits = after.iter().all(|e| e.0 != e.1 && !count_of.contains_key(e));
            if other == at || !fits || after[0] == after[1] {
                ends.swap(2 * at + 1, 2 * other + 1);
                continue;
            }
            for edge in before {
                if let Entry::Occupied(mut times) = count_of.entry(edge) {
                    *times.get_mut() -= 1;
                    if *times.get() == 0 {
                        times.remove();
                    }
                }
            }
            for edge in after {
                *count_of.entry(edge).or_default() += 1;
            }
        }
    }
    Ok(count_of.into_keys().collect())
}

/// Jumps from edge to edge by geometric distances: the work is in proportion to edges, not to pairs.
fn random(count: usize, probability: f64, rng: &mut Rng) -> Vec<(usize, usize)> {
    let mut edges = Vec::new();
    if probability <= 0.0 {
        return edges;
    }
    let log_miss = (1.0 - probability).ln();
    let (mut row, mut column) = (1usize, 0usize);
    let jump = |rng: &mut Rng| -> usize {
        if probability >= 1.0 {
            return 1;
        }
        let skipped = ((1.0 - unit(rng)).ln() / log_miss).floor();
        #[expect(clippy::cast_possible_truncation, reason = "checked to be far below")]
        #[expect(clippy::cast_sign_loss, reason = "both logarithms are negative")]
        let skipped = if skipped < 1e15 { skipped as usize } else { usize::MAX / 4 };
        1 + skipped
    };
    let mut ahead = jump(rng) - 1;
    loop {
        while row < count && ahead >= row - column {
            ahead -= row - column;
            row += 1;
            column = 0;
        }
        if row >= count {
            return edges;
        }
        column += ahead;
        edges.push((column, row));
        ahead = jump(rng);
    }
}

fn scale_free(
    count: usize,
    links: usize,
    rng: &mut Rng,
) -> Result<Vec<(usize, usize)>, TopologyError> {
    if links >= count {
        return wrong(format!("scale-free:{links} needs more than {links} nodes, not {count}"));
    }
    // Every end of every edge: a random one names a node in proportion to its degree.
    let mut ends: Vec<usize> = Vec::new();
    let mut edges = Vec::new();
    for node in 1..count {
        let mut chosen = BTreeSet::new();
        while chosen.len() < links.min(node) {
            let candidate = if node <= links || ends.is_empty() {
                chosen.len()
            } else {
                ends[rng.below(ends.len())]
            };
            chosen.insert(candidate);
        }
        for other in chosen {
            edges.push((other, node));
            ends.extend([other, node]);
        }
    }
    Ok(edges)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(text: &str, count: usize) -> Graph {
        Graph::generate(&text.parse().unwrap(), count, &mut Rng::new(5)).unwrap()
    }

    #[test]
    fn shapes_have_the_edges_they_should() {
        assert_eq!(graph("line", 3).edges, [(0, 1), (1, 2)]);
        assert_eq!(graph("ring", 3).edges, [(0, 1), (0, 2), (1, 2)]);
        assert_eq!(graph("star", 4).degrees(), [3, 1, 1, 1]);
        let tree = graph("tree:2,3", 0);
        assert_eq!((tree.names.len(), tree.edges.len()), (15, 14));
        assert_eq!(tree.distances(0), [1, 2, 4, 8]);
    }

    #[test]
    fn random_graphs_keep_what_they_promise() {
        for count in [5, 6, 7, 8, 9, 50, 1_001] {
            let regular = graph("regular:4", count);
            assert!(regular.degrees().iter().all(|&degree| degree == 4), "{count} nodes");
        }
        assert_eq!(graph("random:1", 20).edges.len(), 190);
        assert_eq!(graph("random:0", 20).edges.len(), 0);
        let edges = graph("random:0.1", 500).edges.len();
        assert!((11_000..14_000).contains(&edges), "{edges} edges");
        let grown = graph("scale-free:3", 2_000);
        assert_eq!(grown.edges.len(), 3 + (2_000 - 3) * 3);
        assert!(grown.degrees().iter().max() > Some(&60), "no hubs");
        assert!(grown.degrees().iter().skip(3).all(|&degree| degree >= 3));
    }

    #[test]
    fn leaves_are_spread_over_ultrapeers_no_more_than_fit() {
        for (count, leaves, most) in [(1, 3, 3), (2, 5, 5), (5, 100, 60), (40, 1_000, 75)] {
            let graph = graph(&format!("ultrapeers:{count},{leaves}"), 0);
            let degrees = graph.degrees();
            let of_leaf = 3.min(count);
            assert!(degrees[count..].iter().all(|&degree| degree == of_leaf), "{degrees:?}");
            let links = |(a, b): &&(usize, usize)| *a < count && *b >= count;
            let mut held = vec![0; count];
            graph.edges.iter().filter(links).for_each(|&(a, _)| held[a] += 1);
            assert_eq!(held.iter().max(), Some(&most), "{held:?}");
            assert!(held.iter().min() >= Some(&(most - 1)), "{held:?}");
            let between = graph.edges.len() - leaves * of_leaf;
            assert_eq!(between, count * 4.min(count - 1) / 2, "links of ultrapeers");
        }
    }

    #[test]
    fn edge_lists_are_read_with_comments_and_doubles() {
        let graph =
            Graph::from_edge_list("# a crawl\n7 3\n3\t7 again\n\n3 9 # end\n9 9\n").unwrap();
        assert_eq!(graph.names, ["7", "3", "9"]);
        assert_eq!(graph.edges, [(0, 1), (1, 2)]);
        let error = Graph::from_edge_list("1 2\nalone\n").unwrap_err().to_string();
        assert!(error.contains("line 2"), "{error}");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for (text, count) in [("regular:5", 5), ("regular:3", 5), ("scale-free:9", 9), ("line", 1)]
        {
            let topology = text.parse().unwrap();
            assert!(Graph::generate(&topology, count, &mut Rng::new(1)).is_err(), "{text} {count}");
        }
        let full = "ultrapeers:3,101".parse().unwrap();
        let error = Graph::generate(&full, 0, &mut Rng::new(1)).unwrap_err().to_string();
        assert!(error.contains("3 ultrapeers take 100 leaves"), "{error}");
        for text in [
            "",
            "circle",
            "ultrapeers:3",
            "ultrapeers:0,9",
            "tree:2",
            "regular:0",
            "random:2",
            "line:3",
            "file:",
        ] {
            assert!(text.parse::<Topology>().is_err(), "{text}");
        }
    }
}
