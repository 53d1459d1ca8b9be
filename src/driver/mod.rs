//! The driver: the only place with sockets, files, signals, name resolution and a clock.
//!
//! One turn of the loop: hand out what the core wants done, poll until its next deadline, read
//! the clock once, then accept, read and write, let the core's timers run, do a slice of a folder
//! scan, and hand out again. Newly readable connections are served before connections still
//! draining a backlog, and no connection is read further than the core allows in one turn (FQ-CoDel,
//! RFC 8290). Sockets closed during a turn are dropped at its end, so a stale event finds no socket
//! and is ignored.

mod change;
mod clock;
mod dialect_file;
mod disk;
mod event;
mod event_record;
mod events;
mod file_names;
#[cfg_attr(target_os = "linux", path = "inotify.rs")]
#[cfg_attr(not(target_os = "linux"), path = "no_inotify.rs")]
mod folder_watch;
mod host;
mod index;
mod partial;
mod resolve;
mod scan;
mod share;
mod signals;
mod socket;
mod state;
mod tape;
pub(crate) mod tcp;
mod turn_times;
mod watch;
mod worker;

pub use dialect_file::{KnownDialect, read_dialects, update_dialects};
pub use event::DriverEvent;
pub use event_record::{EventRecord, LinkDescriptor, RecordedEvent};
pub use host::{Host, HostError, is_ipv6};
pub use partial::PartialFile;
pub use resolve::Resolved;
pub use scan::{Filter, GlobError, RootReport, ScanReport, ScanTrigger, Shares, Skip, list_shared};
pub use share::{ShareError, ShareRoot};
pub use state::{
    StateError, StateFolder, fresh_identity, fresh_seed, read_hosts, write_atomically,
};
pub use tape::{MAX_TAPED, TAPED_BYTES};
pub use turn_times::TurnTimes;
pub use worker::{Job, JobDone, Looked};

use crate::config::READ_BYTES;
use crate::servent::{ConnId, Event, FileDone, FileId, IoFailure, Output, Servent, TxChunk};
use crate::time::Instant;
use crate::transfer::download::{DownloadError, Kept, Source};
use clock::Clock;
use disk::Disk;
use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use resolve::Resolver;
use signals::SignalSource;
use socket::{Socket, failure, is_later, local_failure, uninterrupted};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tape::Recorder;
use tcp::ipv4;
use watch::Watch;
use worker::{Done, FileNews};

const LISTENER: Token = Token(usize::MAX);
const SIGNALS: Token = Token(usize::MAX - 1);
const WAKER: Token = Token(usize::MAX - 2);
const CHANGES: Token = Token(usize::MAX - 3);
/// Tokens of sockets that the owner of a driver registers.
pub const OWNER_TOKENS: std::ops::Range<usize> = usize::MAX - (1 << 20)..usize::MAX - (1 << 10);
/// Tokens are connection ids, which take 64 bits.
const _: () = assert!(usize::BITS >= 64, "a 64-bit target is needed");

/// Upper bound on undelivered events of answered Queries and refused requests, which peers can cause
/// at will: further ones are discarded.
pub const MAX_PENDING_EVENTS: usize = 1_024;
/// Bytes read from all sockets together after which what they caused is written before more is read.
const FLUSH_AFTER_BYTES: usize = READ_BYTES / 2;
/// Connections accepted in one turn: each costs several system calls, and links wait meanwhile.
const ACCEPTS_PER_TURN: usize = 4;
/// How long the end of the program waits for last words to leave.
const PARTING_TIME: Duration = Duration::from_millis(500);
/// Pause in accepting after it failed for lack of file descriptors.
const ACCEPT_REST: Duration = Duration::from_millis(500);

/// A bound listening socket, made before the core because the core's settings name its port.
#[derive(Debug)]
pub struct Listener {
    socket: TcpListener,
    addr: SocketAddrV4,
}

impl Listener {
    /// Binds; port 0 picks one.
    ///
    /// # Errors
    /// What the system says: the port is taken, the address is not ours.
    pub fn bind(addr: SocketAddrV4) -> io::Result<Listener> {
        let socket = TcpListener::bind(addr.into())?;
        let addr = ipv4(socket.local_addr()?)?;
        Ok(Listener { socket, addr })
    }

    /// The address with the real port.
    pub fn addr(&self) -> SocketAddrV4 {
        self.addr
    }
}

