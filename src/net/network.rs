//! The network itself: nodes, the wires between them, and the events under way.

use super::datagrams::Datagrams;
use super::event_queue::EventQueue;
use super::hosts::{Hosts, State};
use super::node::{Dial, DialFate, Failure, Node, Observer, Output};
use super::peers::{Listener, Script};
use super::segments::{Payload, Segment, Segments};
use super::shard::Post;
use super::wires::{End, Holder, LinkParams, Wire};
use crate::rng::Rng;
use crate::time::Instant;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};

/// Diallers use ports from here on, one for each connection in turn.
const FIRST_EPHEMERAL_PORT: u16 = 30_000;

/// A node first hears all that arrives, as one poll would tell it, and then looks at the clock.
const WAKES_LAST: u64 = 1 << 63;

/// Stands for what no node schedules, behind all nodes.
const OUTSIDE: u64 = 0x7fff_ffff;

/// A network in memory under virtual time. Equal calls with equal seeds give equal runs: events are
/// ordered by time, and at one time by the node that scheduled them and then by the order it did so in;
/// timers come last.
///
/// `O` watches it, and is the caller's to read and change at any time.
pub struct Net<N: Node, O> {
    /// See [`Observer`].
    pub observer: O,
    /// How wires carry bytes from now on. A latency is drawn when a connection is dialled.
    pub params: LinkParams,
    /// The only source of randomness.
    pub rng: Rng,
    /// Where dials leave from, if not from the node's own address.
    pub source_ip: Option<Ipv4Addr>,
    pub(super) now: Instant,
    /// The address of node 0; the others follow it.
    first: SocketAddrV4,
    /// Nodes that listen elsewhere.
    elsewhere: BTreeMap<usize, SocketAddrV4>,
    pub(super) hosts: Hosts<N>,
    /// Nodes that did something since [`Net::take_busy`].
    busy: Vec<u32>,
    pub(super) wires: Vec<Wire<N::Conn>>,
    pub(super) segments: Segments,
    pub(super) datagrams: Datagrams,
    pub(super) queue: EventQueue<Event>,
    /// The key of the event that is happening.
    pub(super) event_key: u64,
    /// Events scheduled by no node.
    scheduled_outside: u32,
    /// Events under way between nodes.
    pub(super) in_flight: usize,
    /// What leaves for other shards, if this is one.
    pub(super) post: Option<Post>,
    /// Copies of descriptors lost on wires that broke, or at sockets that were closed.
    pub(super) lost: u64,
    /// The side of each node, while the network is parted.
    pub(super) sides: Option<Vec<bool>>,
    pub(super) listeners: BTreeMap<SocketAddrV4, Listener>,
    /// Where wires lead that were dialled to no node, or whose dial is not answered.
    pub(super) dialled: BTreeMap<usize, SocketAddrV4>,
    pub(super) scripts: Vec<Script>,
}

/// A scheduled event.
#[derive(Clone, Copy, Debug)]
pub(super) enum Event {
    /// The dial reaches this end.
    Accept(End),
    /// The acceptance reaches this end, which dialled.
    Connected(End),
    /// The next segment reaches this end.
    Arrive(End),
    /// This end learns that the other has read.
    Writable(End),
    /// This end learns that the wire is gone.
    Closed(End, Failure),
    /// This datagram reaches its receiver.
    Datagram(u32),
    /// A node's timer.
    Wake { node: u32 },
}

impl<N: Node, O: Observer<N>> Net<N, O> {
    /// An empty network, whose nodes have addresses from `first` on.
    pub fn new(first: SocketAddrV4, params: LinkParams, rng: Rng, observer: O) -> Net<N, O> {
        let datagrams = Datagrams::new(&rng);
        Net {
            observer,
            params,
            rng,
            source_ip: None,
            now: Instant::ZERO,
            first,
            elsewhere: BTreeMap::new(),
            hosts: Hosts::new(0, 0),
            busy: Vec::new(),
            wires: Vec::new(),
            segments: Segments::default(),
            datagrams,
            queue: EventQueue::new(),
            event_key: 0,
            scheduled_outside: 0,
            in_flight: 0,
            post: None,
            lost: 0,
            sides: None,
            listeners: BTreeMap::new(),
            dialled: BTreeMap::new(),
            scripts: Vec::new(),
        }
    }

