//! The core: one servent as a state machine that owns no socket, clock, file or thread.
//!
//! [`Servent`] takes what happened outside and says what to do outside. The driver wires it to mio,
//! the simulator and the tests wire it to memory; it cannot tell the difference.
//!
//! # Parts
//!
//! `Servent` is a façade: it carries events from part to part. A part owns its state, no part reads
//! another's fields, and what crosses is a method with a name.
//!
//! | part | holds | is reached by |
//! |---|---|---|
//! | `Links` | sockets and what each is used for, handshakes, send queues, lists of what is ready to send | `handle_accepted` `handle_connected` `handle_bytes` `handle_writable` `handle_closed` `poll_transmit` `sent` |
//! | `Routing` | route tables, pong cache, broadcast batch; the rules are functions in `router` | every descriptor |
//! | `Dialer` | static peers, host cache, backoff, own addresses | `add_static_peer` `learn_host`, Pongs, links that come and go, its deadline |
//! | `QueryRouting` | tables of words, ours and those of 0.6 neighbours | Queries, 0x30, `handle_library`, its deadline |
//! | `DynamicQueries` | searches of leaves, sent on in small steps | their Queries, hits to them, its deadline |
//! | `PushProxies`, `HopsFlow` | who passes Pushes on for whom, how far neighbours want Queries from | vendor messages, HTTP, links that come and go |
//! | `OwnRequests` | searches and pings of the user | `search` `ping`, new links, QueryHits and Pongs for us |
//! | `Uploads` | HTTP machines, slots, upload limit, connections made for Pushes | HTTP bytes, `handle_file`, Pushes for us |
//! | `Downloads` | download machines, Pushes sent, connections awaited | `download` `handle_file`, HTTP bytes, GIV, its deadline |
//! | `WorkBudget` | each link's share of work, unread input | `start_turn`, every descriptor |
//! | `Timers` | deadlines of sockets | `handle_timeout` |
//! | `Outbox` | outputs, events, observations | `poll_output` `poll_observation` |
//!
//! The files with `impl Servent` follow the events: `lifecycle` (sockets), `handshakes` (what both sides
//! of a link agree on), `parting` (its end), `input` (bytes to descriptors), `inflate` (those of deflated
//! links), `descriptors` (each kind), `flood` (where it goes, and in which dialect), `leaves` (what 0.6
//! links have besides), `vendor_messages`, `extensions` (GGEP of ours), `answers` (what is said in
//! return), `transfers` (files), `transmit` (send queues to sockets), `steering` (what a user asks of a
//! servent that runs).

mod answers;
mod bridge;
mod budget;
mod connection;
mod descriptors;
mod dialer;
mod downloads;
mod dynamic_query;
mod encoded;
mod extensions;
mod flood;
mod handshakes;
mod inflate;
mod input;
mod io;
mod leaves;
mod lifecycle;
mod link_key;
mod links;
mod memory;
mod observe;
mod outbox;
mod parting;
mod per_address;
mod push_proxies;
mod push_replies;
mod query_routing;
mod rate_limit;
mod relays;
mod requests;
mod routing;
mod steering;
mod tallies;
mod timers;
mod transfers;
mod transmit;
mod uploads;
mod vendor_messages;

pub use connection::{Features, PeerInfo, PeerRole};
pub use dialer::{HostCache, KnownHost};
pub use downloads::Progress;
pub use io::{
    CloseReason, ConnId, Event, FileDone, FileId, FileOp, Hit, IoFailure, Output, SearchError,
    TransferId, TxChunk,
};
pub use leaves::ModernState;
pub use link_key::LinkKey;
pub use memory::Cost;
pub use observe::Observation;
pub use routing::router;
pub use routing::{CachedPong, PongCache, RouteTable};
pub use steering::{Change, UploadView};
pub use tallies::Tally;

use crate::config::Config;
use crate::library::{Criteria, Library};
use crate::rare::Rare;
use crate::rng::Rng;
use crate::stats::Stats;
use crate::time::Instant;
use crate::wire::ServentId;
use budget::WorkBudget;
use connection::Phase;
use dialer::Dialer;
use downloads::Downloads;
use dynamic_query::DynamicQueries;
use links::{Links, Sending};
use outbox::Outbox;
use push_proxies::PushProxies;
use query_routing::QueryRouting;
use relays::Relay;
use requests::OwnRequests;
use routing::Routing;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use tallies::Tallies;
use timers::Timers;
use uploads::Uploads;
use vendor_messages::HopsFlow;

