//! A network of cores in memory: virtual time, equal latency on every pipe, and no other source
//! of order than (time, sequence number), so that a seed replays.

use super::descriptor::Descriptor;
use super::node::{self, Node};
use super::pipe::{End, Pipe};
use super::{Graph, shared_files};
use servent::config::Config;
use servent::rng::Rng;
use servent::servent::{ConnId, Event, IoFailure, Observation, Output, Servent, TxChunk};
use servent::time::Instant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// How long bytes, connects and closes take from end to end.
pub(crate) const LATENCY: Duration = Duration::from_millis(1);

/// A test that needs more steps than this does not end by itself.
const MAX_STEPS: usize = 1_000_000;

/// A scripted peer: one end of one connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Peer(pub(super) usize);

/// Who holds an end of a pipe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Who {
    Core(usize),
    Raw(Peer),
}

/// A descriptor that arrived somewhere, as noted by the tap of its pipe.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Crossing {
    pub(crate) at: Instant,
    pub(crate) from: Who,
    pub(crate) to: Who,
    pub(crate) descriptor: Descriptor,
}

/// A core's wish to connect.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Dial {
    pub(crate) at: Instant,
    pub(crate) core: usize,
    pub(crate) addr: SocketAddrV4,
}

/// One step of an upload: which turn of the net, whose, how many bytes of the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct UploadStep {
    pub(crate) turn: usize,
    pub(crate) conn: ConnId,
    pub(crate) bytes: usize,
}

enum InFlight {
    Dial { core: usize, conn: ConnId, addr: SocketAddrV4 },
    Bytes { pipe: usize, from: usize, bytes: Vec<u8> },
    Fin { pipe: usize, from: usize, failure: IoFailure },
}

enum Listener {
    Core(usize),
    /// Scripted: connections wait here to be taken.
    Raw(VecDeque<Peer>),
    /// Whoever connects is left without any answer.
    Silent,
}

pub(super) struct RawPeer {
    pipe: usize,
    side: usize,
    pub(super) received: Vec<u8>,
    /// Arrived while it was not reading.
    unread: VecDeque<Vec<u8>>,
    reading: bool,
    pub(super) closed: bool,
}

/// See the module documentation.
pub(crate) struct Net {
    pub(super) now: Instant,
    pub(super) nodes: Vec<Node>,
    pub(super) raw: Vec<RawPeer>,
    pub(crate) crossings: Vec<Crossing>,
    pub(crate) dials: Vec<Dial>,
    pub(crate) upload_steps: Vec<UploadStep>,
    /// Cut what cores receive into odd pieces.
    pub(crate) split_oddly: bool,
    /// The machine of every core refuses to connect.
    pub(crate) offline: bool,
    /// Where dials leave from, if not from the core's own address.
    pub(crate) local_ip: Option<Ipv4Addr>,
    seed: u64,
    rng: Rng,
    pipes: Vec<Pipe>,
    by_conn: BTreeMap<(usize, ConnId), (usize, usize)>,
    listeners: BTreeMap<SocketAddrV4, Listener>,
    in_flight: BTreeMap<(Instant, u64), InFlight>,
    wakes: BTreeSet<(Instant, usize)>,
    sequence: u64,
    steps: usize,
    turn: usize,
}

impl Net {
    /// An empty network. A failing test shows the seed.
    pub(crate) fn new(seed: u64) -> Net {
        println!("seed {seed}");
        Net {
            now: Instant::ZERO,
            nodes: Vec::new(),
            raw: Vec::new(),
            crossings: Vec::new(),
            dials: Vec::new(),
            upload_steps: Vec::new(),
            split_oddly: false,
            offline: false,
            local_ip: None,
            seed,
            rng: Rng::new(seed),
            pipes: Vec::new(),
            by_conn: BTreeMap::new(),
            listeners: BTreeMap::new(),
            in_flight: BTreeMap::new(),
            wakes: BTreeSet::new(),
            sequence: 0,
            steps: 0,
            turn: 0,
        }
    }

    /// A core per node, a link per edge, all up, nobody pinging on its own.
    pub(crate) fn of_graph(seed: u64, graph: &Graph, ttl: u8) -> Net {
        let mut net = Net::new(seed);
        for _ in 0..graph.nodes {
            net.add(Config { ttl, max_links: 64, ..Net::still() }, &shared_files());
        }
        for &(a, b) in &graph.edges {
            let addr = net.addr(b);
            net.tell(a, |core, now| core.add_static_peer(now, addr));
        }
        net.settle();
        for node in 0..graph.nodes {
            let degree = graph.edges.iter().filter(|(a, b)| *a == node || *b == node).count();
            assert_eq!(net.core(node).neighbours().count(), degree, "links of {node}");
        }
        net.crossings.clear();
        net
    }

