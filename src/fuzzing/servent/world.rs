//! What a fuzzed core has around it: sockets, files, a user and a clock, and books on all of them.

mod user;

use super::pool::{self, Descriptor, IDENTITY, LOCAL};
use super::socket::{Read, Socket, State};
use super::watch::{Arrival, Delta, Outcome, Watch};
use crate::config::{Config, Role, Scope};
use crate::fuzzing::said;
use crate::fuzzing::script::Script;
use crate::servent::{
    ConnId, Event, FileDone, FileId, FileOp, IoFailure, Output, Servent, TransferId, TxChunk,
};
use crate::stats::{DropReason, Stats};
use crate::time::Instant;
use crate::transfer::download::DiskFault;
use crate::transfer::upload::OpenError;
use crate::wire::giv::Giv;
use crate::wire::handshake::{self, Dispatch};
use crate::wire::{Guid, HEADER_BYTES, Header, Kind};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

/// A core that has not come to rest after so many rounds at one moment never will.
const MAX_ROUNDS: usize = 16;

/// Timers served within one wait; there are few sockets, and none has anything to do every
/// millisecond but an upload with a limit.
const MAX_WAKES: usize = 20_000;

/// A file the core has open, or wants to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum File {
    /// To whom, once something of it is sent.
    Shared {
        size: u64,
        to: Option<Ipv4Addr>,
    },
    Partial,
}

/// What the disk does next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Good,
    Gone,
    Changed,
    Full,
}

/// See the module documentation.
pub(super) struct World {
    config: Arc<Config>,
    core: Servent,
    now: Instant,
    sockets: BTreeMap<ConnId, Socket>,
    files: BTreeMap<FileId, File>,
    mood: Mood,
    probes: Vec<Guid>,
    downloads: BTreeSet<TransferId>,
    watch: Watch,
    bytes_in: u64,
    bytes_out: u64,
    /// Descriptors the core queued, sent to the last byte, and lost with a link.
    queued: u64,
    sent: u64,
    lost: u64,
    up: BTreeSet<ConnId>,
    steps_this_turn: usize,
}

impl World {
    pub(super) fn new(config: Config) -> World {
        let (config, now) = (Arc::new(config), Instant::from_micros(1_000_000));
        let library = Arc::new(pool::library(0));
        let mut core = Servent::new(Arc::clone(&config), library, IDENTITY, 1, now);
        core.set_observed(true);
        World {
            core,
            watch: Watch::new(Arc::clone(&config)),
            config,
            now,
            sockets: BTreeMap::new(),
            files: BTreeMap::new(),
            mood: Mood::Good,
            probes: Vec::new(),
            downloads: BTreeSet::new(),
            bytes_in: 0,
            bytes_out: 0,
            queued: 0,
            sent: 0,
            lost: 0,
            up: BTreeSet::new(),
            steps_this_turn: 0,
        }
    }

    pub(super) fn operate(&mut self, operation: u8, script: &mut Script<'_>) {
        match operation % 24 {
            0 => drop(self.accept(script.number())),
            1 => {
                if let Some(conn) = self.accept(script.number()) {
                    self.feed(conn, handshake::CONNECT);
                }
            }
            2 => self.dialled(script),
            3 => {
                let (conn, text) = (self.pick(script.number()), script.choice(&pool::TEXTS));
                self.feed_to(conn, text);
            }
            4 => {
                let (conn, bytes) = (self.pick(script.number()), script.raw());
                self.feed_to(conn, bytes);
            }
            5..=10 => self.peer_says(1, script),
            11 => {
                let pieces = 1 + usize::from(script.number() % 16);
                self.peer_says(pieces, script);
            }
            12 => self.burst(script),
            13 => self.wait(script),
            // Nobody looked at the clock for a while.
            14 => self.now = script.later(self.now),
            15 => self.turn(),
            16 => {
                let (conn, room) = (self.pick(script.number()), usize::from(script.number()));
                if let Some(socket) = conn.and_then(|conn| self.sockets.get_mut(&conn)) {
                    socket.room = room * room;
                }
            }
            17 => self.take_all(script.number()),
            18 => self.hang_up(script),
            19 => self.ask(script),
            20 => self.user(script),
            21 => self.fetch(script),
            22 => {
                let library = Arc::new(pool::library(script.number()));
                self.tell(|core, _| core.handle_library(library));
            }
            _ => self.mood = script.choice(&[Mood::Good, Mood::Gone, Mood::Changed, Mood::Full]),
        }
        self.check();
    }

