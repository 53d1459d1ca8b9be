//! One download, watched from its start to its file.

use super::exit::Failure;
use super::oneshot::{OneShot, Step};
use crate::driver::PartialFile;
use crate::servent::{Event, Progress};
use crate::transfer::download::{DiskFault, DownloadError, Source};
use crate::transfer::names::{escape_for_terminal, safe_local_name};
use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How often the bar moves.
const REDRAW: Duration = Duration::from_millis(100);

/// Fetches one file into `folder`, which is made if it is missing. What else happens meanwhile
/// goes to `other`.
pub(super) fn fetch(
    shot: &mut OneShot,
    source: Source,
    folder: &Path,
    other: &mut dyn FnMut(Event) -> Result<(), Failure>,
) -> Result<PathBuf, Failure> {
    let name = safe_local_name(&source.name);
    let folder_failure = |error: io::Error| {
        let text = format!("cannot use the folder {}: {error}", folder.display());
        Failure::disk(format!("{text}; choose another with --output"))
    };
    fs::create_dir_all(folder).map_err(folder_failure)?;
    let (place, partial) =
        PartialFile::look_for(folder, &name, source.size).map_err(folder_failure)?;
    let begun = partial.filter(|partial| partial.have > 0);
    let report =
        Report { what: escape_for_terminal(&source.name).to_string(), folder, name: &name };
    report.started(&source, begun.map(|partial| partial.have));
    let bar = bar();
    let (transfer, _) =
        shot.driver.download(source, place, partial).map_err(|error| report.failed(&error))?;
    let mut path = None;
    loop {
        match shot.next(Some(Instant::now() + REDRAW))? {
            Step::Saved(saved) => path = Some(saved),
            Step::Event(Event::Downloaded { transfer: ended, bytes }) if ended == transfer => {
                bar.finish_and_clear();
                let path = path.ok_or_else(|| Failure::failed("the finished file is lost"))?;
                log::info!("saved {} ({})", path.display(), HumanBytes(bytes));
                return Ok(path);
            }
            Step::Event(Event::DownloadFailed { transfer: ended, error }) if ended == transfer => {
                bar.finish_and_clear();
                return Err(report.failed(&error));
            }
            Step::Event(event) => bar.suspend(|| other(event))?,
            Step::Stop => {
                shot.driver.command(|core, now| core.cancel_download(now, transfer));
                shot.turn(Duration::ZERO)?;
                bar.finish_and_clear();
                return Err(report.interrupted());
            }
            Step::Deadline => draw(&bar, shot.driver.core().progress(transfer)),
            Step::Linked | Step::Found(_) | Step::Alone(_) => {}
        }
    }
}

fn bar() -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let template = "{wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

fn draw(bar: &ProgressBar, progress: Option<Progress>) {
    let Some(progress) = progress else { return };
    if let Some(total) = progress.total {
        bar.set_length(total);
    }
    bar.set_position(progress.received);
}

/// What is said of one download.
struct Report<'a> {
    /// The name as the source gives it, fit to be shown.
    what: String,
    folder: &'a Path,
    name: &'a str,
}

impl Report<'_> {
    fn started(&self, source: &Source, begun: Option<u64>) {
        match begun {
            None => log::info!("getting \"{}\" from {}", self.what, source.addr),
            Some(have) => log::info!(
                "going on with \"{}\" from {}: {} are here already",
                self.what,
                source.addr,
                HumanBytes(have)
            ),
        }
    }

    fn failed(&self, error: &DownloadError) -> Failure {
        let folder = match error {
            DownloadError::Disk(DiskFault::Full | DiskFault::Denied) => {
                format!(" in {}", self.folder.display())
            }
            _ => String::new(),
        };
        let text = format!("\"{}\" was not downloaded{folder}: {error}{}", self.what, self.kept());
        Failure::of_download(error, text)
    }

    fn interrupted(&self) -> Failure {
        Failure::interrupted(format!("interrupted while getting \"{}\"{}", self.what, self.kept()))
    }

    /// Where what was received lies, if anything does.
    fn kept(&self) -> String {
        match PartialFile::look_for(self.folder, self.name, None) {
            Ok((place, Some(partial))) => place.path().map_or_else(String::new, |path| {
                let (path, have) = (path.display(), HumanBytes(partial.have));
                format!("; {path} keeps {have}, the same command goes on from there")
            }),
            _ => String::new(),
        }
    }
}
