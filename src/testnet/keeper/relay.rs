//! Carries the links: every node dials the keeper, which dials the other node for it.
//!
//! Each link has a port of its own on the keeper's side, and leaves it from the address of the node
//! that dialled, so that its neighbour sees whom it is linked with.

use super::super::folder::{Conditions, Network};
use super::super::tail::Carried;
use super::capture::Tap;
use super::pipe::{self, Pipe, READ_BYTES};
use crate::plan::Faults;
use crate::plan::fault_schedule::DialOutcome;
use crate::rng::Rng;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use slab::Slab;
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

/// A side of a carried connection: the node that dialled, and the one that was dialled.
const DIALLING: usize = 0;
const DIALLED: usize = 1;
/// A receive buffer so small that a slow reader is felt soon.
const SLOW_BUFFER_BYTES: usize = 4_096;

/// A dial that nobody takes is given up after this: longer than any servent waits.
const DIAL_TIMEOUT: Duration = Duration::from_secs(120);

/// A link of the plan.
struct Way {
    listener: TcpListener,
    addr: SocketAddrV4,
    from: Ipv4Addr,
    to: SocketAddrV4,
    conditions: Conditions,
}

/// A connection of a link.
struct Pair {
    way: usize,
    streams: [TcpStream; 2],
    /// Bytes from the dialling side, and from the dialled.
    pipes: [Pipe; 2],
    tap: Tap,
    /// The dialled node has not taken it yet.
    connecting: bool,
    /// The plan wants this dial to be answered by nobody.
    silent: bool,
    /// When a dial that is still connecting is given up.
    give_up_at: Instant,
}

/// All links.
pub(super) struct Relay {
    ways: Vec<Way>,
    pairs: Slab<Pair>,
    rng: Rng,
    /// Read into by all.
    buffer: Box<[u8; READ_BYTES]>,
    /// The ways take the first tokens, then each pair two.
    first_token: usize,
}

/// What happened that others should know.
pub(super) enum Told {
    /// A connection is carried.
    Opened(Carried),
    /// A packet for a capture.
    Packet(Vec<u8>),
}

impl Relay {
    /// Listens for every link, on ports the system picks.
    pub(super) fn new(
        network: &Network,
        registry: &Registry,
        first_token: usize,
        rng: Rng,
    ) -> io::Result<Relay> {
        let way = |(number, link): (usize, &super::super::folder::Link)| {
            let (from, to) = (network.nodes[link.from].addr, network.nodes[link.to].addr);
            let mut listener = TcpListener::bind(SocketAddr::from((*to.ip(), 0)))?;
            registry.register(&mut listener, Token(first_token + number), Interest::READABLE)?;
            let addr = v4(listener.local_addr()?)?;
            let conditions = network.conditions.clone();
            Ok(Way { listener, addr, from: *from.ip(), to, conditions })
        };
        let ways = network.links.iter().enumerate().map(way).collect::<io::Result<_>>()?;
        Ok(Relay { ways, pairs: Slab::new(), rng, buffer: Box::new([0; READ_BYTES]), first_token })
    }

    /// Where the dialling node of a link dials.
    pub(super) fn addr(&self, link: usize) -> SocketAddrV4 {
        self.ways[link].addr
    }

    /// How a link behaves.
    pub(super) fn conditions(&self, link: usize) -> &Conditions {
        &self.ways[link].conditions
    }

    /// Connections of a link.
    pub(super) fn open(&self, link: usize) -> usize {
        self.pairs.iter().filter(|(_, pair)| pair.way == link && !pair.connecting).count()
    }

    /// How a link is to behave from now on.
    pub(super) fn set(&mut self, link: usize, conditions: Conditions) {
        if conditions.slow_reader {
            for (_, pair) in self.pairs.iter().filter(|(_, pair)| pair.way == link) {
                // A hint: without it the system takes in megabytes on the reader's behalf.
                let socket = SockRef::from(&pair.streams[DIALLING]);
                let _ = socket.set_recv_buffer_size(SLOW_BUFFER_BYTES);
            }
        }
        self.ways[link].conditions = conditions;
    }

