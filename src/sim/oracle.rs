//! Rules of the protocol, checked from outside while a network runs: the oracle sees what crosses
//! the links and knows the graph, and trusts no counter of the servents.

use super::neighbours::Neighbours;
use crate::plan::topology::Graph;
use crate::time::Instant;
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
    /// A Query never goes back on the link it first came by.
    NotBackToSource,
    /// A node forwards a Query once.
    ForwardedOnce,
    /// A hit goes only where the Query came from.
    ReversePath,
    /// Copies queued are those that arrived, were lost with their link, or are still on the way.
    NothingLost,
    /// A Query reaches the nodes within TTL links: all of them at equal latency.
    Reach,
    /// A flood over a whole component costs 2E − (N − 1) descriptors.
    FloodCost,
    /// No table holds more than its limit.
    Bounded,
}

impl Violation {
    /// The same, with the virtual time it was noticed at.
    pub(super) fn at(mut self, now: Instant) -> Violation {
        let seconds = now.since(Instant::ZERO).as_secs_f64();
        self.detail.push_str(&format!(" (at {seconds:.6} s of virtual time)"));
        self
    }
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
    /// Links and nodes come and go.
    changing: bool,
    /// Rules are checked; otherwise it only counts.
    pub(super) strict: bool,
    /// The origin is still the one that asked.
    origin_stands: bool,
    /// Nodes in `per_hop`, if nodes can be reached again after a restart.
    counted: Vec<bool>,
    nodes: Vec<Seen>,
    /// Nodes reached, by the links the first copy had crossed; index 0 is unused.
    pub(super) per_hop: Vec<u64>,
    pub(super) copies: u64,
    pub(super) hit_descriptors: u64,
}

/// What one node did with it, close together: floods visit nodes in no order.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    /// Where it first had it from.
    from: Option<u32>,
    /// The connection it came by: after a failure two nodes may have two of them for a while.
    wire: u32,
    /// Copies it put on links.
    sent: u32,
}

impl QueryWatch {
    /// `changing` says that links and nodes may come and go. `slate` may have been written on.
    pub(super) fn new(
        (origin, ttl): (usize, u8),
        nodes: usize,
        changing: bool,
        mut slate: Vec<Seen>,
    ) -> QueryWatch {
        slate.clear();
        slate.resize(nodes, Seen::default());
        QueryWatch {
            origin,
            ttl,
            changing,
            origin_stands: true,
            counted: vec![false; if changing { nodes } else { 0 }],
            nodes: slate,
            strict: true,
            per_hop: Vec::new(),
            copies: 0,
            hit_descriptors: 0,
        }
    }

    pub(super) fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Nodes reached, the origin not counted.
    pub(super) fn reached(&self) -> u64 {
        self.per_hop.iter().sum()
    }

    /// What it was written on, for the next watch.
    pub(super) fn into_slate(self) -> Vec<Seen> {
        self.nodes
    }

    /// Whether a node has had the Query.
    pub(super) fn has(&self, node: usize) -> bool {
        self.nodes[node].from.is_some()
    }

    /// Reads what is known of a node, for [`super::fetch`].
    pub(super) fn weight(&self, node: usize) -> u64 {
        self.nodes[node].sent.into()
    }

    /// Whether the copy that just went `from` one node `to` another was the first there.
    pub(super) fn is_first(&self, from: usize, to: usize) -> bool {
        self.nodes[to].from == Some(index(from))
    }

    /// A node has lost its memory: what it does from now on is another's doing.
    pub(super) fn forget(&mut self, node: usize) {
        self.nodes[node] = Seen::default();
        self.origin_stands &= node != self.origin;
    }

    fn asked(&self, node: usize) -> bool {
        self.origin_stands && node == self.origin
    }

    /// A copy arrives at `to` over `wire`; its sender `from` has `degree_of_sender` neighbours.
    pub(super) fn query(
        &mut self,
        (from, to): (usize, usize),
        wire: usize,
        header: &Header,
        degree_of_sender: usize,
    ) -> Result<(), Violation> {
        self.copies += 1;
        if self.strict {
            self.check((from, to), wire, header, degree_of_sender)?;
        }
        if !self.asked(to) && self.nodes[to].from.is_none() {
            self.nodes[to].from = Some(index(from));
            self.nodes[to].wire = index(wire);
            let again = to == self.origin
                || self.counted.get_mut(to).is_some_and(|node| std::mem::replace(node, true));
            if again {
                return Ok(());
            }
            let crossed = usize::from(header.hops) + 1;
            self.per_hop.resize(self.per_hop.len().max(crossed + 1), 0);
            self.per_hop[crossed] += 1;
        }
        Ok(())
    }

