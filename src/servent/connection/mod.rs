//! One socket as the core sees it, from dial or accept to close.
//!
//! ```text
//!  dial ──▶ Dialing ──▶ Handshaking ──▶ Link ──▶ Parting
//!  accept ──▶ Accepted ─┬─ GNUTELLA ──▶ Handshaking ──▶ Link ──▶ Parting
//!                       ├─ GET, HEAD ─▶ Upload
//!                       └─ GIV ───────▶ Download ◀──▶ Idle
//!  dial for a Push ──▶ PushReply ──▶ Upload
//!  dial for a download ──▶ Download
//! ```
//!
//! The machines of uploads and downloads live in their own parts; a phase names whose socket it is.

mod codec;
mod handshake;
mod link;
mod peer_info;
mod send_queue;

use codec::LinkCodec;
pub(super) use handshake::{Established, Handshake, Progress, Terms};
pub(super) use link::Link;
pub use peer_info::{Features, PeerInfo, PeerRole};
pub(super) use send_queue::{ACCOUNT_BYTES_PER_BYTE, SendQueue};

use super::io::{CloseReason, TransferId};
use crate::time::Instant;
use crate::wire::{Dialect, ServentId};
use std::net::{Ipv4Addr, SocketAddrV4};

/// Where a socket came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// The listening socket.
    Inbound,
    /// Dialled: the user named the address, which is dialled again when the link ends.
    Static,
    /// Dialled: the address came from the host cache.
    Learnt,
    /// Dialled to fetch a file or to answer a Push, not for a link.
    Transfer,
}

/// A socket. Large states are boxed, so that a slot of the slab stays small.
#[derive(Debug)]
pub(super) struct Connection {
    pub(super) generation: u32,
    pub(super) remote: SocketAddrV4,
    /// Our own address on it; unspecified while it is being dialled.
    pub(super) local_ip: Ipv4Addr,
    pub(super) origin: Origin,
    pub(super) phase: Phase,
    /// When its timer has something to do.
    pub(super) deadline: Instant,
    /// When its entry among the timers comes up: not after `deadline`.
    pub(super) scheduled: Instant,
    pub(super) queue: SendQueue,
    /// Between `queue` and the socket.
    codec: LinkCodec,
    /// It is in a list of connections with something to send.
    pub(super) listed: bool,
    /// The socket took nothing: nothing is offered until it is writable.
    pub(super) blocked: bool,
}

/// What a socket is used for.
#[derive(Debug)]
#[expect(clippy::box_collection, reason = "a slot of the slab stays small")]
pub(super) enum Phase {
    /// The TCP connection is not established yet; what will be spoken on it.
    Dialing(Dialect),
    /// Inbound: what was received of a first line that decides what it is.
    Accepted(Box<Vec<u8>>),
    /// A link in the making.
    Handshaking(Box<Handshake>),
    /// A neighbour.
    Link(Box<Link>),
    /// Its last bytes are on their way: a refusal, or the Bye of what was a link.
    Parting(Box<Parting>),
    /// A peer that fetches files from us.
    Upload,
    /// A connection that a Push asked for; the GIV line to send first.
    PushReply(Box<Vec<u8>>),
    /// The connection of a download, from its dial on.
    Download(TransferId),
    /// A connection that this servent made for a Push of ours, kept for the next file.
    Idle(Box<ServentId>),
}

/// What is left of a link, or of one in the making, once this side has decided to end it.
#[derive(Debug)]
pub(super) struct Parting {
    /// Why.
    pub(super) reason: CloseReason,
    /// `None` if it never was a link.
    pub(super) link: Option<Box<Link>>,
    /// Copies that were queued and will not be sent.
    pub(super) dropped: u64,
}

impl Connection {
    /// A socket that has just been opened, with its deadline.
    pub(super) fn new(
        generation: u32,
        remote: SocketAddrV4,
        local_ip: Ipv4Addr,
        origin: Origin,
        phase: Phase,
        deadline: Instant,
    ) -> Connection {
        Connection {
            generation,
            remote,
            local_ip,
            origin,
            phase,
            deadline,
            scheduled: deadline,
            queue: SendQueue::default(),
            codec: LinkCodec::default(),
            listed: false,
            blocked: false,
        }
    }

    /// The link it is.
    #[inline]
    pub(super) fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Link(link) => Some(link),
            _ => None,
        }
    }

    /// Whether it was dialled for a link.
    pub(super) fn is_dialled(&self) -> bool {
        matches!(self.origin, Origin::Static | Origin::Learnt)
    }

    /// Where the neighbour at the other end listens, as far as it is known.
    pub(super) fn listening_addr(&self) -> Option<SocketAddrV4> {
        match &self.phase {
            _ if self.is_dialled() => Some(self.remote),
            Phase::Link(link) => link.listening_addr(*self.remote.ip()),
            _ => None,
        }
    }

    /// Bytes of handshake and descriptors to offer the socket next.
    #[inline]
    pub(super) fn unsent(&self) -> &[u8] {
        self.codec.unsent(&self.queue)
    }

    /// The socket took `count` bytes of [`Connection::unsent`]. Returns how many descriptors left
    /// the queue.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant, count: usize) -> u32 {
        self.codec.sent(now, &mut self.queue, count)
    }

    /// The descriptors in bytes of the socket.
    #[inline]
    pub(super) fn decode<'a>(&self, bytes: &'a [u8]) -> &'a [u8] {
        self.codec.decode(bytes)
    }
}
