//! The run itself: nodes, the wires between them, and what happens next.

use super::books::Gone;
use super::event_queue::EventQueue;
use super::faults::Fault;
use super::link::{Carriage, End, Wire};
use super::neighbours::Neighbours;
use super::oracle::{QueryWatch, Seen, Violation, index};
use super::parcels::{Parcels, Piece};
use super::report::Report;
use super::shares::Shares;
use crate::config::{Config, Limits, Scope};
use crate::library::Library;
use crate::plan::topology::Graph;
use crate::plan::trace::Trace;
use crate::plan::{Faults, Plan};
use crate::rng::Rng;
use crate::servent::{ConnId, Event, IoFailure, Output, Servent, TxChunk};
use crate::time::Instant;
use crate::wire::{Guid, ServentId};
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

const PORT: u16 = 6346;
/// Where nothing fails, a search that has not died down by then is left alone.
pub(super) const PATIENCE: Duration = Duration::from_secs(3_600);

/// One virtual servent.
pub(super) struct Node {
    pub(super) core: Servent,
    library: Arc<Library>,
    /// By the index of the connection id.
    pub(super) sockets: Vec<Option<(ConnId, End)>>,
    /// The earliest wake-up scheduled.
    wakes_at: Instant,
    pub(super) state: State,
    /// It reads nothing.
    pub(super) stalled: bool,
    /// How often it has started.
    pub(super) life: u32,
    /// It is among those to look at when bounds are checked.
    pub(super) busy: bool,
}

/// Whether a node is there.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Up,
    /// The program is gone, its machine says so to whoever asks.
    Down,
    /// The machine is gone too.
    Dark,
}

/// What is scheduled.
pub(super) enum What {
    /// The dial reaches this end.
    Accept(End),
    /// The acceptance reaches this end, which dialled.
    Connected(End),
    /// The next parcel for this end reaches it.
    Arrive(End),
    /// This end hears that the other has read.
    Writable(End),
    /// This end hears that the wire is no more.
    Closed(End, IoFailure),
    /// A node's timer.
    Wake { node: u32 },
    /// Something goes wrong, or right again.
    Fault(Fault),
}

pub(super) struct Network<'a> {
    pub(super) graph: &'a Graph,
    pub(super) neighbours: Neighbours,
    pub(super) config: Arc<Config>,
    pub(super) nodes: Vec<Node>,
    /// Those that did something since bounds were checked.
    pub(super) busy: Vec<u32>,
    pub(super) wires: Vec<Wire>,
    pub(super) parcels: Parcels,
    pub(super) queue: EventQueue<What>,
    /// Things under way between nodes.
    moving: usize,
    pub(super) now: Instant,
    pub(super) rng: Rng,
    latency: Option<Duration>,
    carriage: Carriage,
    pub(super) faults: &'a Faults,
    /// All links have stood; faults may happen from now on.
    pub(super) armed: bool,
    /// The side of each node, while the network is parted.
    pub(super) sides: Option<Vec<bool>>,
    pub(super) injected: BTreeMap<&'static str, u64>,
    pub(super) gone: Gone,
    pub(super) trace: SipHasher13,
    pub(super) watch: Option<(Guid, QueryWatch)>,
    /// Rules are checked.
    pub(super) oracles: bool,
    /// The search being written down, and when it began.
    pub(super) written: Option<(Instant, Trace)>,
    /// When nodes may begin to forget the watched GUID, and to take its copies for new ones.
    pub(super) watched_until: Instant,
    /// The watched search lasted until then.
    pub(super) faded: Option<(Guid, QueryWatch)>,
    /// What the watch of the search before took its notes on, for the next.
    pub(super) slate: Vec<Seen>,
    pub(super) hits: u64,
    pub(super) bytes: u64,
    pub(super) descriptors: u64,
    /// Copies on wires that broke, or for sockets that were gone.
    pub(super) lost: u64,
    /// Of these, how many arrived in one piece with what ended the link.
    pub(super) untaken: u64,
}

/// Runs a plan over its graph. `progress` is told how many searches are done: 0 when all links
/// stand, then after each.
///
/// # Errors
/// The first rule of the protocol that did not hold.
pub fn simulate(
    plan: &Plan,
    graph: &Graph,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, Violation> {
    simulate_with(plan, graph, progress, Attention::default())
}

/// How closely a run is watched. What happens in it is the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attention {
    /// What the first search does is written down.
    pub traced: bool,
    /// Oracles check the rules of the protocol.
    pub oracles: bool,
}