    /// Whether `from` may send this copy.
    fn check(
        &mut self,
        (from, to): (usize, usize),
        wire: usize,
        header: &Header,
        degree_of_sender: usize,
    ) -> Result<(), Violation> {
        let fail = |rule, detail: String| Err(Violation { rule, detail });
        self.nodes[from].sent += 1;
        let sender = &self.nodes[from];
        let (ttl, hops) = (header.ttl, header.hops);
        if u16::from(ttl) + u16::from(hops) > u16::from(self.ttl) {
            let text = format!("node {from} sent TTL {ttl}, hops {hops} of {}", self.ttl);
            return fail(Rule::TtlNeverGrows, text);
        }
        if sender.from.is_some() && sender.wire == index(wire) && !self.asked(from) {
            return fail(Rule::NotBackToSource, format!("node {from} sent it back to {to}"));
        }
        let most = degree_of_sender - usize::from(!self.asked(from));
        // While it asks, a node asks each new link too.
        let bounded = !(self.changing && self.asked(from));
        if bounded && sender.sent as usize > most {
            let text = format!("node {from} sent {} copies over {most} links", sender.sent);
            return fail(Rule::ForwardedOnce, text);
        }
        if !self.asked(from) && sender.from.is_none() {
            return fail(Rule::HopsCount, format!("node {from} sent what it never had"));
        }
        Ok(())
    }

    /// A hit arrives at `to`.
    pub(super) fn hit(&mut self, from: usize, to: usize) -> Result<(), Violation> {
        self.hit_descriptors += 1;
        if !self.strict || self.nodes[from].from == Some(index(to)) {
            return Ok(());
        }
        let detail = format!("node {from} sent a hit to {to}, where the Query did not come from");
        Err(Violation { rule: Rule::ReversePath, detail })
    }