    /// Resets what a link has.
    pub(super) fn reset(&mut self, link: usize) {
        for (_, pair) in self.pairs.iter().filter(|(_, pair)| pair.way == link) {
            for stream in &pair.streams {
                // Closing with data thrown away is what tells the other side of it.
                let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
        self.pairs.retain(|_, pair| pair.way != link);
    }

    /// Something happened at a socket of the relay.
    pub(super) fn handle(
        &mut self,
        registry: &Registry,
        event: &mio::event::Event,
        faults: &Faults,
        tell: &mut dyn FnMut(Told),
    ) {
        let number = event.token().0 - self.first_token;
        if number < self.ways.len() {
            return self.accept(number, registry, faults);
        }
        let (key, side) = ((number - self.ways.len()) / 2, (number - self.ways.len()) % 2);
        let Some(pair) = self.pairs.get_mut(key) else { return };
        if pair.connecting && side == DIALLING && (event.is_read_closed() || event.is_error()) {
            // The node that dialled has given up; nothing was carried.
            return self.break_off(key);
        }
        if event.is_readable() {
            pair.pipes[side].readable = true;
        }
        if event.is_writable() {
            if pair.connecting && side == DIALLED {
                match pair.connected(&self.ways[pair.way]) {
                    Ok(Some(carried)) => tell(Told::Opened(carried)),
                    Ok(None) => return,
                    Err(_) => return self.break_off(key),
                }
            }
            pair.pipes[1 - side].writable = true;
        }
    }

    fn accept(&mut self, way: usize, registry: &Registry, faults: &Faults) {
        // What is not accepted for want of descriptors is dialled again later.
        while let Ok((stream, _)) = self.ways[way].listener.accept() {
            let outcome = faults.dial(&mut self.rng);
            if outcome == DialOutcome::Refused {
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                continue;
            }
            let silent = outcome == DialOutcome::Silent;
            if let Err(error) = self.carry(way, stream, silent, registry) {
                log::info!("cannot carry a connection: {error}");
            }
        }
    }

    fn carry(
        &mut self,
        way: usize,
        stream: TcpStream,
        silent: bool,
        registry: &Registry,
    ) -> io::Result<()> {
        let Way { from, to, .. } = self.ways[way];
        let dialling = SocketAddrV4::new(from, stream.peer_addr()?.port());
        let streams = [stream, dial(from, to)?];
        for stream in &streams {
            stream.set_nodelay(true)?;
        }
        let entry = self.pairs.vacant_entry();
        let first = self.first_token + self.ways.len() + 2 * entry.key();
        let tap = Tap::new(dialling, to);
        let pair = entry.insert(Pair {
            way,
            streams,
            pipes: [Pipe::default(), Pipe::default()],
            tap,
            connecting: true,
            silent,
            give_up_at: Instant::now() + DIAL_TIMEOUT,
        });
        for (side, stream) in pair.streams.iter_mut().enumerate() {
            let both = Interest::READABLE | Interest::WRITABLE;
            registry.register(stream, Token(first + side), both)?;
        }
        Ok(())
    }

    /// Moves bytes; says when to do it again.
    pub(super) fn step(
        &mut self,
        now: Instant,
        captured: bool,
        tell: &mut dyn FnMut(Told),
    ) -> Option<Instant> {
        let (mut next, mut over) = (None, Vec::new());
        for (key, pair) in &mut self.pairs {
            if pair.connecting {
                match pair.give_up_at > now {
                    true => next = [next, Some(pair.give_up_at)].into_iter().flatten().min(),
                    false => over.push((key, true)),
                }
                continue;
            }
            match pair.step(
                now,
                &self.ways[pair.way].conditions,
                (&mut self.rng, &mut self.buffer),
                captured,
                tell,
            ) {
                Ok((again, false)) => next = [next, again].into_iter().flatten().min(),
                Ok((_, true)) => over.push((key, false)),
                Err(_) => over.push((key, true)),
            }
        }
        for (key, broken) in over {
            if broken {
                self.break_off(key);
            } else {
                self.pairs.remove(key);
            }
        }
        next
    }

    /// One side has failed: the other is to see it.
    fn break_off(&mut self, key: usize) {
        let pair = self.pairs.remove(key);
        for stream in &pair.streams {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }
}

impl Pair {
    /// Whether the dialled node has taken the connection, and how both sides see each other.
    fn connected(&mut self, way: &Way) -> io::Result<Option<Carried>> {
        let stream = &self.streams[DIALLED];
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        match stream.peer_addr() {
            Err(error) if error.kind() == ErrorKind::NotConnected => return Ok(None),
            peer => peer?,
        };
        self.connecting = self.silent;
        let to_sees = v4(stream.local_addr()?)?;
        Ok(Some(Carried { link: self.way, from_sees: way.addr, to_sees }))
    }

    fn step(
        &mut self,
        now: Instant,
        conditions: &Conditions,
        (rng, buffer): (&mut Rng, &mut [u8; READ_BYTES]),
        captured: bool,
        tell: &mut dyn FnMut(Told),
    ) -> io::Result<(Option<Instant>, bool)> {
        let (mut again, mut finished) = (None, true);
        let [dialling, dialled] = &mut self.streams;
        for side in [DIALLING, DIALLED] {
            let conditions = pipe::for_direction(conditions, side == DIALLING);
            let ends = if side == DIALLING {
                (&mut *dialling, &mut *dialled)
            } else {
                (&mut *dialled, &mut *dialling)
            };
            let tap = &mut self.tap;
            let mut seen = |bytes: &[u8]| tap.note(side, bytes, captured);
            let stepped = self.pipes[side].step(
                now,
                ends,
                &conditions,
                (&mut *rng, &mut *buffer),
                &mut seen,
            )?;
            tap.take_packets().into_iter().map(Told::Packet).for_each(&mut *tell);
            again = [again, stepped.again].into_iter().flatten().min();
            finished &= stepped.finished;
        }
        Ok((again, finished))
    }
}

/// Dials from an address of this machine that need not be the usual one.
fn dial(from: Ipv4Addr, to: SocketAddrV4) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.set_nonblocking(true)?;
    match socket.connect(&SocketAddr::from(to).into()) {
        Err(error)
            if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
        done => done?,
    }
    Ok(TcpStream::from_std(socket.into()))
}

fn v4(addr: SocketAddr) -> io::Result<SocketAddrV4> {
    match addr {
        SocketAddr::V4(addr) => Ok(addr),
        SocketAddr::V6(_) => Err(io::Error::other("an IPv4 socket has an IPv6 address")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testnet::folder::{Link, Node};
    use mio::{Events, Poll};

    /// Two nodes and their link; the second is only a port.
    fn network(to: SocketAddrV4) -> Network {
        let node = |name: &str, addr| Node {
            name: name.to_owned(),
            addr,
            share: Vec::new(),
            command: Vec::new(),
        };
        Network {
            id: String::new(),
            seed: 1,
            ttl: 7,
            queries: 0,
            from: None,
            nodes: vec![node("0", SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0)), node("1", to)],
            links: vec![Link { from: 0, to: 1 }],
            conditions: Conditions::default(),
            faults: Faults::default(),
        }
    }

    struct Fixture {
        poll: Poll,
        events: Events,
        relay: Relay,
        _dialled: std::net::TcpListener,
    }

    impl Fixture {
        fn new() -> Fixture {
            let dialled = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let poll = Poll::new().unwrap();
            let network = network(v4(dialled.local_addr().unwrap()).unwrap());
            let relay = Relay::new(&network, poll.registry(), 0, Rng::new(1)).unwrap();
            Fixture { poll, events: Events::with_capacity(16), relay, _dialled: dialled }
        }

        /// Dials the link, in silence, and waits until the relay has taken the connection.
        fn dial(&mut self) -> std::net::TcpStream {
            let stream = std::net::TcpStream::connect(self.relay.addr(0)).unwrap();
            self.until("a connection", |relay| relay.pairs.len() == 1);
            stream
        }

        fn until(&mut self, what: &str, holds: impl Fn(&Relay) -> bool) {
            let faults = Faults { silent: 1.0, ..Faults::default() };
            let deadline = Instant::now() + Duration::from_secs(60);
            while !holds(&self.relay) {
                assert!(Instant::now() < deadline, "no sign of {what}");
                self.poll.poll(&mut self.events, Some(Duration::from_millis(100))).unwrap();
                for event in self.events.iter() {
                    self.relay.handle(self.poll.registry(), event, &faults, &mut |_| {});
                }
                self.relay.step(Instant::now(), false, &mut |_| {});
            }
        }
    }

    #[test]
    fn a_dial_that_was_given_up_is_freed() {
        let mut fixture = Fixture::new();
        drop(fixture.dial());
        fixture.until("its end", |relay| relay.pairs.is_empty());
    }

    #[test]
    fn a_dial_that_nobody_takes_is_freed_in_time() {
        let mut fixture = Fixture::new();
        let _stream = fixture.dial();
        let now = Instant::now();
        let next = fixture.relay.step(now, false, &mut |_| {});
        assert!(next.is_some_and(|at| at <= now + DIAL_TIMEOUT), "{next:?}");
        assert_eq!(fixture.relay.pairs.len(), 1);
        fixture.relay.step(now + DIAL_TIMEOUT, false, &mut |_| {});
        assert!(fixture.relay.pairs.is_empty());
    }
}
