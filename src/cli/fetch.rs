//! Downloads of one command: which file is fetched from which source when, and how each ends.
//!
//! A [`Job`] is one file with all its sources. They are tried in turn; sources that are busy or broke
//! off are tried again after a pause. A few jobs run at a time. Jobs of one name run one after the
//! other, so that the second finds the file of the first.

mod job;
mod remote;
mod report;
mod verdict;

pub(super) use remote::RemoteFetches;

use super::exit::Failure;
use super::oneshot::{GuestStep, OneShot};
use super::{output, progress};
use crate::driver::PartialFile;
use crate::servent::{Event, TransferId};
use crate::transfer::download::{DownloadError, Source};
use job::{Job, Next};
use report::{Complete, FetchReport};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};
use verdict::Verdict;

/// Interval of updating the progress bars.
const REDRAW_INTERVAL: Duration = Duration::from_millis(100);

/// Most downloads at one time.
pub(super) const AT_ONCE: usize = 3;

/// Settings of the downloads of one command.
#[derive(Debug)]
pub(super) struct FetchOptions {
    /// The folder for downloads, created if missing.
    pub(super) folder: PathBuf,
    /// The name of the file, if the user gave one.
    pub(super) name: Option<String>,
    /// Longest time in all that a job waits for sources that are busy or broke off.
    pub(super) retry: Duration,
    /// Most downloads at one time.
    pub(super) at_once: usize,
    /// Whether to print a JSON object at the end of each.
    pub(super) json: bool,
    /// Whether to print the path of each if stdout is not a terminal.
    pub(super) paths: bool,
}

/// The downloads of one command.
pub(super) struct Fetches {
    options: FetchOptions,
    report: FetchReport,
    jobs: Vec<Job>,
    /// No more sources will be offered.
    closed: bool,
    saved: usize,
    verdict: Verdict,
}

impl Fetches {
    pub(super) fn new(options: FetchOptions) -> Fetches {
        let report = FetchReport::new(options.json, options.paths);
        let (jobs, verdict) = (Vec::new(), Verdict::default());
        Fetches { options, report, jobs, closed: false, saved: 0, verdict }
    }

    /// Adds a source, to the job of the same name and size or to a new one.
    pub(super) fn offer(&mut self, source: Source) {
        let (name, size) = (self.local_name(&source), source.size);
        let known = |job: &&mut Job| size.is_some() && job.name == name && job.size == size;
        match self.jobs.iter_mut().find(known) {
            Some(job) => job.add(source),
            None => self.jobs.push(Job::new(name, source)),
        }
    }

    /// No more sources will be offered: a job without a source to try has failed.
    pub(super) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether all jobs have ended.
    pub(super) fn is_done(&self) -> bool {
        self.jobs.iter().all(Job::is_over)
    }

    /// Whether no job is active or waits for a source.
    pub(super) fn is_idle(&self) -> bool {
        self.jobs.iter().all(|job| job.is_over() || job.is_exhausted())
    }

    /// Number of complete files.
    pub(super) fn saved(&self) -> usize {
        self.saved
    }

    /// Time of the next try or update of the bars.
    pub(super) fn next_wake(&self) -> Option<Instant> {
        let redraw = self.jobs.iter().any(Job::is_active).then(|| Instant::now() + REDRAW_INTERVAL);
        self.jobs.iter().filter_map(Job::next_try).chain(redraw).min()
    }

    /// Starts the jobs that are due, up to the limit.
    pub(super) fn start_due(&mut self, shot: &mut OneShot) -> Result<(), Failure> {
        for at in 0..self.jobs.len() {
            let now = Instant::now();
            let job = &self.jobs[at];
            if !job.is_over() && !job.is_active() && self.has_room_for(&job.name) {
                match self.jobs[at].next(now) {
                    Next::Try(source) => self.start(shot, at, &source)?,
                    Next::Wait => {}
                    Next::GiveUp if self.closed => self.give_up(at)?,
                    Next::GiveUp => {}
                }
            }
        }
        Ok(())
    }

    fn has_room_for(&self, name: &str) -> bool {
        let active = || self.jobs.iter().filter(|job| job.is_active());
        active().count() < self.options.at_once && active().all(|job| job.name != name)
    }

    fn start(&mut self, shot: &mut OneShot, at: usize, source: &Source) -> Result<(), Failure> {
        let folder = &self.options.folder;
        // An earlier try may not have closed its file yet.
        shot.driver.settle_disk();
        let looked = fs::create_dir_all(folder)
            .and_then(|()| PartialFile::look_for(folder, &self.jobs[at].name, source));
        let (place, kept) = match looked {
            Ok(looked) => looked,
            Err(error) => {
                let text = unusable(folder, &error);
                return self.fail(at, Failure::disk(text));
            }
        };
        let begun = shot.driver.download(source.clone(), place, kept);
        let job = &mut self.jobs[at];
        match begun {
            Ok((transfer, file)) => job.started(transfer, file, source, kept.partial),
            Err(error) => return self.source_failed(at, &error),
        }
        Ok(())
    }

