//! Observations: what a servent does with each descriptor, one by one, so that tools can follow a
//! descriptor through a network.
//!
//! Switched off, as it usually is, this costs one branch for each descriptor.

use super::connection::PeerRole;
use super::io::CloseReason;
use crate::stats::DropReason;
use crate::wire::{Dialect, Guid, Header};
use std::net::SocketAddrV4;

/// Something that [`crate::stats::Stats`] counts, or the beginning or end of a link. `peer` is the
/// remote end of a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A link stands.
    LinkUp {
        /// The neighbour.
        peer: SocketAddrV4,
        /// Whether we dialled.
        outbound: bool,
        /// What the link speaks.
        dialect: Dialect,
        /// The neighbour's place in the network.
        role: PeerRole,
    },
    /// A link ended.
    LinkDown {
        /// The neighbour.
        peer: SocketAddrV4,
        /// Who ended it, and why.
        reason: CloseReason,
        /// Copies that were queued and not sent to their last byte:
        /// [`DropReason::LinkEnded`].
        unsent: u64,
    },
    /// A descriptor arrived: `Stats::received`. What came of it follows before the next one.
    Received {
        /// The neighbour it came from.
        peer: SocketAddrV4,
        /// As it arrived.
        header: Header,
    },
    /// A copy was queued on behalf of others: `Stats::forwarded`.
    Forwarded {
        /// The neighbour it goes to.
        peer: SocketAddrV4,
        /// As it is sent.
        header: Header,
    },
    /// A copy of our own making was queued, replies included: `Stats::originated`.
    Originated {
        /// The neighbour it goes to.
        peer: SocketAddrV4,
        /// As it is sent.
        header: Header,
    },
    /// The descriptor that arrived last went no further.
    Dropped {
        /// The neighbour it came from.
        peer: SocketAddrV4,
        /// As it arrived.
        header: Header,
        /// Why; neither of the two reasons for which copies are lost that were to be sent.
        reason: DropReason,
    },
    /// A neighbour's queue had no room for a copy: [`DropReason::QueueFull`].
    Refused {
        /// The neighbour.
        peer: SocketAddrV4,
        /// As it would have been sent.
        header: Header,
    },
    /// A Query was answered from the library: `Stats::queries_answered`.
    Answered {
        /// Its GUID.
        guid: Guid,
        /// Its words, as they came.
        criteria: Vec<u8>,
        /// How many results it got.
        results: usize,
    },
}