    /// Nobody says anything more: what waits for others must not wait for ever.
    pub(super) fn end(&mut self) {
        self.turn();
        for guid in std::mem::take(&mut self.probes) {
            self.watch.probe_ended(guid);
            self.core.end_request(guid);
        }
        for _ in 0..4 {
            self.now += Duration::from_secs(100);
            self.turn();
            self.check();
        }
        assert_eq!(self.up, BTreeSet::new(), "links without a sign of life");
        assert_eq!(self.files.values().find(|file| **file == File::Partial), None, "open for ever");
        assert_eq!(self.downloads, BTreeSet::new(), "waiting for ever");
    }

    /// One of the sockets.
    fn pick(&self, number: u8) -> Option<ConnId> {
        let count = self.sockets.len().max(1);
        self.sockets.keys().nth(usize::from(number) % count).copied()
    }

    /// Does something with the core and looks at what it queued.
    fn tell<R>(&mut self, what: impl FnOnce(&mut Servent, Instant) -> R) -> R {
        let before = self.core.stats().clone();
        let result = what(&mut self.core, self.now);
        let queued = self.take_queued(&before);
        let seen: Vec<_> = std::iter::from_fn(|| self.core.poll_observation()).collect();
        let delta = Delta { before: &before, after: self.core.stats() };
        self.watch.told(self.now, &Outcome { queued: &queued, delta, seen: &seen });
        result
    }

    /// What was queued on links since the last look, when the counters stood at `before`, and what
    /// went with those that closed.
    fn take_queued(&mut self, before: &Stats) -> Vec<(ConnId, Descriptor)> {
        let mut found = Vec::new();
        for (&id, socket) in &mut self.sockets {
            let Some(unsent) = self.core.unsent(id) else {
                let lost = socket.pieces.drain(..).filter(|(_, descriptor)| *descriptor);
                self.lost += lost.count() as u64;
                socket.queued.clear();
                continue;
            };
            let mut new = unsent.get(socket.queued.len()..).expect("what is queued stays");
            for hello in [handshake::CONNECT, handshake::OK] {
                if let Some(rest) = new.strip_prefix(hello) {
                    assert!(!socket.greets, "a second hello");
                    socket.greets = true;
                    socket.pieces.push_back((hello.len(), false));
                    socket.queued.extend_from_slice(hello);
                    new = rest;
                }
            }
            socket.queued.extend_from_slice(new);
            while !new.is_empty() {
                let header = Header::decode(new.first_chunk().expect("whole descriptors"));
                let len = HEADER_BYTES + header.payload_len as usize;
                found.push((id, Descriptor { header, payload: new[HEADER_BYTES..len].to_vec() }));
                socket.pieces.push_back((len, true));
                new = &new[len..];
            }
        }
        // A link that came up and ended in one read took with it what nobody saw.
        let count = |stats: &Stats| stats.forwarded.total() + stats.originated.total();
        let unseen = count(self.core.stats()) - count(before) - found.len() as u64;
        self.lost += unseen;
        self.queued += unseen + found.len() as u64;
        found
    }

    fn accept(&mut self, from: u8) -> Option<ConnId> {
        self.drain();
        let remote = SocketAddrV4::new(*pool::addr(from).ip(), 50_000 + u16::from(from));
        let conn = self.tell(|core, now| core.handle_accepted(now, remote, LOCAL));
        self.drain();
        let Some(conn) = conn else {
            assert_eq!(self.sockets.len(), self.config.limits.max_connections, "there is room");
            return None;
        };
        let socket = Socket::new(remote, State::Open, self.now);
        assert!(self.sockets.insert(conn, Socket { inbound: true, ..socket }).is_none());
        Some(conn)
    }

    /// A dial ends one way or the other.
    fn dialled(&mut self, script: &mut Script<'_>) {
        let number = script.number();
        let dials = || self.sockets.iter().filter(|(_, s)| s.state == State::Connecting);
        let count = dials().count().max(1);
        let Some(conn) = dials().nth(usize::from(number >> 2) % count).map(|(&conn, _)| conn)
        else {
            return;
        };
        let failure = match number & 3 {
            0 => IoFailure::Refused,
            1 => IoFailure::Unreachable,
            _ => {
                if let Some(socket) = self.sockets.get_mut(&conn) {
                    socket.state = State::Open;
                }
                self.tell(|core, now| core.handle_connected(now, conn, LOCAL));
                if number & 3 == 3 {
                    self.feed(conn, handshake::OK);
                }
                return;
            }
        };
        self.tell(|core, now| core.handle_closed(now, conn, failure));
    }

    fn feed_to(&mut self, conn: Option<ConnId>, bytes: &[u8]) {
        if let Some(conn) = conn {
            self.feed(conn, bytes);
        }
    }