/// A Gnutella servent without input and output of its own.
///
/// Its methods come in four families:
/// - getters: [`stats`](Self::stats), [`hosts`](Self::hosts), [`neighbours`](Self::neighbours), …
/// - commands: [`add_static_peer`](Self::add_static_peer), [`search`](Self::search),
///   [`ping`](Self::ping), [`end_request`](Self::end_request), [`download`](Self::download),
///   [`learn_host`](Self::learn_host), [`set_observed`](Self::set_observed)
/// - what happened outside: `handle_*`
/// - what to do outside: [`poll_output`](Self::poll_output),
///   [`poll_transmit`](Self::poll_transmit) with [`sent`](Self::sent),
///   [`poll_timeout`](Self::poll_timeout), [`poll_observation`](Self::poll_observation)
///
/// After any command or `handle_*` call, drain `poll_output`, then `poll_transmit`, and ask
/// `poll_timeout` last. Several `handle_*` calls may come before one drain; a driver that batches
/// the reads of a turn gets one write per link and turn. Time must not run backwards.
#[derive(Debug)]
pub struct Servent {
    config: Arc<Config>,
    library: Arc<Library>,
    identity: ServentId,
    rng: Rng,
    links: Links,
    routing: Routing,
    /// The 0.6 links that route for others.
    relays: Rare<Vec<Relay>>,
    query_routing: Rare<QueryRouting>,
    dynamic_queries: Rare<DynamicQueries>,
    dialer: Dialer,
    requests: OwnRequests,
    uploads: Uploads,
    push_proxies: Rare<PushProxies>,
    hops_flow: Rare<HopsFlow>,
    tallies: Tallies,
    downloads: Downloads,
    budget: WorkBudget,
    timers: Timers,
    outbox: Outbox,
    stats: Stats,
    /// The words of the Query being answered, kept for its buffers.
    criteria: Rare<Criteria>,
    /// When all links are asked who is out there.
    next_ping: Instant,
    /// The last transfer or file id given out.
    next_id: u64,
}

/// An established link, for display.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour<'a> {
    /// Its connection.
    pub conn: ConnId,
    /// Its end of the socket.
    pub addr: SocketAddrV4,
    /// Our own address on it.
    pub local_ip: Ipv4Addr,
    /// Whether we dialled.
    pub outbound: bool,
    /// When its handshake was complete.
    pub since: Instant,
    /// What the handshake said of it.
    pub peer: &'a PeerInfo,
}

impl Servent {
    /// A servent that shares `library` and calls itself `identity`. `config` must have passed
    /// [`Config::validate`]. Equal seeds and equal calls give equal behaviour.
    pub fn new(
        config: Arc<Config>,
        library: Arc<Library>,
        identity: ServentId,
        seed: u64,
        now: Instant,
    ) -> Servent {
        let mut rng = Rng::new(seed);
        Servent {
            library,
            identity,
            links: Links::default(),
            routing: Routing::new(&config.limits, &mut rng),
            relays: Rare::default(),
            query_routing: Rare::default(),
            dynamic_queries: Rare::default(),
            dialer: Dialer::new(&config),
            requests: OwnRequests::new(&mut rng),
            uploads: Uploads::new(&config, now),
            push_proxies: Rare::default(),
            hops_flow: Rare::default(),
            tallies: Tallies::default(),
            downloads: Downloads::default(),
            budget: WorkBudget::default(),
            timers: Timers::default(),
            outbox: Outbox::default(),
            stats: Stats::default(),
            criteria: Rare::default(),
            next_ping: if config.background_pings { now } else { Instant::FAR_FUTURE },
            next_id: 0,
            rng,
            config,
        }
    }

    /// The settings it runs with.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// What it has done so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What it shares.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Its id in hits.
    pub fn identity(&self) -> ServentId {
        self.identity
    }

    /// The addresses it may dial.
    pub fn hosts(&self) -> &HostCache {
        self.dialer.hosts()
    }

