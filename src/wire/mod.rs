//! The wire: bytes to meaning and back, for the handshake, the 23-byte descriptor header, the six
//! descriptors of Gnutella 0.4, HTTP heads and the GIV line; and for what 0.6 adds: headers, Bye,
//! GGEP, HUGE, query routing, vendor messages, deflate.
//!
//! Two levels per format. A *view* (`Query<'a>`, `QueryHit<'a>`, …) borrows the payload and names
//! its fields; the bytes it was read from are what gets forwarded, so extensions we do not
//! understand (GGEP, HUGE, vendor trailers) survive untouched. An `encode` function appends a
//! payload of our own making to a caller's buffer.
//!
//! Nothing here can panic on any input, and nothing allocates in proportion to what a length
//! field claims: lengths are checked against [`MAX_PAYLOAD_BYTES`] and the bytes at hand first.

mod bye;
pub mod deflate;
mod deframer;
mod error;
pub mod ggep;
pub mod giv;
mod guid;
pub mod handshake;
pub mod handshake06;
mod handshake_end;
mod header;
pub mod http_head;
pub mod huge;
mod ping;
mod pong;
mod push;
pub mod qrp;
mod query;
mod query_hit;
mod reader;
mod urn;
pub mod vendor;

pub use bye::Bye;
pub use deframer::{Deframer, Descriptors, RawDescriptor};
pub use error::{DecodeError, FrameError};
pub use guid::{Guid, ServentId};
pub use handshake::Dialect;
pub use handshake_end::{HandshakeEnd, block_len};
pub use header::{HEADER_BYTES, Header, Kind, MAX_PAYLOAD_BYTES};
pub use ping::Ping;
pub use pong::{PONG_BYTES, Pong};
pub use push::{PUSH_BYTES, Push};
pub use query::{
    INDEX_QUERY, MAX_CRITERIA_BYTES, MAX_FORWARDED_CRITERIA_BYTES, MAX_QUERY_BYTES, MinSpeed, Query,
};
pub use query_hit::{
    HitResult, HitResults, MAX_RESULTS_PER_HIT, QueryHit, QueryHitBuilder, Trailer,
};
pub use urn::Urn;
