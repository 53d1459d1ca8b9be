//! What stands between the bytes of a socket and the descriptors of a link that is deflated, in each
//! direction by itself. Plain links have none of it: their bytes are descriptors.
//!
//! ```text
//! SendQueue ──(a piece at a time)──▶ Outbound ──▶ socket
//! descriptors ◀──(a piece at a time)── Inbound ◀── socket
//! ```
//!
//! Nothing is deflated before the socket has taken the piece before, so limits, fairness and drop
//! classes of the send queue go on deciding. Nothing is inflated before its link has work left to spend.

use super::send_queue::SendQueue;
use crate::config::READ_BYTES;
use crate::time::Instant;
use crate::wire::deflate::{Deflater, InflateStep, Inflater, StreamError};
use bytes::BytesMut;

/// Bytes of the send queue deflated at a time. Each piece ends with a flush: 5 bytes, and codes of
/// its own.
const PIECE_BYTES: usize = 16 * 1024;
/// Most bytes that a stream inflates to for each of its own, beyond [`FREE_BYTES`]. Honest descriptors
/// never come near: of the 23 bytes of a header, 16 are random and cannot be deflated.
const MAX_RATIO: u64 = 64;
/// Bytes that any stream may inflate to: a descriptor of the largest size, all of it zeros.
const FREE_BYTES: u64 = 64 * 1024;

/// Most memory of a deflated link, as measured: the deflater, the piece it made last, the inflater,
/// and input that waits. A link that sends nothing for a while keeps the inflater only, 43 KB.
pub(in crate::servent) const CODEC_BYTES: usize = DEFLATE_BYTES + INFLATE_BYTES;
/// Hash chains, window and codes of the deflater, and a piece.
const DEFLATE_BYTES: usize = 340_000;
/// Window and tables of the inflater, and the rest of one read.
const INFLATE_BYTES: usize = 44_000 + READ_BYTES;

/// The directions of a link that are deflated, as agreed on in the handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::servent) struct Coding {
    /// The peer deflates what it sends.
    pub(in crate::servent) inflates: bool,
    /// We deflate what we send.
    pub(in crate::servent) deflates: bool,
}

/// The streams of a link of which at least one direction is deflated.
#[derive(Debug, Default)]
pub(in crate::servent) struct LinkCodec {
    pub(super) outbound: Outbound,
    pub(super) inbound: Inbound,
}

/// The way out: one piece of the send queue at a time.
///
/// A descriptor counts as sent when its last byte leaves the queue, as it does on a plain link, so
/// that bytes of the socket and bytes of descriptors are never mixed up.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    deflater: Deflater,
    /// The piece deflated last; empty once the socket has taken it.
    piece: Vec<u8>,
    /// Bytes of it that the socket has taken.
    taken: usize,
    /// Nothing was deflated since [`Outbound::shrink`].
    rests: bool,
}

impl Outbound {
    /// Deflates the next piece of `queue`, once the one before is gone. Returns how many descriptors
    /// left the queue.
    pub(super) fn fill(&mut self, queue: &mut SendQueue) -> u32 {
        if !self.piece.is_empty() || !queue.handshake().is_empty() {
            return 0;
        }
        let unsent = queue.unsent();
        let piece = &unsent[..unsent.len().min(PIECE_BYTES)];
        if piece.is_empty() {
            return 0;
        }
        self.deflater.deflate(piece, &mut self.piece);
        self.rests = false;
        let taken = piece.len();
        queue.take(taken)
    }

    /// What to offer the socket: the handshake as it is, then the piece.
    pub(super) fn unsent<'a>(&'a self, queue: &'a SendQueue) -> &'a [u8] {
        if self.piece.is_empty() { queue.handshake() } else { &self.piece[self.taken..] }
    }

    /// The socket took `count` bytes of [`Outbound::unsent`].
    pub(super) fn sent(&mut self, now: Instant, queue: &mut SendQueue, count: usize) {
        let offered = self.unsent(queue).len();
        if self.piece.is_empty() {
            queue.take(count);
        } else {
            self.taken += count;
        }
        if self.taken == self.piece.len() {
            self.piece.clear();
            self.taken = 0;
        }
        queue.note_taken(now, count, offered - count);
    }

    /// Whether a piece is not gone yet.
    pub(super) fn is_pending(&self) -> bool {
        !self.piece.is_empty()
    }

    /// Gives back the memory of a link that sent nothing since the last call.
    pub(super) fn shrink(&mut self) {
        if std::mem::replace(&mut self.rests, true) && self.piece.is_empty() {
            self.deflater.forget();
            self.piece = Vec::new();
        }
    }
}

/// The way in: a stream, and what was received of it and waits.
#[derive(Debug, Default)]
pub(super) struct Inbound {
    inflater: Inflater,
    /// Input that waits for the link's share of work, at most one read.
    pub(super) waiting: BytesMut,
}

impl Inbound {
    /// Inflates `input` until `out` is full.
    ///
    /// # Errors
    /// The stream is broken, a bomb, or has ended by its own mark. The link is lost.
    pub(super) fn inflate(
        &mut self,
        input: &[u8],
        out: &mut [u8],
    ) -> Result<InflateStep, StreamError> {
        if self.inflater.has_ended() {
            return Err(StreamError::Ended);
        }
        let step = match self.inflater.step(input, out) {
            Ok(step) => step,
            Err(_) if self.inflater.has_ended() => return Err(StreamError::Ended),
            Err(_) => return Err(StreamError::Broken),
        };
        let (taken, made) = self.inflater.totals();
        if made > MAX_RATIO * taken + FREE_BYTES {
            return Err(StreamError::Bomb);
        }
        Ok(step)
    }

    /// Whether the stream has ended by its own mark.
    pub(super) fn has_ended(&self) -> bool {
        self.inflater.has_ended()
    }
}
