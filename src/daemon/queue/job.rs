//! One download: its sources, when each is tried, and what it waits for.

use super::record::{JobRecord, SourceRecord, Standing};
use super::speed::Speed;
use crate::control::results::{TransferRow, TransferState};
use crate::servent::{FileId, Progress, TransferId};
use crate::transfer::download::{DownloadError, Source};
use crate::transfer::names::escape_for_terminal;
use crate::transfer::retries::Retries;
use crate::wire::Guid;
use std::time::{Duration, Instant};

/// Most sources of one download.
const MAX_SOURCES: usize = 64;
/// Time a search for sources has.
const SEARCH_TIME: Duration = Duration::from_secs(15);
/// Pause before the second search for sources, doubled up to [`LONGEST_SEARCH_PAUSE`].
const SEARCH_PAUSE: Duration = Duration::from_secs(60);
/// See [`SEARCH_PAUSE`].
const LONGEST_SEARCH_PAUSE: Duration = Duration::from_secs(30 * 60);
/// A download that had no source for so many searches, three days of them, has failed.
const MAX_SEARCHES: u32 = 150;

/// What a download is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::daemon) enum Doing {
    /// Nothing: its turn has not come, or it is over.
    Nothing,
    /// The worker looks what there is of its file.
    Looking { ticket: u64 },
    /// A source is asked, or bytes move.
    Fetching { transfer: TransferId, file: FileId },
    /// Sources are searched for until then.
    Searching { search: Guid, until: Instant },
    /// The next search begins then.
    Resting { until: Instant },
}

/// What is to be done for a download.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::daemon) enum Step {
    /// Fetch it from this source.
    Try(Source),
    /// Search for sources.
    Search,
    /// Nothing before that time, if there is one.
    Wait(Option<Instant>),
    /// No source is left, and none is searched for.
    GiveUp,
}

/// A download.
#[derive(Debug)]
pub(in crate::daemon) struct Job {
    pub(in crate::daemon) record: JobRecord,
    pub(in crate::daemon) doing: Doing,
    sources: Vec<JobSource>,
    /// Index of the source that was tried last.
    at: usize,
    /// Sum of all pauses.
    waited: Duration,
    searches: u32,
    /// The failure of the disk, as a sentence.
    pub(in crate::daemon) disk_failure: Option<String>,
    /// Why it waits.
    why: Option<String>,
    last_error: Option<DownloadError>,
    speed: Speed,
    /// The state that clients were told last.
    pub(in crate::daemon) told: Option<TransferState>,
}

#[derive(Debug)]
struct JobSource {
    source: Source,
    state: SourceState,
    retries: Retries,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SourceState {
    Ready,
    NotBefore(Instant),
    GivenUp,
}

impl Job {
    pub(in crate::daemon) fn new(record: JobRecord) -> Job {
        let size = record.size;
        let sources = record.sources.iter().map(|source| source.source(size)).collect::<Vec<_>>();
        let mut job = Job {
            record,
            doing: Doing::Nothing,
            sources: Vec::new(),
            at: 0,
            waited: Duration::ZERO,
            searches: 0,
            disk_failure: None,
            why: None,
            last_error: None,
            speed: Speed::default(),
            told: None,
        };
        for source in sources {
            job.add_source(source);
        }
        job
    }

    /// Its name, fit for a terminal.
    pub(in crate::daemon) fn what(&self) -> String {
        escape_for_terminal(&self.record.name).to_string()
    }

    /// Adds a source, or has one tried again that was given up. Whether anything changed.
    pub(in crate::daemon) fn add_source(&mut self, source: Source) -> bool {
        if let Some(known) = self.sources.iter_mut().find(|it| it.source.is_same_file(&source)) {
            let revived = known.state == SourceState::GivenUp;
            if revived {
                (known.state, known.source) = (SourceState::Ready, source);
            }
            return revived;
        }
        if self.sources.len() >= MAX_SOURCES {
            return false;
        }
        self.sources.push(JobSource {
            source,
            state: SourceState::Ready,
            retries: Retries::default(),
        });
        self.record.sources = self.sources.iter().map(|it| SourceRecord::of(&it.source)).collect();
        true
    }

