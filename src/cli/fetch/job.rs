//! One file to be downloaded: its sources, and when each is tried.

use crate::cli::exit::Failure;
use crate::cli::{output, progress};
use crate::servent::{FileId, Progress, TransferId};
use crate::transfer::download::{DownloadError, Partial, Source};
use crate::transfer::names::escape_for_terminal;
use crate::transfer::retries::Retries;
use crate::transfer::url::TransferUrl;
use indicatif::ProgressBar;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// A file and its sources.
pub(super) struct Job {
    /// Its local name.
    pub(super) name: String,
    /// Its name at the first source, escaped for a terminal.
    pub(super) what: String,
    /// Its size in bytes, if a hit had one.
    pub(super) size: Option<u64>,
    /// Path of the complete file, and how many servents its bytes come from.
    pub(super) saved: Option<(PathBuf, usize)>,
    /// The failure of the disk, as a sentence.
    pub(super) disk_failure: Option<String>,
    sources: Vec<JobSource>,
    /// Index of the source that was tried last.
    at: usize,
    active: Option<(TransferId, FileId)>,
    bar: Option<ProgressBar>,
    /// Sum of all pauses.
    waited: Duration,
    error: Option<DownloadError>,
    announced: bool,
    over: bool,
}

struct JobSource {
    source: Source,
    state: State,
    retries: Retries,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Ready,
    NotBefore(Instant),
    GivenUp,
}

/// The next action of a job.
pub(super) enum Next {
    /// Download from this source.
    Try(Source),
    /// Nothing for now.
    Wait,
    /// No source is left.
    GiveUp,
}

impl Job {
    pub(super) fn new(name: String, source: Source) -> Job {
        let mut job = Job {
            name,
            what: escape_for_terminal(&source.name).to_string(),
            size: source.size,
            saved: None,
            disk_failure: None,
            sources: Vec::new(),
            at: 0,
            active: None,
            bar: None,
            waited: Duration::ZERO,
            error: None,
            announced: false,
            over: false,
        };
        job.add(source);
        job
    }

    /// Adds a source, unless it is known.
    pub(super) fn add(&mut self, source: Source) {
        if !self.sources.iter().any(|known| known.source.is_same_file(&source)) {
            let state = State::Ready;
            self.sources.push(JobSource { source, state, retries: Retries::default() });
        }
    }

    /// Whether it has succeeded or failed.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether no source is left to try.
    pub(super) fn is_exhausted(&self) -> bool {
        !self.is_active() && self.sources.iter().all(|source| source.state == State::GivenUp)
    }

    /// Whether a download is running.
    pub(super) fn is_active(&self) -> bool {
        self.active.is_some()
    }

    pub(super) fn transfer(&self) -> Option<TransferId> {
        self.active.map(|(transfer, _)| transfer)
    }

    pub(super) fn uses(&self, file: FileId) -> bool {
        self.active.is_some_and(|(_, own)| own == file)
    }

    /// The source that was tried last, or the first.
    pub(super) fn last_source(&self) -> &Source {
        &self.sources[self.at].source
    }

    /// The URL of the source that was tried last, and the name of the file there.
    pub(super) fn url_and_name(&self) -> (String, &str) {
        let Source { addr, index, name, .. } = self.last_source();
        let (host, port) = (addr.ip().to_string(), addr.port());
        let url = TransferUrl { host, port, index: *index, name: name.clone() };
        (url.to_string(), name)
    }

    /// Time of the next source.
    pub(super) fn next_try(&self) -> Option<Instant> {
        let due = |source: &JobSource| match source.state {
            State::NotBefore(at) => Some(at),
            _ => None,
        };
        let waits = !self.over && !self.is_active();
        self.sources.iter().filter_map(due).min().filter(|_| waits)
    }

    /// The first source that may be tried now.
    pub(super) fn next(&mut self, now: Instant) -> Next {
        let may = |source: &JobSource| match source.state {
            State::Ready => true,
            State::NotBefore(at) => at <= now,
            State::GivenUp => false,
        };
        if let Some(at) = self.sources.iter().position(may) {
            self.at = at;
            return Next::Try(self.sources[at].source.clone());
        }
        if self.is_exhausted() { Next::GiveUp } else { Next::Wait }
    }

    /// A download has begun.
    pub(super) fn started(
        &mut self,
        transfer: TransferId,
        file: FileId,
        source: &Source,
        partial: Option<Partial>,
    ) {
        self.active = Some((transfer, file));
        let partial = partial.filter(|partial| partial.have > 0);
        let (what, addr) = (&self.what, source.addr);
        if !std::mem::replace(&mut self.announced, true) {
            match partial {
                None => log::info!("getting \"{what}\" from {addr}"),
                Some(Partial { have, total, .. }) => {
                    let amount = output::part_of(have, total.or(source.size));
                    log::info!("going on with \"{what}\" from {addr}: {amount} are here");
                }
            }
        }
        let bar = self.bar.get_or_insert_with(|| progress::bar(&self.what));
        bar.set_message(self.what.clone());
        // Speed and remaining time are computed from here on.
        bar.set_position(partial.map_or(0, |partial| partial.have));
        bar.reset_eta();
    }

    /// The current source has failed. Decides whether it is tried again.
    pub(super) fn source_failed(&mut self, now: Instant, error: &DownloadError, retry: Duration) {
        self.active = None;
        self.error = Some(*error);
        let source = &mut self.sources[self.at];
        let pause = source.retries.failed(error).filter(|pause| self.waited + *pause <= retry);
        source.state = pause.map_or(State::GivenUp, |pause| State::NotBefore(now + pause));
        let addr = source.source.addr;
        let reason = self.reason(error);
        if self.sources.iter().any(|source| source.state == State::Ready) {
            log::info!("{reason} ({addr}); trying another source");
        } else if let Some(at) = self.next_try() {
            let pause = at.saturating_duration_since(now);
            self.waited += pause;
            let seconds = pause.as_millis().div_ceil(1000);
            log::info!("{reason} ({addr}); next try in {seconds} s");
            if let Some(bar) = &self.bar {
                bar.set_message(format!("(next try in {seconds} s) {}", self.what));
            }
        }
    }

    /// The failure of the job; `kept` says what is kept of the file.
    pub(super) fn failure(&self, kept: &str) -> Failure {
        let Some(error) = &self.error else {
            return Failure::failed(format!("\"{}\": it was not tried", self.what));
        };
        Failure::of_download(error, format!("{}{kept}", self.reason(error)))
    }

    /// Whether its last source offers another size than the local partial file.
    pub(super) fn is_of_another_size(&self) -> bool {
        matches!(self.error, Some(DownloadError::SizeMismatch { .. }))
    }

    fn reason(&self, error: &DownloadError) -> String {
        let what = &self.what;
        match (error, &self.disk_failure) {
            (DownloadError::Disk(_), Some(text)) => text.clone(),
            (DownloadError::NotFound, _) => format!("the source no longer shares \"{what}\""),
            _ => format!("\"{what}\": {error}"),
        }
    }

    /// Updates the progress bar.
    pub(super) fn draw(&self, progress: impl FnOnce(TransferId) -> Option<Progress>) {
        let (Some((transfer, _)), Some(bar)) = (self.active, &self.bar) else { return };
        let Some(progress) = progress(transfer) else { return };
        if let Some(total) = progress.total {
            bar.set_length(total);
        }
        bar.set_position(progress.received);
    }

    /// Ends the job.
    pub(super) fn end(&mut self) {
        self.over = true;
        self.active = None;
        if let Some(bar) = self.bar.take() {
            progress::remove(&bar);
        }
    }
}
