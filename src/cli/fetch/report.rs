//! The report of a download at its end: a log line for people, a JSON object for programs.

use crate::cli::exit::Failure;
use crate::cli::output::{self, Printer};
use indicatif::HumanBytes;
use serde::Serialize;
use std::io::{self, IsTerminal};
use std::path::Path;

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

/// A complete file.
#[derive(Clone, Debug)]
pub(super) struct Complete<'a> {
    /// The source, and the name it has there.
    pub(super) url: String,
    pub(super) name: &'a str,
    /// The file here.
    pub(super) path: &'a Path,
    pub(super) bytes: u64,
    /// It was here before.
    pub(super) already_here: bool,
    /// Servents its bytes come from.
    pub(super) servents: usize,
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
    pub(super) fn done(&mut self, file: &Complete<'_>) -> Result<(), Failure> {
        let Complete { path, bytes, already_here, servents, .. } = *file;
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
            return self.object(&FileLine {
                url: file.url.clone(),
                name: file.name,
                size: Some(bytes),
                path: Some(path.display().to_string()),
                state: State::Done,
                error: None,
            });
        }
        match self.paths {
            true => self.printer.print(|| output::line(&path.display().to_string())),
            false => Ok(()),
        }
    }

    /// A file is not complete.
    pub(super) fn failed(
        &mut self,
        source: (String, &str),
        size: Option<u64>,
        partial: Option<&Path>,
        error: &str,
    ) -> Result<(), Failure> {
        let (url, name) = source;
        let state = if partial.is_some() { State::Kept } else { State::Failed };
        let path = partial.map(|path| path.display().to_string());
        self.object(&FileLine { url, name, size, path, state, error: Some(error) })
    }

    fn object(&mut self, line: &FileLine<'_>) -> Result<(), Failure> {
        if !self.json {
            return Ok(());
        }
        self.printer.print(|| output::json(line))
    }
}
