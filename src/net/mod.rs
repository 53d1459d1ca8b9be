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
//! | `segments`, `wires` | connections, and what is in flight on them |
//! | `datagrams` | bytes without a connection |
//! | `network` | [`Net`]: dials, turns, sends and reads |
//! | `faults` | crashes, stalls, resets, partitions |
//! | `peers`, `script` | scripted peers |
//! | `prefetch` | cache misses of several events at a time |
//!
//! ```text
//! node A ── poll_transmit ─→ window ─→ segments, bandwidth, latency ─→ tap ─→ handle_bytes ── node B
//!                                                                       └─→ Observer::crossed
//! ```

mod datagrams;
mod event_queue;
mod faults;
mod network;
mod node;
mod peers;
mod prefetch;
mod script;
mod segments;
#[cfg(test)]
mod tests;
mod wires;

pub use network::{Net, State};
pub use node::{Crossing, Dial, DialFate, Failure, Node, Observer, Output, Passed};
pub use wires::{Holder, LinkParams, Peer};
