//! Carries the links: every node dials the keeper, which dials the other node for it.
//!
//! Each link has a port of its own on the keeper's side, and leaves it from the address of the node
//! that dialled, so that its neighbour sees whom it is linked with.

use super::super::folder::{Conditions, Network};
use super::super::records::Carried;
use super::capture::Tap;
use super::pipe::{self, Pipe, READ_BYTES};
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
}

/// How dials fare by the plan's chances.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct DialChances {
    pub(super) refuse: f64,
    pub(super) silent: f64,
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
        chances: DialChances,
        tell: &mut dyn FnMut(Told),
    ) {
        let number = event.token().0 - self.first_token;
        if number < self.ways.len() {
            return self.accept(number, registry, chances);
        }
        let (key, side) = ((number - self.ways.len()) / 2, (number - self.ways.len()) % 2);
        let Some(pair) = self.pairs.get_mut(key) else { return };
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

    fn accept(&mut self, way: usize, registry: &Registry, chances: DialChances) {
        // What is not accepted for want of descriptors is dialled again later.
        while let Ok((stream, _)) = self.ways[way].listener.accept() {
            let draw = crate::plan::chance::unit(&mut self.rng);
            if draw < chances.refuse {
                let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
                continue;
            }
            let silent = draw - chances.refuse < chances.silent;
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
        for (key, pair) in self.pairs.iter_mut().filter(|(_, pair)| !pair.connecting) {
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
