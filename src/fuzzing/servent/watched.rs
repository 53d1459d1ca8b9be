//! A fuzzed servent as a node: counters and queues are compared before and after every call, and
//! every byte and descriptor in either direction is accounted for.

use super::delta::Delta;
use super::disk::{Disk, File};
use super::generators::{self, Descriptor, IDENTITY};
use super::roles::LinkInfo;
use super::socket::{Socket, State};
use super::watch::{Arrival, Outcome, Watch};
use crate::config::{Config, Scope};
use crate::fuzzing::said::said;
use crate::net::{self, Failure, Node};
use crate::servent::{ConnId, Event, Observation, Output, Servent, TransferId, TxChunk};
use crate::stats::{DropReason, Stats};
use crate::time::Instant;
use crate::wire::Guid;
use crate::wire::giv::Giv;
use crate::wire::handshake::{self, Dispatch};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::convert::Infallible;
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// The longest handshake a servent sends, with lists of hosts to try.
const MAX_HANDSHAKE_BYTES: usize = 2_048;

/// How long a last word may take.
const PARTING_TIME: Duration = Duration::from_secs(5);

/// The longest step of an upload.
const FILE_BYTES: [u8; 4_096] = [0; 4_096];

/// See the module documentation.
pub(super) struct Watched {
    pub(super) config: Arc<Config>,
    pub(super) core: Servent,
    pub(super) now: Instant,
    pub(super) sockets: BTreeMap<ConnId, Socket>,
    pub(super) disk: Disk,
    /// Searches and Pings of the user that are under way.
    pub(super) requests: Vec<Guid>,
    pub(super) downloads: BTreeSet<TransferId>,
    pub(super) watch: Watch,
    /// Taken from the servent, and not carried out yet.
    outputs: VecDeque<net::Output<ConnId, Infallible>>,
    bytes_in: u64,
    bytes_out: u64,
    /// Descriptors the servent queued, sent to the last byte, and lost with a link.
    queued: u64,
    sent: u64,
    lost: u64,
    /// Copies that were told to be lost when their link was down.
    lost_told: u64,
    /// Links by the events told so far, which wait until they are polled.
    up: BTreeSet<ConnId>,
    /// Links by what was observed of each call, which is at once.
    risen: BTreeSet<ConnId>,
    steps_this_turn: usize,
}

impl Watched {
    pub(super) fn new(config: Config, now: Instant) -> Watched {
        let config = Arc::new(config);
        let library = Arc::new(generators::library(0));
        let mut core = Servent::new(Arc::clone(&config), library, IDENTITY, 1, now);
        core.set_observed(true);
        Watched {
            core,
            watch: Watch::new(Arc::clone(&config)),
            config,
            now,
            sockets: BTreeMap::new(),
            disk: Disk::default(),
            requests: Vec::new(),
            downloads: BTreeSet::new(),
            outputs: VecDeque::new(),
            bytes_in: 0,
            bytes_out: 0,
            queued: 0,
            sent: 0,
            lost: 0,
            lost_told: 0,
            up: BTreeSet::new(),
            risen: BTreeSet::new(),
            steps_this_turn: 0,
        }
    }

    /// Makes a call that brings no descriptor, and checks its consequences.
    pub(super) fn tell<R>(&mut self, what: impl FnOnce(&mut Servent, Instant) -> R) -> R {
        let before = self.core.stats().clone();
        let result = what(&mut self.core, self.now);
        self.told(&before);
        result
    }

    pub(super) fn told(&mut self, before: &Stats) {
        let (queued, seen) = self.look(before);
        let (delta, links) = (Delta { before, after: self.core.stats() }, &self.link_infos()[..]);
        self.watch.told(self.now, &Outcome { queued: &queued, delta, seen: &seen, links });
    }

    /// What was queued on links since the counters stood at `before`, and what was observed.
    fn look(&mut self, before: &Stats) -> (Vec<(ConnId, Descriptor)>, Vec<Observation>) {
        let mut found = Vec::new();
        for link in self.link_infos().iter().filter(|link| link.is_plain()) {
            self.sockets.get_mut(&link.conn).map(Socket::has_said_all);
        }
        for (&id, socket) in &mut self.sockets {
            match self.core.unsent(id) {
                Some(unsent) => {
                    let (new, cut) = socket.queue(unsent, self.now);
                    found.extend(new.into_iter().map(|queued| (id, queued)));
                    self.lost += cut;
                }
                None => self.lost += socket.drop_queue(),
            }
        }
        // A link that came up and ended in one read has lost copies that were not seen in its queue.
        let count = |stats: &Stats| stats.forwarded.total() + stats.originated.total();
        let unseen = count(self.core.stats()) - count(before) - found.len() as u64;
        self.lost += unseen;
        self.queued += unseen + found.len() as u64;
        let seen: Vec<_> = std::iter::from_fn(|| self.core.poll_observation()).collect();
        for observation in &seen {
            if let Observation::LinkDown { unsent, .. } = observation {
                self.lost_told += unsent;
            }
        }
        (found, seen)
    }

