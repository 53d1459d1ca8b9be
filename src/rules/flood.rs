//! One Query through a whole network: every copy of it and every hit, as they cross links.
//!
//! Made for millions of copies: 16 bytes a node, and one look at the sender and the receiver for
//! each copy. What must be known of the graph is passed in as numbers.

use super::one_copy::travel;
use super::roles::RoleRules;
use super::violation::{Rule, Violation};
use crate::wire::Header;
use std::num::NonZeroU32;

/// Follows one Query.
#[derive(Debug)]
pub struct Flood {
    origin: usize,
    ttl: u8,
    /// Links and nodes come and go.
    changing: bool,
    /// Rules are checked; otherwise copies are only counted.
    strict: bool,
    /// The origin is still the node that asked.
    origin_stands: bool,
    /// Nodes in `per_hop`, if nodes can be reached again after a restart.
    counted: Vec<bool>,
    nodes: Vec<Passage>,
    per_hop: Vec<u64>,
    copies: u64,
    /// In networks with leaves and ultrapeers.
    roles: Option<Box<RoleRules>>,
}

/// What one node did with the Query. One cache line holds four: floods visit nodes in no order.
#[derive(Clone, Debug, Default)]
struct Passage {
    /// The node of the first copy, plus one.
    from: Option<NonZeroU32>,
    /// Which of the connections with that node it came by: after a failure two nodes may have two of
    /// them for a while.
    wire: u32,
    /// Copies the node put on links.
    sent: u32,
    /// TTL and hops of the first copy.
    travel: (u8, u8),
}

/// The memory of a flood that is over, for the next one.
#[derive(Debug, Default)]
pub struct Scratch(Vec<Passage>);

impl Flood {
    /// `origin` searches with `ttl` in a network of `nodes`. `changing` says that links and nodes
    /// may come and go. Unless it is `strict`, nothing is checked.
    pub fn new(
        (origin, ttl): (usize, u8),
        nodes: usize,
        changing: bool,
        strict: bool,
        Scratch(mut scratch): Scratch,
    ) -> Flood {
        scratch.clear();
        scratch.resize(nodes, Passage::default());
        Flood {
            origin,
            ttl,
            changing,
            strict,
            origin_stands: true,
            counted: vec![false; if changing { nodes } else { 0 }],
            nodes: scratch,
            per_hop: Vec::new(),
            copies: 0,
            roles: None,
        }
    }

    /// The same in a network with roles.
    #[must_use]
    pub fn among(self, roles: RoleRules) -> Flood {
        Flood { roles: Some(Box::new(roles)), ..self }
    }

    /// What roles add, in a network that has them.
    pub fn roles(&self) -> Option<&RoleRules> {
        self.roles.as_deref()
    }

    /// Its TTL.
    pub fn ttl(&self) -> u8 {
        self.ttl
    }

    /// Copies that arrived.
    pub fn copies(&self) -> u64 {
        self.copies
    }

    /// Links it may cross: its TTL, and one more to a leaf.
    pub fn radius(&self) -> u8 {
        self.ttl.saturating_add(u8::from(self.roles.is_some()))
    }

    /// Nodes reached, the origin not counted.
    pub fn reached(&self) -> u64 {
        self.per_hop.iter().sum()
    }

    /// Nodes reached, by the links the first copy had crossed, from one on.
    pub fn per_hop(&self) -> &[u64] {
        self.per_hop.get(1..).unwrap_or_default()
    }

    /// Ends it.
    pub fn into_scratch(self) -> Scratch {
        Scratch(self.nodes)
    }

    /// Whether a node has had the Query.
    pub fn has(&self, node: usize) -> bool {
        self.nodes[node].from.is_some()
    }

    /// Whether the copy that just went `from` one node `to` another was the first there.
    pub fn is_first(&self, from: usize, to: usize) -> bool {
        self.nodes[to].from == plus_one(from)
    }

    /// A node has lost its memory: what it does from now on is another's doing.
    pub fn forget(&mut self, node: usize) {
        self.nodes[node] = Passage::default();
        self.origin_stands &= node != self.origin;
    }

    fn asks(&self, node: usize) -> bool {
        self.origin_stands && node == self.origin
    }

