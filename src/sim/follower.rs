//! Follows the search under way through the whole network, and judges it.

use super::neighbours::Neighbours;
use super::watcher::Seen;
use crate::plan::roles::Roles;
use crate::plan::topology::Graph;
use crate::plan::trace::Trace;
use crate::rules::{Flood, Scratch, Violation};
use crate::time::Instant;
use crate::wire::{Dialect, Guid, Header, Kind};
use std::collections::BTreeMap;

/// See the module documentation.
pub(super) struct Follower<'a> {
    pub(super) graph: &'a Graph,
    pub(super) neighbours: Neighbours,
    pub(super) roles: Roles,
    /// By node: the links it dials, in networks that have roles.
    dials: BTreeMap<usize, Vec<(usize, Dialect)>>,
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
