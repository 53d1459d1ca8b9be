//! Routing: the rules, what is remembered for them, and the broadcasts about to go out.
//!
//! | file | holds |
//! |---|---|
//! | `router` | the rules, as functions without state |
//! | `route_table`, `id_table` | 16-byte ids and the links they arrived on |
//! | `pong_cache` | Pongs to answer Pings with |
//! | `broadcast` | broadcasts of one read, on their way to the send queues |

mod broadcast;
mod id_table;
mod pong_cache;
mod route_table;
pub mod router;

pub(super) use broadcast::BroadcastBatch;
pub(super) use id_table::BYTES_PER_ID;
pub use pong_cache::{CachedPong, PongCache};
pub use route_table::RouteTable;
pub(super) use router::{Policy, Route, Seen, Targets, Verdict};

use super::link_key::LinkKey;
use crate::config::Limits;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::{Guid, Header, Kind, RawDescriptor, ServentId};
use std::net::SocketAddrV4;

/// What a servent remembers to route by.
#[derive(Debug)]
pub(super) struct Routing {
    pings: RouteTable,
    queries: RouteTable,
    pushes: RouteTable,
    /// Which link leads to a servent: Pushes follow it.
    servents: RouteTable,
    /// Queries of 0.4 links that asked for URNs, where there are 0.6 links to answer them.
    urn_queries: Option<Box<RouteTable>>,
    pongs: PongCache,
    /// Broadcasts of the bytes being read that are not in the send queues yet; `None` before the first.
    batch: Option<Box<BroadcastBatch>>,
}

impl Routing {
    pub(super) fn new(limits: &Limits, rng: &mut Rng) -> Routing {
        let mut table = |limit, age| RouteTable::new(limit, age, rng);
        Routing {
            pings: table(limits.ping_routes, limits.ping_route_age),
            queries: table(limits.query_routes, limits.query_route_age),
            pushes: table(limits.push_routes, limits.query_route_age),
            servents: table(limits.servent_routes, limits.servent_route_age),
            urn_queries: None,
            pongs: PongCache::new(limits.pongs_per_link, limits.pong_age),
            batch: None,
        }
    }

    /// Remembers a descriptor of our own, so that its replies are ours and its echoes are known.
    pub(super) fn originate(&mut self, now: Instant, kind: Kind, guid: &Guid) {
        if let Some(table) = self.requests(kind) {
            table.set(now, &guid.0, LinkKey::OWN);
        }
    }

    /// Remembers that a Ping, Query or Push arrived on `source`, and says whether it is new. One of
    /// our own (`own`) is renewed: it outlives the table, which forgets by age and under floods.
    #[inline]
    pub(super) fn note_arrival(
        &mut self,
        now: Instant,
        header: &Header,
        source: LinkKey,
        own: bool,
    ) -> Seen {
        if own {
            self.originate(now, header.kind, &header.guid);
            return Seen::Own;
        }
        let table = self.requests(header.kind);
        Seen::from_known(table.and_then(|table| table.insert(now, &header.guid.0, source)))
    }

    #[inline]
    fn requests(&mut self, kind: Kind) -> Option<&mut RouteTable> {
        match kind {
            Kind::Query => Some(&mut self.queries),
            Kind::Ping => Some(&mut self.pings),
            Kind::Push => Some(&mut self.pushes),
            _ => None,
        }
    }

    /// Remembers, for as long as its route, that a Query of `source` asked for URNs.
    pub(super) fn note_urns_wanted(
        &mut self,
        now: Instant,
        guid: &Guid,
        source: LinkKey,
        table: impl FnOnce() -> RouteTable,
    ) {
        self.urn_queries.get_or_insert_with(|| Box::new(table())).set(now, &guid.0, source);
    }

    /// Whether hits of this Query may carry URNs on a 0.4 link.
    pub(super) fn wants_urns(&mut self, now: Instant, guid: &Guid) -> bool {
        self.urn_queries.as_mut().is_some_and(|table| table.get(now, &guid.0).is_some())
    }

    /// The link a Ping arrived on.
    pub(super) fn way_of_ping(&mut self, now: Instant, guid: &Guid) -> Option<LinkKey> {
        self.pings.get(now, &guid.0)
    }

