//! Output on stdout: lines for people, JSON objects for programs.

use super::exit::Failure;
use super::progress;
use crate::driver::Driver;
pub(super) use crate::text::{count, part_of, shown, shown_lines};
use serde::Serialize;
use std::io::{self, Write};
use std::path::Path;

/// Prints one line on stdout.
///
/// # Errors
/// With code 0 and no text when the reader of stdout is gone.
pub(super) fn line(text: &str) -> Result<(), Failure> {
    let print = || {
        let mut out = io::stdout().lock();
        writeln!(out, "{text}").and_then(|()| out.flush())
    };
    progress::suspend(print).map_err(|error| Failure::of_output(&error))
}

/// Prints one JSON object on a line of its own.
pub(super) fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value)
        .map_err(|error| Failure::failed(format!("cannot write JSON: {error}")))?;
    line(&text)
}

/// Has a driver record events in the file of `--events`, if there is one.
pub(super) fn record_events(driver: &mut Driver, path: Option<&Path>) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    driver.record_events(path).map_err(|error| {
        Failure::disk(format!("cannot write events to {}: {error}", path.display()))
    })
}

/// Prints until the reader of stdout is gone, for commands that have other work to finish.
#[derive(Debug, Default)]
pub(super) struct Printer {
    unread: bool,
}

impl Printer {
    /// Prints, unless the reader is gone.
    pub(super) fn print(
        &mut self,
        print: impl FnOnce() -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        if self.unread {
            return Ok(());
        }
        match print() {
            Err(failure) if failure.code() == 0 => {
                self.unread = true;
                Ok(())
            }
            printed => printed,
        }
    }
}