    /// Whether a source found by a search has the same file, as far as name and size tell.
    pub(in crate::daemon) fn fits(&self, source: &Source) -> bool {
        let sizes_fit = self.record.size.is_none_or(|size| source.size == Some(size));
        sizes_fit && self.sources.iter().any(|known| known.source.name == source.name)
    }

    /// Whether it is to be fetched.
    pub(in crate::daemon) fn is_open(&self) -> bool {
        self.record.standing == Standing::Open
    }

    /// Whether it holds one of the places for downloads at one time.
    pub(in crate::daemon) fn is_active(&self) -> bool {
        matches!(self.doing, Doing::Looking { .. } | Doing::Fetching { .. })
    }

    pub(in crate::daemon) fn transfer(&self) -> Option<TransferId> {
        match self.doing {
            Doing::Fetching { transfer, .. } => Some(transfer),
            _ => None,
        }
    }

    pub(in crate::daemon) fn uses(&self, used: FileId) -> bool {
        matches!(self.doing, Doing::Fetching { file, .. } if file == used)
    }

    /// The source that was tried last, or the first.
    pub(in crate::daemon) fn last_source(&self) -> &Source {
        &self.sources[self.at].source
    }

    /// What is to be done now.
    pub(in crate::daemon) fn step(&mut self, now: Instant) -> Step {
        match self.doing {
            _ if !self.is_open() => return Step::Wait(None),
            Doing::Looking { .. } | Doing::Fetching { .. } => return Step::Wait(None),
            Doing::Searching { until, .. } | Doing::Resting { until } if until > now => {
                if !self.has_ready(now) {
                    return Step::Wait(Some(until));
                }
            }
            Doing::Searching { .. } => {
                // It has brought nothing.
                let doubled = SEARCH_PAUSE * 2u32.pow((self.searches - 1).min(10));
                let until = now + doubled.min(LONGEST_SEARCH_PAUSE);
                self.doing = Doing::Resting { until };
                return Step::Wait(Some(until));
            }
            Doing::Resting { .. } | Doing::Nothing => {}
        }
        if let Some(at) = self.sources.iter().position(|source| source.is_ready(now)) {
            self.at = at;
            return Step::Try(self.sources[at].source.clone());
        }
        if let Some(next) = self.next_source() {
            return Step::Wait(Some(next));
        }
        match self.record.patience_s.is_some() || self.searches >= MAX_SEARCHES {
            true => Step::GiveUp,
            false => Step::Search,
        }
    }

    /// A search for sources has begun.
    pub(in crate::daemon) fn searching(&mut self, now: Instant, search: Guid) {
        self.searches += 1;
        self.doing = Doing::Searching { search, until: now + SEARCH_TIME };
    }

    /// No search is possible now.
    pub(in crate::daemon) fn rest(&mut self, now: Instant) {
        self.searches += 1;
        self.doing = Doing::Resting { until: now + LONGEST_SEARCH_PAUSE };
    }

    fn has_ready(&self, now: Instant) -> bool {
        self.sources.iter().any(|source| source.is_ready(now))
    }

    /// When the next source may be tried.
    fn next_source(&self) -> Option<Instant> {
        let due = self.sources.iter().filter_map(|source| match source.state {
            SourceState::NotBefore(at) => Some(at),
            _ => None,
        });
        due.min()
    }

    /// The current source has failed. Decides whether it is tried again.
    pub(in crate::daemon) fn source_failed(&mut self, now: Instant, error: &DownloadError) {
        self.doing = Doing::Nothing;
        self.last_error = Some(*error);
        let patience = self.record.patience_s.and_then(|it| Duration::try_from_secs_f64(it).ok());
        let source = &mut self.sources[self.at];
        let pause = source.retries.failed(error);
        let pause =
            pause.filter(|pause| patience.is_none_or(|patience| self.waited + *pause <= patience));
        source.state =
            pause.map_or(SourceState::GivenUp, |pause| SourceState::NotBefore(now + pause));
        let addr = source.source.addr;
        let reason = self.reason(error);
        if !self.has_ready(now)
            && let Some(at) = self.next_source()
        {
            self.waited += at.saturating_duration_since(now);
        }
        self.why = Some(format!("{reason} ({addr})"));
    }

