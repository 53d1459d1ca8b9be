//! INT and TERM for commands without an event loop: a flag to look at.

use super::exit::Failure;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Whether INT or TERM has arrived since the flag was made.
#[derive(Clone, Debug)]
pub(super) struct StopFlag(Arc<AtomicBool>);

impl StopFlag {
    /// Takes the signals over from their default actions.
    ///
    /// # Errors
    /// When the system refuses the handlers.
    pub(super) fn new() -> Result<StopFlag, Failure> {
        let flag = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&flag)).map_err(|error| {
                Failure::failed(format!("cannot handle the signals INT and TERM: {error}"))
            })?;
        }
        Ok(StopFlag(flag))
    }

    /// The flag itself.
    pub(super) fn flag(&self) -> &AtomicBool {
        &self.0
    }

    /// Whether the command is to stop.
    pub(super) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