impl Default for Attention {
    fn default() -> Attention {
        Attention { traced: false, oracles: true }
    }
}

/// Like [`simulate`], watched in another way.
///
/// # Errors
/// See [`simulate`]. There are none without oracles.
pub fn simulate_with(
    plan: &Plan,
    graph: &Graph,
    progress: &mut dyn FnMut(usize),
    Attention { traced, oracles }: Attention,
) -> Result<Report, Violation> {
    let mut network = Network::start(plan, graph, !plan.faults.is_none())?;
    network.oracles = oracles;
    network.check_busy().map_err(|violation| violation.at(network.now))?;
    progress(0);
    let (mut queries, mut trace) = (Vec::new(), None);
    for done in 0..plan.queries {
        if traced && done == 0 {
            network.written = Some((network.now, Trace::default()));
        }
        queries.push(network.search(plan)?);
        trace = trace.or(network.written.take().map(|(_, trace)| trace));
        progress(done + 1);
    }
    network.report(plan, queries).map(|report| Report { trace, ..report })
}

impl<'a> Network<'a> {
    /// All links stand, and what the plan wants to go wrong is about to. `changing` says that
    /// something may.
    pub(super) fn start(
        plan: &'a Plan,
        graph: &'a Graph,
        changing: bool,
    ) -> Result<Network<'a>, Violation> {
        let mut network = Network::build(plan, graph, changing);
        network.link_up()?;
        if changing {
            network.arm();
        }
        Ok(network)
    }

    fn build(plan: &'a Plan, graph: &'a Graph, changing: bool) -> Network<'a> {
        let mut rng = Rng::new(plan.seed);
        let neighbours = Neighbours::new(graph);
        let degrees = (0..graph.names.len()).map(|node| neighbours.degree(node));
        let config = Arc::new(config(changing, degrees.max().unwrap_or(0)));
        let shares = Shares::new(plan);
        let node = |name: &String| {
            let mut rng = rng.fork();
            let library = shares.library(name, &mut rng);
            let identity = ServentId::from_random(rng.bytes16());
            let (config, shared) = (Arc::clone(&config), Arc::clone(&library));
            Node {
                core: Servent::new(config, shared, identity, rng.next_u64(), Instant::ZERO),
                library,
                sockets: Vec::new(),
                wakes_at: Instant::FAR_FUTURE,
                state: State::Up,
                stalled: false,
                life: 0,
                busy: false,
            }
        };
        let nodes = graph.names.iter().map(node).collect();
        Network {
            graph,
            neighbours,
            config,
            nodes,
            busy: Vec::new(),
            wires: Vec::with_capacity(graph.edges.len()),
            parcels: Parcels::default(),
            queue: EventQueue::new(),
            moving: 0,
            now: Instant::ZERO,
            rng,
            latency: plan.latency,
            carriage: Carriage {
                bandwidth: plan.bandwidth,
                window: plan.window_bytes(),
                split: plan.split,
            },
            faults: &plan.faults,
            armed: false,
            sides: None,
            injected: BTreeMap::new(),
            gone: Gone::default(),
            trace: SipHasher13::new_with_keys(0, 0),
            watch: None,
            oracles: true,
            written: None,
            watched_until: Instant::FAR_FUTURE,
            faded: None,
            slate: Vec::new(),
            hits: 0,
            bytes: 0,
            descriptors: 0,
            lost: 0,
            untaken: 0,
        }
    }

    fn link_up(&mut self) -> Result<(), Violation> {
        for node in 0..self.nodes.len() {
            self.keep_links(node);
        }
        self.run(self.now, self.now + PATIENCE)
    }

    fn keep_links(&mut self, node: usize) {
        let now = self.now;
        for other in self.neighbours.kept_by(node) {
            self.nodes[node].core.add_static_peer(now, addr_of(other));
        }
        self.nodes[node].core.handle_timeout(now);
        self.drain(node);
    }

    /// Runs until `min`, and then on until nothing is under way, or `max`.
    pub(super) fn run(&mut self, min: Instant, max: Instant) -> Result<(), Violation> {
        let mut fetched = 0;
        while let Some(at) = self.queue.next_at() {
            if at > max || (at > min && self.moving == 0) {
                break;
            }
            if fetched == 0 {
                fetched = self.fetch_ahead();
            }
            fetched -= 1;
            let Some((at, what)) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            self.happen(what).map_err(|violation| violation.at(self.now))?;
        }
        self.now = self.now.max(if self.moving == 0 { min } else { max });
        Ok(())
    }

    /// Schedules what passes between nodes.
    pub(super) fn travel(&mut self, at: Instant, what: What) {
        self.moving += 1;
        self.queue.schedule(at, what);
    }

    fn happen(&mut self, what: What) -> Result<(), Violation> {
        let now = self.now;
        if now >= self.watched_until && self.watch.is_some() {
            self.faded = self.watch.take();
        }
        if !matches!(what, What::Wake { .. } | What::Fault(_)) {
            self.moving -= 1;
        }
        match what {
            What::Accept(end) => self.accept(end.wire()),
            What::Connected(end) => {
                let wire = &self.wires[end.wire()];
                let node = wire.node(0);
                if let Some(conn) = wire.conns[0] {
                    self.nodes[node].core.handle_connected(now, conn, addr_of(node));
                    self.drain(node);
                }
            }
            What::Arrive(at) => {
                self.wires[at.wire()].lanes[1 - at.end()].arrive();
                self.read(at.wire(), at.end())?;
            }
            What::Writable(at) => {
                let wire = &self.wires[at.wire()];
                let node = wire.node(at.end());
                if let Some(conn) = wire.conns[at.end()] {
                    self.nodes[node].core.handle_writable(conn);
                    self.drain(node);
                }
            }
            What::Closed(at, failure) => self.closed(at.wire(), at.end(), failure),
            What::Wake { node } => {
                let node = node as usize;
                let it = &mut self.nodes[node];
                if it.state == State::Up && it.wakes_at <= now {
                    it.wakes_at = Instant::FAR_FUTURE;
                    it.core.handle_timeout(now);
                    self.drain(node);
                }
            }
            What::Fault(fault) => self.fault(fault)?,
        }
        Ok(())
    }

    fn accept(&mut self, wire: usize) {
        let it = &self.wires[wire];
        let (from, to, latency, now) = (it.node(0), it.node(1), it.latency(), self.now);
        if it.dead || self.nodes[to].state == State::Dark || self.crosses(wire) {
            return;
        }
        let accepted = match self.nodes[to].state {
            State::Up => self.nodes[to].core.handle_accepted(now, addr_of(from), addr_of(to)),
            _ => None,
        };
        match accepted {
            Some(conn) => {
                self.plug(to, conn, wire, 1);
                self.drain(to);
                self.travel(now + latency, What::Connected(End::new(wire, 0)));
            }
            None => {
                let failure = IoFailure::Refused;
                self.travel(now + latency, What::Closed(End::new(wire, 0), failure));
            }
        }
    }

    fn plug(&mut self, node: usize, conn: ConnId, wire: usize, end: usize) {
        self.wires[wire].conns[end] = Some(conn);
        let sockets = &mut self.nodes[node].sockets;
        if sockets.len() <= conn.index() {
            sockets.resize(conn.index() + 1, None);
        }
        sockets[conn.index()] = Some((conn, End::new(wire, end)));
    }

    /// Does everything a node wants done.
    pub(super) fn drain(&mut self, node: usize) {
        let now = self.now;
        if !std::mem::replace(&mut self.nodes[node].busy, true) {
            self.busy.push(index(node));
        }
        self.nodes[node].core.start_turn();
        loop {
            while let Some(output) = self.nodes[node].core.poll_output() {
                self.carry_out(node, output);
            }
            let it = &mut self.nodes[node];
            let Some((conn, chunk)) = it.core.poll_transmit(now) else { break };
            let TxChunk::Bytes(bytes) = chunk else { break };
            let socket = it.sockets.get(conn.index()).copied().flatten();
            let (_, at) = socket.expect("only what is connected has something to send");
            let (wire, end) = (at.wire(), at.end());
            let room = self.wires[wire].lanes[end].room(bytes.len(), &self.carriage);
            let piece = Piece::new(&bytes[..room]);
            it.core.sent(now, conn, room);
            if room > 0 {
                self.send(wire, end, piece);
            }
        }
        if let Some((at, _)) = self.nodes[node].core.poll_timeout()
            && at < self.nodes[node].wakes_at
        {
            self.nodes[node].wakes_at = at;
            self.queue.schedule(at.max(now), What::Wake { node: index(node) });
        }
    }

    fn send(&mut self, wire: usize, end: usize, piece: Piece) {
        let (now, it) = (self.now, &mut self.wires[wire]);
        if it.dead {
            // Whoever is there, and knows nothing of the connection, says so.
            self.lost += it.taps[end].count(&piece);
            let (peer, round_trip) = (it.node(1 - end), it.latency() * 2);
            if self.nodes[peer].state != State::Dark {
                let failure = IoFailure::Reset;
                self.travel(now + round_trip, What::Closed(End::new(wire, end), failure));
            }
            return;
        }
        let (queue, moving) = (&mut self.queue, &mut self.moving);
        let (parcels, times) = (&mut self.parcels, (now, it.latency()));
        it.lanes[end].put(piece, parcels, times, &self.carriage, &mut self.rng, |at| {
            *moving += 1;
            queue.schedule(at, What::Arrive(End::new(wire, 1 - end)));
        });
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Connect { conn, addr } => self.dial(node, conn, node_of(addr)),
            Output::Close { conn } => {
                let slot = self.nodes[node].sockets.get_mut(conn.index());
                let Some((_, at)) = slot.and_then(Option::take) else { return };
                let (wire, end) = (at.wire(), at.end());
                let (now, it) = (self.now, &mut self.wires[wire]);
                if it.conns[end].take().is_some() && !it.dead {
                    let at = it.lanes[end].finish(&mut self.parcels, now, it.latency());
                    self.travel(at, What::Arrive(End::new(wire, 1 - end)));
                }
            }
            Output::Event(Event::Hit { search, .. }) => {
                let watched = self.watch.as_ref().is_some_and(|(guid, _)| *guid == search);
                self.hits += u64::from(watched);
            }
            Output::Event(_) | Output::File { .. } => {}
        }
    }

    fn dial(&mut self, node: usize, conn: ConnId, to: usize) {
        let latency = self.latency.unwrap_or_else(|| {
            Duration::from_millis(10) + Duration::from_micros(self.rng.next_u64() % 90_000)
        });
        self.wires.push(Wire::new([node, to], latency));
        let wire = self.wires.len() - 1;
        self.plug(node, conn, wire, 0);
        if !self.armed || self.dial_succeeds(wire) {
            self.travel(self.now + latency, What::Accept(End::new(wire, 1)));
        }
    }

    /// It is back, knows who it is and whom to dial, and nothing else.
    pub(super) fn revive(&mut self, node: usize) {
        let (now, seed) = (self.now, self.rng.next_u64());
        let it = &mut self.nodes[node];
        let (config, library) = (Arc::clone(&self.config), Arc::clone(&it.library));
        it.core = Servent::new(config, library, it.core.identity(), seed, now);
        it.wakes_at = Instant::FAR_FUTURE;
        it.state = State::Up;
        it.life += 1;
        self.keep_links(node);
    }
}

fn config(changing: bool, max_degree: usize) -> Config {
    let limits = Limits { max_connections: 65_535, ..Limits::default() };
    let usual = Config {
        links: 0,
        max_links: max_degree,
        scope: Scope::Private,
        background_pings: false,
        advertise_port: PORT,
        ttl: 15,
        limits,
        ..Config::default()
    };
    if !changing {
        // Signs of life would only blur the counts; links do not die silently here.
        let limits = Limits {
            keepalive_after: Duration::from_secs(1 << 30),
            link_timeout: Duration::from_secs(1 << 31),
            stall_timeout: Duration::from_secs(1 << 31),
            ..usual.limits
        };
        return Config { limits, ..usual };
    }
    // Links that one side holds for standing take room for a while.
    Config { max_links: 2 * max_degree + 8, ..usual }
}

fn addr_of(node: usize) -> SocketAddrV4 {
    let ip = u32::from(Ipv4Addr::new(10, 0, 0, 1)) + u32::try_from(node).unwrap_or(0);
    SocketAddrV4::new(ip.into(), PORT)
}

fn node_of(addr: SocketAddrV4) -> usize {
    (u32::from(*addr.ip()) - u32::from(Ipv4Addr::new(10, 0, 0, 1))) as usize
}
