//! Follows the search under way through the whole network, and judges it.

use super::leaf_tables::LeafTables;
use super::neighbours::Neighbours;
use super::watcher::Seen;
use crate::plan::roles::Roles;
use crate::plan::topology::Graph;
use crate::plan::trace::Trace;
use crate::rules::{Flood, RoleRules, Scratch, Violation};
use crate::time::Instant;
use crate::wire::{Dialect, Guid, Header, Kind};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module documentation.
pub(super) struct Follower<'a> {
    pub(super) graph: &'a Graph,
    pub(super) neighbours: Neighbours,
    pub(super) roles: Roles,
    /// By node: the links it dials, in networks that have roles.
    dials: BTreeMap<usize, Vec<(usize, Dialect)>>,
    /// By node: whether it is a leaf. Empty in networks without roles.
    pub(super) leaves: Arc<[bool]>,
    pub(super) leaf_tables: LeafTables,
    /// The search under way.
    pub(super) search: Option<(Guid, Flood)>,
    /// Memory of the search before, for the next.
    pub(super) scratch: Scratch,
    /// The search being recorded, and when it began.
    pub(super) written: Option<(Instant, Trace)>,
    /// The first rule that did not hold.
    pub(super) violation: Option<Violation>,
}

impl<'a> Follower<'a> {
    pub(super) fn new(graph: &'a Graph, roles: Roles) -> Follower<'a> {
        let mut dials: BTreeMap<usize, Vec<(usize, Dialect)>> = BTreeMap::new();
        for link in roles.links() {
            dials.entry(link.from).or_default().push((link.to, link.dialect));
        }
        Follower {
            graph,
            neighbours: Neighbours::new(graph),
            leaves: match roles.are_plain() {
                true => Arc::default(),
                false => (0..graph.names.len()).map(|node| roles.is_leaf(node)).collect(),
            },
            leaf_tables: LeafTables::default(),
            roles,
            dials,
            search: None,
            scratch: Scratch::default(),
            written: None,
            violation: None,
        }
    }

    /// The nodes that a node keeps links with, and what it dials them with.
    pub(super) fn kept_by(&self, node: usize) -> impl Iterator<Item = (usize, Dialect)> + '_ {
        let is_plain = self.roles.are_plain();
        let plain = self.neighbours.kept_by(node).filter(move |_| is_plain);
        let planned = self.dials.get(&node).into_iter().flatten().copied();
        plain.map(|other| (other, Dialect::V0_4)).chain(planned)
    }

    /// The rules of a search for this text that roles add, if there are any.
    pub(super) fn role_rules(&self, text: &str) -> Option<RoleRules> {
        let rules = || RoleRules::new(Arc::clone(&self.leaves), self.leaf_tables.matching(text));
        (!self.roles.are_plain()).then(rules)
    }

    /// Nodes that a search must reach if nothing fails and all links are equally fast: the leaves that
    /// it matches at each node that it has reached and that routes. A search from such a node is
    /// flooded: it reaches all others within its TTL, but for those that only the last link of a way
    /// leads to, if that is one of 0.6, where tables say who gets it.
    pub(super) fn within_reach(&self, origin: usize, flood: &Flood) -> Vec<usize> {
        let Some(rules) = flood.roles() else { return Vec::new() };
        let of = |node: usize| self.neighbours.of(node).iter().map(|&other| other as usize);
        let mut nodes = Vec::new();
        for node in (0..self.leaves.len()).filter(|&node| node == origin || flood.has(node)) {
            if !rules.is_leaf(node) {
                nodes.extend(of(node).filter(|&other| rules.is_wanted(other)));
            }
        }
        if rules.is_leaf(origin) {
            return nodes;
        }
        let mut seen = vec![false; self.leaves.len()];
        seen[origin] = true;
        let mut shell = vec![origin];
        for left in (1..=flood.ttl()).rev() {
            let mut next = Vec::new();
            for node in shell {
                for other in of(node).filter(|&other| !rules.is_leaf(other)) {
                    let certain = left > 1 || self.dialect(node, other) == Dialect::V0_4;
                    if certain && !std::mem::replace(&mut seen[other], true) {
                        next.push(other);
                    }
                }
            }
            nodes.extend(&next);
            shell = next;
        }
        nodes
    }

    fn dialect(&self, a: usize, b: usize) -> Dialect {
        let link = self.graph.edges.binary_search(&(a.min(b), a.max(b)));
        link.map_or(Dialect::V0_4, |link| self.roles.dialect(link))
    }

    /// Descriptors of the search crossed links, in this order.
    pub(super) fn follow(&mut self, seen: impl Iterator<Item = Seen>) {
        for seen in seen {
            let Some((guid, flood)) = &mut self.search else { return };
            let Seen { at, from, to, wire, kind, ttl, hops, .. } = seen;
            let (from, to) = (from as usize, to as usize);
            let header = Header { guid: *guid, kind, ttl, hops, payload_len: 0 };
            let judged = match kind {
                Kind::Query => {
                    flood.query((from, to), wire, &header, || self.neighbours.degree(from))
                }
                Kind::QueryHit => flood.hit(from, to),
                _ => Ok(()),
            };
            if let Err(violation) = judged {
                self.violation.get_or_insert(violation.at(at));
            }
            if let Some((begun, trace)) = &mut self.written {
                let first = flood.is_first(from, to);
                let [from, to] = [from, to].map(|node| &self.graph.names[node]);
                trace.note(at.since(*begun), from, to, &header, first);
            }
        }
    }
}
