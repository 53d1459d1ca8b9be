//! Errors in a peer's bytes, by consequence: a [`DecodeError`] costs one descriptor,
//! a [`FrameError`] costs the link.

use super::header::{Kind, MAX_PAYLOAD_BYTES};
use std::fmt;

/// A payload that does not follow its descriptor's layout. The descriptor is dropped and counted;
/// the stream stays in step, because the header's length was valid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DecodeError {
    /// Fewer bytes than the fixed fields need.
    TooShort {
        /// Which descriptor.
        kind: Kind,
        /// Bytes its fixed fields take.
        need: usize,
        /// Bytes received.
        got: usize,
    },
    /// More bytes than this kind may have.
    TooLong {
        /// Which descriptor.
        kind: Kind,
        /// The most that is accepted.
        limit: usize,
        /// Bytes received.
        got: usize,
    },
    /// A text field without its NUL.
    MissingNul {
        /// Which descriptor.
        kind: Kind,
        /// The field.
        field: &'static str,
    },
    /// A QueryHit with a result count of zero.
    NoResults,
    /// A QueryHit whose results end before the announced count.
    MissingResults {
        /// The count in the first byte.
        announced: u8,
        /// How many could be read.
        found: u8,
    },
}

impl fmt::Display for DecodeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DecodeError::TooShort { kind, need, got } => {
                write!(f, "a {kind} needs at least {need} payload bytes, {got} came")
            }
            DecodeError::TooLong { kind, limit, got } => {
                write!(f, "a {kind} may have at most {limit} payload bytes, {got} came")
            }
            DecodeError::MissingNul { kind, field } => {
                write!(f, "the {field} of the {kind} should end with a NUL byte, none came")
            }
            DecodeError::NoResults => {
                f.write_str("a QueryHit should carry 1 to 255 results, it announces 0")
            }
            DecodeError::MissingResults { announced, found } => {
                write!(f, "the QueryHit announces {announced} results, only {found} are complete")
            }
        }
    }
}

impl std::error::Error for DecodeError {}

/// The stream cannot be followed any further. There is no marker to find the next descriptor by,
/// so the link is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameError {
    /// A header announces more than [`MAX_PAYLOAD_BYTES`].
    PayloadTooLong {
        /// Which descriptor it claims to be.
        kind: Kind,
        /// The length field.
        announced: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            FrameError::PayloadTooLong { kind, announced } => write!(
                f,
                "a header announces a {kind} of {announced} payload bytes, at most \
                 {MAX_PAYLOAD_BYTES} are allowed: the stream is out of step or hostile"
            ),
        }
    }
}

impl std::error::Error for FrameError {}
