//! The traits of a network: [`Node`] takes part in it, [`Observer`] watches it.

use super::wires::Holder;
use crate::rng::Rng;
use crate::time::Instant;
use crate::wire::RawDescriptor;
use std::fmt::Debug;
use std::net::SocketAddrV4;

/// A program with sockets and no I/O of its own, in the families of the servent's core: `handle_*`
/// takes in what happened outside, `poll_*` gives out what to do outside.
///
/// The network calls `start_turn` after every `handle_*`, drains `poll_output`, then
/// `poll_transmit` with `sent`, and asks `poll_timeout` last.
pub trait Node {
    /// The node's name for one socket, from the dial or the accept to `Output::Close`.
    type Conn: Copy + Eq + Debug + Send;
    /// Outputs other than those about sockets: events, file operations.
    type Outward;

    /// A small number that no other open socket of the node has.
    fn slot(conn: Self::Conn) -> usize;

    /// A connection came in. `None` refuses it.
    fn handle_accepted(
        &mut self,
        now: Instant,
        remote: SocketAddrV4,
        local: SocketAddrV4,
    ) -> Option<Self::Conn>;
    /// A connection asked for by [`Output::Connect`] stands.
    fn handle_connected(&mut self, now: Instant, conn: Self::Conn, local: SocketAddrV4);
    /// Bytes came.
    fn handle_bytes(&mut self, now: Instant, conn: Self::Conn, bytes: &[u8]);
    /// A socket that took nothing takes bytes again.
    fn handle_writable(&mut self, conn: Self::Conn);
    /// No more bytes will come. After [`Failure::Eof`] the peer may still read.
    fn handle_closed(&mut self, now: Instant, conn: Self::Conn, failure: Failure);
    /// A datagram came. The default ignores it.
    fn handle_datagram(&mut self, _now: Instant, _from: SocketAddrV4, _bytes: &[u8]) {}
    /// The time named by [`Node::poll_timeout`] has come.
    fn handle_timeout(&mut self, now: Instant);

    /// A turn of its loop begins.
    fn start_turn(&mut self, now: Instant);
    /// The next thing to do outside, other than sending.
    fn poll_output(&mut self) -> Option<Output<Self::Conn, Self::Outward>>;
    /// The next bytes to write and where; [`Node::sent`] answers.
    fn poll_transmit(&mut self, now: Instant) -> Option<(Self::Conn, &[u8])>;
    /// That many of the bytes polled last went out; 0 means the socket is full.
    fn sent(&mut self, now: Instant, conn: Self::Conn, written: usize);
    /// When [`Node::handle_timeout`] wants to be called.
    fn poll_timeout(&self) -> Option<Instant>;
    /// Whether the node has more to do in another turn at the same time.
    fn wants_turn(&self) -> bool {
        false
    }

    /// Loads what any arrival needs of the node, so that it is in the cache. The value means
    /// nothing; these three hooks are for speed only.
    fn touch(&self) -> u64 {
        0
    }
    /// Loads what the arrival of a descriptor with this GUID needs.
    fn touch_arrival(&self, _conn: Self::Conn, _guid: &[u8; 16]) -> u64 {
        0
    }
    /// Loads what passing something on needs.
    fn touch_links(&self) -> u64 {
        0
    }
}

/// What a node wants done outside.
#[derive(Debug)]
pub enum Output<C, W> {
    /// Open a connection; answered by `handle_connected` or `handle_closed`.
    Connect {
        /// Its name from now on.
        conn: C,
        /// Where to.
        addr: SocketAddrV4,
    },
    /// Close the socket.
    Close {
        /// Which.
        conn: C,
    },
    /// Send bytes without a connection. They arrive whole, or not at all.
    Datagram {
        /// Where to.
        to: SocketAddrV4,
        /// What.
        bytes: Vec<u8>,
    },
    /// Anything else, for [`Observer::outward`].
    Outward(W),
}

/// What ended a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// The other side closed in good order.
    Eof,
    /// No listener there.
    Refused,
    /// No way there.
    Unreachable,
    /// Cut in the middle.
    Reset,
    /// The node's own machine has no network.
    Offline,
}

/// A node dials.
#[derive(Clone, Copy, Debug)]
pub struct Dial {
    /// When.
    pub at: Instant,
    /// Which node.
    pub node: usize,
    /// Where to.
    pub addr: SocketAddrV4,
    /// The wire of the connection, in the order they were made.
    pub wire: usize,
}

/// What becomes of a dial.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DialFate {
    /// It reaches the listener, if there is one.
    Arrives,
    /// It is answered with a refusal.
    Refused,
    /// It is never answered.
    Swallowed,
    /// It does not leave the node's machine.
    Offline,
}

/// A descriptor that was read at one end of a wire.
#[derive(Clone, Copy, Debug)]
pub struct Crossing<'a> {
    /// When.
    pub at: Instant,
    /// Its place among all that happens at that time, wherever it does.
    pub order: u64,
    /// The sender.
    pub from: Holder,
    /// The reader.
    pub to: Holder,
    /// Tells apart the connections that these two have or had.
    pub wire: u32,
    /// The descriptor.
    pub raw: RawDescriptor<'a>,
}

/// A datagram at the end of its way.
#[derive(Clone, Copy, Debug)]
pub struct Passed<'a> {
    /// When it arrived or was lost.
    pub at: Instant,
    /// The sender.
    pub from: usize,
    /// The receiver, if the address is that of a node.
    pub to: Option<usize>,
    /// What was sent.
    pub bytes: &'a [u8],
    /// Whether the receiver got it.
    pub arrived: bool,
}

/// Watches a network while it runs, and decides what fails in it. The default watches nothing, and
/// nothing fails.
pub trait Observer<N: Node> {
    /// A node dials.
    fn dialled(&mut self, _dial: &Dial, _rng: &mut Rng) -> DialFate {
        DialFate::Arrives
    }

    /// A wire was reset within what was read, as [`super::Net::cut`] asked for.
    fn cut(&mut self, _at: Instant, _wire: usize) {}

    /// A node says something, or asks for something.
    fn outward(&mut self, _node: usize, _what: N::Outward) {}

    /// `bytes` bytes are about to be handed to a node.
    fn delivering(&mut self, _node: &N, _bytes: usize) {}

    /// A descriptor was read: by a node, right before it is handed to it.
    fn crossed(&mut self, _crossing: &Crossing<'_>) {}

    /// A datagram is about to be handed to its receiver, or was lost.
    fn datagram(&mut self, _passed: &Passed<'_>) {}

    /// The node has taken them; `open` tells whether it kept the connection.
    fn delivered(&mut self, _node: &N, _open: bool) {}

    /// When [`super::Net::run`] is to stop, for the caller to act.
    fn alarm(&self) -> Option<Instant> {
        None
    }

    /// Whether a node has had what is going round, and will not pass it on again.
    fn is_settled(&self, _node: usize) -> bool {
        false
    }
}

impl<N: Node> Observer<N> for () {}
