//! Where a descriptor goes that is not for this servent alone, and how it looks in the dialect spoken
//! there. Between two 0.4 links nothing changes but TTL and hops.
//!
//! | a Query of | 0.4 links | other 0.6 servents | ultrapeers | leaves of ours |
//! |---|---|---|---|---|
//! | a 0.4 link, or a 0.6 servent that routes | at once | at once | at once | if its table matches |
//! | a leaf of ours | at once | at once | in small steps | if its table matches |
//! | our ultrapeer | – | – | – | – |
//!
//! To an ultrapeer whose table does not match no copy goes that would end there (TTL 1). A leaf gets
//! also what arrives with TTL 1, as it is: it may answer, and passes nothing on. TTL and hops together
//! so never grow.

use super::Servent;
use super::bridge::{self, Towards};
use super::connection::{Connection, Features, Link, Standing};
use super::descriptors::Source;
use super::dynamic_query::Step;
use super::link_key::LinkKey;
use super::routing::{RouteTable, Targets, router};
use crate::time::Instant;
use crate::wire::{Guid, Header, Kind, Query, RawDescriptor};
use std::borrow::Cow;

/// Queries of 0.4 links that asked for URNs and are remembered, so that their hits keep them: 20 bytes
/// each. No 0.4 servent asks for any by itself.
pub(super) const URN_QUERIES: usize = 1 << 14;
/// A leaf's own Query has crossed one link when it is sent on.
const LEAF_QUERY_HOPS: u8 = 1;
/// Copies of leaves' searches sent before other work is looked at.
const SEARCH_STEPS: usize = 64;

/// One Query in the forms that 0.6 links get.
struct Copies<'a> {
    payload: &'a [u8],
    with_ggep: Option<Cow<'a, [u8]>>,
    without_ggep: Option<Cow<'a, [u8]>>,
}

impl<'a> Copies<'a> {
    fn of(payload: &'a [u8]) -> Copies<'a> {
        Copies { payload, with_ggep: None, without_ggep: None }
    }

    fn towards(&mut self, ggep: bool) -> &[u8] {
        let form = if ggep { &mut self.with_ggep } else { &mut self.without_ggep };
        let payload = self.payload;
        form.get_or_insert_with(|| bridge::translate(Kind::Query, payload, Towards::V0_6 { ggep }))
    }
}

impl Servent {
    /// Sends a broadcast to all 0.4 links but its source: with the others of the same read, if they
    /// get it as it came.
    #[inline]
    pub(super) fn flood_plain(
        &mut self,
        targets: Targets,
        source: &Source,
        next: &Header,
        raw: RawDescriptor<'_>,
    ) {
        if source.standing != Standing::Plain && self.flood_translated(source, next, raw.payload())
        {
            return;
        }
        self.routing.broadcast(targets, next, raw.frame(), self.config.limits.send_queue_bytes);
        if self.outbox.is_observed() {
            // What comes of a descriptor is told before the next one is.
            self.flush_batch();
        }
    }

    /// Sends a broadcast of a 0.6 link to all 0.4 links, if they get it otherwise than it came.
    #[inline(never)]
    fn flood_translated(&mut self, source: &Source, next: &Header, payload: &[u8]) -> bool {
        let to = Towards::V0_4 { urns_wanted: false };
        let translated = bridge::translate(next.kind, payload, to);
        let changes = *translated != *payload;
        if changes {
            let descriptor = self.encoded(*next, &translated);
            for at in 0..self.links.plain().len() {
                self.enqueue(Some(source.key), self.links.plain()[at], &descriptor);
            }
        }
        changes
    }

    /// Sends a Query that is new to the 0.6 links it may be of use to. Pings go to none of them: they
    /// are answered from caches.
    #[inline(never)]
    pub(super) fn flood_modern(
        &mut self,
        now: Instant,
        source: &Source,
        header: &Header,
        query: &Query<'_>,
        payload: &[u8],
    ) {
        if source.standing == Standing::Plain && bridge::wants_urns(query) {
            let Servent { routing, config, rng, .. } = self;
            let table = || RouteTable::new(URN_QUERIES, config.limits.query_route_age, rng);
            routing.note_urns_wanted(now, &header.guid, source.key, table);
        }
        let copies = &mut Copies::of(payload);
        let goes_on = header.ttl > 1;
        if let Some(tables) = self.query_routing.get_mut().filter(|tables| !tables.is_idle()) {
            self.budget.charge(tables.read_query(query));
            if header.ttl > 0 {
                let next = if goes_on { router::next_hop(header) } else { *header };
                self.send_to_leaves(source, &next, copies);
            }
        }
        if !goes_on {
            return;
        }
        let next = router::next_hop(header);
        self.send_to_relays(source, &next, copies);
        if source.standing == Standing::Leaf
            && let Some(searches) = self.dynamic_queries.get_mut()
            && searches.begin(now, next.guid, source.key, next.ttl, payload).is_ok()
        {
            self.step_searches(now);
        }
    }