/// Runs one [`Servent`] on real sockets and files.
pub struct Driver {
    core: Servent,
    clock: Clock,
    poll: Poll,
    listener: Option<Listener>,
    accept_again: Option<Instant>,
    /// The address listened on; unspecified without a listener. See [`Socket::connect`].
    local_ip: Ipv4Addr,
    signals: SignalSource,
    resolver: Resolver,
    /// By the index of the connection id.
    sockets: Vec<Option<Socket>>,
    /// Closed in this turn, and dropped at its end.
    closed: Vec<Socket>,
    /// Connections with unread input, in round-robin order.
    unread: VecDeque<ConnId>,
    /// Sources of downloads that are not read until the disk has taken what came.
    awaiting_disk: Vec<ConnId>,
    read_since_flush: usize,
    buffer: Vec<u8>,
    disk: Disk,
    watch: Watch,
    pending_events: VecDeque<DriverEvent>,
    recorder: Recorder,
    turn_times: TurnTimes,
    /// The first connection that came in.
    first_inbound: Option<SocketAddrV4>,
}

impl Driver {
    /// A driver around the core that `make_core` builds for the moment it is given. INT, TERM,
    /// HUP and USR1 are taken over from here on.
    ///
    /// # Errors
    /// When the system refuses the poll, the signals or the listener's registration.
    pub fn new(
        listener: Option<Listener>,
        make_core: impl FnOnce(Instant) -> Servent,
    ) -> io::Result<Driver> {
        let poll = Poll::new()?;
        let signals = SignalSource::new(&poll, SIGNALS)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let resolver = Resolver::new(Arc::clone(&waker));
        let local_ip = listener.as_ref().map_or(Ipv4Addr::UNSPECIFIED, |it| *it.addr.ip());
        let clock = Clock::start();
        let mut driver = Driver {
            core: make_core(clock.now()),
            clock,
            poll,
            listener: None,
            accept_again: None,
            local_ip,
            signals,
            resolver,
            sockets: Vec::new(),
            closed: Vec::new(),
            unread: VecDeque::new(),
            awaiting_disk: Vec::new(),
            read_since_flush: 0,
            buffer: vec![0; READ_BYTES],
            disk: Disk::new(waker),
            watch: Watch::new(),
            pending_events: VecDeque::new(),
            recorder: Recorder::new(clock.now()),
            turn_times: TurnTimes::default(),
            first_inbound: None,
        };
        listener.map_or(Ok(()), |listener| driver.listen(listener))?;
        Ok(driver)
    }

    /// The servent it runs.
    pub fn core(&self) -> &Servent {
        &self.core
    }

    /// Gives the servent a command, with the present time.
    pub fn command<T>(&mut self, command: impl FnOnce(&mut Servent, Instant) -> T) -> T {
        let now = self.clock.now();
        command(&mut self.core, now)
    }

    /// The oldest event that was not delivered yet.
    pub fn next_event(&mut self) -> Option<DriverEvent> {
        self.pending_events.pop_front()
    }

    /// Accepts connections from now on.
    ///
    /// # Errors
    /// When the system refuses the registration.
    pub fn listen(&mut self, mut listener: Listener) -> io::Result<()> {
        self.poll.registry().register(&mut listener.socket, LISTENER, Interest::READABLE)?;
        self.listener = Some(listener);
        Ok(())
    }

    /// Appends what the core observes from now on to a file, as JSON lines. When the disk fails later
    /// on, one warning is logged and no more is written.
    ///
    /// # Errors
    /// When the file cannot be opened or its first line not be written.
    pub fn record_events(&mut self, path: &Path) -> io::Result<()> {
        let listen = self.listener.as_ref().map(Listener::addr);
        self.recorder.open(path, self.clock.now(), listen)?;
        self.core.set_observed(true);
        Ok(())
    }

    /// Keeps what the core observes for [`Driver::take_tape`] from now on, or no more.
    pub fn set_taped(&mut self, taped: bool) {
        self.recorder.set_taped(taped);
        self.core.set_observed(self.recorder.is_followed());
    }

    /// The records since the last call, and how many were lost before them because nobody asked.
    pub fn take_tape(&mut self) -> (u64, VecDeque<EventRecord>) {
        self.recorder.take_tape()
    }

    /// The number of the next record of an observation.
    pub fn next_seq(&self) -> u64 {
        self.recorder.next_seq()
    }

    /// The peer of the first connection that came in.
    pub fn first_inbound(&self) -> Option<SocketAddrV4> {
        self.first_inbound
    }