    /// Its established links.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour<'_>> {
        self.links.iter().filter_map(|(id, conn)| {
            let Phase::Link(link) = &conn.phase else { return None };
            Some(Neighbour {
                conn: id,
                addr: conn.remote,
                local_ip: conn.local_ip,
                outbound: conn.is_dialled(),
                since: link.since,
                peer: link.peer(),
            })
        })
    }

    /// GUIDs and servent ids held for routing.
    pub fn routes_held(&self) -> usize {
        self.routing.len()
    }

    /// Deadlines waited for.
    pub fn timers_held(&self) -> usize {
        self.timers.len()
    }

    /// Copies of descriptors queued on links and not sent to their last byte.
    pub fn copies_queued(&self) -> u64 {
        self.links.sockets().map(|(_, conn)| u64::from(conn.queue.descriptors())).sum()
    }

    /// Loads what a descriptor with this GUID needs into the cache, for engines that run more
    /// servents than fit it. Changes nothing.
    pub(crate) fn prefetch(&self, id: ConnId, guid: &[u8; 16]) -> u64 {
        self.routing.prefetch_guid(guid);
        let Some(conn) = self.links.get(id) else { return 0 };
        let heard = match &conn.phase {
            Phase::Link(link) => link.last_heard.as_micros(),
            _ => 0,
        };
        heard ^ conn.unsent().len() as u64 ^ u64::from(conn.remote.port())
    }

    /// Deflates directions of an established link, as a handshake would: for networks in memory whose
    /// handshakes do not agree on it.
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn set_coding(&mut self, id: ConnId, inflates: bool, deflates: bool) {
        if let Some(conn) = self.links.get_mut(id) {
            conn.set_coding(inflates, deflates);
        }
    }

    /// What waits to be sent as or before a link; `None` once the connection is closed.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn unsent(&self, id: ConnId) -> Option<&[u8]> {
        self.links.get(id).map(|conn| conn.unsent())
    }

    /// A new index of the shared files replaces the old one.
    pub fn handle_library(&mut self, library: Arc<Library>) {
        self.library = library;
        if let Some(tables) = self.query_routing.get_mut() {
            tables.library_changed();
        }
    }

    /// Observes what it does with each descriptor from now on, or no more. The caller then drains
    /// [`Servent::poll_observation`] after every other call: what one call leaves there grows with
    /// the number of descriptors it brought times that of links, 64 KiB of the smallest leave some
    /// 160 KB for each link.
    pub fn set_observed(&mut self, observed: bool) {
        self.outbox.set_observed(observed);
    }

    /// The next observation, in order.
    pub fn poll_observation(&mut self) -> Option<Observation> {
        self.outbox.pop_observation()
    }

    /// The next thing to do outside, other than sending.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outbox.pop()
    }

    /// A turn of the loop begins: every link may have one more share of work, and one more bounded
    /// step of one upload may be polled. Unread input waits until the next turn.
    pub fn start_turn(&mut self) {
        self.uploads.start_turn();
        self.budget.next_round();
    }

    /// Whether an upload waits for its next turn, so that the loop should not.
    pub fn has_bulk_ready(&self) -> bool {
        self.links.first_listed(Sending::Bulk).is_some()
            && self.uploads.rate_blocked_until().is_none()
    }

    /// When [`Servent::handle_timeout`] wants to be called, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let never = Instant::FAR_FUTURE;
        let bulk = self.links.first_listed(Sending::Bulk);
        let rate = bulk.and_then(|_| self.uploads.rate_blocked_until());
        let deadlines = [
            (self.timers.next().unwrap_or(never), "connection"),
            (self.dialer.next_round(), "dial"),
            (self.next_ping, "ping round"),
            (rate.unwrap_or(never), "upload rate"),
            (self.downloads.next_push_deadline().unwrap_or(never), "push"),
            (self.budget.deadline().unwrap_or(never), "unread input"),
            (self.next_table_step().unwrap_or(never), "route tables"),
            (self.next_search_step().unwrap_or(never), "searches of leaves"),
        ];
        let first = deadlines.into_iter().min_by_key(|(at, _)| *at);
        first.filter(|(at, _)| *at < Instant::FAR_FUTURE)
    }
}
