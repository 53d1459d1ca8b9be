//! The report of a download at its end: a log line for people, a JSON object for programs.

use super::job::Job;
use crate::cli::exit::Failure;
use crate::cli::output::{self, Printer};
use crate::transfer::download::Source;
use crate::transfer::url::TransferUrl;
use indicatif::HumanBytes;
use serde::Serialize;
use std::io::{self, IsTerminal};
use std::path::PathBuf;

/// A file as `--json` prints it. The names are what other people's scripts rely on.
#[derive(Debug, Serialize)]
struct FileLine<'a> {
    url: String,
    name: &'a str,
    size: Option<u64>,
    path: Option<String>,
    state: State,
    error: Option<&'a str>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum State {
    /// The file is complete.
    Done,
    /// A partial file is kept.
    Kept,
    /// Nothing is kept.
    Failed,
}

/// Prints reports until the reader of stdout is gone.
pub(super) struct FetchReport {
    printer: Printer,
    json: bool,
    paths: bool,
}

impl FetchReport {
    /// With `json` prints an object for each file; otherwise, with `paths` and unless stdout is a
    /// terminal, the path of each complete one.
    pub(super) fn new(json: bool, paths: bool) -> FetchReport {
        let paths = paths && !json && !io::stdout().is_terminal();
        FetchReport { printer: Printer::default(), json, paths }
    }

    /// A file is complete.
    pub(super) fn done(
        &mut self,
        job: &Job,
        bytes: u64,
        already_here: bool,
    ) -> Result<(), Failure> {
        let Some((path, servents)) = &job.saved else { return Ok(()) };
        let (shown, size) = (path.display(), HumanBytes(bytes));
        match (already_here, servents) {
            (true, _) => log::info!("already here: {shown} ({size})"),
            (false, ..2) => log::info!("saved {shown} ({size})"),
            (false, several) => log::info!(
                "saved {shown} ({size}), joined from {several} sources: they agreed where they \
                 met, but no hash has confirmed the whole"
            ),
        }
        if self.json {
            let path = Some(path.display().to_string());
            let source = job.last_source();
            return self.object(source, Some(bytes), path, State::Done, None);
        }
        match self.paths {
            true => self.printer.print(|| output::line(&path.display().to_string())),
            false => Ok(()),
        }
    }

    /// A file is not complete.
    pub(super) fn failed(
        &mut self,
        job: &Job,
        partial: Option<&(PathBuf, u64, Option<u64>)>,
        error: &str,
    ) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        let path = partial.map(|(path, ..)| path.display().to_string());
        let size = partial.and_then(|(.., total)| *total).or(job.size);
        let state = if partial.is_some() { State::Kept } else { State::Failed };
        self.object(job.last_source(), size, path, state, Some(error))
    }

    fn object(
        &mut self,
        source: &Source,
        size: Option<u64>,
        path: Option<String>,
        state: State,
        error: Option<&str>,
    ) -> Result<(), Failure> {
        let Source { addr, index, name, .. } = source;
        let (host, port) = (addr.ip().to_string(), addr.port());
        let url = TransferUrl { host, port, index: *index, name: name.clone() }.to_string();
        let line = FileLine { url, name, size, path, state, error };
        self.printer.print(|| output::json(&line))
    }
}