    /// A copy arrives at `to` over the connection `wire` of those between the two; its sender `from` has `degree` neighbours.
    ///
    /// # Errors
    /// The rule that the sender broke.
    #[inline]
    pub fn query(
        &mut self,
        (from, to): (usize, usize),
        wire: u32,
        header: &Header,
        degree: impl FnOnce() -> usize,
    ) -> Result<(), Violation> {
        self.copies += 1;
        if self.strict {
            let checked = self.check((from, to), wire, header, degree);
            checked.map_err(|violation| violation.by(format_args!("node {from}")))?;
        }
        if self.asks(to) || self.has(to) {
            return Ok(());
        }
        let had = self.nodes[from].travel;
        let stays = self.roles.as_ref().is_some_and(|roles| roles.may_stay(to, had, header));
        let node = &mut self.nodes[to];
        node.from = plus_one(from);
        node.wire = wire;
        node.travel = (header.ttl, header.hops);
        let again = to == self.origin
            || self.counted.get_mut(to).is_some_and(|node| std::mem::replace(node, true));
        if !again {
            let crossed = usize::from(header.hops) + 1 + usize::from(stays);
            self.per_hop.resize(self.per_hop.len().max(crossed + 1), 0);
            self.per_hop[crossed] += 1;
        }
        Ok(())
    }

    /// Whether `from` may send this copy.
    #[inline]
    fn check(
        &mut self,
        (from, to): (usize, usize),
        wire: u32,
        header: &Header,
        degree: impl FnOnce() -> usize,
    ) -> Result<(), Violation> {
        let fail = |rule, detail: String| Err(Violation::new(rule, detail));
        let asks = self.asks(from);
        if let Some(roles) = &mut self.roles {
            roles.query((from, to), wire, asks)?;
        }
        let sender = &mut self.nodes[from];
        sender.sent += 1;
        let (ttl, hops) = (header.ttl, header.hops);
        if asks {
            if hops != 0 || ttl > self.ttl {
                let text = format!("asks with TTL {ttl}, hops {hops} instead of {}, 0", self.ttl);
                let rule = if hops == 0 { Rule::TtlNeverGrows } else { Rule::HopsCount };
                return fail(rule, text);
            }
        } else if sender.from.is_none() {
            return fail(Rule::OnlyWhatCame, format!("sent {to} what it never had"));
        } else {
            if sender.wire == wire && sender.from == plus_one(to) {
                return fail(Rule::NotBackToSource, format!("sent it back to {to}"));
            }
            let stays = |roles: &RoleRules| roles.may_stay(to, sender.travel, header);
            if !self.roles.as_deref().is_some_and(stays) {
                travel(sender.travel, (ttl, hops))?;
            }
        }
        let most = degree() - usize::from(!asks);
        // While it asks, a node asks each new link too.
        let bounded = !(self.changing && asks);
        if bounded && sender.sent as usize > most {
            let text = format!("sent {} copies over {most} links", sender.sent);
            return fail(Rule::ForwardedOnce, text);
        }
        Ok(())
    }

    /// A hit arrives at `to`.
    ///
    /// # Errors
    /// [`Rule::ReversePath`].
    pub fn hit(&mut self, from: usize, to: usize) -> Result<(), Violation> {
        if !self.strict || self.nodes[from].from == plus_one(to) {
            return Ok(());
        }
        let detail = format!("node {from} sent a hit to {to}, where the Query did not come from");
        Err(Violation::new(Rule::ReversePath, detail))
    }

    /// These nodes are within reach: have all of them had the Query?
    ///
    /// # Errors
    /// [`Rule::Reach`].
    pub fn must_reach(&self, nodes: impl IntoIterator<Item = usize>) -> Result<(), Violation> {
        let missed = |node: &usize| self.strict && *node != self.origin && !self.has(*node);
        match nodes.into_iter().find(missed) {
            None => Ok(()),
            Some(node) => {
                let (ttl, origin) = (self.ttl, self.origin);
                let text = format!("TTL {ttl} from node {origin} did not reach node {node}");
                Err(Violation::new(Rule::Reach, text))
            }
        }
    }