    fn send_to_leaves(&mut self, source: &Source, next: &Header, copies: &mut Copies<'_>) {
        let Some(matching) = self.query_routing.get_mut().map(|tables| tables.take_matching())
        else {
            return;
        };
        for &leaf in matching.iter().filter(|leaf| **leaf != source.key) {
            if !self.takes_hops(leaf, next.hops) {
                continue;
            }
            let payload = copies.towards(self.link_has(leaf, Features::GGEP));
            let descriptor = self.encoded(*next, payload);
            self.enqueue(Some(source.key), leaf, &descriptor);
        }
        if let Some(tables) = self.query_routing.get_mut() {
            tables.recycle(matching);
        }
    }

    /// To those that get it at once.
    fn send_to_relays(&mut self, source: &Source, next: &Header, copies: &mut Copies<'_>) {
        let mut at = 0;
        while let Some(&relay) = self.relays.get().and_then(|relays| relays.get(at)) {
            at += 1;
            let in_steps = source.standing == Standing::Leaf && relay.is_ultrapeer;
            let ttl = bridge::ttl(next.ttl, relay.max_ttl);
            let takes = self.takes_hops(relay.link, next.hops);
            if relay.link == source.key || in_steps || !takes || !self.may_end_at(relay.link, ttl) {
                continue;
            }
            let payload = copies.towards(relay.ggep);
            let descriptor = self.encoded(Header { ttl, ..*next }, payload);
            self.enqueue(Some(source.key), relay.link, &descriptor);
        }
    }

    /// Whether the Query read last may go to a link with this TTL: if it ends there, its table matches.
    fn may_end_at(&self, link: LinkKey, ttl: u8) -> bool {
        ttl > 1 || self.query_routing.get().is_none_or(|tables| tables.admits(link))
    }

    /// Sends the searches of leaves on as far as that is due, and as far as one turn goes.
    pub(super) fn step_searches(&mut self, now: Instant) {
        for _ in 0..SEARCH_STEPS {
            let Some(searches) = self.dynamic_queries.get_mut() else { return };
            let Some(step) = searches.due(now) else { return };
            if !self.send_step(&step)
                && let Some(searches) = self.dynamic_queries.get_mut()
            {
                searches.not_sent(now, &step);
            }
        }
    }

    fn send_step(&mut self, step: &Step) -> bool {
        if !self.takes_hops(step.link, LEAF_QUERY_HOPS) {
            return false;
        }
        let ends_there = step.ttl <= 1;
        if ends_there
            && let Some(tables) = self.query_routing.get_mut()
            && let Ok(query) = Query::decode(&step.payload)
        {
            self.budget.charge(tables.read_query(&query));
            if !tables.admits(step.link) {
                return false;
            }
        }
        let ggep = self.link_has(step.link, Features::GGEP);
        let payload = bridge::translate(Kind::Query, &step.payload, Towards::V0_6 { ggep });
        let (guid, ttl) = (step.guid, step.ttl);
        let header = Header { guid, kind: Kind::Query, ttl, hops: LEAF_QUERY_HOPS, payload_len: 0 };
        let descriptor = self.encoded(header, &payload);
        self.enqueue(Some(step.leaf), step.link, &descriptor)
    }

    /// Sends a reply or Push to its one link, unless both speak 0.4.
    #[inline(never)]
    pub(super) fn forward_translated(
        &mut self,
        now: Instant,
        source: &Source,
        target: LinkKey,
        next: &Header,
        payload: &[u8],
    ) {
        let towards = match self.links.is_plain(target) {
            true => {
                let is_hit = next.kind == Kind::QueryHit;
                let urns_wanted = is_hit && self.routing.wants_urns(now, &next.guid);
                Towards::V0_4 { urns_wanted }
            }
            false => Towards::V0_6 { ggep: self.link_has(target, Features::GGEP) },
        };
        let payload = bridge::translate(next.kind, payload, towards);
        let descriptor = self.encoded(*next, &payload);
        self.enqueue(Some(source.key), target, &descriptor);
    }

    /// Results for a Query were sent to where it came from: a leaf's search may have enough.
    #[inline]
    pub(super) fn note_results(&mut self, query: Guid, results: u32) {
        if let Some(searches) = self.dynamic_queries.get_mut() {
            searches.hits(query, results);
        }
    }

    /// Sends a request of our own to a link that stands. Leaves get searches that their table matches.
    pub(super) fn send_request(&mut self, target: LinkKey, header: Header, payload: &[u8]) {
        if header.kind != Kind::Query || self.links.is_plain(target) {
            let descriptor = self.encoded(header, payload);
            self.enqueue(None, target, &descriptor);
            return;
        }
        let Some(peer) = self.links.of(target).and_then(Connection::link).map(Link::peer) else {
            return;
        };
        let ttl = bridge::ttl(header.ttl, peer.max_ttl);
        let depends = peer.standing() == Standing::Leaf || ttl <= 1;
        if depends
            && let Some(tables) = self.query_routing.get_mut()
            && let Ok(query) = Query::decode(payload)
        {
            tables.read_query(&query);
            if !tables.admits(target) {
                return;
            }
        }
        let payload = bridge::own_query(payload);
        let descriptor = self.encoded(Header { ttl, ..header }, &payload);
        self.enqueue(None, target, &descriptor);
    }
}
