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

pub(super) use codec::{CODEC_BYTES, Coding};
pub(super) use handshake::{Established, Handshake, Progress, Terms};
pub(super) use link::Link;
pub(super) use peer_info::Standing;
pub use peer_info::{Features, PeerInfo, PeerRole};
pub(super) use send_queue::{ACCOUNT_BYTES_PER_BYTE, SendQueue};

use super::budget::{DEFLATING_BYTE, DEFLATING_PIECE};
use super::io::{CloseReason, TransferId};
use crate::time::Instant;
use crate::wire::{Dialect, ServentId};
use codec::Outbound;
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
    /// Its directions that are deflated; their streams are the link's.
    coding: Coding,
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
    /// Dialled because a neighbour wants to know whether it can be reached; closed once it stands.
    ConnectBack,
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
            coding: Coding::default(),
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

    /// Deflates directions of this link, which has just been established: `inflates` those bytes that
    /// come from now on, `deflates` what is queued behind the handshake.
    pub(super) fn set_coding(&mut self, inflates: bool, deflates: bool) {
        let Phase::Link(link) = &mut self.phase else { return };
        self.coding = Coding { inflates, deflates };
        link.set_coded(inflates || deflates);
    }

    /// The directions that are deflated.
    #[inline]
    pub(super) fn coding(&self) -> Coding {
        self.coding
    }

    /// Units of work that queueing so many bytes of descriptors now costs beyond copying them: those
    /// of a deflated link are deflated, and the first of a piece cost its end too.
    #[inline]
    pub(super) fn deflate_cost(&self, bytes: usize) -> u32 {
        if !self.coding.deflates {
            return 0;
        }
        let piece = if self.queue.is_empty() { DEFLATING_PIECE } else { 0 };
        piece + DEFLATING_BYTE * u32::try_from(bytes).unwrap_or(u32::MAX / 2)
    }

    /// Whether there is something for the socket.
    #[inline]
    pub(super) fn has_unsent(&self) -> bool {
        !self.queue.is_empty() || self.outbound().is_some_and(Outbound::is_pending)
    }

    /// Bytes to offer the socket next: handshake and descriptors or, where these are deflated, what
    /// [`Connection::fill`] has made of them.
    #[inline]
    pub(super) fn unsent(&self) -> &[u8] {
        match self.outbound() {
            None => self.queue.unsent(),
            Some(outbound) => outbound.unsent(&self.queue),
        }
    }

    /// Deflates the next piece of the queue, if that is due before [`Connection::unsent`] is asked.
    /// Returns how many descriptors left the queue.
    #[inline]
    pub(super) fn fill(&mut self) -> u32 {
        let (queue, outbound) = self.queue_and_outbound();
        outbound.map_or(0, |outbound| outbound.fill(queue))
    }

    /// The socket took `count` bytes of [`Connection::unsent`]. Returns how many descriptors left
    /// the queue.
    #[inline]
    pub(super) fn sent(&mut self, now: Instant, count: usize) -> u32 {
        match self.queue_and_outbound() {
            (queue, None) => queue.sent(now, count),
            (queue, Some(outbound)) => {
                outbound.sent(now, queue, count);
                0
            }
        }
    }

    /// Gives back what an idle link need not keep.
    pub(super) fn shrink(&mut self) {
        self.queue.shrink();
        if let (_, Some(outbound)) = self.queue_and_outbound() {
            outbound.shrink();
        }
    }

    #[inline]
    fn outbound(&self) -> Option<&Outbound> {
        match &self.phase {
            _ if !self.coding.deflates => None,
            Phase::Link(link) => link.codec().map(|codec| &codec.outbound),
            // Its last word is deflated, too.
            Phase::Parting(parting) => Some(&parting.link.as_ref()?.codec()?.outbound),
            _ => None,
        }
    }

    #[inline]
    fn queue_and_outbound(&mut self) -> (&mut SendQueue, Option<&mut Outbound>) {
        let link = match &mut self.phase {
            _ if !self.coding.deflates => None,
            Phase::Link(link) => Some(&mut **link),
            Phase::Parting(parting) => parting.link.as_deref_mut(),
            _ => None,
        };
        let outbound = link.and_then(Link::codec_mut).map(|codec| &mut codec.outbound);
        (&mut self.queue, outbound)
    }
}