    /// The peer sends bytes. The core reads them in pieces of at most one descriptor, so that it
    /// can be seen what comes of each.
    fn feed(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut left = bytes;
        while !left.is_empty() {
            let Some(socket) = self.sockets.get_mut(&conn) else { return };
            if socket.state != State::Open {
                return;
            }
            // A socket the core has closed stays until it is told so; what comes is not read.
            if self.core.unsent(conn).is_none() {
                return self.read(conn, left, None, &[], false);
            }
            let mut links = links(&self.core);
            let was_link = links.contains(&conn);
            let Read { len, hello, descriptor, rest } = socket.read(left, was_link);
            let (chunk, later) = left.split_at(len);
            left = later;
            socket.heard = rest;
            socket.last_heard = self.now;
            let has_room = links.len() < self.config.max_links
                && !(socket.inbound && self.config.role == Role::Guest);
            let risen = !was_link && hello && has_room;
            if risen {
                links.push(conn);
            }
            let arrived = descriptor.filter(|_| was_link || risen);
            self.read(conn, chunk, arrived, &links, risen);
        }
    }

    fn read(
        &mut self,
        conn: ConnId,
        chunk: &[u8],
        arrived: Option<Descriptor>,
        links: &[ConnId],
        risen: bool,
    ) {
        self.bytes_in += chunk.len() as u64;
        let Some(descriptor) = arrived else {
            return self.tell(|core, now| core.handle_bytes(now, conn, chunk));
        };
        let before = self.core.stats().clone();
        self.core.handle_bytes(self.now, conn, chunk);
        // A descriptor before it may have overdrawn the link's share.
        while self.core.read_allowance(self.now, conn) == 0 {
            self.core.start_turn();
            self.core.serve_waiting(self.now);
        }
        let queued = self.take_queued(&before);
        let seen: Vec<_> = std::iter::from_fn(|| self.core.poll_observation()).collect();
        let delta = Delta { before: &before, after: self.core.stats() };
        let arrival = Arrival {
            from: conn,
            descriptor: &descriptor,
            links,
            outcome: Outcome { queued: &queued, delta, seen: &seen },
            library: self.core.library(),
        };
        self.watch.arrived(self.now, &arrival, risen);
    }

    /// A neighbour sends a descriptor in so many reads.
    fn peer_says(&mut self, reads: usize, script: &mut Script<'_>) {
        let link = self.pick_link(script.number());
        let bytes = pool::descriptor(script, &self.watch.own).bytes();
        let size = bytes.len().div_ceil(reads);
        for piece in bytes.chunks(size) {
            self.feed_to(link, piece);
        }
    }

    fn pick_link(&self, number: u8) -> Option<ConnId> {
        let links = links(&self.core);
        links.get(usize::from(number) % links.len().max(1)).copied()
    }

    /// Many descriptors of one kind with GUIDs of their own.
    fn burst(&mut self, script: &mut Script<'_>) {
        let (link, count, pad) =
            (self.pick_link(script.number()), script.number(), script.number());
        let Descriptor { header, payload } = pool::descriptor(script, &self.watch.own);
        let kind = header.kind;
        for n in 0..count % 64 {
            let mut guid = header.guid;
            if matches!(kind, Kind::Ping | Kind::Query | Kind::Push) {
                (guid.0[3], guid.0[4]) = (n, pad);
            }
            let mut payload = payload.clone();
            if !payload.is_empty() && kind != Kind::QueryHit {
                payload.resize(payload.len() + usize::from(pad) * 8, 1);
            }
            self.feed_to(link, &Descriptor { header: Header { guid, ..header }, payload }.bytes());
        }
    }

    /// Time passes, and the core is woken whenever it asks for it.
    fn wait(&mut self, script: &mut Script<'_>) {
        let target = script.later(self.now);
        for _ in 0..MAX_WAKES {
            self.turn();
            match self.core.poll_timeout() {
                Some((at, _)) if at <= target => self.now = at,
                _ => {
                    self.now = target;
                    return self.turn();
                }
            }
        }
        panic!("woken again and again, at last for {:?}", self.core.poll_timeout());
    }