    /// Handles a step that concerns downloads; returns any other.
    pub(super) fn digest(
        &mut self,
        shot: &OneShot,
        step: GuestStep,
    ) -> Result<Option<GuestStep>, Failure> {
        match step {
            GuestStep::Saved { file, path, servents } => {
                if let Some(job) = self.jobs.iter_mut().find(|job| job.uses(file)) {
                    job.saved = Some((path, servents));
                }
            }
            GuestStep::DiskFailed { file, text } => {
                if let Some(job) = self.jobs.iter_mut().find(|job| job.uses(file)) {
                    job.disk_failure = Some(text);
                }
            }
            GuestStep::Event(Event::Pushed { transfer }) => {
                if let Some(at) = self.position(transfer) {
                    log::info!("asking the source of \"{}\" to connect to us", self.jobs[at].what);
                }
            }
            GuestStep::Event(Event::Downloaded { transfer, bytes, already_here }) => {
                if let Some(at) = self.position(transfer) {
                    self.saved += 1;
                    self.jobs[at].end();
                    self.report_done(at, bytes, already_here)?;
                }
            }
            GuestStep::Event(Event::DownloadFailed { transfer, error }) => {
                // Its file is closed before anybody looks what is kept of it.
                shot.driver.settle_disk();
                if let Some(at) = self.position(transfer) {
                    self.source_failed(at, &error)?;
                }
            }
            other => {
                for job in &self.jobs {
                    job.draw(|transfer| shot.driver.core().progress(transfer));
                }
                return Ok(Some(other));
            }
        }
        Ok(None)
    }

    fn source_failed(&mut self, at: usize, error: &DownloadError) -> Result<(), Failure> {
        let now = Instant::now();
        self.jobs[at].source_failed(now, error, self.options.retry);
        match error {
            DownloadError::Disk(_) => self.give_up(at),
            _ => Ok(()),
        }
    }

    /// No source is left to try.
    fn give_up(&mut self, at: usize) -> Result<(), Failure> {
        let failure = self.jobs[at].failure(&self.kept(at));
        self.fail(at, failure)
    }

    fn fail(&mut self, at: usize, failure: Failure) -> Result<(), Failure> {
        self.jobs[at].end();
        self.report_failed(at, failure.text())?;
        let files = self.jobs.len();
        self.verdict.add(failure, &self.jobs[at].what, files);
        Ok(())
    }

    fn report_done(&mut self, at: usize, bytes: u64, already_here: bool) -> Result<(), Failure> {
        let job = &self.jobs[at];
        let Some((path, servents)) = &job.saved else { return Ok(()) };
        let ((url, name), servents) = (job.url_and_name(), *servents);
        self.report.done(&Complete { url, name, path, bytes, already_here, servents })
    }

    fn report_failed(&mut self, at: usize, error: &str) -> Result<(), Failure> {
        let place = self.place(at);
        let (path, total) = place.map_or((None, None), |(path, _, total)| (Some(path), total));
        let job = &self.jobs[at];
        self.report.failed(job.url_and_name(), total.or(job.size), path.as_deref(), error)
    }

    /// Cancels all downloads and reports what is kept of each.
    pub(super) fn interrupt(&mut self, shot: &mut OneShot) -> Failure {
        let open: Vec<usize> =
            (0..self.jobs.len()).filter(|&at| !self.jobs[at].is_over()).collect();
        for &at in &open {
            if let Some(transfer) = self.jobs[at].transfer() {
                shot.driver.command(|core, now| core.cancel_download(now, transfer));
            }
            self.jobs[at].end();
        }
        // One turn closes the files, which releases their locks.
        if let Err(failure) = shot.turn(Duration::ZERO) {
            return failure;
        }
        shot.driver.settle_disk();
        let mut told = Vec::new();
        for &at in &open {
            told.push(format!("\"{}\" interrupted{}", self.jobs[at].what, self.kept(at)));
            if let Err(failure) = self.report_failed(at, "interrupted") {
                return failure;
            }
        }
        verdict::interrupted(&told)
    }

    /// The result of the command; see [`Verdict::outcome`].
    pub(super) fn verdict(mut self, summed: bool) -> Result<(), Failure> {
        std::mem::take(&mut self.verdict).outcome(self.jobs.len(), summed)
    }

    fn position(&self, transfer: TransferId) -> Option<usize> {
        self.jobs.iter().position(|job| job.transfer() == Some(transfer))
    }

    fn local_name(&self, source: &Source) -> String {
        let safe = || crate::transfer::names::safe_local_name(&source.name);
        self.options.name.clone().unwrap_or_else(safe)
    }

    /// The partial file of a job, if there is one.
    fn place(&self, at: usize) -> Option<(PathBuf, u64, Option<u64>)> {
        let job = &self.jobs[at];
        let looked = PartialFile::look_for(&self.options.folder, &job.name, job.last_source());
        let (place, kept) = looked.ok()?;
        let partial = kept.partial.filter(|partial| partial.have > 0)?;
        Some((place.path()?.to_owned(), partial.have, partial.total.or(job.size)))
    }

    /// The part of a file that is kept, as the end of a sentence about it.
    fn kept(&self, at: usize) -> String {
        self.place(at).map_or_else(String::new, |(path, have, total)| {
            let amount = output::part_of(have, total);
            verdict::kept(&path, &amount, self.jobs[at].is_of_another_size())
        })
    }
}

impl Drop for Fetches {
    fn drop(&mut self) {
        self.jobs.iter_mut().for_each(Job::end);
    }
}

fn unusable(folder: &std::path::Path, error: &io::Error) -> String {
    format!("cannot use the folder {}: {error}; choose another with --output", folder.display())
}

/// Shows only warnings and errors from now on.
pub(super) fn be_quiet() {
    log::set_max_level(log::LevelFilter::Warn.min(log::max_level()));
    progress::hide_bars();
}
