//! Packet captures: read into streams and descriptors, and written.
//!
//! ```text
//! pcap, pcapng ── read ── segments ──▶ reassembly ── streams ──▶ compression ── streams, inflated
//!                                       streams ──▶ walk ── handshakes, descriptors
//! bytes, addresses ── write ──▶ pcapng
//! ```
//!
//! [`walk_bytes`] also takes raw bytes that were not captured.

mod compression;
mod read;
mod reassembly;
mod walk;
pub mod write;

pub use compression::{inflate_raw, inflate_streams};
pub use read::{Capture, is_capture};
pub use reassembly::{ByteStream, Fragment, Lost, Mark, TcpSegment, reassemble};
pub use walk::{Content, Item, Origin, Position, walk_bytes, walk_stream};