    /// The Query has died down: was the right set of nodes reached, at the right cost? Exactly so
    /// if all copies travel `evenly`; otherwise some may be missing. `shells` has the number of
    /// nodes at each distance from the origin, up to the TTL at least, and `degree` the links of a
    /// node.
    ///
    /// # Errors
    /// [`Rule::Reach`] or [`Rule::FloodCost`].
    pub fn finish(
        &self,
        shells: &[usize],
        degree: impl Fn(usize) -> usize,
        evenly: bool,
    ) -> Result<(), Violation> {
        if !self.strict {
            return Ok(());
        }
        let radius = usize::from(self.radius());
        let ball: Vec<u64> = shells.iter().skip(1).take(radius).map(|&n| n as u64).collect();
        let within: u64 = ball.iter().sum();
        let exact = self.reached() == within && self.per_hop() == ball;
        // What crossed k links is at most k links away; it may be nearer.
        let mut room = 0;
        let too_far = self.per_hop().iter().enumerate().any(|(at, &reached)| {
            room += ball.get(at).copied().unwrap_or(0);
            let fits = reached <= room;
            room = room.saturating_sub(reached);
            !fits
        });
        if self.reached() > within || too_far || (evenly && !exact) {
            let detail = format!(
                "TTL {radius} from node {} reached {:?} nodes by hop, the graph has {ball:?}",
                self.origin,
                self.per_hop(),
            );
            return Err(Violation::new(Rule::Reach, detail));
        }
        // With TTL to spare at the far end every node of the component forwards.
        if evenly && radius > shells.len() {
            let nodes: u64 = shells.iter().map(|&n| n as u64).sum();
            let in_component = |&node: &usize| node == self.origin || self.has(node);
            let ends = (0..self.nodes.len()).filter(in_component).map(|node| degree(node) as u64);
            let cost = ends.sum::<u64>() - (nodes - 1);
            if self.copies != cost {
                let detail = format!("the flood cost {} copies instead of {cost}", self.copies);
                return Err(Violation::new(Rule::FloodCost, detail));
            }
        }
        Ok(())
    }
}

/// A Query was seen that no node searches for.
pub fn unasked(header: &Header) -> Violation {
    let text = format!("sent a Query that no node asked: {}", header.guid);
    Violation::new(Rule::OnlyWhatCame, text)
}

/// The number of a node, in half the room.
fn index(number: usize) -> u32 {
    u32::try_from(number).expect("fewer than 4,000,000,000 nodes")
}

