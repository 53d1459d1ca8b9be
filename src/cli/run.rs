//! `servent run`: takes part in the network until it is stopped.

use super::exit::Failure;
use super::{limits, output, settings};
use crate::daemon::{self, DaemonError};
use clap::ArgMatches;
use std::io;

pub(super) fn run(given: &ArgMatches) -> Result<(), Failure> {
    let (settings, explain_limits) = settings::load(given)?;
    if explain_limits {
        return limits::explain(&settings);
    }
    let announce = |line: &str| match output::line(line) {
        Ok(()) => Ok(()),
        // A reader that has gone is no reason to stop.
        Err(failure) if failure.code() == 0 => Err(io::ErrorKind::BrokenPipe.into()),
        Err(failure) => Err(io::Error::other(failure.text().to_owned())),
    };
    let reread = || match settings::load(given) {
        Ok((settings, _)) => Ok(settings),
        Err(failure) => Err(failure.text().to_owned()),
    };
    daemon::run(settings, &reread, &announce).map_err(|error| match error {
        DaemonError::Usage(text) => Failure::usage(text),
        DaemonError::Disk(text) => Failure::disk(text),
        DaemonError::Failed(text) => Failure::failed(text),
        DaemonError::Output(error) => Failure::of_output(&error),
    })
}