    /// Adds a node, which listens on the next address. It gets its first turn with [`Net::turn`].
    pub fn add(&mut self, node: N) -> usize {
        self.hosts.add(node)
    }

    /// Adds a node that listens on `addr`.
    pub fn add_at(&mut self, addr: SocketAddrV4, node: N) -> usize {
        let number = self.add(node);
        self.elsewhere.insert(number, addr);
        self.listeners.insert(addr, Listener::Node(number));
        number
    }

    /// Room for so many nodes and wires.
    pub fn reserve(&mut self, nodes: usize, wires: usize) {
        self.hosts.reserve(nodes);
        self.wires.reserve_exact(wires);
    }

    /// The present.
    pub fn now(&self) -> Instant {
        self.now
    }

    /// A node.
    pub fn node(&self, node: usize) -> &N {
        &self.hosts[node].node
    }

    /// A node, to be changed. What it then wants done is done by [`Net::turn`].
    pub fn node_mut(&mut self, node: usize) -> &mut N {
        &mut self.hosts[node].node
    }

    /// All nodes that run.
    pub fn up(&self) -> impl Iterator<Item = &N> {
        self.hosts.iter().filter(|host| host.state == State::Up).map(|host| &host.node)
    }

    /// The state of a node.
    pub fn state(&self, node: usize) -> State {
        self.hosts[node].state
    }

    /// Where a node listens.
    pub fn addr_of(&self, node: usize) -> SocketAddrV4 {
        if let Some(addr) = self.elsewhere.get(&node) {
            return *addr;
        }
        let ip = u32::from(*self.first.ip()) + u32::try_from(node).unwrap_or(0);
        SocketAddrV4::new(ip.into(), self.first.port())
    }

    pub(super) fn node_at(&self, addr: SocketAddrV4) -> Option<usize> {
        if let Some(Listener::Node(node)) = self.listeners.get(&addr) {
            return Some(*node);
        }
        let number = u32::from(*addr.ip()).checked_sub(u32::from(*self.first.ip()))? as usize;
        let is_node = addr.port() == self.first.port() && number < self.hosts.count_everywhere();
        (is_node && !self.elsewhere.contains_key(&number)).then_some(number)
    }

    /// The connections made so far, standing or not.
    pub fn wires(&self) -> usize {
        self.wires.len()
    }

    /// The holder of the other end of a node's connection.
    pub fn other_end(&self, node: usize, conn: N::Conn) -> Option<Holder> {
        let end = self.end_of(node, conn)?;
        Some(self.wires[end.wire()].holder(end.other().side()))
    }

    fn end_of(&self, node: usize, conn: N::Conn) -> Option<End> {
        let (name, end) = self.hosts[node].sockets.get(N::slot(conn)).copied().flatten()?;
        (name == conn).then_some(end)
    }

    /// The nodes that did something since this was asked last.
    pub fn take_busy(&mut self) -> Vec<u32> {
        for &node in &self.busy {
            self.hosts[node as usize].busy = false;
        }
        std::mem::take(&mut self.busy)
    }

    /// Copies of descriptors that were lost on wires that broke, or at sockets that were closed.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Ends the run and counts the descriptors on the wires that stand.
    pub fn count_in_flight(&mut self) -> u64 {
        let (wires, segments) = (&mut self.wires, &mut self.segments);
        let standing = wires.iter_mut().filter(|wire| !wire.dead);
        standing.map(|wire| wire.kill(segments)).sum()
    }

    /// Whether something is under way between nodes.
    pub fn is_moving(&self) -> bool {
        self.in_flight > 0
    }

    /// When the next event is due.
    pub fn next_at(&mut self) -> Option<Instant> {
        self.queue.next_at()
    }

