//! The core: one servent as a state machine that owns no socket, clock, file or thread.
//!
//! [`Servent`] takes in what happened outside and gives out what to do outside. The driver wires
//! it to mio, the simulator and the tests wire it to memory; it cannot tell the difference.

mod budget;
mod census;
mod connection;
mod descriptors;
mod giv;
mod host_cache;
mod id_table;
mod io;
mod links;
mod memory;
mod mutual;
mod observe;
mod pong_cache;
mod pushes;
mod rate_limit;
mod route_table;
mod router;
mod search;
mod send_queue;
mod timers;
mod transfers;

pub use host_cache::HostCache;
pub use io::{
    CloseReason, ConnId, Event, FileDone, FileId, FileOp, Hit, IoFailure, Output, SearchError,
    TransferId, TxChunk,
};
pub use memory::Cost;
pub use observe::Observation;
pub use pong_cache::{CachedPong, PongCache};
pub use route_table::{LinkKey, RouteTable};
pub use router::{
    Route, Seen, Targets, Verdict, clamp_broadcast, clamp_reply, next_hop, ping, push, query, reply,
};
pub use transfers::Progress;

use crate::config::Config;
use crate::library::{Criteria, Library};
use crate::rng::Rng;
use crate::stats::{DropReason, Stats};
use crate::time::Instant;
use crate::transfer::upload::Piece;
use crate::wire::{Guid, Header, Kind, ServentId};
use budget::Budget;
use census::Census;
use connection::{Connection, Phase};
use giv::PushesSent;
use links::Kept;
use mutual::ClosedDuplicates;
use pushes::PushLog;
use rate_limit::RateLimit;
use search::Probe;
use send_queue::{Framed, Run};
use slab::Slab;
use std::collections::{BTreeMap, VecDeque};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;
use timers::Timers;
use transfers::{FileOwner, RawHosts, Task};

/// A Gnutella 0.4 servent without input and output of its own.
///
/// Its methods come in four families:
/// - getters: [`stats`](Self::stats), [`hosts`](Self::hosts), [`neighbours`](Self::neighbours), …
/// - commands: [`keep`](Self::keep), [`search`](Self::search), [`ping`](Self::ping),
///   [`end_probe`](Self::end_probe), [`learn_host`](Self::learn_host),
///   [`set_observed`](Self::set_observed)
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
    connections: Slab<Connection>,
    next_generation: u32,
    /// Of the last link in each slot of the slab, for its name in route tables.
    link_generations: Vec<u16>,
    /// Slab indices of established links, in no particular but reproducible order.
    links: Vec<u32>,
    /// Connections with bytes to send that are not blocked.
    dirty: VecDeque<ConnId>,
    /// Uploads whose next step is a piece of their file.
    bulk: VecDeque<ConnId>,
    /// This turn's one step of one upload is still to be had.
    bulk_credit: bool,
    outputs: VecDeque<Output>,
    timers: Timers,
    ping_routes: RouteTable,
    query_routes: RouteTable,
    push_routes: RouteTable,
    servent_routes: RouteTable,
    /// For digests of hits to searches of our own.
    digest_key: [u8; 16],
    pong_cache: PongCache,
    hosts: HostCache,
    kept: Vec<Kept>,
    closed_duplicates: ClosedDuplicates,
    /// Which learnt hosts were dialled lately and when, oldest first.
    recent_dials: VecDeque<(Instant, Ipv4Addr)>,
    /// Addresses that turned out to be our own.
    own_addrs: Vec<SocketAddrV4>,
    probes: Vec<Probe>,
    downloads: BTreeMap<TransferId, Task>,
    files: BTreeMap<FileId, FileOwner>,
    uploads_open: usize,
    /// Upload slots in use.
    slots: Census,
    /// Inbound sockets.
    visitors: Census,
    /// Our own ends of sockets.
    local_ips: Census,
    upload_rate: RateLimit,
    push_log: PushLog,
    pushes_sent: PushesSent,
    raw_hosts: RawHosts,
    advertised_port: u16,
    /// The last transfer or file id given out.
    next_id: u64,
    /// What is to be flooded of the bytes being read.
    run: Run,
    /// The words of the Query being answered, kept for its buffers.
    criteria: Criteria,
    budget: Budget,
    next_dial: Instant,
    last_dial_check: Option<Instant>,
    /// Until when nothing is dialled because this machine refused to connect, and how long that
    /// pause is.
    local_pause: Option<(Instant, Duration)>,
    next_ping: Instant,
    stats: Stats,
    /// What was seen, if somebody watches.
    observations: Option<VecDeque<Observation>>,
}