    /// Hands the servent bytes that complete at most one descriptor, so that its consequences can be
    /// told apart.
    fn read(&mut self, conn: ConnId, bytes: &[u8], descriptor: Option<Descriptor>) {
        self.bytes_in += bytes.len() as u64;
        let (before, mut links) = (self.core.stats().clone(), self.link_infos());
        let parts = self.risen.contains(&conn) && links.iter().all(|link| link.conn != conn);
        let parts = parts && self.core.unsent(conn).is_some();
        self.core.handle_bytes(self.now, conn, bytes);
        // A descriptor before it may have overdrawn the link's share.
        while descriptor.is_some() && self.core.read_allowance(self.now, conn) == 0 {
            self.core.start_turn();
            self.core.serve_waiting(self.now);
        }
        let (queued, seen) = self.look(&before);
        let risen = seen.iter().find_map(|seen| match seen {
            Observation::LinkUp { dialect, role, .. } => Some((*dialect, *role)),
            _ => None,
        });
        let links_now = self.link_infos();
        if let Some((dialect, role)) = risen {
            self.risen.insert(conn);
            let now = links_now.iter().find(|link| link.conn == conn).cloned();
            links.push(now.unwrap_or_else(|| LinkInfo::ended(conn, dialect, role)));
        }
        // Input of another link may have had its turn, and ended that link.
        for observation in &seen {
            match observation {
                Observation::Received { .. } => break,
                Observation::LinkDown { peer, .. } => {
                    links.retain(|link| {
                        self.sockets.get(&link.conn).is_some_and(|it| it.remote != *peer)
                    });
                }
                _ => {}
            }
        }
        let outcome = Outcome {
            queued: &queued,
            delta: Delta { before: &before, after: self.core.stats() },
            seen: &seen,
            links: &links_now,
        };
        let Some(descriptor) = descriptor else { return self.watch.told(self.now, &outcome) };
        match links.iter().find(|link| link.conn == conn) {
            Some(source) => {
                let (links, library) = (&links[..], self.core.library());
                let arrival = Arrival {
                    from: conn,
                    source,
                    descriptor: &descriptor,
                    links,
                    outcome,
                    library,
                };
                self.watch.arrived(self.now, &arrival, risen.is_some());
            }
            None if parts => self.watch.overheard(&descriptor, &outcome),
            None => self.watch.told(self.now, &outcome),
        }
    }

    fn link_infos(&self) -> Vec<LinkInfo> {
        self.core.neighbours().map(|neighbour| LinkInfo::of(&neighbour)).collect()
    }

    pub(super) fn links(&self) -> Vec<ConnId> {
        self.core.neighbours().map(|neighbour| neighbour.conn).collect()
    }

