//! Rules of the protocol, checked from outside while a network runs: the oracle sees what crosses
//! the links and knows the graph, and trusts no counter of the servents.

use super::topology::Graph;
use crate::wire::Header;
use std::fmt;

/// A rule that did not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Which.
    pub rule: Rule,
    /// What happened, in one sentence.
    pub detail: String,
}

/// What must always hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// TTL and hops of a Query add up to no more than its origin sent.
    TtlNeverGrows,
    /// Hops count the links crossed.
    HopsCount,
    /// A Query never goes back to where it first came from.
    NotBackToSource,
    /// A node forwards a Query once.
    ForwardedOnce,
    /// A hit goes only where the Query came from.
    ReversePath,
    /// Copies put on the links are those that arrived.
    NothingLost,
    /// A Query reaches the nodes within TTL links: all of them at equal latency.
    Reach,
    /// A flood over a whole component costs 2E − (N − 1) descriptors.
    FloodCost,
    /// No table holds more than its limit.
    Bounded,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.rule, self.detail)
    }
}

/// Follows one Query through the network.
#[derive(Debug)]
pub(super) struct QueryWatch {
    origin: usize,
    ttl: u8,
    /// Where each node first had it from.
    first_from: Vec<Option<u32>>,
    /// Copies each node put on links.
    sent: Vec<u32>,
    /// Nodes reached, by the links the first copy had crossed; index 0 is unused.
    pub(super) per_hop: Vec<u64>,
    pub(super) copies: u64,
    pub(super) hit_descriptors: u64,
}

impl QueryWatch {
    pub(super) fn new(origin: usize, ttl: u8, nodes: usize) -> QueryWatch {
        QueryWatch {
            origin,
            ttl,
            first_from: vec![None; nodes],
            sent: vec![0; nodes],
            per_hop: Vec::new(),
            copies: 0,
            hit_descriptors: 0,
        }
    }

    /// Nodes reached, the origin not counted.
    pub(super) fn reached(&self) -> u64 {
        self.per_hop.iter().sum()
    }

    /// Whether the copy that just went `from` one node `to` another was the first there.
    pub(super) fn is_first(&self, from: usize, to: usize) -> bool {
        self.first_from[to] == Some(index(from))
    }

    /// A copy arrives at `to`, which has `degree` links for its sender `from`.
    pub(super) fn query(
        &mut self,
        from: usize,
        to: usize,
        header: &Header,
        degree_of_sender: usize,
    ) -> Result<(), Violation> {
        let fail = |rule, detail: String| Err(Violation { rule, detail });
        self.copies += 1;
        self.sent[from] += 1;
        let (ttl, hops) = (header.ttl, header.hops);
        if u16::from(ttl) + u16::from(hops) > u16::from(self.ttl) {
            let text = format!("node {from} sent TTL {ttl}, hops {hops} of {}", self.ttl);
            return fail(Rule::TtlNeverGrows, text);
        }
        let source = self.first_from[from];
        if source == Some(index(to)) && from != self.origin {
            return fail(Rule::NotBackToSource, format!("node {from} sent it back to {to}"));
        }
        let most = degree_of_sender - usize::from(from != self.origin);
        if self.sent[from] as usize > most {
            let text = format!("node {from} sent {} copies over {most} links", self.sent[from]);
            return fail(Rule::ForwardedOnce, text);
        }
        if from != self.origin && source.is_none() {
            return fail(Rule::HopsCount, format!("node {from} sent what it never had"));
        }
        if to != self.origin && self.first_from[to].is_none() {
            self.first_from[to] = Some(index(from));
            let crossed = usize::from(hops) + 1;
            self.per_hop.resize(self.per_hop.len().max(crossed + 1), 0);
            self.per_hop[crossed] += 1;
        }
        Ok(())
    }

    /// A hit arrives at `to`.
    pub(super) fn hit(&mut self, from: usize, to: usize) -> Result<(), Violation> {
        self.hit_descriptors += 1;
        if self.first_from[from] == Some(index(to)) {
            return Ok(());
        }
        let detail = format!("node {from} sent a hit to {to}, where the Query did not come from");
        Err(Violation { rule: Rule::ReversePath, detail })
    }

