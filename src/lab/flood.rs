//! `flood` and `ring`: the real servent core, with whole floods or an expanding ring.
//!
//! A flood sends its Query with the TTL it is given. A ring starts with TTL 1 and goes on to 2, 4, 7
//! and the full TTL, each time with a new GUID, until something is found; so what is near costs
//! little, and what is not there costs more than one flood.

use super::host::{Found, Held, Participant, Told, Wanted};
use crate::config::Config;
use crate::library::{Library, LibraryBuilder};
use crate::net::{Failure, Node, Output};
use crate::servent::{ConnId, Event, Servent};
use crate::sim::Outward;
use crate::time::Instant;
use crate::wire::{Guid, ServentId};
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// The TTLs of a ring before the last.
const RING_TTLS: [u8; 4] = [1, 2, 4, 7];

/// Bytes of an address, and of a route: a GUID and an address.
const ENTRY_BYTES: [usize; 2] = [6, 22];

/// A servent and its searches under way.
pub(super) struct Flooder {
    servent: Servent,
    now: Instant,
    ttl: u8,
    is_ring: bool,
    /// A ring is given this much time for each link of its way there and back.
    time_per_link: Duration,
    searches: Vec<Search>,
    aliases: VecDeque<Told>,
}

struct Search {
    wanted: Wanted,
    guid: Guid,
    ttl: u8,
    has_found: bool,
    ends_at: Instant,
}

/// A library of these names.
pub(super) fn library(files: &[String]) -> Library {
    let mut builder = LibraryBuilder::new();
    for (number, name) in (1..).zip(files) {
        if let Err(error) = builder.add(number, name, 1_000) {
            log::debug!("{name} is not shared: {error}");
        }
    }
    loop {
        if let Some(library) = builder.step(1_000) {
            return library;
        }
    }
}

impl Flooder {
    /// A servent with this library; `ttl` is that of its floods and of the last ring.
    pub(super) fn new(
        config: &Arc<Config>,
        library: Library,
        (identity, seed): ([u8; 16], u64),
        is_ring: bool,
        time_per_link: Duration,
        now: Instant,
    ) -> Flooder {
        let (ttl, config) = (config.ttl, Arc::clone(config));
        let identity = ServentId::from_random(identity);
        let servent = Servent::new(config, Arc::new(library), identity, seed, now);
        let (searches, aliases) = (Vec::new(), VecDeque::new());
        Flooder { servent, now, ttl, is_ring, time_per_link, searches, aliases }
    }

    pub(super) fn servent(&self) -> &Servent {
        &self.servent
    }

    fn search(&mut self, now: Instant, wanted: Wanted, ttl: u8) {
        let Ok(guid) = self.servent.search(now, &wanted.text, Some(ttl)) else { return };
        self.aliases.push_back(Told::Alias { lookup: wanted.guid, guid });
        let ends_at = now + self.time_per_link * 2 * ttl.into();
        self.searches.push(Search { wanted, guid, ttl, has_found: false, ends_at });
    }

    /// The TTL after this one.
    fn next_ttl(&self, ttl: u8) -> Option<u8> {
        let next = RING_TTLS.into_iter().find(|&next| next > ttl).unwrap_or(self.ttl);
        (ttl < self.ttl).then_some(next.min(self.ttl))
    }

    fn end_searches(&mut self, now: Instant) {
        let due = self.searches.extract_if(.., |search| search.ends_at <= now);
        for search in due.collect::<Vec<_>>() {
            self.servent.end_request(search.guid);
            if let Some(ttl) = self.next_ttl(search.ttl).filter(|_| !search.has_found) {
                self.search(now, search.wanted, ttl);
            }
        }
    }
}

impl Participant for Flooder {
    fn join(&mut self, now: Instant, known: &[SocketAddrV4]) {
        for &addr in known {
            self.servent.add_static_peer(now, addr);
        }
        self.servent.handle_timeout(now);
    }

    fn look_up(&mut self, now: Instant, wanted: &Wanted) {
        let ttl = if self.is_ring { self.next_ttl(0).unwrap_or(self.ttl) } else { self.ttl };
        self.search(now, wanted.clone(), ttl);
    }

    fn state(&self) -> Held {
        let [link, route] = ENTRY_BYTES;
        let links = Held::new(self.servent.neighbours().count(), link);
        links.and(Held::new(self.servent.routes_held(), route))
    }
}

/// The servent's own, but for its events and the deadlines of searches.
impl Node for Flooder {
    type Conn = ConnId;
    type Outward = Told;

    fn slot(conn: ConnId) -> usize {
        Servent::slot(conn)
    }

    fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        local: SocketAddrV4,
    ) -> Option<ConnId> {
        self.servent.handle_accepted(now, remote, local)
    }

    fn handle_connected(&mut self, now: Instant, conn: ConnId, local: SocketAddrV4) {
        self.servent.handle_connected(now, conn, local);
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.servent.handle_bytes(now, conn, bytes);
    }

    fn handle_writable(&mut self, conn: ConnId) {
        self.servent.handle_writable(conn);
    }

    fn handle_closed(&mut self, now: Instant, conn: ConnId, failure: Failure) {
        Node::handle_closed(&mut self.servent, now, conn, failure);
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.end_searches(now);
        self.servent.handle_timeout(now);
    }

    fn start_turn(&mut self, now: Instant) {
        self.now = now;
        Node::start_turn(&mut self.servent, now);
    }

    fn poll_output(&mut self) -> Option<Output<ConnId, Told>> {
        if let Some(alias) = self.aliases.pop_front() {
            return Some(Output::Outward(alias));
        }
        loop {
            match Node::poll_output(&mut self.servent)? {
                Output::Connect { conn, addr } => return Some(Output::Connect { conn, addr }),
                Output::Close { conn } => return Some(Output::Close { conn }),
                Output::Datagram { to, bytes } => return Some(Output::Datagram { to, bytes }),
                Output::Outward(Outward::Event(Event::Hit { search, hit })) => {
                    let found = self.searches.iter_mut().find(|other| other.guid == search);
                    let Some(found) = found else { continue };
                    found.has_found = true;
                    let (lookup, hops) = (found.wanted.guid, usize::from(hit.hops) + 1);
                    let (name, holders) = (hit.name, vec![hit.addr]);
                    let found = Found { lookup, at: self.now, name, holders, hops };
                    return Some(Output::Outward(Told::Found(found)));
                }
                Output::Outward(_) => {}
            }
        }
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(ConnId, &[u8])> {
        Node::poll_transmit(&mut self.servent, now)
    }

    fn sent(&mut self, now: Instant, conn: ConnId, written: usize) {
        self.servent.sent(now, conn, written);
    }

    fn poll_timeout(&self) -> Option<Instant> {
        let searches = self.searches.iter().map(|search| search.ends_at);
        searches.chain(Node::poll_timeout(&self.servent)).min()
    }

    fn wants_turn(&self) -> bool {
        Node::wants_turn(&self.servent)
    }

    fn touch(&self) -> u64 {
        Node::touch(&self.servent)
    }

    fn touch_arrival(&self, conn: ConnId, guid: &[u8; 16]) -> u64 {
        Node::touch_arrival(&self.servent, conn, guid)
    }

    fn touch_links(&self) -> u64 {
        Node::touch_links(&self.servent)
    }
}