    /// The link a Query arrived on.
    #[inline]
    pub(super) fn way_of_query(&mut self, now: Instant, guid: &Guid) -> Option<LinkKey> {
        self.queries.get(now, &guid.0)
    }

    /// The link the hits of a servent arrive on.
    pub(super) fn way_to_servent(&mut self, now: Instant, servent: ServentId) -> Option<LinkKey> {
        self.servents.get(now, &servent.0)
    }

    /// A hit of `servent` arrived on `link`.
    #[inline]
    pub(super) fn learn_servent(&mut self, now: Instant, servent: ServentId, link: LinkKey) {
        self.servents.set(now, &servent.0, link);
    }

    /// Remembers a Pong that `link` delivered.
    pub(super) fn learn_pong(&mut self, now: Instant, link: LinkKey, pong: CachedPong) {
        self.pongs.insert(now, link, pong);
    }

    /// Pongs to answer a Ping of `asker` with, which listens at `asker_addr`.
    pub(super) fn cached_pongs(
        &self,
        now: Instant,
        asker: LinkKey,
        asker_addr: Option<SocketAddrV4>,
    ) -> Vec<CachedPong> {
        self.pongs.answer(now, asker, asker_addr, self.pongs.per_link())
    }

    /// A link ended: forgets what it told, and gives its part of the reserves back.
    pub(super) fn forget_link(&mut self, link: LinkKey) {
        self.pongs.forget(link);
        let tables = [&mut self.pings, &mut self.queries, &mut self.pushes, &mut self.servents];
        let tables = tables.into_iter().chain(self.urn_queries.as_deref_mut());
        tables.for_each(|table| table.forget_link(link.index()));
    }

    /// Adds a broadcast to the batch, which is empty or for the same targets. `frame` is the
    /// descriptor as it arrived, `next` its header for the next link.
    #[inline]
    pub(super) fn broadcast(
        &mut self,
        targets: Targets,
        next: &Header,
        frame: &[u8],
        capacity: usize,
    ) {
        self.batch.get_or_insert_default().append(targets, next, frame, capacity);
    }

    /// Links the batch goes to; `None` while it is empty.
    #[inline]
    pub(super) fn pending(&self) -> Option<Targets> {
        self.batch.as_ref()?.targets()
    }

    /// Takes the batch out to be sent; [`Routing::recycle`] takes it back.
    pub(super) fn take_batch(&mut self) -> Box<BroadcastBatch> {
        let mut batch = self.batch.take().unwrap_or_default();
        batch.seal();
        batch
    }

    /// Keeps the buffers of a batch that was sent.
    pub(super) fn recycle(&mut self, mut batch: Box<BroadcastBatch>) {
        batch.clear();
        self.batch = Some(batch);
    }

    /// GUIDs and servent ids held.
    pub(super) fn len(&self) -> usize {
        [&self.pings, &self.queries, &self.pushes, &self.servents].map(RouteTable::len).iter().sum()
    }

    /// Brings into the cache what a Query or QueryHit with this GUID is looked up in. Changes
    /// nothing.
    pub(super) fn prefetch_guid(&self, guid: &[u8; 16]) {
        self.queries.prefetch(std::iter::once(guid));
    }

    /// Brings into the cache what the next descriptors are looked up in. Changes nothing.
    pub(super) fn prefetch<'a>(&self, ahead: impl Iterator<Item = RawDescriptor<'a>>) {
        let (mut ids, mut count) = ([[0; 16]; RouteTable::PREFETCHED], 0);
        let (mut servents, mut hits) = ([[0; 16]; RouteTable::PREFETCHED], 0);
        for raw in ahead {
            let Header { kind, guid, .. } = raw.header();
            if matches!(kind, Kind::Query | Kind::QueryHit) {
                ids[count] = guid.0;
                count += 1;
            }
            if let (Kind::QueryHit, Some(servent)) = (kind, raw.payload().last_chunk()) {
                servents[hits] = *servent;
                hits += 1;
            }
        }
        self.queries.prefetch(ids[..count].iter());
        self.servents.prefetch(servents[..hits].iter());
    }
}