/// A neighbour, for display.
#[derive(Clone, Copy, Debug)]
pub struct Neighbour {
    /// Its connection.
    pub conn: ConnId,
    /// Its end of the socket.
    pub addr: SocketAddrV4,
    /// Our own address on it.
    pub local_ip: Ipv4Addr,
    /// Whether we dialled.
    pub outbound: bool,
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
        let limits = &config.limits;
        let mut table = |limit, age| RouteTable::new(limit, age, &mut rng);
        Servent {
            ping_routes: table(limits.ping_routes, limits.ping_route_age),
            query_routes: table(limits.query_routes, limits.query_route_age),
            push_routes: table(limits.push_routes, limits.query_route_age),
            servent_routes: table(limits.servent_routes, limits.servent_route_age),
            digest_key: rng.bytes16(),
            pong_cache: PongCache::new(limits.pongs_per_link, limits.pong_age),
            hosts: HostCache::new(limits.host_cache_entries),
            library,
            identity,
            rng,
            connections: Slab::new(),
            next_generation: 0,
            link_generations: Vec::new(),
            links: Vec::new(),
            dirty: VecDeque::new(),
            bulk: VecDeque::new(),
            bulk_credit: true,
            outputs: VecDeque::new(),
            timers: Timers::default(),
            kept: Vec::new(),
            closed_duplicates: ClosedDuplicates::default(),
            recent_dials: VecDeque::new(),
            own_addrs: Vec::new(),
            probes: Vec::new(),
            downloads: BTreeMap::new(),
            files: BTreeMap::new(),
            uploads_open: 0,
            slots: Census::default(),
            visitors: Census::default(),
            local_ips: Census::default(),
            upload_rate: RateLimit::new(config.upload_limit, now),
            push_log: PushLog::default(),
            pushes_sent: PushesSent::default(),
            raw_hosts: RawHosts::default(),
            advertised_port: config.advertise_port,
            next_id: 0,
            run: Run::default(),
            criteria: Criteria::default(),
            budget: Budget::default(),
            next_dial: Instant::FAR_FUTURE,
            last_dial_check: None,
            local_pause: None,
            next_ping: if config.background_pings { now } else { Instant::FAR_FUTURE },
            stats: Stats::default(),
            observations: None,
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
        &self.hosts
    }

