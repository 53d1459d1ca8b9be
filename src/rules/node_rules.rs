//! One node, judged by what reaches it and what it puts on its links, descriptor by descriptor.
//!
//! `L` names a link of the node. An observer on the links themselves sees the order in which
//! descriptors came ([`Sources::First`]); one that is told by the neighbours afterwards does not,
//! and gives the node the benefit of the doubt ([`Sources::Any`]).

use super::one_copy;
use super::violation::{Rule, Violation};
use crate::wire::{Guid, Header, Kind};
use std::collections::{BTreeMap, BTreeSet};

/// Every servent lets Queries cross this many links at least, if their TTL does.
const HORIZON: u8 = 7;

/// Which of the copies that reached a node it may have treated as the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sources {
    /// The one that was seen first.
    First,
    /// Any of them: their order is not known.
    Any,
}

/// What one node had and sent. Grows with every GUID: for runs that end.
#[derive(Debug)]
pub struct NodeRules<L> {
    sources: Sources,
    known: BTreeMap<(Kind, Guid), Passage<L>>,
    /// Links by which hits of each servent came.
    servents: BTreeMap<[u8; 16], BTreeSet<L>>,
    /// Links with leaves of the node.
    leaves: BTreeSet<L>,
}

#[derive(Debug)]
struct Passage<L> {
    /// The node sent it before any copy came.
    own: bool,
    came: Vec<Came<L>>,
    sent_to: BTreeSet<L>,
}

#[derive(Debug)]
struct Came<L> {
    link: L,
    travel: (u8, u8),
    /// If payloads are seen.
    payload: Option<Vec<u8>>,
}

impl<L> Default for Passage<L> {
    fn default() -> Passage<L> {
        Passage { own: false, came: Vec::new(), sent_to: BTreeSet::new() }
    }
}

impl<L: Copy + Ord> NodeRules<L> {
    /// A node that has had nothing yet.
    pub fn new(sources: Sources) -> NodeRules<L> {
        NodeRules {
            sources,
            known: BTreeMap::new(),
            servents: BTreeMap::new(),
            leaves: BTreeSet::new(),
        }
    }

    /// The node starts anew and knows nothing.
    pub fn forget(&mut self) {
        self.known.clear();
        self.servents.clear();
    }

    /// A link is with a leaf of the node, which gets as it is what came with the last TTL.
    pub fn has_leaf(&mut self, link: L) {
        self.leaves.insert(link);
    }

    /// The node may have started anew: what it sent before does not count against it.
    pub fn forgive(&mut self) {
        for passage in self.known.values_mut() {
            passage.own = false;
            passage.sent_to.clear();
        }
    }

    /// A descriptor reached the node. The payload is judged only where it is known.
    pub fn received(&mut self, from: L, header: &Header, payload: Option<&[u8]>) {
        let passage = self.known.entry((header.kind, header.guid)).or_default();
        let replies = matches!(header.kind, Kind::QueryHit | Kind::Pong);
        if passage.came.is_empty() || replies || self.sources == Sources::Any {
            let payload = payload.map(<[u8]>::to_vec);
            let travel = (header.ttl, header.hops);
            passage.came.push(Came { link: from, travel, payload });
        }
        if let (Kind::QueryHit, Some(payload)) = (header.kind, payload)
            && let Some(servent) = payload.last_chunk::<16>()
        {
            self.servents.entry(*servent).or_default().insert(from);
        }
    }

    /// A Query that reached the node a while ago went on: to one of its `links` at least, if one of
    /// them had not brought it. More cannot be asked from outside: a queue may be full.
    ///
    /// # Errors
    /// [`Rule::Reach`].
    pub fn went_on(&self, query: &Guid, links: &[L]) -> Result<(), Violation> {
        let Some(passage) = self.known.get(&(Kind::Query, *query)) else { return Ok(()) };
        let has_way =
            |came: &Came<L>| came.travel.0 > 1 && came.travel.1.saturating_add(1) < HORIZON;
        let brought = |link: &L| passage.came.iter().any(|came| came.link == *link);
        let others = links.iter().filter(|link| !brought(link)).count();
        if passage.own
            || others == 0
            || !passage.sent_to.is_empty()
            || !passage.came.iter().any(has_way)
        {
            return Ok(());
        }
        let text = format!("sent a Query to none of {others} further neighbours ({query})");
        Err(Violation::new(Rule::Reach, text))
    }

