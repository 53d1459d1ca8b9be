//! Output on stdout: lines for people, JSON objects for programs.

use super::exit::Failure;
use super::progress;
use crate::daemon::hit_record;
use crate::driver::Driver;
use crate::servent::Hit;
pub(super) use crate::text::{count, part_of, shown, shown_lines};
use crate::transfer::url::TransferUrl;
use indicatif::HumanBytes;
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

/// Prints a hit.
pub(super) fn hit(hit: &Hit, as_json: bool) -> Result<(), Failure> {
    if as_json {
        return json(&hit_record(hit));
    }
    let mut notes = format!("{}, {}", HumanBytes(hit.size), hops(hit.hops));
    if hit.push == Some(true) {
        notes.push_str(", behind a firewall");
    }
    if hit.busy == Some(true) {
        notes.push_str(", busy");
    }
    line(&format!("{}  ({notes})\n  {}", shown(&hit.name), url_of(hit)))
}

/// The URL of a hit.
pub(super) fn url_of(hit: &Hit) -> TransferUrl {
    TransferUrl {
        host: hit.addr.ip().to_string(),
        port: hit.addr.port(),
        index: hit.index,
        name: hit.name.clone(),
    }
}

fn hops(hops: u8) -> String {
    match hops {
        1 => "1 hop".to_owned(),
        hops => format!("{hops} hops"),
    }
}