    /// Its established links.
    pub fn neighbours(&self) -> impl Iterator<Item = Neighbour> + '_ {
        self.links.iter().map(|&index| {
            let conn = &self.connections[index as usize];
            Neighbour {
                conn: ConnId { index, generation: conn.generation },
                addr: conn.remote,
                local_ip: conn.local_ip,
                outbound: conn.dialled.is_some(),
            }
        })
    }

    /// GUIDs and servent ids held for routing.
    pub fn routes_held(&self) -> usize {
        [&self.ping_routes, &self.query_routes, &self.push_routes, &self.servent_routes]
            .map(RouteTable::len)
            .iter()
            .sum()
    }

    /// Deadlines waited for.
    pub fn timers_held(&self) -> usize {
        self.timers.len()
    }

    /// Copies of descriptors queued on links and not sent to their last byte. Walks over all of
    /// them.
    pub fn copies_queued(&self) -> u64 {
        let links = self.links.iter().map(|&index| &self.connections[index as usize]);
        links.map(|conn| conn.queue.descriptors()).sum()
    }

    /// Reads what a descriptor with this GUID would need when it arrives, for whoever runs so many
    /// servents that none of them is in the cache. Changes nothing.
    pub(crate) fn fetch(&self, id: ConnId, guid: &[u8; 16]) -> u64 {
        self.query_routes.warm(std::iter::once(guid));
        let Some(conn) = self.connections.get(id.index as usize) else { return 0 };
        let heard = match &conn.phase {
            Phase::Link(link) => link.last_heard.as_micros(),
            _ => 0,
        };
        heard ^ conn.queue.unsent().len() as u64 ^ u64::from(conn.remote.port())
    }

    /// What waits to be sent as or before a link; `None` once the connection is closed.
    #[cfg(feature = "fuzzing")]
    pub(crate) fn unsent(&self, id: ConnId) -> Option<&[u8]> {
        let conn = self.connections.get(id.index as usize)?;
        (conn.generation == id.generation).then(|| conn.queue.unsent())
    }

    /// A new index of the shared files replaces the old one.
    pub fn handle_library(&mut self, library: Arc<Library>) {
        self.library = library;
    }

    /// The next thing to do outside, other than sending.
    pub fn poll_output(&mut self) -> Option<Output> {
        let next = self.outputs.pop_front();
        if next.is_none() && self.outputs.capacity() > 0 {
            // Most turns have nothing for it, and an idle servent need not keep the room.
            self.outputs = VecDeque::new();
        }
        next
    }

    /// A turn of the loop begins: every link may have one more share of work, and one more bounded
    /// step of one upload may be polled. Unread input waits until the next turn.
    pub fn start_turn(&mut self) {
        self.bulk_credit = true;
        self.budget.next_round();
    }

    /// Whether an upload waits for its next turn, so that the loop should not.
    pub fn has_bulk_ready(&self) -> bool {
        !self.bulk.is_empty() && self.upload_rate.blocked_until().is_none()
    }

    /// The next bytes to write and where. Call [`Servent::sent`] with what came of it before
    /// polling again. Everything else goes before uploads, of which one gets one step per turn:
    /// writing a file until the socket is full would keep descriptors waiting for many
    /// milliseconds.
    pub fn poll_transmit(&mut self, now: Instant) -> Option<(ConnId, TxChunk<'_>)> {
        let id = self.next_ready(now)?;
        let conn = &self.connections[id.index as usize];
        let chunk = match &conn.phase {
            Phase::Upload(uploading) => match uploading.upload.transmit()? {
                Piece::Bytes(bytes) => TxChunk::Bytes(bytes),
                Piece::File { offset, len } => {
                    let step = self.upload_rate.allowance(self.config.limits.upload_step_bytes);
                    let len = usize::try_from(len).unwrap_or(usize::MAX).min(step);
                    TxChunk::File { file: uploading.file?, offset, len }
                }
            },
            Phase::Fetching(id) => TxChunk::Bytes(self.downloads.get(id)?.download.transmit()?),
            _ => TxChunk::Bytes(conn.queue.unsent()),
        };
        Some((id, chunk))
    }

    /// `written` bytes of the chunk polled last went out; 0 means the socket is full, and nothing
    /// is offered for it until [`Servent::handle_writable`].
    pub fn sent(&mut self, now: Instant, id: ConnId, written: usize) {
        self.stats.bytes_out += written as u64;
        self.stats.writes += u64::from(written > 0);
        if self.dirty.front() == Some(&id) {
            self.dirty.pop_front();
        } else {
            debug_assert_eq!(self.bulk.front(), Some(&id), "sent answers poll_transmit");
            self.bulk.pop_front();
            self.upload_rate.spend(written);
        }
        let Some(conn) = self.connection_mut(id) else { return };
        conn.listed = false;
        conn.blocked = written == 0;
        match &mut conn.phase {
            Phase::Upload(uploading) => {
                uploading.upload.sent(now, written);
                return self.drive_upload(now, id);
            }
            Phase::Fetching(transfer) => {
                let transfer = *transfer;
                if let Some(task) = self.downloads.get_mut(&transfer) {
                    task.download.sent(written);
                }
            }
            _ => conn.queue.sent(now, written),
        }
        self.mark_dirty(id.index as usize);
    }

    /// The front of the lists of those with something to send; what has nothing is taken off.
    fn next_ready(&mut self, now: Instant) -> Option<ConnId> {
        while let Some(&id) = self.dirty.front() {
            if self.to_send(id) == Some(Sending::Bytes) {
                return Some(id);
            }
            self.dirty.pop_front();
            self.relist(id);
        }
        if !self.bulk_credit {
            return None;
        }
        while let Some(&id) = self.bulk.front() {
            if self.to_send(id) == Some(Sending::File) {
                if !self.upload_rate.refill(now) {
                    return None;
                }
                self.bulk_credit = false;
                return Some(id);
            }
            self.bulk.pop_front();
            self.relist(id);
        }
        None
    }

    fn relist(&mut self, id: ConnId) {
        if let Some(conn) = self.connection_mut(id) {
            conn.listed = false;
            self.mark_dirty(id.index as usize);
        }
    }

    fn to_send(&self, id: ConnId) -> Option<Sending> {
        let conn = self.connections.get(id.index as usize)?;
        if conn.generation != id.generation || conn.blocked {
            return None;
        }
        match &conn.phase {
            Phase::Upload(uploading) => uploading.upload.transmit().map(|piece| match piece {
                Piece::Bytes(_) => Sending::Bytes,
                Piece::File { .. } => Sending::File,
            }),
            Phase::Fetching(id) => {
                self.downloads.get(id)?.download.transmit().map(|_| Sending::Bytes)
            }
            _ => (!conn.queue.is_empty()).then_some(Sending::Bytes),
        }
    }

    /// The socket takes bytes again.
    pub fn handle_writable(&mut self, id: ConnId) {
        if let Some(conn) = self.connection_mut(id) {
            conn.blocked = false;
            self.mark_dirty(id.index as usize);
        }
    }

    /// When [`Servent::handle_timeout`] wants to be called, and for what.
    pub fn poll_timeout(&self) -> Option<(Instant, &'static str)> {
        let never = Instant::FAR_FUTURE;
        let rate = self.upload_rate.blocked_until().filter(|_| !self.bulk.is_empty());
        let deadlines = [
            (self.timers.next().unwrap_or(never), "connection"),
            (self.next_dial, "dial"),
            (self.next_ping, "ping round"),
            (rate.unwrap_or(never), "upload rate"),
            (self.next_push_deadline().unwrap_or(never), "push"),
            (self.budget.deadline().unwrap_or(never), "unread input"),
        ];
        deadlines.into_iter().min().filter(|(at, _)| *at < Instant::FAR_FUTURE)
    }

    fn connection_mut(&mut self, id: ConnId) -> Option<&mut Connection> {
        let conn = self.connections.get_mut(id.index as usize)?;
        (conn.generation == id.generation).then_some(conn)
    }

    /// Lists a connection if it has something to send.
    fn mark_dirty(&mut self, index: usize) {
        let conn = &self.connections[index];
        if conn.listed {
            return;
        }
        let id = ConnId { index: conn_index(index), generation: conn.generation };
        let list = match self.to_send(id) {
            Some(Sending::Bytes) => &mut self.dirty,
            Some(Sending::File) => &mut self.bulk,
            None => return,
        };
        list.push_back(id);
        self.connections[index].listed = true;
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// Queues one copy to the link at `index`, on behalf of the link `source` or of our own making,
    /// and counts what came of it. False if the queue refused it.
    fn enqueue(&mut self, source: Option<usize>, index: usize, framed: &Framed<'_>) -> bool {
        if self.run.source.is_some_and(|source| source != index) {
            // What came before it goes before it.
            self.flush_run();
        }
        let conn = &mut self.connections[index];
        let peer = conn.remote;
        if !conn.queue.push(framed, source) {
            self.stats.count_drop(DropReason::QueueFull);
            self.observe(|| Observation::Refused { peer, header: framed.header() });
            return false;
        }
        self.budget.charge(budget::COPY);
        if framed.kind() == Kind::Ping {
            self.ping_sent(index);
        }
        if source.is_some() {
            self.stats.forwarded.add(framed.kind());
            self.observe(|| Observation::Forwarded { peer, header: framed.header() });
        } else {
            self.stats.originated.add(framed.kind());
            self.observe(|| Observation::Originated { peer, header: framed.header() });
        }
        self.mark_dirty(index);
        true
    }

    /// A Ping on a link admits Pongs.
    fn ping_sent(&mut self, index: usize) {
        let per_ping = self.config.limits.pongs_per_ping;
        if let Phase::Link(link) = &mut self.connections[index].phase {
            link.ping_sent(per_ping);
        }
    }

    /// Queues a copy of our own making to every link.
    fn flood(&mut self, framed: &Framed<'_>) {
        for at in 0..self.links.len() {
            self.enqueue(None, self.links[at] as usize, framed);
        }
    }

    /// Queues what is to be flooded of the bytes just read, to every link but the one they came
    /// by: all at once where there is room for all of it.
    fn flush_run(&mut self) {
        let Some(source) = self.run.source else { return };
        let mut run = std::mem::take(&mut self.run);
        run.end();
        for at in 0..self.links.len() {
            let index = self.links[at] as usize;
            if index == source {
                continue;
            }
            if self.observations.is_none() && self.connections[index].queue.push_run(&run) {
                self.stats.forwarded.add_all(&run.copies);
                (0..run.copies.get(Kind::Ping)).for_each(|_| self.ping_sent(index));
                self.mark_dirty(index);
                continue;
            }
            for (header, payload) in run.descriptors() {
                let framed = self.framed(header, payload);
                self.enqueue(Some(source), index, &framed);
            }
        }
        run.clear();
        self.run = run;
    }

    fn framed<'a>(&self, header: Header, payload: &'a [u8]) -> Framed<'a> {
        Framed::new(header, payload, self.config.limits.send_queue_bytes)
    }

    /// The next link at this slab index begins with a share of the route tables of its own.
    fn forget_reserve(&mut self, index: usize) {
        let tables = [
            &mut self.ping_routes,
            &mut self.query_routes,
            &mut self.push_routes,
            &mut self.servent_routes,
        ];
        tables.into_iter().for_each(|table| table.forget_link(index));
    }

    /// The slab index of a link named in a route table, if it still stands.
    fn link_of(&self, key: LinkKey) -> Option<usize> {
        let index = key.index();
        match &self.connections.get(index)?.phase {
            Phase::Link(link) if link.key == key => Some(index),
            _ => None,
        }
    }

    fn fresh_guid(&mut self) -> Guid {
        Guid::random(&mut self.rng)
    }
}

/// What a connection has to send next.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Sending {
    Bytes,
    File,
}

/// Slab indices stay below `Limits::max_connections`, which is checked to fit 16 bits.
fn conn_index(index: usize) -> u32 {
    u32::try_from(index).expect("at most 65,535 connections")
}