    /// The node sent a descriptor.
    ///
    /// # Errors
    /// The rule it broke.
    pub fn sent(
        &mut self,
        to: L,
        header: &Header,
        payload: Option<&[u8]>,
    ) -> Result<(), Violation> {
        let judged = match header.kind {
            Kind::Ping | Kind::Query => self.flooded(to, header, payload),
            Kind::Push => self
                .check_push_path(to, header, payload)
                .and_then(|()| self.flooded(to, header, payload)),
            Kind::Pong => self.check_way_back(to, header, Kind::Ping),
            Kind::QueryHit => self
                .check_way_back(to, header, Kind::Query)
                .and_then(|()| self.check_came(to, header, payload)),
            Kind::Bye | Kind::Other(_) if header.hops == 0 => Ok(()),
            Kind::Bye | Kind::Other(_) => {
                Err(Violation::new(Rule::OnlyWhatCame, "passed on what is never passed on"))
            }
        };
        let Header { kind, guid, ttl, hops, .. } = header;
        judged.map_err(|Violation { rule, detail }| {
            Violation::new(rule, format!("{detail} ({kind} {guid}, TTL {ttl}, hops {hops})"))
        })
    }

    /// A Ping, Query or Push: a copy for each link but that of its source.
    fn flooded(&mut self, to: L, header: &Header, payload: Option<&[u8]>) -> Result<(), Violation> {
        let passage = self.known.entry((header.kind, header.guid)).or_default();
        if passage.came.is_empty() && header.hops == 0 {
            passage.own = true;
        }
        let sent_before = !passage.sent_to.insert(to);
        if passage.own {
            if header.hops > 0 {
                return Err(Violation::new(Rule::HopsCount, "sent its own with hops"));
            }
        } else {
            self.check_came(to, header, payload)?;
        }
        match sent_before {
            false => Ok(()),
            true => Err(Violation::new(Rule::ForwardedOnce, "sent twice on one link")),
        }
    }

    /// What is passed on came by another link, and has lost one TTL.
    fn check_came(&self, to: L, header: &Header, payload: Option<&[u8]>) -> Result<(), Violation> {
        if header.kind == Kind::QueryHit && header.hops == 0 {
            // An answer of its own.
            return Ok(());
        }
        let passage = self.known.get(&(header.kind, header.guid));
        let came = passage.map_or(&[][..], |passage| &passage.came);
        if came.is_empty() {
            return Err(Violation::new(Rule::OnlyWhatCame, "passed on what never came"));
        }
        let mut found = Violation::new(Rule::NotBackToSource, "sent back where it came from");
        for came in came.iter().filter(|came| came.link != to) {
            let may_stay = header.kind == Kind::Query && self.leaves.contains(&to);
            // What may cross no further link, by its TTL or by the node's horizon, goes to leaves as it is.
            let (ttl, hops) = came.travel;
            let is_last_hop = ttl == 1 || ttl > 1 && hops.saturating_add(1) >= HORIZON;
            let stays = may_stay && is_last_hop && (header.ttl, header.hops) == (1, hops);
            match came.check(header, payload, stays) {
                Ok(()) => return Ok(()),
                Err(violation) => found = violation,
            }
        }
        Err(found)
    }

    /// A reply goes back on the link its question came by.
    fn check_way_back(&self, to: L, header: &Header, asked: Kind) -> Result<(), Violation> {
        let question = self.known.get(&(asked, header.guid));
        let came = question.map_or(&[][..], |passage| &passage.came);
        if came.iter().any(|came| came.link == to) {
            return Ok(());
        }
        let text = format!("sent a reply to where no {asked} came from");
        Err(Violation::new(Rule::ReversePath, text))
    }

    /// A Push goes where a hit of its servent came from.
    fn check_push_path(
        &self,
        to: L,
        _header: &Header,
        payload: Option<&[u8]>,
    ) -> Result<(), Violation> {
        let Some(servent) = payload.and_then(|payload| payload.first_chunk::<16>()) else {
            return Ok(());
        };
        if self.servents.get(servent).is_some_and(|links| links.contains(&to)) {
            return Ok(());
        }
        Err(Violation::new(
            Rule::ReversePath,
            "sent a Push to where no hit of its servent came from",
        ))
    }
}

