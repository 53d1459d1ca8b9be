//! What stands between the bytes of a socket and the descriptors of a link, in both directions.

use super::send_queue::SendQueue;
use crate::time::Instant;

/// The coding of one link's stream, agreed on in the handshake. Gnutella 0.4 has none: bytes are
/// descriptors.
///
/// Bytes of the socket and bytes of descriptors are two things outside of this type, so descriptors
/// are counted when they leave the send queue and never by the bytes a socket takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::servent) enum LinkCodec {
    /// The identity.
    #[default]
    Plain,
}

impl LinkCodec {
    /// The descriptors in bytes of the socket.
    #[inline]
    pub(in crate::servent) fn decode(self, bytes: &[u8]) -> &[u8] {
        match self {
            LinkCodec::Plain => bytes,
        }
    }

    /// What to offer the socket of what is queued.
    #[inline]
    pub(in crate::servent) fn unsent(self, queue: &SendQueue) -> &[u8] {
        match self {
            LinkCodec::Plain => queue.unsent(),
        }
    }

    /// The socket took `count` bytes of what [`LinkCodec::unsent`] offered. Returns how many
    /// descriptors left the queue.
    #[inline]
    pub(in crate::servent) fn sent(self, now: Instant, queue: &mut SendQueue, count: usize) -> u32 {
        match self {
            LinkCodec::Plain => queue.sent(now, count),
        }
    }
}
