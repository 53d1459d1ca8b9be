//! The network in memory, under virtual time: the only one. Simulator, tests and fuzz targets run
//! on it.
//!
//! A [`Net`] is generic over its [`Node`]s and knows nothing of servents beyond what crosses a
//! wire. It carries bytes with latency, bandwidth and windows, cuts and loses them as it is told,
//! and shows its [`Observer`] each descriptor that is read. Scripted peers stand in for programs
//! outside.
//!
//! | file | holds |
//! |---|---|
//! | `node` | the traits, and what passes between a node and the network |
//! | `event_queue` | events in order of time |
//! | `hosts` | machines and their nodes |
//! | `segments`, `wires` | connections, and what is in flight on them |
//! | `datagrams` | bytes without a connection |
//! | `network` | [`Net`]: dials, turns and sends |
//! | `reading` | reads |
//! | `faults` | crashes, stalls, resets, partitions |
//! | `peers`, `script` | scripted peers |
//! | `shard` | a network in several parts, each for a core of its own |
//! | `prefetch` | cache misses of several events at a time |
//!
//! ```text
//! node A ── poll_transmit ─→ window ─→ segments, bandwidth, latency ─→ tap ─→ handle_bytes ── node B
//!                                                                       └─→ Observer::crossed
//! ```

mod datagrams;
mod event_queue;
mod faults;
mod hosts;
mod network;
mod node;
mod peers;
mod prefetch;
mod reading;
mod script;
mod segments;
mod shard;
#[cfg(test)]
mod tests;
mod wires;

pub use hosts::State;
pub use network::Net;
pub use node::{Crossing, Dial, DialFate, Failure, Node, Observer, Output, Passed};
pub use shard::Letter;
pub use wires::{Holder, LinkParams, Peer};
