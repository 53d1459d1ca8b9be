//! Shapes of networks, and what a flood should do in them.

use servent::rng::Rng;
use std::collections::{BTreeSet, VecDeque};

/// Nodes 0 to `nodes` - 1 and the links between them, the dialling side first.
#[derive(Debug)]
pub(crate) struct Graph {
    pub(crate) nodes: usize,
    pub(crate) edges: Vec<(usize, usize)>,
}

impl Graph {
    pub(crate) fn line(nodes: usize) -> Graph {
        Graph { nodes, edges: (1..nodes).map(|node| (node - 1, node)).collect() }
    }

    pub(crate) fn ring(nodes: usize) -> Graph {
        let mut graph = Graph::line(nodes);
        graph.edges.push((nodes - 1, 0));
        graph
    }

    /// All around node 0.
    pub(crate) fn star(nodes: usize) -> Graph {
        Graph { nodes, edges: (1..nodes).map(|node| (node, 0)).collect() }
    }

    /// A random tree and `extra` more links.
    pub(crate) fn random(seed: u64, nodes: usize, extra: usize) -> Graph {
        let mut rng = Rng::new(seed);
        let mut edges: BTreeSet<_> = (1..nodes).map(|node| (rng.below(node), node)).collect();
        let wanted = edges.len() + extra;
        while edges.len() < wanted {
            let (a, b) = (rng.below(nodes), rng.below(nodes));
            if a < b {
                edges.insert((a, b));
            }
        }
        Graph { nodes, edges: edges.into_iter().collect() }
    }

    /// How far each node is from `start`.
    pub(crate) fn distances(&self, start: usize) -> Vec<usize> {
        let mut distances = vec![usize::MAX; self.nodes];
        distances[start] = 0;
        let mut queue = VecDeque::from([start]);
        while let Some(node) = queue.pop_front() {
            for &(a, b) in &self.edges {
                let other = if a == node { b } else { a };
                if (a == node || b == node) && distances[other] == usize::MAX {
                    distances[other] = distances[node] + 1;
                    queue.push_back(other);
                }
            }
        }
        distances
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.distances(0).iter().all(|&distance| distance < usize::MAX)
    }
}
