//! The network between the servents: links that behave like TCP connections, and the run itself.

use super::event_queue::EventQueue;
use super::oracle::{QueryWatch, Rule, Violation};
use super::plan::Plan;
use super::report::{QueryReport, Report};
use super::topology::{Graph, unit};
use super::trace::{Step, Trace};
use crate::config::{Config, Limits, Scope};
use crate::library::{Library, LibraryBuilder};
use crate::rng::Rng;
use crate::servent::{ConnId, Event, IoFailure, Output, Servent, TxChunk};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::wire::handshake::{CONNECT, OK};
use crate::wire::{Deframer, Guid, Header, Kind, ServentId};
use siphasher::sip::SipHasher13;
use std::collections::BTreeMap;
use std::hash::Hasher;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

const PORT: u16 = 6346;
/// Words of the catalogue files are named from.
const WORDS: usize = 2_000;
/// Different files in all; the first is the most popular (Zipf with exponent 1).
const CATALOGUE: usize = 5_000;
/// A search is over when nothing has moved for this long.
const REST: Duration = Duration::from_secs(1);

/// One virtual servent.
struct Node {
    core: Servent,
    /// By the index of the connection id: its wire, and which end of it.
    sockets: Vec<Option<(ConnId, usize, usize)>>,
    /// The earliest wake-up scheduled.
    wakes_at: Instant,
}

/// A link in the making or standing; end 0 dialled.
struct Wire {
    nodes: [usize; 2],
    conns: [Option<ConnId>; 2],
    latency: Duration,
    /// What each end has sent so far, cut into descriptors; fed as it arrives at the other.
    taps: [Tap; 2],
}

#[derive(Default)]
struct Tap {
    hello_left: usize,
    deframer: Deframer,
}

enum What {
    /// The dial reaches the other side.
    Accept { wire: usize },
    /// The acceptance reaches the dialling side.
    Connected { wire: usize },
    /// Bytes reach this end.
    Bytes { wire: usize, end: usize, bytes: Vec<u8> },
    /// The end of the stream reaches this end.
    Closed { wire: usize, end: usize },
    /// A node's timer.
    Wake { node: usize },
}

struct Network<'a> {
    graph: &'a Graph,
    degrees: Vec<usize>,
    nodes: Vec<Node>,
    wires: Vec<Wire>,
    queue: EventQueue<What>,
    now: Instant,
    rng: Rng,
    latency: Option<Duration>,
    trace: SipHasher13,
    watch: Option<(Guid, QueryWatch)>,
    /// The search being written down, and when it began.
    written: Option<(Instant, Trace)>,
    hits: u64,
    bytes: u64,
    descriptors: u64,
}

/// Runs a plan over its graph. `progress` is told after each search how many are done.
///
/// # Errors
/// The first rule of the protocol that did not hold.
pub fn simulate(
    plan: &Plan,
    graph: &Graph,
    progress: &mut dyn FnMut(usize),
) -> Result<Report, Violation> {
    simulate_traced(plan, graph, progress, false)
}

/// Like [`simulate`], and with `traced` writes down what the first search did.
///
/// # Errors
/// See [`simulate`].
pub fn simulate_traced(
    plan: &Plan,
    graph: &Graph,
    progress: &mut dyn FnMut(usize),
    traced: bool,
) -> Result<Report, Violation> {
    let mut network = Network::build(plan, graph);
    network.link_up()?;
    let (mut queries, mut trace) = (Vec::new(), None);
    for done in 0..plan.queries {
        if traced && done == 0 {
            network.written = Some((network.now, Trace::default()));
        }
        queries.push(network.search(plan)?);
        trace = trace.or(network.written.take().map(|(_, trace)| trace));
        progress(done + 1);
    }
    network.check_counts()?;
    let mut drops = BTreeMap::new();
    for reason in DropReason::ALL {
        let count: u64 = network.nodes.iter().map(|node| node.core.stats().dropped(reason)).sum();
        if count > 0 {
            drops.insert(reason.name(), count);
        }
    }
    Ok(Report {
        seed: plan.seed,
        trace_hash: format!("{:016x}", network.trace.finish()),
        nodes: graph.names.len(),
        links: graph.edges.len(),
        queries,
        bytes: network.bytes,
        descriptors: network.descriptors,
        drops,
        routes_held: network.nodes.iter().map(|node| node.core.routes_held()).sum(),
        virtual_seconds: network.now.since(Instant::ZERO).as_secs_f64(),
        trace,
        real_seconds: 0.0,
    })
}

