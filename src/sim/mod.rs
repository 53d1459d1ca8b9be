//! The simulator: thousands of virtual servents in one process under virtual time.
//!
//! The servents are real, with the core unchanged; the network between them ([`crate::net`]) and the
//! clock are simulated. Same plan, same seed: same trace on every machine. The
//! rules of the protocol ([`crate::rules`]) are checked while it runs.
//!
//! | file | holds |
//! |---|---|
//! | `run` | the ways to run a simulation |
//! | `simulation` | the network, its libraries, its counters, the report |
//! | `searches` | how a search begins and ends |
//! | `configs` | the settings of nodes, by role |
//! | `shards` | the network in as many parts as there are cores |
//! | `watcher` | the observer of each descriptor and dial of a part |
//! | `follower` | follows a search through all parts, and judges it |
//! | `leaf_tables` | which Queries a leaf may get |
//! | `faults` | what a fault does to the network |
//! | `node` | the servent as a node |

mod configs;
mod faults;
mod follower;
mod leaf_tables;
pub(crate) mod neighbours;
mod node;
pub mod report;
mod run;
mod searches;
mod shards;
mod shares;
mod simulation;
mod watcher;

pub use node::{Outward, ServentNode};
pub use run::{Operation, RunOptions, play, simulate, simulate_nodes, simulate_with};