    /// Settings under which a core does nothing unasked.
    pub(crate) fn still() -> Config {
        Config { links: 0, background_pings: false, ..Config::default() }
    }

    /// A core with an address of its own that listens.
    pub(crate) fn add(&mut self, config: Config, files: &[(u32, &str, Vec<u8>)]) -> usize {
        let [high, low] = u16::try_from(self.nodes.len() + 1).unwrap().to_be_bytes();
        self.add_at(SocketAddrV4::new([127, 1, high, low].into(), 6346), config, files)
    }

    pub(crate) fn add_at(
        &mut self,
        addr: SocketAddrV4,
        config: Config,
        files: &[(u32, &str, Vec<u8>)],
    ) -> usize {
        let index = self.nodes.len();
        let config = Config { advertise_port: addr.port(), ..config };
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(index as u64);
        self.nodes.push(Node::new(addr, config, files, seed, self.now));
        self.listeners.insert(addr, Listener::Core(index));
        self.drain(index);
        index
    }

    /// A core ends without a word: its connections are reset.
    pub(crate) fn kill(&mut self, index: usize) {
        self.nodes[index].alive = false;
        self.listeners.remove(&self.nodes[index].addr);
        for at in 0..self.pipes.len() {
            for side in [0, 1] {
                if self.pipes[at].ends[side].who == Who::Core(index) {
                    self.end_pipe(at, side, IoFailure::Reset);
                }
            }
        }
    }

    /// A core falls silent: its connections stand, and nothing comes of them any more.
    pub(crate) fn freeze(&mut self, index: usize) {
        self.nodes[index].alive = false;
    }

    pub(crate) fn core(&self, index: usize) -> &Servent {
        &self.nodes[index].core
    }

    pub(crate) fn addr(&self, index: usize) -> SocketAddrV4 {
        self.nodes[index].addr
    }

    /// Gives a core a command and does what it then wants done.
    pub(crate) fn tell<R>(
        &mut self,
        index: usize,
        command: impl FnOnce(&mut Servent, Instant) -> R,
    ) -> R {
        let answer = command(&mut self.nodes[index].core, self.now);
        self.drain(index);
        answer
    }

    /// Takes what a core has reported so far.
    pub(crate) fn events(&mut self, index: usize) -> Vec<Event> {
        std::mem::take(&mut self.nodes[index].events)
    }

    /// Takes what a core has seen so far, if it is observed.
    pub(crate) fn observations(&mut self, index: usize) -> Vec<Observation> {
        std::mem::take(&mut self.nodes[index].observations)
    }

    /// The finished downloads of a core.
    pub(crate) fn downloads(&self, index: usize) -> &[Vec<u8>] {
        &self.nodes[index].downloaded
    }

    /// The nodes a core has links to, in order.
    pub(crate) fn neighbours(&self, index: usize) -> Vec<usize> {
        let other = |conn| {
            let &(pipe, side) = &self.by_conn[&(index, conn)];
            match self.pipes[pipe].ends[1 - side].who {
                Who::Core(other) => Some(other),
                Who::Raw(_) => None,
            }
        };
        let mut found: Vec<_> =
            self.core(index).neighbours().filter_map(|n| other(n.conn)).collect();
        found.sort_unstable();
        found
    }

    /// One number for everything that crossed, when and where.
    pub(crate) fn trace(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.crossings.hash(&mut hasher);
        hasher.finish()
    }

    /// Lets everything under way arrive, and what follows from it, but no later timer run out.
    pub(crate) fn settle(&mut self) {
        while !self.in_flight.is_empty() || self.wakes.first().is_some_and(|w| w.0 <= self.now) {
            self.step();
        }
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now + duration;
        while self.next_time().is_some_and(|at| at <= end) {
            self.step();
        }
        self.now = end;
    }

    fn next_time(&self) -> Option<Instant> {
        let arrival = self.in_flight.first_key_value().map(|(&(at, _), _)| at);
        let wake = self.wakes.first().map(|&(at, _)| at);
        arrival.into_iter().chain(wake).min()
    }