    /// The Query has died down: was the right set of nodes reached, at the right cost?
    /// Exactly so only if all copies travel `evenly`; otherwise some may be missing.
    pub(super) fn finish(
        &self,
        graph: &Graph,
        neighbours: &Neighbours,
        evenly: bool,
    ) -> Result<(), Violation> {
        if !self.strict {
            return Ok(());
        }
        let radius = usize::from(self.ttl);
        let distances = neighbours.shells(self.origin, radius);
        let ball: Vec<u64> = distances.iter().take(radius + 1).map(|&n| n as u64).collect();
        let within: u64 = ball.iter().skip(1).sum();
        let reached = self.reached();
        let exact = reached == within && self.per_hop.iter().skip(1).eq(ball.iter().skip(1));
        // What crossed k links is at most k links away; it may be nearer.
        let mut room = 0;
        let too_far = (1..self.per_hop.len()).any(|hop| {
            room += ball.get(hop).copied().unwrap_or(0);
            let fits = self.per_hop[hop] <= room;
            room = room.saturating_sub(self.per_hop[hop]);
            !fits
        });
        if reached > within || too_far || (evenly && !exact) {
            let detail = format!(
                "TTL {radius} from node {} reached {:?} nodes by hop, the graph has {:?}",
                self.origin,
                &self.per_hop.get(1..).unwrap_or_default(),
                &ball[1..]
            );
            return Err(Violation { rule: Rule::Reach, detail });
        }
        // With TTL to spare at the far end everybody forwards.
        if evenly && radius > distances.len() {
            let nodes: u64 = distances.iter().map(|&n| n as u64).sum();
            let in_component = |node: usize| node == self.origin || self.nodes[node].from.is_some();
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

/// Where all copies of descriptors are. The nodes say what they queued, received and dropped with a
/// link; what wires hold and lose is counted at the wires.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Ledger {
    /// Queued for a link, ever.
    pub(super) queued: u64,
    /// Arrived whole, as nodes count.
    pub(super) received: u64,
    /// Arrived whole, as seen on the wires.
    pub(super) seen: u64,
    /// Still queued when the link ended.
    pub(super) link_ended: u64,
    /// Still queued now.
    pub(super) waiting: u64,
    /// Queued in nodes that crashed.
    pub(super) crashed: u64,
    /// On wires that broke, or for sockets that were gone.
    pub(super) lost: u64,
    /// On wires now.
    pub(super) in_flight: u64,
}

impl Ledger {
    /// Whether nothing vanished and nothing came from nowhere.
    pub(super) fn check(&self) -> Result<(), Violation> {
        let kept = self.link_ended + self.waiting + self.crashed;
        let sums = self.queued == kept + self.received + self.lost + self.in_flight;
        if sums && self.seen == self.received {
            return Ok(());
        }
        Err(Violation { rule: Rule::NothingLost, detail: format!("{self:?}") })
    }
}

/// Whether `held` entries of `what` at one node are within the limit.
pub(super) fn check_bound(what: &str, held: usize, most: usize) -> Result<(), Violation> {
    if held <= most {
        return Ok(());
    }
    let detail = format!("{held} {what} held, at most {most} allowed");
    Err(Violation { rule: Rule::Bounded, detail })
}

/// The number of a node or a wire, in half the room.
pub(super) fn index(number: usize) -> u32 {
    u32::try_from(number).expect("at most 10,000,000 nodes")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Guid, Kind};

    /// One connection for each pair of nodes.
    fn wire(from: usize, to: usize) -> usize {
        10 * from.min(to) + from.max(to)
    }

    const TTL: u8 = 4;

    /// A square with one corner more: 0-1, 1-2, 2-3, 0-3, 3-4.
    fn graph() -> Graph {
        Graph::from_edge_list("0 1\n1 2\n2 3\n0 3\n3 4").unwrap()
    }

    /// Copies as (from, to, TTL, hops), hits as (from, to): the first rule that breaks.
    fn watch(copies: &[(usize, usize, u8, u8)], hits: &[(usize, usize)]) -> Option<Rule> {
        let (graph, guid) = (graph(), Guid::default());
        let mut watch = QueryWatch::new((0, TTL), 5, false, Vec::new());
        for &(from, to, ttl, hops) in copies {
            let header = Header { guid, kind: Kind::Query, ttl, hops, payload_len: 0 };
            if let Err(violation) =
                watch.query((from, to), wire(from, to), &header, graph.degrees()[from])
            {
                return Some(violation.rule);
            }
        }
        for &(from, to) in hits {
            if let Err(violation) = watch.hit(from, to) {
                return Some(violation.rule);
            }
        }
        watch.finish(&graph, &Neighbours::new(&graph), true).err().map(|violation| violation.rule)
    }

    const FLOOD: [(usize, usize, u8, u8); 6] =
        [(0, 1, 4, 0), (0, 3, 4, 0), (1, 2, 3, 1), (3, 2, 3, 1), (3, 4, 3, 1), (2, 3, 2, 2)];

    #[test]
    fn a_flood_by_the_book_breaks_nothing() {
        assert_eq!(watch(&FLOOD, &[(4, 3), (3, 0)]), None);
    }

    #[test]
    fn a_node_that_starts_anew_may_do_everything_again_and_no_more() {
        let (graph, guid) = (graph(), Guid::default());
        let neighbours = Neighbours::new(&graph);
        let mut watch = QueryWatch::new((0, TTL), 5, true, Vec::new());
        let copy = |watch: &mut QueryWatch, (from, to, ttl, hops)| {
            let header = Header { guid, kind: Kind::Query, ttl, hops, payload_len: 0 };
            let degree = graph.degrees()[from];
            watch.query((from, to), wire(from, to), &header, degree).map_err(|found| found.rule)
        };
        for at in [0, 1, 3] {
            assert_eq!(copy(&mut watch, FLOOD[at]), Ok(()));
        }
        watch.forget(1);
        assert_eq!(copy(&mut watch, (1, 2, 3, 1)), Err(Rule::HopsCount), "it never had it");
        watch.forget(1);
        assert_eq!(copy(&mut watch, (2, 1, 2, 2)), Ok(()));
        assert_eq!(copy(&mut watch, (1, 0, 1, 3)), Ok(()), "now it has it from node 2");
        assert_eq!(copy(&mut watch, (1, 2, 1, 3)), Err(Rule::NotBackToSource));
        assert_eq!(watch.reached(), 3, "a node is reached once");
        watch.forget(0);
        assert_eq!(copy(&mut watch, (0, 1, 3, 1)), Err(Rule::HopsCount), "it does not ask now");
        assert!(watch.finish(&graph, &neighbours, false).is_ok());
        watch.per_hop = vec![0, 3];
        assert_eq!(
            watch.finish(&graph, &neighbours, false).map_err(|v| v.rule),
            Err(Rule::Reach),
            "too far"
        );
    }

    #[test]
    fn a_copy_that_is_nowhere_or_twice_is_missed() {
        let books = Ledger {
            queued: 36,
            received: 11,
            seen: 11,
            link_ended: 9,
            waiting: 7,
            crashed: 5,
            lost: 3,
            in_flight: 1,
        };
        assert!(books.check().is_ok());
        let wrong = [
            Ledger { queued: 37, ..books },
            Ledger { received: 12, ..books },
            Ledger { received: 12, queued: 37, ..books },
            Ledger { seen: 12, ..books },
            Ledger { link_ended: 8, ..books },
            Ledger { waiting: 8, ..books },
            Ledger { crashed: 4, ..books },
            Ledger { lost: 4, ..books },
            Ledger { in_flight: 0, ..books },
        ];
        for books in wrong {
            assert!(books.check().is_err_and(|found| found.rule == Rule::NothingLost), "{books:?}");
        }
        assert!(check_bound("routes", 5, 5).is_ok());
        assert!(check_bound("routes", 6, 5).is_err_and(|found| found.rule == Rule::Bounded));
    }

    #[test]
    fn what_is_not_strict_counts_and_finds_no_fault() {
        let (graph, guid) = (graph(), Guid::default());
        let mut watch = QueryWatch::new((0, TTL), 5, false, Vec::new());
        watch.strict = false;
        for (from, to, ttl, hops) in [(0, 1, 9, 0), (1, 0, 9, 1), (4, 2, 9, 1), (4, 2, 9, 1)] {
            let header = Header { guid, kind: Kind::Query, ttl, hops, payload_len: 0 };
            assert_eq!(watch.query((from, to), wire(from, to), &header, 1), Ok(()));
        }
        assert_eq!(watch.hit(4, 0), Ok(()));
        assert_eq!(watch.finish(&graph, &Neighbours::new(&graph), true), Ok(()));
        assert_eq!((watch.copies, watch.reached()), (4, 2));
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
