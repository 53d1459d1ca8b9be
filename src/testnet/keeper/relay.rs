//! Relays the links: a node dials the keeper, which dials the other node for it.
//!
//! ```text
//! dialling node ──▶ port of the link │ keeper │ ──▶ dialled node
//!                                     from the dialling node's address
//! ```
//!
//! Each link has a port of its own on the keeper's side. The keeper dials from the address of the
//! dialling node, so that both nodes see each other's address.

use super::super::folder::{Conditions, Link, Network};
use super::super::tail::Carried;
use super::capture::LinkCapture;
use super::pipe::{self, Pipe, READ_BYTES};
use crate::driver::tcp;
use crate::plan::Faults;
use crate::plan::fault_schedule::DialOutcome;
use crate::rng::Rng;
use mio::net::{TcpListener, TcpStream};
use mio::{Interest, Registry, Token};
use slab::Slab;
use socket2::SockRef;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::time::{Duration, Instant};

/// The sides of a relayed connection: the node that dialled, and the one that was dialled.
const DIALLING: usize = 0;
const DIALLED: usize = 1;
/// Receive buffer of a link with a slow reader, small enough that the sender notices soon.
const SLOW_BUFFER_BYTES: usize = 4_096;

/// Time after which a dial without an answer is dropped; longer than any servent waits.
const DIAL_TIMEOUT: Duration = Duration::from_secs(120);

/// A link of the plan and its port.
struct RelayedLink {
    listener: TcpListener,
    addr: SocketAddrV4,
    from: Ipv4Addr,
    to: SocketAddrV4,
    conditions: Conditions,
}

/// A relayed connection: two sockets.
struct Pair {
    link: usize,
    streams: [TcpStream; 2],
    /// Bytes from the dialling side, and from the dialled.
    pipes: [Pipe; 2],
    tap: LinkCapture,
    /// The dialled node has not accepted it yet.
    connecting: bool,
    /// By a fault of the plan, this dial gets no answer.
    silent: bool,
    /// Deadline of the dial while it is connecting.
    give_up_at: Instant,
}

/// The links and their connections.
pub(super) struct Relay {
    links: Vec<RelayedLink>,
    pairs: Slab<Pair>,
    rng: Rng,
    /// Shared by all reads.
    buffer: Box<[u8; READ_BYTES]>,
    /// Links have one token each from here on, then pairs two each.
    first_token: usize,
}

impl Relay {
    /// Listens for every link, on a port that the system chooses.
    pub(super) fn new(
        network: &Network,
        registry: &Registry,
        first_token: usize,
        rng: Rng,
    ) -> io::Result<Relay> {
        let link = |(number, link): (usize, &Link)| {
            let (from, to) = (network.nodes[link.from].addr, network.nodes[link.to].addr);
            let mut listener = TcpListener::bind(SocketAddr::from((*to.ip(), 0)))?;
            registry.register(&mut listener, Token(first_token + number), Interest::READABLE)?;
            let addr = tcp::ipv4(listener.local_addr()?)?;
            let conditions = network.conditions.clone();
            Ok(RelayedLink { listener, addr, from: *from.ip(), to, conditions })
        };
        let links = network.links.iter().enumerate().map(link).collect::<io::Result<_>>()?;
        Ok(Relay { links, pairs: Slab::new(), rng, buffer: Box::new([0; READ_BYTES]), first_token })
    }

    /// The address that the dialling node of a link connects to.
    pub(super) fn addr(&self, link: usize) -> SocketAddrV4 {
        self.links[link].addr
    }

    /// The conditions of a link.
    pub(super) fn conditions(&self, link: usize) -> &Conditions {
        &self.links[link].conditions
    }

    /// Number of relayed connections of a link.
    pub(super) fn open(&self, link: usize) -> usize {
        self.pairs.iter().filter(|(_, pair)| pair.link == link && !pair.connecting).count()
    }

    /// Changes the conditions of a link.
    pub(super) fn set(&mut self, link: usize, conditions: Conditions) {
        if conditions.slow_reader {
            for (_, pair) in self.pairs.iter().filter(|(_, pair)| pair.link == link) {
                // Best effort: otherwise the kernel buffers megabytes for the reader.
                let socket = SockRef::from(&pair.streams[DIALLING]);
                let _ = socket.set_recv_buffer_size(SLOW_BUFFER_BYTES);
            }
        }
        self.links[link].conditions = conditions;
    }

    /// Resets the connections of a link.
    pub(super) fn reset(&mut self, link: usize) {
        for (_, pair) in self.pairs.iter().filter(|(_, pair)| pair.link == link) {
            pair.streams.iter().for_each(reset_on_drop);
        }
        self.pairs.retain(|_, pair| pair.link != link);
    }

