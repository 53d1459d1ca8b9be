//! What `servent run` is: a driver that keeps a servent in its network, and can be steered and watched.
//!
//! | file | has |
//! |---|---|
//! | `settings` `reload` | the checked settings, and what HUP changes of them |
//! | `run` | the start, the loop, the end |
//! | `door` `clients` | the control socket, its clients, what they subscribed to |
//! | `steer` `ongoing` | requests of clients; searches and pings of theirs |
//! | `views` `reachability` | what is said of the servent |
//! | `web` `metrics` | the page, and what it measures |
//! | `downloads` `queue` `uploads` `hook` | transfers: requests about them, the queue on the disk, the program run for each finished one |
//! | `notify` | what a service manager is told |
//! | `names` | host names given to `--connect` |
//! | `event_log` `scan_log` `log_ring` | what the log says, and its latest lines |

mod clients;
mod door;
mod downloads;
mod error;
mod event_log;
mod hook;
pub mod log_ring;
mod metrics;
mod names;
mod notify;
mod ongoing;
mod queue;
mod reachability;
mod reload;
mod run;
mod scan_log;
mod settings;
mod steer;
mod uploads;
mod views;
mod web;

pub use door::{CLIENT_BYTES, MAX_CLIENTS};
pub use error::DaemonError;
pub(crate) use queue::exit_code;
pub use run::run;
pub use settings::{ControlPlace, Settings};
pub(crate) use views::{hit_record, hit_source};
