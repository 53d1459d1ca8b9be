//! The graph by node: neighbours, degrees, distances.

use crate::plan::topology::Graph;

/// The neighbours of every node.
pub(crate) struct Neighbours {
    /// The index in `all` of each node's first neighbour, and its length.
    starts: Vec<u32>,
    all: Vec<u32>,
}

impl Neighbours {
    pub(crate) fn new(graph: &Graph) -> Neighbours {
        let nodes = graph.names.len();
        let mut starts = vec![0; nodes + 1];
        for &(a, b) in &graph.edges {
            starts[a + 1] += 1;
            starts[b + 1] += 1;
        }
        for node in 0..nodes {
            starts[node + 1] += starts[node];
        }
        let mut ends = starts.clone();
        let mut all = vec![0; 2 * graph.edges.len()];
        for (from, to) in graph.edges.iter().flat_map(|&(a, b)| [(a, b), (b, a)]) {
            all[ends[from] as usize] = index(to);
            ends[from] += 1;
        }
        Neighbours { starts, all }
    }

    /// The neighbours of a node, in the order of the graph's edges.
    pub(crate) fn of(&self, node: usize) -> &[u32] {
        &self.all[self.starts[node] as usize..self.starts[node + 1] as usize]
    }

    pub(crate) fn degree(&self, node: usize) -> usize {
        (self.starts[node + 1] - self.starts[node]) as usize
    }

    /// The nodes that a node keeps links with: each link is kept by its lower node.
    pub(crate) fn kept_by(&self, node: usize) -> impl Iterator<Item = usize> + '_ {
        self.of(node).iter().map(|&other| other as usize).filter(move |&other| other > node)
    }

    /// For each distance from `origin` up to `most`, how many nodes lie there: index 0 is the
    /// origin itself. Shorter if no node is as far away.
    pub(crate) fn shells(&self, origin: usize, most: usize) -> Vec<usize> {
        let mut seen = vec![false; self.starts.len() - 1];
        seen[origin] = true;
        let (mut counts, mut shell) = (Vec::new(), vec![index(origin)]);
        while !shell.is_empty() && counts.len() <= most {
            counts.push(shell.len());
            let around = shell.iter().flat_map(|&node| self.of(node as usize));
            let new = |node: &&u32| !std::mem::replace(&mut seen[**node as usize], true);
            shell = around.filter(new).copied().collect();
        }
        counts
    }
}

/// The number of a node, in half the room.
fn index(node: usize) -> u32 {
    u32::try_from(node).expect("at most 10,000,000 nodes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::Rng;

    #[test]
    fn distances_are_those_of_the_graph_up_to_the_last_asked_for() {
        let mut rng = Rng::new(4);
        for shape in ["line", "ring", "star", "tree:3,3", "regular:3", "random:0.05"] {
            let graph = Graph::generate(&shape.parse().unwrap(), 60, &mut rng).unwrap();
            let neighbours = Neighbours::new(&graph);
            for origin in 0..graph.names.len() {
                let all = graph.distances(origin);
                for most in [0, 1, 3, 100] {
                    let expected = &all[..all.len().min(most + 1)];
                    assert_eq!(
                        neighbours.shells(origin, most),
                        expected,
                        "{shape} {origin} {most}"
                    );
                }
            }
            let degrees: Vec<usize> =
                (0..graph.names.len()).map(|node| neighbours.degree(node)).collect();
            assert_eq!(degrees, graph.degrees());
            let kept = (0..graph.names.len())
                .flat_map(|node| neighbours.kept_by(node).map(move |other| (node, other)));
            assert_eq!(kept.collect::<Vec<_>>(), graph.edges);
        }
    }
}
