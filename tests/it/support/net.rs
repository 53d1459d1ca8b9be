//! Networks of servents in memory, in the words of the tests: a thin layer over [`servent::net`]
//! with equal latency on every link, and a note of every descriptor and dial.

use super::descriptor::{Descriptor, take_descriptors};
use super::graph::Graph;
use super::node::{TestNode, UploadStep, shared_files};
use servent::config::Config;
use servent::net::{self, Dial, DialFate, Holder, LinkParams, Observer, Peer};
use servent::rng::Rng;
use servent::servent::{Event, Observation, Servent};
use servent::time::Instant;
use servent::wire::HandshakeEnd;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::ops::{Deref, DerefMut};
use std::time::Duration;

/// How long bytes, connects and closes take from end to end.
pub(crate) const LATENCY: Duration = Duration::from_millis(1);

/// Bytes one direction of a link holds before its reader has taken them.
const WINDOW_BYTES: usize = 64 * 1024;

/// A test that needs more steps than this does not end by itself.
const MAX_STEPS: usize = 1_000_000;

/// Where the first node listens.
const FIRST_ADDR: SocketAddrV4 = SocketAddrV4::new(Ipv4Addr::new(127, 1, 0, 1), 6346);

/// A descriptor that arrived somewhere.
#[derive(Clone, Debug, Hash)]
pub(crate) struct Crossing {
    pub(crate) at: Instant,
    pub(crate) from: Holder,
    pub(crate) to: Holder,
    pub(crate) descriptor: Descriptor,
}

/// What is noted of a network.
#[derive(Default)]
pub(crate) struct Notes {
    pub(crate) crossings: Vec<Crossing>,
    pub(crate) dials: Vec<Dial>,
    /// The machine of every servent refuses to connect.
    pub(crate) offline: bool,
}

impl Observer<TestNode> for Notes {
    fn dialled(&mut self, dial: &Dial, _rng: &mut Rng) -> DialFate {
        self.dials.push(*dial);
        if self.offline { DialFate::Offline } else { DialFate::Arrives }
    }

    fn crossed(&mut self, crossing: &net::Crossing<'_>) {
        let &net::Crossing { at, from, to, raw, .. } = crossing;
        // Read by hand: a second opinion on what `servent::wire` makes of the bytes.
        let mut read = take_descriptors(&mut raw.frame().to_vec()).expect("a descriptor");
        self.crossings.push(Crossing { at, from, to, descriptor: read.remove(0) });
    }
}

/// See the module documentation.
pub(crate) struct Net {
    engine: net::Net<TestNode, Notes>,
    nodes: usize,
    seed: u64,
    steps: usize,
}

impl Deref for Net {
    type Target = net::Net<TestNode, Notes>;

    fn deref(&self) -> &net::Net<TestNode, Notes> {
        &self.engine
    }
}

impl DerefMut for Net {
    fn deref_mut(&mut self) -> &mut net::Net<TestNode, Notes> {
        &mut self.engine
    }
}

impl Net {
    /// An empty network. A failing test shows the seed.
    pub(crate) fn new(seed: u64) -> Net {
        println!("seed {seed}");
        let params = LinkParams { window: Some(WINDOW_BYTES), ..LinkParams::even(LATENCY) };
        let engine = net::Net::new(FIRST_ADDR, params, Rng::new(seed), Notes::default());
        Net { engine, nodes: 0, seed, steps: 0 }
    }