    /// Polls the servent's outputs. Files and events are dealt with at once.
    pub(super) fn pull(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Connect { conn, addr } => {
                    let socket = Socket::new(addr, State::Connecting, false, self.now);
                    assert!(self.sockets.insert(conn, socket).is_none(), "{conn:?} twice");
                    self.outputs.push_back(net::Output::Connect { conn, addr });
                }
                Output::Close { conn } => {
                    assert!(self.sockets.remove(&conn).is_some(), "{conn:?} is not open");
                    assert_eq!(self.core.unsent(conn), None, "closed, but held");
                    self.outputs.push_back(net::Output::Close { conn });
                }
                Output::File { file, op } => {
                    if let Some(done) = self.disk.carry_out(self.core.library(), file, &op) {
                        self.tell(|core, now| core.handle_file(now, file, done));
                    }
                }
                Output::Event(event) => self.event(&event),
            }
        }
        let closed = self.sockets.keys().find(|&&conn| self.core.unsent(conn).is_none());
        assert_eq!(closed, None, "forgotten without a word");
        assert!(self.sockets.len() <= self.config.limits.max_connections);
        let links = self.links();
        assert!(links.iter().all(|link| self.up.contains(link)));
        let parting = self.up.iter().filter(|conn| !links.contains(conn));
        let mut parting = parting.filter(|conn| self.sockets[conn].parting_since.is_none());
        assert_eq!(parting.next(), None, "up, but no link");
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::LinkUp { conn, .. } => assert!(self.up.insert(*conn), "{conn:?} twice"),
            Event::LinkDown { conn, reason, .. } => {
                said(reason);
                assert!(self.up.remove(conn), "{conn:?} was not up");
                assert!(self.risen.remove(conn), "{conn:?} was not observed up");
            }
            Event::DialFailed { reason, .. } => said(reason),
            Event::Served { addr, bytes, complete, .. } if *complete || *bytes > 0 => {
                let giving = |socket: &&mut Socket| {
                    socket.remote == *addr && !socket.inbound && !socket.gave
                };
                if let Some(socket) = self.sockets.values_mut().find(giving) {
                    socket.gave = true;
                    self.watch.led_to_download(*addr.ip());
                }
            }
            Event::Hit { search, .. } => self.watch.result(*search),
            Event::Downloaded { transfer, .. } | Event::DownloadFailed { transfer, .. } => {
                if let Event::DownloadFailed { error, .. } = event {
                    said(error);
                }
                assert!(self.downloads.remove(transfer), "{transfer:?} is not under way");
            }
            _ => {}
        }
    }

    /// What holds at any moment.
    pub(super) fn check(&self) {
        let (limits, stats) = (&self.config.limits, self.core.stats());
        assert_eq!((stats.bytes_in, stats.bytes_out), (self.bytes_in, self.bytes_out));
        let queued = stats.forwarded.total() + stats.originated.total();
        let lost = stats.dropped(DropReason::LinkEnded);
        assert_eq!((queued, lost), (self.queued, self.lost), "queued, lost with a link");
        assert_eq!(self.core.copies_queued(), queued - self.sent - lost, "waiting");
        // What was given up for a Bye is told when the link is down.
        let is_told = lost == self.lost_told || lost > self.lost_told && self.core.is_parting();
        assert!(is_told, "{lost} lost, {} told", self.lost_told);

        let (leaves, others): (Vec<_>, Vec<_>) =
            self.link_infos().into_iter().partition(LinkInfo::is_leaf);
        assert!(others.len() <= self.config.max_links, "{others:?}");
        assert!(leaves.len() <= self.config.max_leaves, "{leaves:?}");
        for (conn, socket) in &self.sockets {
            assert!(conn.index() < limits.max_connections);
            let most = limits.send_queue_bytes + MAX_HANDSHAKE_BYTES;
            assert!(socket.queued.len() <= most, "{} bytes queued", socket.queued.len());
        }
        let routes =
            limits.ping_routes + limits.query_routes + limits.push_routes + limits.servent_routes;
        assert!(self.core.routes_held() <= routes, "{} routes", self.core.routes_held());
        let hosts = self.core.hosts();
        assert!(hosts.len() <= limits.host_cache_entries, "{} hosts", hosts.len());
        assert!(hosts.addrs().all(|addr| self.config.scope.allows(addr)), "out of scope");
        assert!(self.core.uploads() <= self.config.max_uploads);
        // On loopback all share an address.
        let most = match self.config.scope {
            Scope::Loopback => self.config.max_uploads,
            _ => limits.uploads_per_address,
        };
        let served = self.disk.served();
        assert!(served.values().all(|&uploads| uploads <= most), "{served:?}");
    }

    /// No peer may be silent, or leave what is sent to it unread, beyond its time.
    pub(super) fn check_timeouts(&self) {
        let limits = &self.config.limits;
        for (conn, socket) in &self.sockets {
            let undecided = match handshake::dispatch(&socket.heard) {
                Dispatch::NeedMore | Dispatch::Gnutella => socket.inbound,
                // A whole line may be what a download has waited for, which has its own timeout.
                Dispatch::Giv => socket.inbound && Giv::parse(&socket.heard) == Ok(None),
                Dispatch::Http | Dispatch::Unknown => false,
            };
            if let Some(since) = socket.parting_since {
                assert!(self.now.since(since) < PARTING_TIME, "{conn:?} does not part");
            } else if self.up.contains(conn) {
                let silent = self.now.since(socket.last_heard);
                assert!(silent < limits.link_timeout, "{conn:?} is silent for {silent:?}");
                // Looked at when its silence is.
                let deaf = socket.full_since.map(|since| self.now.since(since));
                let most = limits.stall_timeout + limits.link_timeout;
                assert!(deaf.is_none_or(|deaf| deaf < most), "{conn:?} reads nothing: {deaf:?}");
            } else if undecided || socket.state == State::Connecting {
                let age = self.now.since(socket.since);
                // One that is refused is told so.
                let most = limits.handshake_timeout + PARTING_TIME;
                assert!(age < most, "{conn:?} is undecided for {age:?}");
            }
        }
    }

    /// Long after the last peer has spoken.
    pub(super) fn check_end(&self) {
        assert_eq!(self.up, BTreeSet::new(), "links without a keepalive");
        let partial = self.disk.files.values().find(|file| **file == File::Partial);
        assert_eq!(partial, None, "open for ever");
        assert_eq!(self.downloads, BTreeSet::new(), "waiting for ever");
    }
}

