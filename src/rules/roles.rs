//! What roles add to the rules of one Query's flood: leaves relay nothing, get what their table matches
//! and no more, and each connection carries a Query once, however long dynamic querying spreads it.

use super::violation::{Rule, Violation};
use crate::wire::Header;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The roles in a network, as one Query meets them.
#[derive(Debug)]
pub struct RoleRules {
    /// By node: whether it is a leaf.
    leaves: Arc<[bool]>,
    /// By node: whether the route table of this leaf matches the Query.
    wanted: Vec<bool>,
    /// Copies so far: sender, receiver, and which of their connections.
    sent: BTreeSet<(usize, usize, u32)>,
}

impl RoleRules {
    /// The rules of one Query.
    pub fn new(leaves: Arc<[bool]>, wanted: Vec<bool>) -> RoleRules {
        RoleRules { leaves, wanted, sent: BTreeSet::new() }
    }

    /// Whether a node is a leaf.
    pub fn is_leaf(&self, node: usize) -> bool {
        self.leaves.get(node).is_some_and(|leaf| *leaf)
    }

    /// Whether a leaf's table matches the Query.
    pub fn is_wanted(&self, leaf: usize) -> bool {
        self.wanted.get(leaf).is_some_and(|wanted| *wanted)
    }

    /// A copy goes `from` a node that `asks` or passes it on `to` another, by the connection `wire`.
    ///
    /// # Errors
    /// [`Rule::LeafNeverRelays`], [`Rule::LeafGetsMatches`] or [`Rule::ForwardedOnce`].
    pub(super) fn query(
        &mut self,
        (from, to): (usize, usize),
        wire: u32,
        asks: bool,
    ) -> Result<(), Violation> {
        let fail = |rule, detail: String| Err(Violation::new(rule, detail));
        if !asks && self.is_leaf(from) {
            return fail(Rule::LeafNeverRelays, format!("is a leaf and passed a Query on to {to}"));
        }
        if self.is_leaf(to) && !self.is_wanted(to) {
            let text = format!("sent a Query to leaf {to}, whose table does not match it");
            return fail(Rule::LeafGetsMatches, text);
        }
        if !self.sent.insert((from, to, wire)) {
            return fail(Rule::ForwardedOnce, format!("sent a Query to {to} again"));
        }
        Ok(())
    }

    /// A leaf gets as it is what arrived with the last TTL: it may answer, and passes nothing on.
    pub(super) fn may_stay(&self, to: usize, had: (u8, u8), sent: &Header) -> bool {
        self.is_leaf(to) && had.0 == 1 && had == (sent.ttl, sent.hops)
    }
}

/// A leaf sends a descriptor.
///
/// # Errors
/// [`Rule::LeafNeverRelays`] if it has crossed links before.
pub fn of_leaf(header: &Header) -> Result<(), Violation> {
    if header.hops == 0 {
        return Ok(());
    }
    let text = format!("is a leaf and passed on a {} with {} hops", header.kind, header.hops);
    Err(Violation::new(Rule::LeafNeverRelays, text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Guid, Kind};

    /// Nodes 2 and 3 are leaves; the Query matches the table of 2.
    fn rules() -> RoleRules {
        let leaves = Arc::from([false, false, true, true]);
        RoleRules::new(leaves, vec![false, false, true, false])
    }

    fn header(ttl: u8, hops: u8) -> Header {
        Header { guid: Guid::default(), kind: Kind::Query, ttl, hops, payload_len: 0 }
    }

    #[test]
    fn each_rule_is_seen_to_break() {
        let rule = |ends, asks| rules().query(ends, 1, asks).err().map(|found| found.rule);
        for (ends, asks, broken) in [
            ((0, 1), false, None),
            ((0, 2), false, None),
            ((2, 0), true, None),
            ((3, 0), false, Some(Rule::LeafNeverRelays)),
            ((0, 3), false, Some(Rule::LeafGetsMatches)),
            ((0, 3), true, Some(Rule::LeafGetsMatches)),
        ] {
            assert_eq!(rule(ends, asks), broken, "{ends:?}");
        }
        let mut rules = rules();
        assert_eq!(rules.query((0, 1), 1, false), Ok(()));
        assert_eq!(rules.query((0, 1), 2, false), Ok(()), "another connection");
        let again = rules.query((0, 1), 1, true).map_err(|found| found.rule);
        assert_eq!(again, Err(Rule::ForwardedOnce));
        assert_eq!(of_leaf(&header(3, 0)), Ok(()));
        assert!(of_leaf(&header(3, 1)).is_err());
    }

    #[test]
    fn only_a_leaf_gets_the_last_ttl_as_it_is() {
        let rules = rules();
        assert!(rules.may_stay(2, (1, 4), &header(1, 4)));
        assert!(!rules.may_stay(1, (1, 4), &header(1, 4)), "no leaf");
        assert!(!rules.may_stay(2, (2, 4), &header(2, 4)), "it had TTL to lose");
        assert!(!rules.may_stay(2, (1, 4), &header(1, 3)));
    }
}