    /// How long its turns took.
    pub fn turn_times(&self) -> &TurnTimes {
        &self.turn_times
    }

    /// The present time of the core.
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// The registry of the poll that [`Driver::turn`] waits for, for sockets of the owner. Their tokens
    /// are those of [`OWNER_TOKENS`]; their events are in the `Events` that a turn has filled.
    pub fn registry(&self) -> &Registry {
        self.poll.registry()
    }

    /// Looks a host name up; [`DriverEvent::Resolved`] has the result.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn resolve(&self, host: String, port: u16) -> io::Result<()> {
        self.resolver.start(host, port)
    }

    /// Starts a download into `place`.
    ///
    /// # Errors
    /// See [`Servent::download`].
    pub fn download(
        &mut self,
        source: Source,
        place: PartialFile,
        kept: Kept,
    ) -> Result<(crate::servent::TransferId, FileId), DownloadError> {
        let now = self.clock.now();
        let (transfer, file) = self.core.download(now, source, kept)?;
        self.disk.expect_download(file, place);
        Ok((transfer, file))
    }

    /// Has the worker do something that may block, behind all that was asked of it before.
    /// [`DriverEvent::Done`] has the result and the ticket.
    pub fn work(&mut self, ticket: u64, job: Job) {
        self.disk.worker.run(ticket, job);
    }

    /// Waits until the worker has done all that it was asked, such as closing files.
    pub fn settle_disk(&self) {
        self.disk.worker.settle();
    }

    /// Scans the shared folders, in slices between turns. The result replaces what is shared and is
    /// reported as [`DriverEvent::Scanned`]. From the first scan on, changes in the folders cause
    /// further ones, where the system reports changes. Returns false while another scan is running,
    /// which may have missed what this one is to find.
    pub fn scan(&mut self, shares: &Arc<Shares>, trigger: ScanTrigger) -> bool {
        if !shares.roots.is_empty() {
            self.watch.listen(self.poll.registry(), CHANGES);
        }
        self.watch.scan(self.clock.now(), shares, trigger)
    }

    /// One turn, waiting at most `max_wait` for something to happen.
    ///
    /// # Errors
    /// When polling itself fails, which leaves nothing to go on with.
    pub fn turn(&mut self, events: &mut Events, max_wait: Duration) -> io::Result<()> {
        self.core.start_turn();
        self.drain(self.clock.now());
        // Records of commands since the last turn do not wait for the end of this one.
        self.recorder.write();
        let wait = self.wait(self.clock.now(), max_wait);
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            polled => polled?,
        }
        let now = self.clock.now();
        let unread = self.unread.len();
        for event in events.iter() {
            match event.token() {
                // Once a turn, unless accepting is paused.
                LISTENER => {
                    self.accept_again.get_or_insert(now);
                }
                SIGNALS => self.pending_events.extend(self.signals.pending()),
                CHANGES => self.watch.handle_readable(),
                WAKER => {
                    while let Some(resolved) = self.resolver.next() {
                        self.pending_events.push_back(DriverEvent::Resolved(resolved));
                    }
                    self.take_done(now);
                }
                Token(token) if OWNER_TOKENS.contains(&token) => {}
                Token(token) => self.handle_socket(now, ConnId::from_u64(token as u64), event),
            }
        }
        if unread > 0 {
            self.drain(now);
        }
        for _ in 0..unread {
            let Some(id) = self.unread.pop_front() else { break };
            if let Some(socket) = socket_of(&mut self.sockets, id) {
                socket.listed = false;
                self.read(now, id);
            }
        }
        if self.accept_again.is_some_and(|at| at <= now) {
            self.accept_again = None;
            self.accept(now);
        }
        if self.core.poll_timeout().is_some_and(|(at, _)| at <= now) {
            // Before links with unread input are served, what others just caused is sent.
            self.drain(now);
            self.core.handle_timeout(now);
        }
        self.scan_slice();
        self.drain(now);
        self.recorder.write();
        if self.recorder.take_given_up() {
            self.core.set_observed(false);
        }
        for socket in std::mem::take(&mut self.closed) {
            socket.hang_up(&mut self.buffer);
        }
        self.turn_times.add(self.clock.now().since(now));
        Ok(())
    }

    /// Ends all links, and waits a moment until those peers that read a Bye have been sent one.
    ///
    /// # Errors
    /// See [`Driver::turn`].
    pub fn part(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(64);
        self.command(Servent::shut_down);
        let until = self.clock.now() + PARTING_TIME;
        while self.core.is_parting() && self.clock.now() < until {
            self.turn(&mut events, until.since(self.clock.now()))?;
        }
        Ok(())
    }

    fn wait(&self, now: Instant, max_wait: Duration) -> Duration {
        let busy = !self.unread.is_empty() || self.watch.is_busy(now) || self.core.has_bulk_ready();
        if busy || !self.pending_events.is_empty() {
            return Duration::ZERO;
        }
        let core = self.core.poll_timeout().map(|(at, _)| at);
        let next = core.into_iter().chain(self.accept_again).chain(self.watch.deadline()).min();
        next.map_or(max_wait, |at| at.since(now).min(max_wait))
    }

    /// Hands on what the worker has done.
    fn take_done(&mut self, now: Instant) {
        // What the owner is told of one operation it may store before the next one but one is asked for.
        let all: Vec<Done> = std::iter::from_fn(|| self.disk.worker.next()).collect();
        for done in all {
            match done {
                Done::Operated { file, done, news } => {
                    let event = news.map(|news| match news {
                        FileNews::Begun { path, inode } => {
                            DriverEvent::Opened { file, path, inode }
                        }
                        FileNews::Saved { path, servents } => {
                            DriverEvent::Saved { file, path, servents }
                        }
                        FileNews::Failed(text) => DriverEvent::DiskFailed { file, text },
                    });
                    self.pending_events.extend(event);
                    self.core.handle_file(now, file, done);
                    self.unread.extend(self.awaiting_disk.drain(..));
                }
                Done::Opened { file, opened } => {
                    if let Some(done) = self.disk.opened(file, opened) {
                        self.core.handle_file(now, file, done);
                    }
                }
                Done::Job { ticket, done } => {
                    self.pending_events.push_back(DriverEvent::Done { ticket, done });
                }
            }
            self.drain_outputs(now);
        }
    }

    fn accept(&mut self, now: Instant) {
        let Some(listener) = &self.listener else { return };
        for _ in 0..ACCEPTS_PER_TURN {
            match listener.socket.accept() {
                Ok((stream, remote)) => {
                    let (Ok(remote), Ok(local)) =
                        (ipv4(remote), stream.local_addr().and_then(ipv4))
                    else {
                        continue;
                    };
                    self.first_inbound.get_or_insert(remote);
                    if let Some(id) = self.core.handle_accepted(now, remote, local) {
                        let socket = Socket::accepted(id, stream);
                        hold(&mut self.sockets, &self.poll, socket).unwrap_or_else(|error| {
                            self.core.handle_closed(now, id, failure(&error));
                        });
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if is_one_connection(&error) => {}
                Err(error) => {
                    // No file descriptors or no memory: the kernel's queue keeps them until later.
                    self.accept_again = Some(now + ACCEPT_REST);
                    self.pending_events.push_back(DriverEvent::AcceptFailed(error));
                    return;
                }
            }
        }
        // More may be waiting, and mio reports each readiness once.
        self.accept_again = Some(now);
    }

    fn handle_socket(&mut self, now: Instant, id: ConnId, event: &mio::event::Event) {
        let Some(socket) = socket_of(&mut self.sockets, id) else { return };
        if socket.connecting {
            match socket.finish_connect() {
                Ok(None) => return,
                Ok(Some(local)) => self.core.handle_connected(now, id, local),
                Err(error) => return self.core.handle_closed(now, id, failure(&error)),
            }
        }
        if event.is_writable() {
            self.core.handle_writable(id);
        }
        if event.is_readable() || event.is_error() {
            self.read(now, id);
        }
    }

    /// Reads a socket as far as the core allows in this turn. A socket that already waits for its
    /// next turn is not read.
    fn read(&mut self, now: Instant, id: ConnId) {
        let mut left = self.core.read_allowance(now, id);
        while left > 0 {
            let Some(socket) = socket_of(&mut self.sockets, id) else { return };
            if socket.ended || socket.listed {
                return;
            }
            match socket.stream.read(&mut self.buffer[..left]) {
                Ok(0) => {
                    socket.ended = true;
                    self.core.handle_closed(now, id, IoFailure::Eof);
                    return;
                }
                Ok(count) => {
                    self.core.handle_bytes(now, id, &self.buffer[..count]);
                    let more = self.core.read_allowance(now, id);
                    left = (left - count).min(more);
                    self.read_since_flush += count;
                    if self.read_since_flush >= FLUSH_AFTER_BYTES || more == 0 {
                        self.drain(now);
                    } else {
                        self.drain_outputs(now);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => {
                    socket.ended = true;
                    return self.core.handle_closed(now, id, failure(&error));
                }
            }
        }
        let awaits_disk = self.core.awaits_disk(id);
        if let Some(socket) = socket_of(&mut self.sockets, id) {
            socket.listed = true;
            match awaits_disk {
                true => self.awaiting_disk.push(id),
                false => self.unread.push_back(id),
            }
        }
    }

    /// Does everything the core asks for: outputs first, then writes.
    fn drain(&mut self, now: Instant) {
        self.drain_outputs(now);
        while let Some((id, chunk)) = self.core.poll_transmit(now) {
            let Some(socket) = socket_of(&mut self.sockets, id) else {
                self.core.handle_closed(now, id, IoFailure::Reset);
                self.drain_outputs(now);
                continue;
            };
            // EINTR is retried: waiting for the socket would wait for an event that never comes.
            let sent = match chunk {
                TxChunk::Bytes(bytes) => uninterrupted(|| socket.stream.write(bytes)).map(Some),
                TxChunk::File { file, offset, len } => {
                    let (disk, buffer) = (&mut self.disk, &mut self.buffer);
                    let stream = &mut socket.stream;
                    let sent = uninterrupted(|| disk.send(file, offset, len, stream, buffer));
                    if matches!(sent, Ok(None)) {
                        self.core.handle_file(now, file, FileDone::Ended);
                    }
                    sent
                }
            };
            match sent {
                Ok(Some(count)) => self.core.sent(now, id, count),
                Ok(None) => {}
                Err(error) if is_later(&error) => self.core.sent(now, id, 0),
                Err(error) => self.core.handle_closed(now, id, failure(&error)),
            }
            self.drain_outputs(now);
        }
        self.read_since_flush = 0;
    }

    fn drain_outputs(&mut self, now: Instant) {
        while let Some(output) = self.core.poll_output() {
            match output {
                Output::Connect { conn, addr } => {
                    let opened = Socket::connect(conn, addr, self.local_ip)
                        .and_then(|socket| hold(&mut self.sockets, &self.poll, socket));
                    if let Err(error) = opened {
                        self.core.handle_closed(now, conn, local_failure(&error));
                    }
                }
                Output::Close { conn } => {
                    if let Some(slot) = self.sockets.get_mut(conn.index())
                        && let Some(socket) = slot.take_if(|socket| socket.id == conn)
                    {
                        self.closed.push(socket);
                    }
                }
                Output::File { file, op } => {
                    if let Some(done) = self.disk.operate(file, op, self.watch.index()) {
                        self.core.handle_file(now, file, done);
                    }
                }
                Output::Event(Event::Answered { .. } | Event::Refused { .. })
                    if self.pending_events.len() >= MAX_PENDING_EVENTS => {}
                Output::Event(event) => self.pending_events.push_back(DriverEvent::Core(event)),
            }
        }
        while let Some(seen) = self.core.poll_observation() {
            self.recorder.note(now, &seen);
        }
    }

    fn scan_slice(&mut self) {
        if let Some(report) = self.watch.turn(&self.clock, &mut self.buffer) {
            self.core.handle_library(Arc::clone(&self.watch.index().library));
            self.pending_events.push_back(DriverEvent::Scanned(report));
        }
    }
}

fn token_of(id: ConnId) -> Token {
    Token(usize::try_from(id.to_u64()).expect("tokens have 64 bits"))
}

fn socket_of(sockets: &mut [Option<Socket>], id: ConnId) -> Option<&mut Socket> {
    sockets.get_mut(id.index())?.as_mut().filter(|socket| socket.id == id)
}

/// Registers a socket and stores it under its connection id.
fn hold(sockets: &mut Vec<Option<Socket>>, poll: &Poll, mut socket: Socket) -> io::Result<()> {
    let (index, token) = (socket.id.index(), token_of(socket.id));
    poll.registry().register(&mut socket.stream, token, Interest::READABLE | Interest::WRITABLE)?;
    if sockets.len() <= index {
        sockets.resize_with(index + 1, || None);
    }
    sockets[index] = Some(socket);
    Ok(())
}

/// Whether an error of `accept` concerns one connection only.
fn is_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::Interrupted
    )
}