fn plus_one(node: usize) -> Option<NonZeroU32> {
    NonZeroU32::new(index(node) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Guid, Kind};

    const TTL: u8 = 4;
    /// A square with one corner more: 0-1, 1-2, 2-3, 0-3, 3-4.
    const DEGREES: [usize; 5] = [2, 2, 2, 3, 1];
    /// By distance from node 0.
    const SHELLS: [usize; 3] = [1, 2, 2];

    fn header(ttl: u8, hops: u8) -> Header {
        Header { guid: Guid::default(), kind: Kind::Query, ttl, hops, payload_len: 0 }
    }

    fn send(flood: &mut Flood, (from, to, ttl, hops): (usize, usize, u8, u8)) -> Option<Rule> {
        let degree = || DEGREES[from];
        let sent = flood.query((from, to), 2, &header(ttl, hops), degree);
        sent.err().map(|violation| violation.rule)
    }

    fn finish(flood: &Flood, evenly: bool) -> Option<Rule> {
        flood.finish(&SHELLS, |node| DEGREES[node], evenly).err().map(|violation| violation.rule)
    }

    fn new(changing: bool, strict: bool) -> Flood {
        Flood::new((0, TTL), 5, changing, strict, Scratch::default())
    }

    /// Copies as (from, to, TTL, hops), hits as (from, to): the first rule that breaks.
    fn watch(copies: &[(usize, usize, u8, u8)], hits: &[(usize, usize)]) -> Option<Rule> {
        let mut flood = new(false, true);
        for &copy in copies {
            let broken = send(&mut flood, copy);
            if broken.is_some() {
                return broken;
            }
        }
        for &(from, to) in hits {
            if let Err(violation) = flood.hit(from, to) {
                return Some(violation.rule);
            }
        }
        finish(&flood, true)
    }

    const FLOOD: [(usize, usize, u8, u8); 6] =
        [(0, 1, 4, 0), (0, 3, 4, 0), (1, 2, 3, 1), (3, 2, 3, 1), (3, 4, 3, 1), (2, 3, 2, 2)];

    #[test]
    fn a_flood_by_the_book_breaks_nothing() {
        assert_eq!(watch(&FLOOD, &[(4, 3), (3, 0)]), None);
    }

    #[test]
    fn leaves_are_judged_by_their_role_and_reached_one_link_beyond_the_ttl() {
        // A line of 0, 1 and 3; node 4 is a leaf at 3.
        let shells = [1, 1, 1, 1];
        let watch = |wanted, copies: &[(usize, usize, u8, u8)]| {
            let leaves = [false, false, false, false, true].into();
            let roles = RoleRules::new(leaves, vec![wanted; 5]);
            let mut flood = Flood::new((0, 2), 5, false, true, Scratch::default()).among(roles);
            let broken = copies.iter().find_map(|&copy| send(&mut flood, copy));
            let missed = flood.must_reach([0, 1, 3, 4]).err().map(|found| found.rule);
            let finished = flood.finish(&shells, |node| DEGREES[node], false);
            (broken, missed, finished.map_err(|found| found.rule))
        };
        let line = [(0, 1, 2, 0), (1, 3, 1, 1)];
        let whole = [&line[..], &[(3, 4, 1, 1)]].concat();
        assert_eq!(watch(true, &whole), (None, None, Ok(())));
        assert_eq!(watch(false, &whole).0, Some(Rule::LeafGetsMatches));
        assert_eq!(watch(true, &line).1, Some(Rule::Reach));
        let relayed = [&whole[..], &[(4, 2, 1, 1)]].concat();
        assert_eq!(watch(true, &relayed).0, Some(Rule::LeafNeverRelays));
        let beyond = [&line[..], &[(3, 2, 1, 1)]].concat();
        assert_eq!(watch(true, &beyond).0, Some(Rule::HopsCount), "no leaf");
    }

    #[test]
    fn a_node_that_starts_anew_may_do_everything_again_and_no_more() {
        let mut flood = new(true, true);
        for at in [0, 1, 3] {
            assert_eq!(send(&mut flood, FLOOD[at]), None);
        }
        flood.forget(1);
        assert_eq!(send(&mut flood, (1, 2, 3, 1)), Some(Rule::OnlyWhatCame), "it never had it");
        flood.forget(1);
        assert_eq!(send(&mut flood, (2, 1, 2, 2)), None);
        assert_eq!(send(&mut flood, (1, 0, 1, 3)), None, "now it has it from node 2");
        assert_eq!(send(&mut flood, (1, 2, 1, 3)), Some(Rule::NotBackToSource));
        assert_eq!(flood.reached(), 3, "a node is reached once");
        flood.forget(0);
        assert_eq!(send(&mut flood, (0, 1, 3, 1)), Some(Rule::OnlyWhatCame), "it asks no more");
        assert_eq!(finish(&flood, false), None);
        flood.per_hop = vec![0, 3];
        assert_eq!(finish(&flood, false), Some(Rule::Reach), "too far");
    }

    #[test]
    fn what_is_not_strict_counts_and_finds_no_fault() {
        let mut flood = new(false, false);
        for copy in [(0, 1, 9, 0), (1, 0, 9, 1), (4, 2, 9, 1), (4, 2, 9, 1)] {
            assert_eq!(send(&mut flood, copy), None);
        }
        assert_eq!(flood.hit(4, 0), Ok(()));
        assert_eq!(finish(&flood, true), None);
        assert_eq!((flood.copies(), flood.reached()), (4, 2));
    }

    #[test]
    fn each_rule_is_seen_to_break() {
        let with = |at: usize, copy| {
            let mut copies = FLOOD;
            copies[at] = copy;
            watch(&copies, &[])
        };
        assert_eq!(with(0, (0, 1, 5, 0)), Some(Rule::TtlNeverGrows));
        assert_eq!(with(0, (0, 1, 4, 1)), Some(Rule::HopsCount));
        assert_eq!(with(2, (1, 2, 4, 1)), Some(Rule::TtlNeverGrows));
        assert_eq!(with(2, (1, 2, 3, 0)), Some(Rule::HopsCount));
        assert_eq!(with(2, (1, 0, 3, 1)), Some(Rule::NotBackToSource));
        assert_eq!(with(0, (2, 1, 3, 0)), Some(Rule::OnlyWhatCame), "it never had it");
        assert_eq!(with(5, (3, 2, 3, 1)), Some(Rule::ForwardedOnce));
        assert_eq!(watch(&FLOOD[..4], &[]), Some(Rule::Reach), "node 4 was left out");
        assert_eq!(watch(&FLOOD[..5], &[]), Some(Rule::FloodCost), "a copy is missing");
        assert_eq!(watch(&FLOOD, &[(4, 2)]), Some(Rule::ReversePath));
        assert_eq!(size_of::<Passage>(), 16);
    }
}