    /// Handles an event of a socket. Returns a connection that stands from now on.
    pub(super) fn handle(
        &mut self,
        registry: &Registry,
        event: &mio::event::Event,
        faults: &Faults,
    ) -> Option<Carried> {
        let number = event.token().0 - self.first_token;
        let Some(number) = number.checked_sub(self.links.len()) else {
            self.accept(number, registry, faults);
            return None;
        };
        let (key, side) = (number / 2, number % 2);
        let pair = self.pairs.get_mut(key)?;
        if pair.connecting && side == DIALLING && (event.is_read_closed() || event.is_error()) {
            // The dialling node has given up before anything was relayed.
            self.reset_pair(key);
            return None;
        }
        if event.is_readable() {
            pair.pipes[side].readable = true;
        }
        if event.is_writable() {
            let mut opened = None;
            if pair.connecting && side == DIALLED {
                match pair.connected(&self.links[pair.link]) {
                    Ok(Some(carried)) => opened = Some(carried),
                    Ok(None) => return None,
                    Err(_) => {
                        self.reset_pair(key);
                        return None;
                    }
                }
            }
            pair.pipes[1 - side].writable = true;
            return opened;
        }
        None
    }

    fn accept(&mut self, link: usize, registry: &Registry, faults: &Faults) {
        // Without file descriptors a connection is not accepted; the node dials again later.
        while let Ok((stream, _)) = self.links[link].listener.accept() {
            let outcome = faults.dial(&mut self.rng);
            if outcome == DialOutcome::Refused {
                reset_on_drop(&stream);
                continue;
            }
            let silent = outcome == DialOutcome::Silent;
            if let Err(error) = self.carry(link, stream, silent, registry) {
                log::info!("cannot relay a connection: {error}");
            }
        }
    }

    fn carry(
        &mut self,
        link: usize,
        stream: TcpStream,
        silent: bool,
        registry: &Registry,
    ) -> io::Result<()> {
        let RelayedLink { from, to, .. } = self.links[link];
        let dialling = SocketAddrV4::new(from, stream.peer_addr()?.port());
        let streams = [stream, tcp::connect(Some(from), to)?];
        for stream in &streams {
            stream.set_nodelay(true)?;
        }
        let entry = self.pairs.vacant_entry();
        let first = self.first_token + self.links.len() + 2 * entry.key();
        let tap = LinkCapture::new(dialling, to);
        let pair = entry.insert(Pair {
            link,
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

    /// Moves bytes, and passes packets to `capture` if there is one. Returns when to call it again,
    /// events aside.
    pub(super) fn step(
        &mut self,
        now: Instant,
        mut capture: Option<&mut dyn FnMut(Vec<u8>)>,
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
                &self.links[pair.link].conditions,
                (&mut self.rng, &mut self.buffer),
                &mut capture,
            ) {
                Ok((again, false)) => next = [next, again].into_iter().flatten().min(),
                Ok((_, true)) => over.push((key, false)),
                Err(_) => over.push((key, true)),
            }
        }
        for (key, broken) in over {
            if broken {
                self.reset_pair(key);
            } else {
                self.pairs.remove(key);
            }
        }
        next
    }

    /// Resets both sides of a connection of which one has failed.
    fn reset_pair(&mut self, key: usize) {
        self.pairs.remove(key).streams.iter().for_each(reset_on_drop);
    }
}

impl Pair {
    /// Whether the dialled node has accepted the connection, and the peers that both sides see.
    fn connected(&mut self, link: &RelayedLink) -> io::Result<Option<Carried>> {
        let Some(to_sees) = tcp::finish_connect(&self.streams[DIALLED])? else { return Ok(None) };
        self.connecting = self.silent;
        Ok(Some(Carried { link: self.link, from_sees: link.addr, to_sees }))
    }

    fn step(
        &mut self,
        now: Instant,
        conditions: &Conditions,
        (rng, buffer): (&mut Rng, &mut [u8; READ_BYTES]),
        capture: &mut Option<&mut dyn FnMut(Vec<u8>)>,
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
            let mut seen = |bytes: &[u8]| tap.note(side, bytes, capture);
            let stepped = self.pipes[side].step(
                now,
                ends,
                &conditions,
                (&mut *rng, &mut *buffer),
                &mut seen,
            )?;
            again = [again, stepped.again].into_iter().flatten().min();
            finished &= stepped.finished;
        }
        Ok((again, finished))
    }
}

/// Has a stream reset when it is dropped: closing with unsent data discarded sends a RST.
fn reset_on_drop(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testnet::folder::Node;
    use mio::{Events, Poll};

    /// Two nodes and their link; the second node is only a listener.
    fn network(to: SocketAddrV4) -> Network {
        let node = |name: &str, addr| Node {
            name: name.to_owned(),
            addr,
            share: Vec::new(),
            command: Vec::new(),
            leaf: false,
            dialect: "0.4".to_owned(),
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
            let network = network(tcp::ipv4(dialled.local_addr().unwrap()).unwrap());
            let relay = Relay::new(&network, poll.registry(), 0, Rng::new(1)).unwrap();
            Fixture { poll, events: Events::with_capacity(16), relay, _dialled: dialled }
        }

        /// Dials the link, gets no answer, and waits until the relay has accepted the connection.
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
                    self.relay.handle(self.poll.registry(), event, &faults);
                }
                self.relay.step(Instant::now(), None);
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
        let next = fixture.relay.step(now, None);
        assert!(next.is_some_and(|at| at <= now + DIAL_TIMEOUT), "{next:?}");
        assert_eq!(fixture.relay.pairs.len(), 1);
        fixture.relay.step(now + DIAL_TIMEOUT, None);
        assert!(fixture.relay.pairs.is_empty());
    }
}
