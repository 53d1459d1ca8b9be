//! A network of real processes on loopback, controlled from outside as a user would: nodes are
//! started as `servent run`, observed through their logs and event files, and stopped by signals.
//!
//! ```text
//! command ── control socket ──▶ keeper ── starts, signals ──▶ nodes
//!    │                            └─ relays every link between nodes
//!    └─ asks the control sockets of the nodes
//! ```
//!
//! A network has a run folder. Its *keeper* is one process that starts the nodes and relays their
//! links, which is where links are delayed, cut or captured. Commands are short-lived: they ask the
//! keeper and read the nodes' events.

mod check;
mod control;
pub mod demo;
mod feed;
mod finding;
mod folder;
mod follow;
mod judge;
mod keeper;
mod orders;
mod page;
mod process;
mod search_records;
mod shared;
mod tail;
mod up;
mod view;
mod watch;

pub use check::check;
pub use finding::Finding;
pub use folder::{Conditions, Link, Network, Node, RunFolder};
pub use follow::{FOLLOW_TIMEOUT, Followed, MAX_TTL, Search, Traced, follow};
pub use keeper::keep;
pub use orders::{capture, kill, reset, set};
pub use page::{PageAddress, open_page, serve_page};
pub use process::{command, memory};
pub use shared::files_in;
pub use up::{MAX_NODES, Started, down, heal, up};
pub use view::{NodeState, View};
pub use watch::{DescriptorRates, Look, NodeLook, Watcher};