    /// The Query has died down: was the right set of nodes reached, at the right cost?
    pub(super) fn finish(&self, graph: &Graph, equal_latency: bool) -> Result<(), Violation> {
        let distances = graph.distances(self.origin);
        let radius = usize::from(self.ttl);
        let ball: Vec<u64> = distances.iter().take(radius + 1).map(|&n| n as u64).collect();
        let within: u64 = ball.iter().skip(1).sum();
        let reached = self.reached();
        let exact = reached == within && self.per_hop.iter().skip(1).eq(ball.iter().skip(1));
        if reached > within || (equal_latency && !exact) {
            let detail = format!(
                "TTL {radius} from node {} reached {:?} nodes by hop, the graph has {:?}",
                self.origin,
                &self.per_hop.get(1..).unwrap_or_default(),
                &ball[1..]
            );
            return Err(Violation { rule: Rule::Reach, detail });
        }
        // With TTL to spare at the far end everybody forwards.
        if equal_latency && radius > distances.len() {
            let nodes: u64 = distances.iter().map(|&n| n as u64).sum();
            let in_component = |node: usize| node == self.origin || self.first_from[node].is_some();
            let edges = graph.edges.iter().filter(|edge| in_component(edge.0)).count() as u64;
            let cost = 2 * edges - (nodes - 1);
            if self.copies != cost {
                let detail = format!("{} copies, expected {cost}", self.copies);
                return Err(Violation { rule: Rule::FloodCost, detail });
            }
        }
        Ok(())
    }
}

fn index(node: usize) -> u32 {
    u32::try_from(node).expect("at most 10,000,000 nodes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Guid, Kind};

    const TTL: u8 = 4;

    /// A square with one corner more: 0-1, 1-2, 2-3, 0-3, 3-4.
    fn graph() -> Graph {
        Graph::from_edge_list("0 1\n1 2\n2 3\n0 3\n3 4").unwrap()
    }

    /// Copies as (from, to, TTL, hops), hits as (from, to): the first rule that breaks.
    fn watch(copies: &[(usize, usize, u8, u8)], hits: &[(usize, usize)]) -> Option<Rule> {
        let (graph, guid) = (graph(), Guid::default());
        let mut watch = QueryWatch::new(0, TTL, 5);
        for &(from, to, ttl, hops) in copies {
            let header = Header { guid, kind: Kind::Query, ttl, hops, payload_len: 0 };
            if let Err(violation) = watch.query(from, to, &header, graph.degrees()[from]) {
                return Some(violation.rule);
            }
        }
        for &(from, to) in hits {
            if let Err(violation) = watch.hit(from, to) {
                return Some(violation.rule);
            }
        }
        watch.finish(&graph, true).err().map(|violation| violation.rule)
    }

    const FLOOD: [(usize, usize, u8, u8); 6] =
        [(0, 1, 4, 0), (0, 3, 4, 0), (1, 2, 3, 1), (3, 2, 3, 1), (3, 4, 3, 1), (2, 3, 2, 2)];

    #[test]
    fn a_flood_by_the_book_breaks_nothing() {
        assert_eq!(watch(&FLOOD, &[(4, 3), (3, 0)]), None);
    }

    #[test]
    fn each_rule_is_seen_to_break() {
        let with = |at: usize, copy| {
            let mut copies = FLOOD;
            copies[at] = copy;
            watch(&copies, &[])
        };
        assert_eq!(with(2, (1, 2, 4, 1)), Some(Rule::TtlNeverGrows));
        assert_eq!(with(2, (1, 0, 3, 1)), Some(Rule::NotBackToSource));
        assert_eq!(with(0, (2, 1, 3, 0)), Some(Rule::HopsCount), "it never had it");
        assert_eq!(with(5, (3, 2, 3, 1)), Some(Rule::ForwardedOnce));
        assert_eq!(watch(&FLOOD[..4], &[]), Some(Rule::Reach), "node 4 was left out");
        assert_eq!(watch(&FLOOD[..5], &[]), Some(Rule::FloodCost), "a copy is missing");
        assert_eq!(watch(&FLOOD, &[(4, 2)]), Some(Rule::ReversePath));
    }
}