    /// A servent per node, a link per edge, all up, without background Pings.
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
        net.observer.crossings.clear();
        net
    }

    /// Settings under which a servent does nothing unasked.
    pub(crate) fn still() -> Config {
        Config { links: 0, background_pings: false, ..Config::default() }
    }

    /// A servent with an address of its own that listens.
    pub(crate) fn add(&mut self, config: Config, files: &[(u32, &str, Vec<u8>)]) -> usize {
        let node = self.start(FIRST_ADDR.port(), config, files);
        let index = self.engine.add(node);
        self.turn(index);
        index
    }

    pub(crate) fn add_at(
        &mut self,
        addr: SocketAddrV4,
        config: Config,
        files: &[(u32, &str, Vec<u8>)],
    ) -> usize {
        let node = self.start(addr.port(), config, files);
        let index = self.engine.add_at(addr, node);
        self.turn(index);
        index
    }

    fn start(&mut self, port: u16, config: Config, files: &[(u32, &str, Vec<u8>)]) -> TestNode {
        let config = Config { advertise_port: port, ..config };
        let seed = self.seed.wrapping_mul(1_000_003).wrapping_add(self.nodes as u64);
        self.nodes += 1;
        TestNode::new(config, files, seed, self.now())
    }

    /// A servent ends without a word: its connections are reset.
    pub(crate) fn kill(&mut self, index: usize) {
        self.crash(index, false);
    }

    pub(crate) fn core(&self, index: usize) -> &Servent {
        &self.node(index).core
    }

    pub(crate) fn addr(&self, index: usize) -> SocketAddrV4 {
        self.addr_of(index)
    }

    /// Gives a servent a command and does what it then wants done.
    pub(crate) fn tell<R>(
        &mut self,
        index: usize,
        command: impl FnOnce(&mut Servent, Instant) -> R,
    ) -> R {
        let now = self.now();
        let answer = command(&mut self.node_mut(index).core, now);
        self.turn(index);
        answer
    }

    /// Takes what a servent has reported so far.
    pub(crate) fn events(&mut self, index: usize) -> Vec<Event> {
        std::mem::take(&mut self.node_mut(index).events)
    }

    /// Takes what a servent has seen so far, if it is observed.
    pub(crate) fn observations(&mut self, index: usize) -> Vec<Observation> {
        std::mem::take(&mut self.node_mut(index).observations)
    }

    /// The finished downloads of a servent.
    pub(crate) fn downloads(&self, index: usize) -> &[Vec<u8>] {
        &self.node(index).disk.downloaded
    }

    /// The steps of uploads that a servent took.
    pub(crate) fn upload_steps(&self, index: usize) -> &[UploadStep] {
        &self.node(index).upload_steps
    }

    /// Files a servent holds open for upload.
    pub(crate) fn open_uploads(&self, index: usize) -> usize {
        self.node(index).disk.open_shared()
    }

    /// What a servent finds when its next download goes on with a partial file.
    pub(crate) fn keep_partial(&mut self, index: usize, bytes: &[u8]) {
        self.node_mut(index).disk.kept = bytes.to_vec();
    }

    /// The nodes a servent has links to, in order.
    pub(crate) fn neighbours(&self, index: usize) -> Vec<usize> {
        let links = self.core(index).neighbours();
        let mut found: Vec<_> = links
            .filter_map(|link| match self.other_end(index, link.conn) {
                Some(Holder::Node(other)) => Some(other),
                _ => None,
            })
            .collect();
        found.sort_unstable();
        found
    }

    /// One number for everything that crossed, when and where.
    pub(crate) fn trace(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.observer.crossings.hash(&mut hasher);
        hasher.finish()
    }

    /// Lets everything under way arrive, and what follows from it, but no later timer run out.
    pub(crate) fn settle(&mut self) {
        while self.is_moving() || self.next_at().is_some_and(|at| at <= self.now()) {
            self.step();
        }
    }

    /// Lets time pass.
    pub(crate) fn run_for(&mut self, duration: Duration) {
        let end = self.now() + duration;
        while self.next_at().is_some_and(|at| at <= end) {
            self.step();
        }
        self.engine.run(end, end);
    }

    pub(crate) fn step(&mut self) {
        self.steps += 1;
        assert!(self.steps <= MAX_STEPS, "the network does not come to rest, seed {}", self.seed);
        self.engine.step();
    }

    /// 16 bytes that no other caller gets.
    pub(crate) fn fresh_id(&mut self) -> [u8; 16] {
        self.rng.bytes16()
    }

    /// Opens a TCP connection to a servent, from an address of its own.
    pub(crate) fn dial(&mut self, index: usize) -> Peer {
        let number = u8::try_from(self.peers() % 250 + 1).unwrap();
        self.dial_from(Ipv4Addr::from([127, 9, 0, number]), index)
    }

    /// The next connection to a scripted listener.
    pub(crate) fn accept(&mut self, addr: SocketAddrV4) -> Option<Peer> {
        self.accept_from(addr)
    }

    /// Takes all bytes a scripted peer has received.
    pub(crate) fn take_received(&mut self, peer: Peer) -> Vec<u8> {
        std::mem::take(self.received(peer))
    }

    /// Takes the handshake off the front of what a scripted peer has received.
    #[track_caller]
    pub(crate) fn skip_handshake(&mut self, peer: Peer) {
        let received = self.take_received(peer);
        let mut handshake = HandshakeEnd::default();
        *self.received(peer) = handshake.skip(&received).to_vec();
        assert!(handshake.is_link(), "the servent does not take a link");
    }

    /// The servent sees the connection end at once, and nothing else happens.
    pub(crate) fn drop_peer(&mut self, peer: Peer) {
        self.sever(peer);
    }

    /// Closes the whole connection.
    pub(crate) fn reset(&mut self, peer: Peer) {
        self.abort(peer);
    }

    pub(crate) fn stop_reading(&mut self, peer: Peer) {
        self.set_reading(peer, false);
    }

    pub(crate) fn read_again(&mut self, peer: Peer) {
        self.set_reading(peer, true);
    }
}