    /// What a driver does in one turn of its loop.
    fn turn(&mut self) {
        self.core.start_turn();
        self.steps_this_turn = 0;
        for _ in 0..MAX_ROUNDS {
            if self.core.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                self.tell(|core, now| core.handle_timeout(now));
            }
            self.drain();
            self.transmit();
            if self.core.poll_timeout().is_none_or(|(at, _)| at > self.now) {
                return self.check_patience();
            }
        }
        panic!("due after {MAX_ROUNDS} rounds at {:?}: {:?}", self.now, self.core.poll_timeout());
    }

    /// Nobody may be silent, or deaf, beyond their time.
    fn check_patience(&self) {
        let limits = &self.config.limits;
        for (conn, socket) in &self.sockets {
            let undecided = match handshake::dispatch(&socket.heard) {
                Dispatch::NeedMore | Dispatch::Gnutella => socket.inbound,
                // A whole line may be what a download has waited for, which has its own patience.
                Dispatch::Giv => socket.inbound && Giv::parse(&socket.heard) == Ok(None),
                Dispatch::Http | Dispatch::Unknown => false,
            };
            if self.up.contains(conn) {
                let silent = self.now.since(socket.last_heard);
                assert!(silent < limits.link_timeout, "{conn:?} is silent for {silent:?}");
                // Looked at when its silence is.
                let deaf = socket.full_since.map(|since| self.now.since(since));
                let most = limits.stall_timeout + limits.link_timeout;
                assert!(deaf.is_none_or(|deaf| deaf < most), "{conn:?} reads nothing: {deaf:?}");
            } else if undecided || socket.state == State::Connecting {
                let age = self.now.since(socket.since);
                assert!(age < limits.handshake_timeout, "{conn:?} is undecided for {age:?}");
            }
        }
    }

    fn drain(&mut self) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Connect { conn, addr } => {
                    let socket = Socket::new(addr, State::Connecting, self.now);
                    assert!(self.sockets.insert(conn, socket).is_none(), "{conn:?} twice");
                }
                Output::Close { conn } => {
                    assert!(self.sockets.remove(&conn).is_some(), "{conn:?} is not open");
                    assert_eq!(self.core.unsent(conn), None, "closed, but held");
                }
                Output::File { file, op } => self.file(file, &op),
                Output::Event(event) => self.event(&event),
            }
        }
        let closed = self.sockets.keys().find(|&&conn| self.core.unsent(conn).is_none());
        assert_eq!(closed, None, "forgotten without a word");
        assert!(self.sockets.len() <= self.config.limits.max_connections);
        let links = links(&self.core);
        assert!(links.iter().all(|link| self.up.contains(link)) && links.len() == self.up.len());
    }

    fn event(&mut self, event: &Event) {
        match event {
            Event::LinkUp { conn, .. } => assert!(self.up.insert(*conn), "{conn:?} twice"),
            Event::LinkDown { conn, reason, .. } => {
                said(reason);
                assert!(self.up.remove(conn), "{conn:?} was not up");
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

    /// The disk does what it is asked, in its mood.
    fn file(&mut self, file: FileId, op: &FileOp) {
        let (known, fault) =
            (self.files.get(&file).copied(), Some(FileDone::Fault(DiskFault::Full)));
        let done = match (op, known) {
            (FileOp::OpenShared { number }, None) => match self.mood {
                Mood::Gone => Some(FileDone::OpenFailed(OpenError::Gone)),
                mood => {
                    let size = self.core.library().get(*number).map_or(0, |entry| entry.size);
                    let size = size.saturating_add(u64::from(mood == Mood::Changed));
                    self.files.insert(file, File::Shared { size, to: None });
                    Some(FileDone::Opened { size })
                }
            },
            (FileOp::OpenPartial { have, .. }, None) => {
                self.files.insert(file, File::Partial);
                if self.mood == Mood::Full { fault } else { Some(FileDone::Opened { size: *have }) }
            }
            (FileOp::SetAside { .. }, _) => {
                self.files.insert(file, File::Partial);
                Some(FileDone::Opened { size: 0 })
            }
            // Complete files are compared before anything is opened.
            (FileOp::Compare { .. }, None | Some(File::Partial)) => {
                Some(FileDone::Compared { same: self.mood != Mood::Changed })
            }
            (FileOp::UseComplete, None | Some(File::Partial)) => Some(FileDone::Finished),
            (FileOp::Write { bytes, .. }, Some(File::Partial)) => match self.mood {
                Mood::Full => fault,
                _ => Some(FileDone::Written { bytes: bytes.len() as u64 }),
            },
            (FileOp::Sync, Some(File::Partial)) => Some(FileDone::Synced),
            (FileOp::Finish, Some(File::Partial)) => Some(FileDone::Finished),
            (FileOp::Close, _) => {
                self.files.remove(&file);
                None
            }
            (op, known) => panic!("{op:?} of a file that is {known:?}"),
        };
        if let Some(done) = done {
            self.tell(|core, now| core.handle_file(now, file, done));
        }
    }

    /// Writes what sockets take.
    fn transmit(&mut self) {
        while let Some((conn, chunk)) = self.core.poll_transmit(self.now) {
            let socket = self.sockets.get_mut(&conn).expect("a connection that is open");
            assert_ne!(socket.state, State::Connecting);
            assert!(socket.full_since.is_none_or(|_| socket.room > 0), "it said it was full");
            let (len, shrunk) = match chunk {
                TxChunk::Bytes(bytes) => {
                    assert!(!bytes.is_empty());
                    let queue = &socket.queued;
                    assert!(queue.is_empty() || queue == bytes, "not what was queued");
                    (bytes.len(), None)
                }
                TxChunk::File { file, offset, len } => {
                    assert!((1..=self.config.limits.upload_step_bytes).contains(&len));
                    let Some(File::Shared { size, to }) = self.files.get_mut(&file) else {
                        panic!("{file:?} is not open")
                    };
                    assert!(offset + len as u64 <= *size, "beyond the end");
                    *to = Some(*socket.remote.ip());
                    self.steps_this_turn += 1;
                    assert_eq!(self.steps_this_turn, 1, "one step of one upload a turn");
                    (len, (self.mood == Mood::Gone).then_some(file))
                }
            };
            if socket.broken {
                self.tell(|core, now| core.handle_closed(now, conn, IoFailure::Reset));
            } else if let Some(file) = shrunk {
                self.tell(|core, now| core.handle_file(now, file, FileDone::Ended));
            } else {
                let written = len.min(socket.room);
                self.sent += socket.take(written, self.now);
                self.bytes_out += written as u64;
                self.tell(|core, now| core.sent(now, conn, written));
            }
            self.drain();
        }
    }

    /// A peer reads everything there is.
    fn take_all(&mut self, number: u8) {
        let Some(conn) = self.pick(number) else { return };
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.room = usize::MAX;
            socket.full_since = None;
            self.tell(|core, _| core.handle_writable(conn));
        }
    }

    fn hang_up(&mut self, script: &mut Script<'_>) {
        let (conn, how) = (self.pick(script.number()), script.number());
        let Some((conn, socket)) = conn.and_then(|c| Some((c, self.sockets.get_mut(&c)?))) else {
            return;
        };
        if socket.state != State::Open {
            return;
        }
        let failure = match how % 4 {
            0 => return socket.broken = true,
            1 => IoFailure::Reset,
            2 => IoFailure::Other("fuzzed".to_owned()),
            _ => IoFailure::Eof,
        };
        socket.state = State::Ended;
        self.tell(|core, now| core.handle_closed(now, conn, failure));
    }

    /// What holds at any moment.
    fn check(&self) {
        let (limits, stats) = (&self.config.limits, self.core.stats());
        assert_eq!((stats.bytes_in, stats.bytes_out), (self.bytes_in, self.bytes_out));
        let queued = stats.forwarded.total() + stats.originated.total();
        let lost = stats.dropped(DropReason::LinkEnded);
        assert_eq!((queued, lost), (self.queued, self.lost), "queued, lost with a link");
        assert_eq!(self.core.copies_queued(), queued - self.sent - lost, "waiting");

        assert!(links(&self.core).len() <= self.config.max_links);
        for (conn, socket) in &self.sockets {
            assert!(conn.index() < limits.max_connections);
            let most = limits.send_queue_bytes + handshake::CONNECT.len();
            assert!(socket.queued.len() <= most, "{} bytes queued", socket.queued.len());
        }
        let routes =
            limits.ping_routes + limits.query_routes + limits.push_routes + limits.servent_routes;
        assert!(self.core.routes_held() <= routes, "{} routes", self.core.routes_held());
        let hosts = self.core.hosts();
        assert!(hosts.len() <= limits.host_cache_entries, "{} hosts", hosts.len());
        assert!(hosts.addrs().all(|addr| self.config.scope.allows(addr)), "out of scope");
        assert!(self.core.uploads() <= self.config.max_uploads);
        let mut served: BTreeMap<Ipv4Addr, usize> = BTreeMap::new();
        for file in self.files.values() {
            if let File::Shared { to: Some(ip), .. } = file {
                *served.entry(*ip).or_default() += 1;
            }
        }
        // On loopback all share an address.
        let most = match self.config.scope {
            Scope::Loopback => self.config.max_uploads,
            _ => limits.uploads_per_address,
        };
        assert!(served.values().all(|&uploads| uploads <= most), "{served:?}");
    }
}

fn links(core: &Servent) -> Vec<ConnId> {
    core.neighbours().map(|neighbour| neighbour.conn).collect()
}