impl<'a> Network<'a> {
    fn build(plan: &Plan, graph: &'a Graph) -> Network<'a> {
        let mut rng = Rng::new(plan.seed);
        let degrees = graph.degrees();
        let config = Arc::new(Config {
            links: 0,
            max_links: degrees.iter().copied().max().unwrap_or(0),
            scope: Scope::Private,
            background_pings: false,
            advertise_port: PORT,
            ttl: 15,
            limits: Limits {
                max_connections: 65_535,
                // Signs of life would only blur the counts; links in here do not die silently.
                keepalive_after: Duration::from_secs(1 << 30),
                link_timeout: Duration::from_secs(1 << 31),
                ..Limits::default()
            },
            ..Config::default()
        });
        let empty = Arc::new(Library::empty());
        let nodes = graph
            .names
            .iter()
            .map(|_| {
                let mut rng = rng.fork();
                let library = match plan.files {
                    0 => Arc::clone(&empty),
                    count => Arc::new(some_files(count, &mut rng)),
                };
                let identity = ServentId::from_random(rng.bytes16());
                Node {
                    core: Servent::new(
                        Arc::clone(&config),
                        library,
                        identity,
                        rng.next_u64(),
                        Instant::ZERO,
                    ),
                    sockets: Vec::new(),
                    wakes_at: Instant::FAR_FUTURE,
                }
            })
            .collect();
        Network {
            graph,
            degrees,
            nodes,
            wires: Vec::new(),
            queue: EventQueue::new(),
            now: Instant::ZERO,
            rng,
            latency: plan.latency,
            trace: SipHasher13::new_with_keys(0, 0),
            watch: None,
            written: None,
            hits: 0,
            bytes: 0,
            descriptors: 0,
        }
    }

    fn link_up(&mut self) -> Result<(), Violation> {
        for at in 0..self.graph.edges.len() {
            let (a, b) = self.graph.edges[at];
            let now = self.now;
            self.nodes[a].core.keep(now, addr_of(b));
            self.nodes[a].core.handle_timeout(now);
            self.drain(a);
        }
        self.settle()
    }

    /// One search from start to silence.
    fn search(&mut self, plan: &Plan) -> Result<QueryReport, Violation> {
        let named = plan
            .from
            .as_ref()
            .and_then(|from| self.graph.names.iter().position(|name| name == from));
        let origin = named.unwrap_or_else(|| self.rng.below(self.graph.names.len()));
        let file = zipf(CATALOGUE, &mut self.rng);
        let words = name_of(file);
        let now = self.now;
        let guid = self.nodes[origin]
            .core
            .search(now, &words, Some(plan.ttl))
            .expect("the catalogue's names are searchable");
        self.watch = Some((guid, QueryWatch::new(origin, plan.ttl, self.nodes.len())));
        if let Some((_, trace)) = &mut self.written {
            trace.from.clone_from(&self.graph.names[origin]);
            trace.criteria = words;
        }
        self.hits = 0;
        self.drain(origin);
        self.settle()?;
        self.nodes[origin].core.end_probe(guid);
        let (_, watch) = self.watch.take().expect("set above");
        watch.finish(self.graph, plan.latency.is_some())?;
        self.now += REST;
        Ok(QueryReport {
            from: self.graph.names[origin].clone(),
            ttl: plan.ttl,
            reached: watch.reached(),
            query_descriptors: watch.copies,
            duplicates: watch.copies - watch.reached(),
            hits: self.hits,
            reach_per_hop: watch.per_hop.get(1..).unwrap_or_default().to_vec(),
        })
    }

    /// Runs until nothing is on its way. Timers far ahead do not count.
    fn settle(&mut self) -> Result<(), Violation> {
        while self.queue.next_at().is_some_and(|at| at < self.now + REST * 60) {
            let Some((at, what)) = self.queue.pop() else { break };
            self.now = self.now.max(at);
            self.happen(what)?;
        }
        Ok(())
    }

    fn happen(&mut self, what: What) -> Result<(), Violation> {
        let now = self.now;
        match what {
            What::Accept { wire } => self.accept(wire),
            What::Connected { wire } => {
                let Wire { nodes: [node, _], conns: [conn, _], .. } = self.wires[wire];
                if let Some(conn) = conn {
                    self.nodes[node].core.handle_connected(now, conn, addr_of(node));
                    self.drain(node);
                }
            }
            What::Bytes { wire, end, bytes } => self.deliver(wire, end, &bytes)?,
            What::Closed { wire, end } => {
                let node = self.wires[wire].nodes[end];
                if let Some(conn) = self.wires[wire].conns[end].take() {
                    self.nodes[node].core.handle_closed(now, conn, IoFailure::Eof);
                    self.drain(node);
                }
            }
            What::Wake { node } => {
                if self.nodes[node].wakes_at <= now {
                    self.nodes[node].wakes_at = Instant::FAR_FUTURE;
                    self.nodes[node].core.handle_timeout(now);
                    self.drain(node);
                }
            }
        }
        Ok(())
    }

    fn accept(&mut self, wire: usize) {
        let [from, to] = self.wires[wire].nodes;
        let (now, latency) = (self.now, self.wires[wire].latency);
        let accepted = self.nodes[to].core.handle_accepted(now, addr_of(from), addr_of(to));
        match accepted {
            Some(conn) => {
                self.plug(to, conn, wire, 1);
                self.queue.schedule(now + latency, What::Connected { wire });
            }
            None => self.queue.schedule(now + latency, What::Closed { wire, end: 0 }),
        }
    }

    fn plug(&mut self, node: usize, conn: ConnId, wire: usize, end: usize) {
        self.wires[wire].conns[end] = Some(conn);
        let sockets = &mut self.nodes[node].sockets;
        if sockets.len() <= conn.index() {
            sockets.resize(conn.index() + 1, None);
        }
        sockets[conn.index()] = Some((conn, wire, end));
    }

    fn deliver(&mut self, wire: usize, end: usize, bytes: &[u8]) -> Result<(), Violation> {
        self.bytes += bytes.len() as u64;
        self.observe(wire, end, bytes)?;
        let node = self.wires[wire].nodes[end];
        if let Some(conn) = self.wires[wire].conns[end] {
            let now = self.now;
            self.nodes[node].core.handle_bytes(now, conn, bytes);
            self.drain(node);
        }
        Ok(())
    }

    /// Cuts what arrives into descriptors, for the trace and the oracle.
    fn observe(&mut self, wire: usize, end: usize, bytes: &[u8]) -> Result<(), Violation> {
        let (from, to) = (self.wires[wire].nodes[1 - end], self.wires[wire].nodes[end]);
        let mut tap = std::mem::take(&mut self.wires[wire].taps[1 - end]);
        let hello = tap.hello_left.min(bytes.len());
        tap.hello_left -= hello;
        let mut descriptors = tap.deframer.feed(&bytes[hello..]);
        while let Ok(Some(raw)) = descriptors.next() {
            self.descriptors += 1;
            self.note(from, to, &raw.header);
            if let Some((guid, watch)) = &mut self.watch
                && *guid == raw.header.guid
            {
                match raw.header.kind {
                    Kind::Query => watch.query(from, to, &raw.header, self.degrees[from])?,
                    Kind::QueryHit => watch.hit(from, to)?,
                    _ => {}
                }
                self.write_down(from, to, &raw.header);
            }
        }
        self.wires[wire].taps[1 - end] = tap;
        Ok(())
    }

    fn write_down(&mut self, from: usize, to: usize, header: &Header) {
        let (Some((begun, trace)), Some((_, watch))) = (&mut self.written, &self.watch) else {
            return;
        };
        let names = &self.graph.names;
        let step = Step {
            micros: u64::try_from(self.now.since(*begun).as_micros()).unwrap_or(u64::MAX),
            from: names[from].clone(),
            to: names[to].clone(),
            ttl: header.ttl,
            hops: header.hops,
            duplicate: header.kind == Kind::Query && !watch.is_first(from, to),
        };
        match header.kind {
            Kind::Query => trace.copies.push(step),
            Kind::QueryHit => trace.hits.push(step),
            _ => {}
        }
    }

    fn note(&mut self, from: usize, to: usize, header: &Header) {
        for word in [self.now.as_micros(), from as u64, to as u64] {
            self.trace.write(&word.to_le_bytes());
        }
        self.trace.write(&header.encode());
    }

    /// Does everything a node wants done.
    fn drain(&mut self, node: usize) {
        let now = self.now;
        self.nodes[node].core.start_turn();
        loop {
            while let Some(output) = self.nodes[node].core.poll_output() {
                self.carry_out(node, output);
            }
            let Some((conn, chunk)) = self.nodes[node].core.poll_transmit(now) else { break };
            let TxChunk::Bytes(bytes) = chunk else { break };
            let bytes = bytes.to_vec();
            self.nodes[node].core.sent(now, conn, bytes.len());
            self.send(node, conn, bytes);
        }
        if let Some((at, _)) = self.nodes[node].core.poll_timeout()
            && at < self.nodes[node].wakes_at
        {
            self.nodes[node].wakes_at = at;
            self.queue.schedule(at.max(now), What::Wake { node });
        }
    }

    fn send(&mut self, node: usize, conn: ConnId, bytes: Vec<u8>) {
        let Some(Some((_, wire, end))) = self.nodes[node].sockets.get(conn.index()).copied() else {
            return;
        };
        let at = self.now + self.wires[wire].latency;
        self.queue.schedule(at, What::Bytes { wire, end: 1 - end, bytes });
    }

    fn carry_out(&mut self, node: usize, output: Output) {
        match output {
            Output::Connect { conn, addr } => {
                let latency = self.latency.unwrap_or_else(|| {
                    Duration::from_millis(10) + Duration::from_micros(self.rng.next_u64() % 90_000)
                });
                let tap = |hello: &[u8]| Tap { hello_left: hello.len(), ..Tap::default() };
                self.wires.push(Wire {
                    nodes: [node, node_of(addr)],
                    conns: [None, None],
                    latency,
                    taps: [tap(CONNECT), tap(OK)],
                });
                let wire = self.wires.len() - 1;
                self.plug(node, conn, wire, 0);
                self.queue.schedule(self.now + latency, What::Accept { wire });
            }
            Output::Close { conn } => {
                let slot = self.nodes[node].sockets.get_mut(conn.index());
                let Some((_, wire, end)) = slot.and_then(Option::take) else { return };
                if self.wires[wire].conns[end].take().is_some() {
                    let at = self.now + self.wires[wire].latency;
                    self.queue.schedule(at, What::Closed { wire, end: 1 - end });
                }
            }
            Output::Event(Event::Hit { search, .. }) => {
                let watched = self.watch.as_ref().is_some_and(|(guid, _)| *guid == search);
                self.hits += u64::from(watched);
            }
            Output::Event(_) | Output::File { .. } => {}
        }
    }

    /// At rest: what was put on links has arrived, and no table is over its limit.
    fn check_counts(&self) -> Result<(), Violation> {
        let sum = |count: fn(&Servent) -> u64| -> u64 {
            self.nodes.iter().map(|node| count(&node.core)).sum()
        };
        let sent = sum(|core| core.stats().forwarded.total() + core.stats().originated.total());
        let received = sum(|core| core.stats().received.total());
        if sent != received || received != self.descriptors {
            let detail = format!("{sent} sent, {received} received, {} on links", self.descriptors);
            return Err(Violation { rule: Rule::NothingLost, detail });
        }
        let limits = &self.nodes[0].core.config().limits;
        let most =
            limits.ping_routes + limits.query_routes + limits.push_routes + limits.servent_routes;
        match self.nodes.iter().map(|node| node.core.routes_held()).max() {
            Some(held) if held > most => {
                let detail = format!("{held} routes held, at most {most} allowed");
                Err(Violation { rule: Rule::Bounded, detail })
            }
            _ => Ok(()),
        }
    }
}

fn addr_of(node: usize) -> SocketAddrV4 {
    let ip = u32::from(Ipv4Addr::new(10, 0, 0, 1)) + u32::try_from(node).unwrap_or(0);
    SocketAddrV4::new(ip.into(), PORT)
}

fn node_of(addr: SocketAddrV4) -> usize {
    (u32::from(*addr.ip()) - u32::from(Ipv4Addr::new(10, 0, 0, 1))) as usize
}

fn some_files(count: usize, rng: &mut Rng) -> Library {
    let mut builder = LibraryBuilder::new();
    for number in (1..).take(count) {
        let file = zipf(CATALOGUE, rng);
        let added = builder.add(number, &format!("{}.ogg", name_of(file)), 1_000 + file as u64);
        debug_assert!(added.is_ok(), "the catalogue's names are sound");
    }
    loop {
        if let Some(library) = builder.step(1_000) {
            return library;
        }
    }
}

/// A rank from 0, where rank k comes up in proportion to 1 / (k + 1).
fn zipf(count: usize, rng: &mut Rng) -> usize {
    // Inverse of the continuous distribution with the same density, cut to whole ranks.
    let rank = ((count as f64 + 1.0).powf(unit(rng)) - 1.0).floor();
    #[expect(clippy::cast_possible_truncation, reason = "it is below count + 1")]
    #[expect(clippy::cast_sign_loss, reason = "a power above one, less one")]
    let rank = rank as usize;
    rank.min(count - 1)
}

/// Three words that no two files share in all.
fn name_of(file: usize) -> String {
    let word = |n: usize| format!("w{:03}", n % WORDS);
    format!("{} {} f{file:04}", word(file * 7), word(file * 13 + 5))
}
