//! A node of the lab: a system that speaks in datagrams, made a node of the network in memory.

use super::message::{Fields, Head, Purpose, Reader};
use crate::net::{Failure, Node, Output};
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::Guid;
use std::collections::VecDeque;
use std::net::SocketAddrV4;
use std::time::Duration;

/// A way to look things up, as one node sees it. Every event hands in the [`Io`] to act with.
pub trait System {
    /// The node enters. It knows these addresses and publishes its files when it has its place.
    fn join(&mut self, known: &[SocketAddrV4], io: &mut Io);
    /// The node looks something up; [`Io::found`] tells what came of it.
    fn look_up(&mut self, wanted: &Wanted, io: &mut Io);
    /// A message came.
    fn message(
        &mut self,
        from: SocketAddrV4,
        head: Head,
        fields: Reader<'_>,
        io: &mut Io,
    ) -> Option<()>;
    /// The time named by [`Io::wake_after`] has come.
    fn timeout(&mut self, _io: &mut Io) {}
    /// What it keeps of other nodes.
    fn state(&self) -> Held;
}

/// A node whose lookups can be measured: a [`System`], or the real core.
pub trait Participant: Node<Outward = Told> {
    /// The node enters; it knows these addresses.
    fn join(&mut self, now: Instant, known: &[SocketAddrV4]);
    /// The node looks something up.
    fn look_up(&mut self, now: Instant, wanted: &Wanted);
    /// What it keeps of other nodes.
    fn state(&self) -> Held;
}

/// A lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Stands in all of its messages.
    pub guid: Guid,
    /// The whole name of a file, or some words of it.
    pub text: String,
    /// Whether `text` is a whole name.
    pub exact: bool,
}

/// Copies of a file that a lookup found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The lookup.
    pub lookup: Guid,
    /// When.
    pub at: Instant,
    /// The name of the file.
    pub name: String,
    /// The nodes that have it.
    pub holders: Vec<SocketAddrV4>,
    /// The length of the path, as the system counts it.
    pub hops: usize,
}

/// What a node tells the lab.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// Copies were found.
    Found(Found),
    /// Messages with another GUID belong to this lookup too.
    Alias {
        /// The lookup.
        lookup: Guid,
        /// The other GUID.
        guid: Guid,
    },
}

/// What a node keeps of other nodes: links, routes, directory entries, identifiers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Entries. One of a directory is one pair of name and holder.
    pub entries: usize,
    /// Their bytes, as they would be encoded.
    pub bytes: usize,
}

impl Held {
    /// As many entries of this size.
    pub fn new(entries: usize, each: usize) -> Held {
        Held { entries, bytes: entries * each }
    }

    /// Both together.
    pub fn and(self, other: Held) -> Held {
        Held { entries: self.entries + other.entries, bytes: self.bytes + other.bytes }
    }
}

/// The means of a node to act: the clock, randomness, messages, a timer.
#[derive(Debug)]
pub struct Io {
    /// The present.
    pub now: Instant,
    /// The node's own address.
    pub own: SocketAddrV4,
    /// The node's own randomness.
    pub rng: Rng,
    outputs: VecDeque<Output<u8, Told>>,
    wakes_at: Option<Instant>,
}

impl Io {
    /// Sends a message.
    pub fn send(&mut self, to: SocketAddrV4, head: Head, fields: &Fields) {
        self.outputs.push_back(Output::Datagram { to, bytes: head.frame(fields) });
    }

    /// Sends a message that belongs to no lookup.
    pub fn tell(&mut self, to: SocketAddrV4, purpose: Purpose, fields: &Fields) {
        self.send(to, Head::new(purpose, Guid::default()), fields);
    }

    /// A lookup found copies.
    pub fn found(&mut self, lookup: Guid, name: &str, holders: Vec<SocketAddrV4>, hops: usize) {
        let found = Found { lookup, at: self.now, name: name.to_owned(), holders, hops };
        self.outputs.push_back(Output::Outward(Told::Found(found)));
    }

    /// Has [`System::timeout`] called after this time, or earlier.
    pub fn wake_after(&mut self, time: Duration) {
        let at = self.now + time;
        self.wakes_at = Some(self.wakes_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// A [`System`] as a node of the network.
#[derive(Debug)]
pub struct Host<S> {
    system: S,
    io: Io,
}

impl<S: System> Host<S> {
    /// A node at its own address.
    pub fn new(system: S, own: SocketAddrV4, rng: Rng) -> Host<S> {
        let io = Io { now: Instant::ZERO, own, rng, outputs: VecDeque::new(), wakes_at: None };
        Host { system, io }
    }

    /// The system inside.
    pub fn system(&self) -> &S {
        &self.system
    }
}

impl<S: System> Participant for Host<S> {
    fn join(&mut self, now: Instant, known: &[SocketAddrV4]) {
        self.io.now = now;
        self.system.join(known, &mut self.io);
    }

    fn look_up(&mut self, now: Instant, wanted: &Wanted) {
        self.io.now = now;
        self.system.look_up(wanted, &mut self.io);
    }

    fn state(&self) -> Held {
        self.system.state()
    }
}

/// It has no sockets: all that it says goes in datagrams.
impl<S: System> Node for Host<S> {
    type Conn = u8;
    type Outward = Told;

    fn slot(conn: u8) -> usize {
        conn.into()
    }

    fn handle_accepted(&mut self, _: Instant, _: SocketAddrV4, _: SocketAddrV4) -> Option<u8> {
        None
    }

    fn handle_connected(&mut self, _: Instant, _: u8, _: SocketAddrV4) {}

    fn handle_bytes(&mut self, _: Instant, _: u8, _: &[u8]) {}

    fn handle_writable(&mut self, _: u8) {}

    fn handle_closed(&mut self, _: Instant, _: u8, _: Failure) {}

    fn handle_datagram(&mut self, now: Instant, from: SocketAddrV4, bytes: &[u8]) {
        self.io.now = now;
        if let Some((head, fields)) = Head::read(bytes)
            && self.system.message(from, head, fields, &mut self.io).is_none()
        {
            log::debug!("a message of {from} is ignored");
        }
    }

    fn handle_timeout(&mut self, now: Instant) {
        self.io.now = now;
        self.io.wakes_at = None;
        self.system.timeout(&mut self.io);
    }

    fn start_turn(&mut self, _: Instant) {}

    fn poll_output(&mut self) -> Option<Output<u8, Told>> {
        self.io.outputs.pop_front()
    }

    fn poll_transmit(&mut self, _: Instant) -> Option<(u8, &[u8])> {
        None
    }

    fn sent(&mut self, _: Instant, _: u8, _: usize) {}

    fn poll_timeout(&self) -> Option<Instant> {
        self.io.wakes_at
    }
}