    pub(crate) fn step(&mut self) {
        self.steps += 1;
        assert!(self.steps <= MAX_STEPS, "the network does not come to rest, seed {}", self.seed);
        let Some(at) = self.next_time() else { return };
        self.now = self.now.max(at);
        if self.in_flight.first_key_value().is_some_and(|(key, _)| key.0 == at) {
            let (_, what) = self.in_flight.pop_first().unwrap();
            return self.arrive(what);
        }
        let (_, index) = self.wakes.pop_first().unwrap();
        let node = &mut self.nodes[index];
        if node.alive {
            if node.core.poll_timeout().is_some_and(|(at, _)| at <= self.now) {
                node.core.handle_timeout(self.now);
            }
            self.drain(index);
        }
    }

    fn send_off(&mut self, what: InFlight) {
        self.sequence += 1;
        self.in_flight.insert((self.now + LATENCY, self.sequence), what);
    }

    fn arrive(&mut self, what: InFlight) {
        match what {
            InFlight::Dial { core, conn, addr } => self.connect(core, conn, addr),
            InFlight::Bytes { pipe, from, bytes } => self.deliver(pipe, from, bytes),
            InFlight::Fin { pipe, from, failure } => {
                let end = &self.pipes[pipe].ends[1 - from];
                match (end.who, end.conn) {
                    (Who::Core(index), Some(conn)) if end.open => {
                        self.nodes[index].core.handle_closed(self.now, conn, failure);
                        self.drain(index);
                    }
                    (Who::Raw(peer), _) => self.raw[peer.0].closed = true,
                    _ => {}
                }
            }
        }
    }

    fn connect(&mut self, core: usize, conn: ConnId, addr: SocketAddrV4) {
        let local = self.ephemeral(self.local_ip.unwrap_or(*self.addr(core).ip()));
        let dialler = End::new(Who::Core(core), Some(conn));
        let accepted = match self.listeners.get(&addr) {
            Some(&Listener::Core(other)) => {
                let node = &mut self.nodes[other].core;
                let accepted = node.handle_accepted(self.now, local, addr);
                accepted.map(|conn| End::new(Who::Core(other), Some(conn)))
            }
            Some(Listener::Raw(_)) => Some(End::new(Who::Raw(Peer(self.raw.len())), None)),
            Some(Listener::Silent) => return,
            None => {
                self.nodes[core].core.handle_closed(self.now, conn, IoFailure::Refused);
                return self.drain(core);
            }
        };
        let Some(accepted) = accepted else {
            self.nodes[core].core.handle_closed(self.now, conn, IoFailure::Reset);
            return self.drain(core);
        };
        let other = accepted.who;
        let pipe = self.lay_pipe(dialler, accepted);
        if let Who::Raw(peer) = other {
            self.add_raw(pipe, 1);
            if let Some(Listener::Raw(waiting)) = self.listeners.get_mut(&addr) {
                waiting.push_back(peer);
            }
        }
        self.nodes[core].core.handle_connected(self.now, conn, local);
        self.drain(core);
        if let Who::Core(other) = other {
            self.drain(other);
        }
    }

    fn lay_pipe(&mut self, dialler: End, accepted: End) -> usize {
        let pipe = self.pipes.len();
        for (side, end) in [&dialler, &accepted].into_iter().enumerate() {
            if let (Who::Core(index), Some(conn)) = (end.who, end.conn) {
                self.by_conn.insert((index, conn), (pipe, side));
            }
        }
        self.pipes.push(Pipe { ends: [dialler, accepted] });
        pipe
    }

    /// 16 bytes nobody else uses.
    pub(crate) fn fresh_id(&mut self) -> [u8; 16] {
        self.rng.bytes16()
    }

    fn ephemeral(&self, ip: Ipv4Addr) -> SocketAddrV4 {
        SocketAddrV4::new(ip, u16::try_from(30_000 + self.pipes.len() % 30_000).unwrap())
    }

    fn deliver(&mut self, pipe: usize, from: usize, bytes: Vec<u8>) {
        let end = &mut self.pipes[pipe].ends[1 - from];
        let (who, conn) = (end.who, end.conn);
        match who {
            Who::Raw(peer) => {
                let raw = &mut self.raw[peer.0];
                if raw.reading {
                    raw.received.extend_from_slice(&bytes);
                    self.taken(pipe, from, &bytes);
                } else {
                    raw.unread.push_back(bytes);
                }
            }
            Who::Core(index) => {
                if end.open && self.nodes[index].alive {
                    for piece in pieces(&bytes, self.split_oddly.then_some(&mut self.rng)) {
                        self.nodes[index].core.handle_bytes(self.now, conn.unwrap(), piece);
                    }
                    self.taken(pipe, from, &bytes);
                    self.drain(index);
                }
            }
        }
    }

