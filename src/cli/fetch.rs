//! Downloads, watched from their start to their files.

use super::exit::Failure;
use super::oneshot::{OneShot, Step};
use crate::driver::PartialFile;
use crate::servent::{Event, FileId, TransferId};
use crate::transfer::download::{DiskFault, DownloadError, Source};
use crate::transfer::names::{escape_for_terminal, safe_local_name};
use indicatif::{HumanBytes, MultiProgress, ProgressBar, ProgressStyle};
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often the bars move.
pub(super) const REDRAW: Duration = Duration::from_millis(100);

/// The downloads under way into one folder, with a bar each on a terminal.
pub(super) struct Fetches {
    folder: PathBuf,
    active: BTreeMap<TransferId, Fetch>,
    bars: MultiProgress,
}

struct Fetch {
    file: FileId,
    /// The name as the source gives it, fit to be shown.
    what: String,
    /// The name it gets here.
    name: String,
    bar: ProgressBar,
    path: Option<PathBuf>,
}

/// What became of a step of the event loop.
pub(super) enum Digested {
    /// It concerned a download that goes on.
    Nothing,
    /// A download ended.
    Ended(Result<PathBuf, Failure>),
    /// It is no business of downloads.
    Other(Step),
}

impl Fetches {
    pub(super) fn new(folder: &Path) -> Fetches {
        let active = BTreeMap::new();
        Fetches { folder: folder.to_path_buf(), active, bars: MultiProgress::new() }
    }

    /// Downloads under way.
    pub(super) fn len(&self) -> usize {
        self.active.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.active.is_empty()
    }

    /// Starts to fetch a file. The folder is made if it is missing.
    pub(super) fn start(&mut self, shot: &mut OneShot, source: Source) -> Result<(), Failure> {
        let name = safe_local_name(&source.name);
        let what = escape_for_terminal(&source.name).to_string();
        let folder = &self.folder;
        let failure = |error: io::Error| {
            let text = format!("cannot use the folder {}: {error}", folder.display());
            Failure::disk(format!("{text}; choose another with --output"))
        };
        fs::create_dir_all(folder).map_err(failure)?;
        let (place, partial) =
            PartialFile::look_for(folder, &name, source.size).map_err(failure)?;
        let addr = source.addr;
        match partial.filter(|partial| partial.have > 0) {
            None => log::info!("getting \"{what}\" from {addr}"),
            Some(partial) => log::info!(
                "going on with \"{what}\" from {addr}: {} are here already",
                HumanBytes(partial.have)
            ),
        }
        let (transfer, file) = shot
            .driver
            .download(source, place, partial)
            .map_err(|error| self.failed(&what, &name, &error))?;
        let bar = self.bars.add(bar(&what));
        self.active.insert(transfer, Fetch { file, what, name, bar, path: None });
        Ok(())
    }

    /// Takes what concerns downloads out of what happened.
    pub(super) fn digest(&mut self, shot: &OneShot, step: Step) -> Digested {
        match step {
            Step::Saved { file, path } => {
                if let Some(fetch) = self.active.values_mut().find(|fetch| fetch.file == file) {
                    fetch.path = Some(path);
                }
                Digested::Nothing
            }
            Step::Event(Event::Pushed { transfer }) => {
                if let Some(fetch) = self.active.get(&transfer) {
                    let text = format!("asking the source of \"{}\" to connect to us", fetch.what);
                    self.bars.suspend(|| log::info!("{text}"));
                }
                Digested::Nothing
            }
            Step::Event(Event::Downloaded { transfer, bytes }) => {
                let Some(fetch) = self.take(transfer) else { return Digested::Nothing };
                let saved = fetch.path.ok_or_else(|| Failure::failed("the finished file is lost"));
                if let Ok(path) = &saved {
                    let (path, bytes) = (path.display(), HumanBytes(bytes));
                    self.bars.suspend(|| log::info!("saved {path} ({bytes})"));
                }
                Digested::Ended(saved)
            }
            Step::Event(Event::DownloadFailed { transfer, error }) => {
                let Some(fetch) = self.take(transfer) else { return Digested::Nothing };
                Digested::Ended(Err(self.failed(&fetch.what, &fetch.name, &error)))
            }
            other => {
                self.draw(shot);
                Digested::Other(other)
            }
        }
    }

    /// Ends all downloads and tells where what they got lies.
    pub(super) fn interrupt(&mut self, shot: &mut OneShot) -> Failure {
        let ended = std::mem::take(&mut self.active);
        for (&transfer, fetch) in &ended {
            fetch.bar.finish_and_clear();
            shot.driver.command(|core, now| core.cancel_download(now, transfer));
        }
        // One turn closes the files, which gives back their locks.
        if let Err(failure) = shot.turn(Duration::ZERO) {
            return failure;
        }
        let told: Vec<String> = ended
            .values()
            .map(|fetch| format!("getting \"{}\"{}", fetch.what, self.kept(&fetch.name)))
            .collect();
        Failure::interrupted(match told.is_empty() {
            true => "interrupted".to_owned(),
            false => format!("interrupted while {}", told.join(" and ")),
        })
    }

    fn take(&mut self, transfer: TransferId) -> Option<Fetch> {
        let fetch = self.active.remove(&transfer)?;
        fetch.bar.finish_and_clear();
        self.bars.remove(&fetch.bar);
        Some(fetch)
    }

    fn draw(&self, shot: &OneShot) {
        for (&transfer, fetch) in &self.active {
            let Some(progress) = shot.driver.core().progress(transfer) else { continue };
            if let Some(total) = progress.total {
                fetch.bar.set_length(total);
            }
            fetch.bar.set_position(progress.received);
        }
    }

    fn failed(&self, what: &str, name: &str, error: &DownloadError) -> Failure {
        let folder = match error {
            DownloadError::Disk(DiskFault::Full | DiskFault::Denied) => {
                format!(" in {}", self.folder.display())
            }
            _ => String::new(),
        };
        let kept = self.kept(name);
        let text = format!("\"{what}\" was not downloaded{folder}: {error}{kept}");
        Failure::of_download(error, text)
    }

    /// Where what was received lies, if anything does.
    fn kept(&self, name: &str) -> String {
        match PartialFile::look_for(&self.folder, name, None) {
            Ok((place, Some(partial))) => place.path().map_or_else(String::new, |path| {
                let (path, have) = (path.display(), HumanBytes(partial.have));
                format!("; {path} keeps {have}, the same command goes on from there")
            }),
            _ => String::new(),
        }
    }
}

fn bar(what: &str) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::no_length().with_message(what.to_owned());
    let template = "{msg:30!} {wide_bar} {bytes}/{total_bytes} {bytes_per_sec}, {eta} left";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}
