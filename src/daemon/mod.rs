//! What `servent run` is: a driver that keeps a servent in its network, and can be steered and watched.
//!
//! | file | has |
//! |---|---|
//! | `settings` | the checked settings |
//! | `run` | the start, the loop, the end |
//! | `names` | host names given to `--connect` |
//! | `event_log` `scan_log` | what the log says |

mod error;
mod event_log;
mod names;
mod run;
mod scan_log;
mod settings;

pub use error::DaemonError;
pub use run::run;
pub use settings::{ControlPlace, Settings};