    /// The reader took bytes: they are on the tap, and the writer may go on.
    fn taken(&mut self, pipe: usize, from: usize, bytes: &[u8]) {
        let to = self.pipes[pipe].ends[1 - from].who;
        let at = self.now;
        let end = &mut self.pipes[pipe].ends[from];
        let crossed = end.tap.feed(bytes).into_iter();
        self.crossings.extend(crossed.map(|descriptor| Crossing {
            at,
            from: end.who,
            to,
            descriptor,
        }));
        end.backlog -= bytes.len();
        if let (true, Who::Core(index), Some(conn), true) =
            (end.blocked, end.who, end.conn, end.open)
        {
            end.blocked = false;
            self.nodes[index].core.handle_writable(conn);
            self.drain(index);
        }
    }

    /// Does all a core wants done: one turn of its loop.
    pub(super) fn drain(&mut self, index: usize) {
        self.turn += 1;
        self.nodes[index].core.start_turn();
        loop {
            while let Some(output) = self.nodes[index].core.poll_output() {
                self.carry_out(index, output);
            }
            if !self.transmit(index) {
                break;
            }
        }
        let node = &mut self.nodes[index];
        node.observations.extend(std::iter::from_fn(|| node.core.poll_observation()));
        let core = &self.nodes[index].core;
        let next = core.poll_timeout().map(|(at, _)| at.max(self.now));
        let at = if core.has_bulk_ready() { Some(self.now) } else { next };
        self.wakes.extend(at.map(|at| (at, index)));
    }

    fn carry_out(&mut self, index: usize, output: Output) {
        match output {
            Output::Connect { conn, addr } => {
                self.dials.push(Dial { at: self.now, core: index, addr });
                if self.offline {
                    let failure = IoFailure::Local("no network".to_owned());
                    return self.nodes[index].core.handle_closed(self.now, conn, failure);
                }
                self.send_off(InFlight::Dial { core: index, conn, addr });
            }
            Output::Close { conn } => {
                if let Some((pipe, side)) = self.by_conn.remove(&(index, conn)) {
                    self.end_pipe(pipe, side, IoFailure::Eof);
                }
            }
            Output::File { file, op } => self.nodes[index].do_file_op(self.now, file, op),
            Output::Event(event) => self.nodes[index].events.push(event),
        }
    }

    /// Moves one chunk from a core into a pipe. False if it has none.
    fn transmit(&mut self, index: usize) -> bool {
        let (core, files) = self.nodes[index].split();
        let Some((conn, chunk)) = core.poll_transmit(self.now) else { return false };
        let (pipe, side) = self.by_conn[&(index, conn)];
        let end = &mut self.pipes[pipe].ends[side];
        let room = end.room();
        let bytes = match chunk {
            TxChunk::Bytes(bytes) => bytes[..bytes.len().min(room)].to_vec(),
            TxChunk::File { file, offset, len } => {
                let bytes = node::read_shared(&files, file, offset, len.min(room));
                self.upload_steps.push(UploadStep { turn: self.turn, conn, bytes: bytes.len() });
                bytes
            }
        };
        end.backlog += bytes.len();
        end.blocked = bytes.is_empty();
        core.sent(self.now, conn, bytes.len());
        if !bytes.is_empty() {
            self.send_off(InFlight::Bytes { pipe, from: side, bytes });
        }
        true
    }

    fn end_pipe(&mut self, pipe: usize, side: usize, failure: IoFailure) {
        if std::mem::replace(&mut self.pipes[pipe].ends[side].open, false) {
            self.send_off(InFlight::Fin { pipe, from: side, failure });
        }
    }
}

/// The scripted side.
impl Net {
    /// Opens a TCP connection to a core, from an address of its own.
    pub(crate) fn dial(&mut self, index: usize) -> Peer {
        let number = u8::try_from(self.raw.len() % 250 + 1).unwrap();
        self.dial_from(Ipv4Addr::from([127, 9, 0, number]), index)
    }