impl Node for Watched {
    type Conn = ConnId;
    type Outward = Infallible;

    fn slot(conn: ConnId) -> usize {
        conn.index()
    }

    fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        local: SocketAddrV4,
    ) -> Option<ConnId> {
        self.now = now;
        self.pull();
        let conn = self.tell(|core, now| core.handle_accepted(now, remote, local));
        self.pull();
        let Some(conn) = conn else {
            assert_eq!(self.sockets.len(), self.config.limits.max_connections, "there is room");
            return None;
        };
        let socket = Socket::new(remote, State::Open, true, now);
        assert!(self.sockets.insert(conn, socket).is_none(), "{conn:?} twice");
        Some(conn)
    }

    fn handle_connected(&mut self, now: Instant, conn: ConnId, local: SocketAddrV4) {
        self.now = now;
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.state = State::Open;
        }
        self.tell(|core, now| core.handle_connected(now, conn, local));
    }

    fn handle_bytes(&mut self, now: Instant, conn: ConnId, bytes: &[u8]) {
        self.now = now;
        let mut left = bytes;
        while !left.is_empty() {
            let Some(socket) = self.sockets.get_mut(&conn) else { return };
            // A socket the servent has closed stays until it is told so; what comes is not read.
            if self.core.unsent(conn).is_none() {
                return self.read(conn, left, None);
            }
            let (len, descriptor) = socket.hear(left, now);
            let (chunk, later) = left.split_at(len);
            left = later;
            self.read(conn, chunk, descriptor);
        }
    }

    fn handle_writable(&mut self, conn: ConnId) {
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.full_since = None;
        }
        self.tell(|core, _| core.handle_writable(conn));
    }

    fn handle_closed(&mut self, now: Instant, conn: ConnId, failure: Failure) {
        self.now = now;
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.state = State::Ended;
        }
        self.tell(|core, now| core.handle_closed(now, conn, failure.into()));
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.now = now;
        self.tell(|core, now| core.handle_timeout(now));
    }

    fn start_turn(&mut self, now: Instant) {
        self.now = now;
        self.core.start_turn();
        self.steps_this_turn = 0;
    }

    fn poll_output(&mut self) -> Option<net::Output<ConnId, Infallible>> {
        self.pull();
        self.outputs.pop_front()
    }

    fn poll_transmit(&mut self, now: Instant) -> Option<(ConnId, &[u8])> {
        loop {
            let (conn, chunk) = self.core.poll_transmit(now)?;
            let socket = self.sockets.get_mut(&conn).expect("a connection that is open");
            assert_ne!(socket.state, State::Connecting);
            let (file, offset, len) = match chunk {
                TxChunk::Bytes(bytes) => {
                    assert!(!bytes.is_empty());
                    let queue = &socket.queued;
                    assert!(queue.is_empty() || queue == bytes, "not what was queued");
                    break;
                }
                TxChunk::File { file, offset, len } => (file, offset, len),
            };
            assert!((1..=self.config.limits.upload_step_bytes).contains(&len));
            self.steps_this_turn += 1;
            assert_eq!(self.steps_this_turn, 1, "one step of one upload a turn");
            if self.disk.read(file, offset, len, *socket.remote.ip()) {
                return Some((conn, &FILE_BYTES[..len]));
            }
            self.tell(|core, now| core.handle_file(now, file, crate::servent::FileDone::Ended));
            self.pull();
        }
        // Asked again: the answer borrows the servent.
        match self.core.poll_transmit(now)? {
            (conn, TxChunk::Bytes(bytes)) => Some((conn, bytes)),
            (_, TxChunk::File { .. }) => unreachable!("asked twice, it answers the same"),
        }
    }

    fn sent(&mut self, now: Instant, conn: ConnId, written: usize) {
        self.now = now;
        if let Some(socket) = self.sockets.get_mut(&conn) {
            self.sent += socket.sent(written, now);
        }
        self.bytes_out += written as u64;
        self.tell(|core, now| core.sent(now, conn, written));
    }

    fn poll_timeout(&self) -> Option<Instant> {
        Node::poll_timeout(&self.core)
    }
}