    /// Runs until `min`, and then on until nothing is under way, or `max`. True if it stopped at
    /// [`Observer::alarm`] before that.
    pub fn run(&mut self, min: Instant, max: Instant) -> bool {
        let mut prefetched = 0;
        loop {
            let (event, alarm) = (self.queue.next_at(), self.observer.alarm());
            let Some(at) = event.into_iter().chain(alarm).min() else { break };
            let is_quiet = self.in_flight == 0 && at > min.max(self.now);
            if at > max || is_quiet {
                break;
            }
            if alarm == Some(at) {
                self.now = self.now.max(at);
                return true;
            }
            if prefetched == 0 {
                prefetched = self.prefetch();
            }
            prefetched -= 1;
            self.step();
        }
        self.now = self.now.max(if self.in_flight == 0 { min } else { max });
        false
    }

    /// Runs to the next event and lets it happen. False when there is none.
    pub fn step(&mut self) -> bool {
        let Some((at, key, event)) = self.queue.pop() else { return false };
        self.now = self.now.max(at);
        self.event_key = key;
        self.happen(event);
        true
    }

    /// Orders what this holder schedules now among all that happens at one time.
    pub(super) fn next_key(&mut self, by: Holder) -> u64 {
        match by {
            Holder::Node(node) => self.hosts[node].next_key(node),
            Holder::Peer(_) | Holder::Nobody => {
                self.scheduled_outside = self.scheduled_outside.wrapping_add(1);
                OUTSIDE << 32 | u64::from(self.scheduled_outside)
            }
        }
    }

    /// Schedules what passes between nodes.
    pub(super) fn travel(&mut self, at: Instant, by: Holder, event: Event) {
        let key = self.next_key(by);
        if let Some(event) = self.post_abroad(at, key, event) {
            self.in_flight += 1;
            self.queue.schedule(at, key, event);
        }
    }

    fn happen(&mut self, event: Event) {
        if !matches!(event, Event::Wake { .. }) {
            self.in_flight -= 1;
        }
        match event {
            Event::Accept(end) => self.accept(end),
            Event::Connected(end) => self.connected(end),
            Event::Arrive(end) => {
                self.wires[end.wire()].directions[end.other().side()].arrive();
                self.read(end);
            }
            Event::Writable(end) => {
                let wire = &self.wires[end.wire()];
                if let (Some(node), Some(conn)) = (wire.node(end.side()), wire.conns[end.side()]) {
                    self.hosts[node].node.handle_writable(conn);
                    self.turn(node);
                }
            }
            Event::Closed(end, failure) => self.ended(end, failure),
            Event::Datagram(slot) => self.datagram_arrives(slot),
            Event::Wake { node } => self.wake(node as usize),
        }
    }

    fn wake(&mut self, node: usize) {
        let (now, host) = (self.now, &mut self.hosts[node]);
        if host.state == State::Up && host.wakes_at <= now {
            host.wakes_at = Instant::FAR_FUTURE;
            if !host.held && host.node.poll_timeout().is_some_and(|at| at <= now) {
                host.node.handle_timeout(now);
            }
            self.turn(node);
        }
    }

    fn accept(&mut self, end: End) {
        let (wire, now) = (end.wire(), self.now);
        if self.wires[wire].dead || self.is_cut_off(wire) {
            return;
        }
        let accepted = match self.wires[wire].holder(end.side()) {
            Holder::Node(node) => match self.hosts[node].state {
                State::Up => self.accept_at(node, end).then_some(()).ok_or(Failure::Reset),
                State::Frozen => Ok(()),
                State::Down => Err(Failure::Refused),
                State::Dark => return,
            },
            Holder::Peer(_) => Ok(()),
            Holder::Nobody => match self.accept_by_script(end) {
                Some(accepted) => accepted,
                None => return,
            },
        };
        let (at, by) = (now + self.wires[wire].latency(), self.wires[wire].holder(end.side()));
        match accepted {
            Ok(()) => self.travel(at, by, Event::Connected(end.other())),
            Err(failure) => self.travel(at, by, Event::Closed(end.other(), failure)),
        }
    }