impl<L> Came<L> {
    fn check(&self, header: &Header, payload: Option<&[u8]>, stays: bool) -> Result<(), Violation> {
        let sent = (header.ttl, header.hops);
        if !stays {
            one_copy::travel(self.travel, sent)?;
        }
        match (&self.payload, payload) {
            (Some(came), Some(sent)) if came != sent => {
                Err(Violation::new(Rule::Unchanged, "changed the payload"))
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(kind: Kind, ttl: u8, hops: u8) -> Header {
        Header { guid: Guid([1; 16]), kind, ttl, hops, payload_len: 0 }
    }

    const QUERY: Kind = Kind::Query;
    const HIT: Kind = Kind::QueryHit;

    /// What breaks when a node with links 1, 2 and 3, which had a Query with TTL 5 from link 1 and
    /// a hit for it from link 2, sends this.
    fn sends(sources: Sources, sent: &[(u8, Kind, u8, u8)]) -> Option<Rule> {
        let mut node = NodeRules::new(sources);
        node.received(1, &header(QUERY, 5, 2), Some(b"words"));
        node.received(2, &header(HIT, 4, 0), Some(&[9; 30]));
        let payload = |kind| if kind == QUERY { b"words".to_vec() } else { vec![9; 30] };
        let mut judged = sent.iter().map(|&(to, kind, ttl, hops)| {
            node.sent(to, &header(kind, ttl, hops), Some(&payload(kind)))
        });
        judged.find_map(Result::err).map(|violation| violation.rule)
    }

    #[test]
    fn what_an_honest_node_does_breaks_nothing() {
        let honest = [(2, QUERY, 4, 3), (3, QUERY, 4, 3), (1, HIT, 3, 1), (1, HIT, 4, 0)];
        for sources in [Sources::First, Sources::Any] {
            assert_eq!(sends(sources, &honest), None);
        }
        let mut node = NodeRules::new(Sources::First);
        for link in 1..4 {
            assert_eq!(node.sent(link, &header(QUERY, 7, 0), None), Ok(()), "its own");
        }
        node.received(1, &header(QUERY, 3, 4), None);
        assert!(node.sent(2, &header(QUERY, 2, 5), None).is_err(), "its own, come back");
    }

    #[test]
    fn each_rule_is_seen_to_break() {
        for (sent, rule) in [
            (&[(2, QUERY, 5, 3)][..], Rule::TtlNeverGrows),
            (&[(2, QUERY, 4, 2)], Rule::HopsCount),
            (&[(1, QUERY, 4, 3)], Rule::NotBackToSource),
            (&[(2, QUERY, 4, 3), (2, QUERY, 4, 3)], Rule::ForwardedOnce),
            (&[(3, HIT, 3, 1)], Rule::ReversePath),
            (&[(1, HIT, 4, 1)], Rule::TtlNeverGrows),
            (&[(1, Kind::Pong, 4, 1)], Rule::ReversePath),
            (&[(2, Kind::Ping, 4, 1)], Rule::OnlyWhatCame),
            (&[(2, Kind::Bye, 4, 1)], Rule::OnlyWhatCame),
            (&[(1, Kind::Push, 4, 1)], Rule::ReversePath),
            (&[(2, Kind::Push, 4, 1)], Rule::OnlyWhatCame),
        ] {
            for sources in [Sources::First, Sources::Any] {
                assert_eq!(sends(sources, sent), Some(rule), "{sent:?}");
            }
        }
        let mut node = NodeRules::new(Sources::First);
        node.received(1, &header(QUERY, 5, 2), Some(b"words"));
        let sent = node.sent(2, &header(QUERY, 4, 3), Some(b"other"));
        assert!(sent.is_err_and(|violation| violation.rule == Rule::Unchanged));
        node.forgive();
        assert_eq!(node.sent(2, &header(QUERY, 4, 3), None), Ok(()), "perhaps in another life");
        node.forget();
        let sent = node.sent(2, &header(QUERY, 4, 3), None);
        assert!(sent.is_err_and(|violation| violation.rule == Rule::OnlyWhatCame));
    }

    #[test]
    fn a_leaf_gets_the_last_ttl_as_it_is() {
        let mut node = NodeRules::new(Sources::First);
        node.has_leaf(2);
        node.received(1, &header(QUERY, 1, 2), None);
        assert_eq!(node.sent(2, &header(QUERY, 1, 2), None), Ok(()));
        assert!(node.sent(3, &header(QUERY, 1, 2), None).is_err(), "no leaf");
        node.forget();
        node.received(1, &header(QUERY, 2, 2), None);
        assert!(node.sent(2, &header(QUERY, 2, 2), None).is_err(), "it had TTL to lose");
    }

    #[test]
    fn a_query_goes_on_if_it_can() {
        let mut node = NodeRules::new(Sources::Any);
        node.received(1, &header(QUERY, 2, 0), None);
        let guid = header(QUERY, 0, 0).guid;
        assert_eq!(node.went_on(&guid, &[1]), Ok(()), "there is no other link");
        let found = node.went_on(&guid, &[1, 2, 3]).map_err(|violation| violation.rule);
        assert_eq!(found, Err(Rule::Reach));
        assert_eq!(node.sent(3, &header(QUERY, 1, 1), None), Ok(()));
        assert_eq!(node.went_on(&guid, &[1, 2, 3]), Ok(()), "link 2 may have been full");
        node.forget();
        for (ttl, hops) in [(1, 0), (5, 6)] {
            node.received(1, &header(QUERY, ttl, hops), None);
            assert_eq!(node.went_on(&guid, &[1, 2]), Ok(()), "it ends here");
        }
    }

    #[test]
    fn in_doubt_any_source_may_have_been_the_first() {
        let two = |sources| {
            let mut node = NodeRules::new(sources);
            node.received(1, &header(QUERY, 5, 2), None);
            node.received(2, &header(QUERY, 4, 3), None);
            node.sent(1, &header(QUERY, 3, 4), None).err().map(|violation| violation.rule)
        };
        assert_eq!(two(Sources::First), Some(Rule::NotBackToSource));
        assert_eq!(two(Sources::Any), None);
    }
}
