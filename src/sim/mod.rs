//! The simulator: thousands of virtual servents in one process under virtual time.
//!
//! The servents are the real ones, the core unchanged; what is simulated is the network between
//! them and the clock. Same plan, same seed: same trace on every machine. Rules of the protocol
//! are watched while it runs ([`oracle`]), not only reported at the end.

mod books;
mod event_queue;
mod faults;
mod fetch;
mod link;
mod neighbours;
mod network;
pub mod oracle;
mod parcels;
pub mod report;
mod searches;
mod shares;
mod traffic;

pub use faults::{Operation, play};
pub use network::{Attention, simulate, simulate_with};