    /// Has a node take in a connection. False if it refuses.
    pub(super) fn accept_at(&mut self, node: usize, end: End) -> bool {
        let (remote, local) = (self.source_of(end.wire()), self.addr_of(node));
        let accepted = self.hosts[node].node.handle_accepted(self.now, remote, local);
        if let Some(conn) = accepted {
            // It may have closed another socket, whose slot the new one has.
            self.carry_out_all(node);
            self.plug(node, conn, end);
        }
        self.turn(node);
        accepted.is_some()
    }

    pub(super) fn connected(&mut self, end: End) {
        let wire = &self.wires[end.wire()];
        if let (Some(node), Some(conn)) = (wire.node(end.side()), wire.conns[end.side()]) {
            let local = self.source_of(end.wire());
            self.hosts[node].node.handle_connected(self.now, conn, local);
            self.turn(node);
        }
    }

    /// The dialling side's address of a wire.
    fn source_of(&self, wire: usize) -> SocketAddrV4 {
        let ip = match self.wires[wire].holder(0) {
            Holder::Node(node) => self.source_ip.unwrap_or(*self.addr_of(node).ip()),
            Holder::Peer(peer) => self.scripts[peer.0].ip,
            Holder::Nobody => Ipv4Addr::UNSPECIFIED,
        };
        let number = self.wires[wire].dial() % u32::from(FIRST_EPHEMERAL_PORT);
        SocketAddrV4::new(ip, FIRST_EPHEMERAL_PORT + u16::try_from(number).unwrap_or(0))
    }

    fn plug(&mut self, node: usize, conn: N::Conn, end: End) {
        self.wires[end.wire()].conns[end.side()] = Some(conn);
        let sockets = &mut self.hosts[node].sockets;
        let slot = N::slot(conn);
        if sockets.len() <= slot {
            sockets.resize(slot + 1, None);
        }
        sockets[slot] = Some((conn, end));
    }

    /// A node's loop is busy elsewhere: what arrives is handed to it, and what it wants done waits
    /// for [`Net::release`].
    pub fn hold(&mut self, node: usize) {
        self.hosts[node].held = true;
    }

    /// A held node takes its turn.
    pub fn release(&mut self, node: usize) {
        self.hosts[node].held = false;
        self.turn(node);
    }

    /// One turn of a node's loop: does everything it wants done.
    pub fn turn(&mut self, node: usize) {
        if self.hosts[node].held {
            return;
        }
        let now = self.now;
        if !std::mem::replace(&mut self.hosts[node].busy, true) {
            self.busy.push(u32::try_from(node).expect("checked by wires"));
        }
        self.hosts[node].node.start_turn(now);
        loop {
            self.carry_out_all(node);
            let host = &mut self.hosts[node];
            let Some((conn, bytes)) = host.node.poll_transmit(now) else { break };
            let socket = host.sockets.get(N::slot(conn)).copied().flatten();
            let (_, end) = socket.expect("only an open socket has something to send");
            let wire = &mut self.wires[end.wire()];
            let window = match wire.holder(end.other().side()) {
                Holder::Peer(peer) => self.scripts[peer.0].window.or(self.params.window),
                _ => self.params.window,
            };
            let room = wire.room(end.side(), bytes.len(), window);
            let payload = Payload::new(&bytes[..room]);
            host.node.sent(now, conn, room);
            if room > 0 {
                self.send(end, payload);
            }
        }
        let host = &mut self.hosts[node];
        let again = host.node.wants_turn().then_some(now);
        if let Some(at) = again.or_else(|| host.node.poll_timeout())
            && at < host.wakes_at
        {
            host.wakes_at = at;
            let key = WAKES_LAST | host.next_key(node);
            let node = u32::try_from(node).expect("checked by wires");
            self.queue.schedule(at.max(now), key, Event::Wake { node });
        }
    }

