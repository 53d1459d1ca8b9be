//! Shared by the tests. [`Net`] is a network of servents in memory under virtual time, [`Bench`] one
//! servent with scripted peers around it, [`Graph`] the shapes of networks; [`descriptor`] lays out
//! and reads descriptors by hand, [`vectors`] reads `tests/data/*.hex`, [`recorded`] the conversations in
//! `tests/data/06`. [`modern`] has peers that speak 0.6.

mod bench;
pub(crate) mod descriptor;
mod graph;
pub(crate) mod modern;
mod net;
mod node;
pub(crate) mod recorded;
pub(crate) mod vectors;

pub(crate) use bench::{Bench, CONNECT, OK};
pub(crate) use descriptor::Descriptor;
pub(crate) use graph::Graph;
pub(crate) use net::{Crossing, LATENCY, Net};
pub(crate) use node::{library, shared_files};
pub(crate) use servent::net::{Holder, Peer};
