//! A local network of real processes, driven from outside like any user would: the running binary
//! is started as `servent run`, watched through what it prints and writes down, and stopped by
//! signal.
//!
//! A network lies in a run folder. Its *keeper*, one process, starts the nodes and carries
//! their links, which is where links are made slow, cut or listened to. Commands come and go: they
//! ask the keeper, and read the events that every node writes down.

mod check;
mod control;
pub mod demo;
mod folder;
mod follow;
mod keeper;
mod orders;
mod own;
mod process;
mod shared;
mod tail;
mod up;
mod view;

pub use check::{Finding, check};
pub use folder::{Conditions, Link, Network, Node, RunFolder};
pub use follow::{Followed, MAX_TTL, Search, follow};
pub use keeper::keep;
pub use orders::{capture, kill, reset, set};
pub use process::{Process, command, memory};
pub use shared::files_in;
pub use up::{MAX_NODES, Started, down, heal, up};
pub use view::{NodeState, View};