    /// It has failed for good.
    pub(in crate::daemon) fn give_up(&mut self) {
        self.doing = Doing::Nothing;
        self.record.standing = Standing::Failed;
        let error = self.last_error;
        self.record.error = Some(match &error {
            Some(error) => self.reason(error),
            None => format!("\"{}\": it has no source", self.what()),
        });
        self.record.exit_code = Some(error.map_or(1, |error| exit_code(&error)));
    }

    /// The folder or file cannot be used.
    pub(in crate::daemon) fn disk_failed(&mut self, text: String) {
        self.disk_failure = Some(text);
        self.last_error = Some(DownloadError::Disk(crate::transfer::download::DiskFault::Failed));
        self.give_up();
    }

    /// Everything is tried again, from now on.
    pub(in crate::daemon) fn try_again(&mut self) {
        self.record.standing = Standing::Open;
        (self.record.error, self.record.exit_code) = (None, None);
        (self.waited, self.searches, self.why) = (Duration::ZERO, 0, None);
        (self.disk_failure, self.last_error) = (None, None);
        for source in &mut self.sources {
            (source.state, source.retries) = (SourceState::Ready, Retries::default());
        }
        if !self.is_active() {
            self.doing = Doing::Nothing;
        }
    }

    fn reason(&self, error: &DownloadError) -> String {
        let what = self.what();
        match (error, &self.disk_failure) {
            (DownloadError::Disk(_), Some(text)) => text.clone(),
            (DownloadError::NotFound, _) => format!("the source no longer shares \"{what}\""),
            _ => format!("\"{what}\": {error}"),
        }
    }

    /// Notes how far it is.
    pub(in crate::daemon) fn note_progress(&mut self, now: Instant, progress: Progress) {
        if progress.received > self.record.bytes {
            // It waits for nothing any more, and searches begin anew with short pauses.
            (self.why, self.searches) = (None, 0);
        }
        self.record.bytes = progress.received;
        self.record.size = self.record.size.or(progress.total);
        self.speed.note(now, progress.received);
    }

    pub(in crate::daemon) fn state(&self) -> TransferState {
        match (self.record.standing, self.doing) {
            (Standing::Paused, _) => TransferState::Paused,
            (Standing::Done, _) => TransferState::Done,
            (Standing::Failed, _) => TransferState::Failed,
            (_, Doing::Fetching { .. } | Doing::Looking { .. }) => TransferState::Active,
            (_, Doing::Searching { .. } | Doing::Resting { .. }) => TransferState::Waiting,
            (_, Doing::Nothing) if self.why.is_some() => TransferState::Waiting,
            (_, Doing::Nothing) => TransferState::Queued,
        }
    }

    /// What is told of it.
    pub(in crate::daemon) fn row(&self, now: Instant) -> TransferRow {
        let record = &self.record;
        let until = match self.doing {
            Doing::Searching { until, .. } | Doing::Resting { until } => Some(until),
            Doing::Nothing if self.is_open() => self.next_source(),
            _ => None,
        };
        TransferRow {
            id: record.id,
            direction: "down".to_owned(),
            name: record.name.clone(),
            size: record.size,
            done: record.bytes,
            rate: if self.is_active() { self.speed.rate(now, record.bytes) } else { 0 },
            state: self.state(),
            sources: self.sources.iter().map(|it| it.source.addr.to_string()).collect(),
            error: record.error.clone().or_else(|| self.why.clone().filter(|_| self.is_open())),
            path: record.path.as_ref().map(|path| path.display().to_string()),
            next_try_s: until.map(|at| at.saturating_duration_since(now).as_secs_f64()),
            exit_code: record.exit_code,
            already_here: record.already_here,
            joined_from: record.joined_from,
        }
    }
}

impl JobSource {
    fn is_ready(&self, now: Instant) -> bool {
        match self.state {
            SourceState::Ready => true,
            SourceState::NotBefore(at) => at <= now,
            SourceState::GivenUp => false,
        }
    }
}

/// The exit code of `servent get` for a failure.
pub(crate) fn exit_code(error: &DownloadError) -> u8 {
    match error {
        DownloadError::NotFound => 3,
        DownloadError::ConnectTimeout(_) | DownloadError::Stalled { .. } => 4,
        DownloadError::Connect { .. } => 5,
        DownloadError::Busy { .. } => 6,
        DownloadError::SizeMismatch { .. } => 7,
        DownloadError::Disk(_) => 8,
        _ => 1,
    }
}
