//! Why a servent cannot start or go on.

use std::fmt;
use std::io;

/// A sentence that says what happened, to what, why, and what to do.
#[derive(Debug)]
pub enum DaemonError {
    /// Wrong settings.
    Usage(String),
    /// A file or folder cannot be read or written.
    Disk(String),
    /// Anything else.
    Failed(String),
    /// The line that says where it listens could not be written.
    Output(io::Error),
}

impl fmt::Display for DaemonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DaemonError::Usage(text) | DaemonError::Disk(text) | DaemonError::Failed(text) => {
                f.write_str(text)
            }
            DaemonError::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl std::error::Error for DaemonError {}

/// The error of an event loop that cannot go on.
pub(super) fn loop_failed(error: io::Error) -> DaemonError {
    DaemonError::Failed(format!("the event loop failed: {error}"))
}