    pub(crate) fn dial_from(&mut self, ip: Ipv4Addr, index: usize) -> Peer {
        let peer = Peer(self.raw.len());
        let (remote, local) = (self.ephemeral(ip), self.addr(index));
        let conn = self.nodes[index].core.handle_accepted(self.now, remote, local);
        let end = End::new(Who::Core(index), conn);
        let pipe = self.lay_pipe(End::new(Who::Raw(peer), None), end);
        self.add_raw(pipe, 0);
        self.raw[peer.0].closed = conn.is_none();
        self.drain(index);
        peer
    }

    fn add_raw(&mut self, pipe: usize, side: usize) {
        let (received, unread) = (Vec::new(), VecDeque::new());
        self.raw.push(RawPeer { pipe, side, received, unread, reading: true, closed: false });
    }

    /// Listens with a script instead of a core.
    pub(crate) fn listen(&mut self, addr: SocketAddrV4) {
        self.listeners.insert(addr, Listener::Raw(VecDeque::new()));
    }

    /// Lets connects to `addr` go unanswered, as a firewall does.
    pub(crate) fn swallow(&mut self, addr: SocketAddrV4) {
        self.listeners.insert(addr, Listener::Silent);
    }

    /// What a core finds when its next download goes on with a partial file.
    pub(crate) fn keep_partial(&mut self, index: usize, bytes: &[u8]) {
        self.nodes[index].kept = bytes.to_vec();
    }

    /// The next connection to a scripted listener.
    pub(crate) fn accept(&mut self, addr: SocketAddrV4) -> Option<Peer> {
        match self.listeners.get_mut(&addr) {
            Some(Listener::Raw(waiting)) => waiting.pop_front(),
            _ => None,
        }
    }

    /// Bytes leave a scripted peer; they are there after [`Net::settle`].
    pub(crate) fn write(&mut self, peer: Peer, bytes: &[u8]) {
        let RawPeer { pipe, side, .. } = self.raw[peer.0];
        self.pipes[pipe].ends[side].backlog += bytes.len();
        self.send_off(InFlight::Bytes { pipe, from: side, bytes: bytes.to_vec() });
    }

    /// Takes all bytes a scripted peer has received.
    pub(crate) fn take_received(&mut self, peer: Peer) -> Vec<u8> {
        std::mem::take(&mut self.raw[peer.0].received)
    }

    /// Closes the sending side; what the core still says is received.
    pub(crate) fn hang_up(&mut self, peer: Peer) {
        let RawPeer { pipe, side, .. } = self.raw[peer.0];
        self.end_pipe(pipe, side, IoFailure::Eof);
    }

    /// The core sees the connection end at once, and nothing else happens: for tens of thousands.
    pub(crate) fn drop_peer(&mut self, peer: Peer) {
        let RawPeer { pipe, side, .. } = self.raw[peer.0];
        let end = &mut self.pipes[pipe].ends[1 - side];
        let (Who::Core(index), Some(conn)) = (end.who, end.conn) else { return };
        end.open = false;
        self.by_conn.remove(&(index, conn));
        self.nodes[index].core.handle_closed(self.now, conn, IoFailure::Reset);
        while self.nodes[index].core.poll_output().is_some() {}
    }

    /// Closes the whole connection.
    pub(crate) fn reset(&mut self, peer: Peer) {
        let RawPeer { pipe, side, .. } = self.raw[peer.0];
        self.end_pipe(pipe, side, IoFailure::Reset);
    }

    pub(crate) fn stop_reading(&mut self, peer: Peer) {
        self.raw[peer.0].reading = false;
    }

    pub(crate) fn read_again(&mut self, peer: Peer) {
        let raw = &mut self.raw[peer.0];
        raw.reading = true;
        let (pipe, from) = (raw.pipe, 1 - raw.side);
        while let Some(bytes) = self.raw[peer.0].unread.pop_front() {
            self.deliver(pipe, from, bytes);
        }
    }

    /// Files a core holds open for upload.
    pub(crate) fn open_uploads(&self, index: usize) -> usize {
        self.nodes[index].open_shared()
    }
}

/// The bytes as they came, or cut at random.
fn pieces<'a>(bytes: &'a [u8], rng: Option<&mut Rng>) -> Vec<&'a [u8]> {
    let Some(rng) = rng else { return vec![bytes] };
    let (mut rest, mut pieces) = (bytes, Vec::new());
    while !rest.is_empty() {
        let bound = [1, 3, 24, 100, 1_000][rng.below(5)];
        let (piece, behind) = rest.split_at((rng.below(bound) + 1).min(rest.len()));
        pieces.push(piece);
        rest = behind;
    }
    pieces
}