    fn carry_out_all(&mut self, node: usize) {
        while let Some(output) = self.hosts[node].node.poll_output() {
            match output {
                Output::Connect { conn, addr } => self.dial(node, conn, addr),
                Output::Close { conn } => self.close(node, conn),
                Output::Datagram { to, bytes } => self.send_datagram(node, to, bytes),
                Output::Outward(what) => self.observer.outward(node, what),
            }
        }
    }

    pub(super) fn send(&mut self, end: End, bytes: Payload) {
        let (now, is_abroad) = (self.now, self.is_abroad(end.other()));
        let wire = &mut self.wires[end.wire()];
        let (by, latency) = (wire.holder(end.side()), wire.latency());
        if wire.dead {
            // A machine that knows nothing of the connection answers with a reset.
            self.lost += wire.count(end.side(), &bytes);
            let peer = wire.node(end.other().side());
            if peer.is_none_or(|peer| self.hosts[peer].state != State::Dark) {
                self.travel(now + latency * 2, by, Event::Closed(end, Failure::Reset));
            }
            return;
        }
        if is_abroad {
            let free_at = wire.directions[end.side()].occupy(bytes.len(), now, &self.params);
            return self.post_segment(free_at + latency, end, Segment::Bytes(bytes));
        }
        let key = self.next_key(by);
        let (queue, in_flight) = (&mut self.queue, &mut self.in_flight);
        let direction = &mut self.wires[end.wire()].directions[end.side()];
        let (segments, times) = (&mut self.segments, (now, latency));
        direction.put(bytes, segments, times, &self.params, &mut self.rng, |at| {
            *in_flight += 1;
            queue.schedule(at, key, Event::Arrive(end.other()));
        });
    }

    fn dial(&mut self, node: usize, conn: N::Conn, addr: SocketAddrV4) {
        let host = &mut self.hosts[node];
        host.dials += 1;
        let (dial, by) = (host.dials, Holder::Node(node));
        let latency = self.params.latency_of(|| self.datagrams.dial_bits(node, dial));
        let to = self.node_at(addr).map_or(Holder::Nobody, Holder::Node);
        let (wire, now) = (self.wires.len(), self.now);
        self.wires.push(Wire::new([by, to], latency, dial));
        let end = End::new(wire, 0);
        self.plug(node, conn, end);
        let fate = self.observer.dialled(&Dial { at: now, node, addr, wire }, &mut self.rng);
        if to == Holder::Nobody || fate == DialFate::Swallowed {
            self.dialled.insert(wire, addr);
        }
        match fate {
            DialFate::Arrives => self.travel(now + latency, by, Event::Accept(end.other())),
            DialFate::Refused => {
                self.travel(now + latency * 2, by, Event::Closed(end, Failure::Refused));
            }
            DialFate::Swallowed => {}
            DialFate::Offline => self.travel(now, by, Event::Closed(end, Failure::Offline)),
        }
    }

    fn close(&mut self, node: usize, conn: N::Conn) {
        let Some(end) = self.end_of(node, conn) else { return };
        self.hosts[node].sockets[N::slot(conn)] = None;
        let wire = &mut self.wires[end.wire()];
        let stood = wire.conns[end.side()].take().is_some() && !wire.dead;
        // A node that has closed its side hears no answer to that; a scripted peer does.
        let is_heard = !wire.heard_end[end.side()] || wire.node(end.other().side()).is_none();
        if stood && is_heard {
            self.finish(end, Segment::End);
        }
    }

    /// Puts the end of the stream on a wire.
    pub(super) fn finish(&mut self, end: End, how: Segment) {
        let is_abroad = self.is_abroad(end.other());
        let wire = &mut self.wires[end.wire()];
        let (by, latency) = (wire.holder(end.side()), wire.latency());
        let direction = &mut wire.directions[end.side()];
        let at = direction.free_at(self.now) + latency;
        if is_abroad {
            return self.post_segment(at, end, how);
        }
        direction.take_in(how, &mut self.segments);
        self.travel(at, by, Event::Arrive(end.other()));
    }
}
