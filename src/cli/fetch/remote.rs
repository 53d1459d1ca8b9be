//! Downloads that a running servent does for a command: which are handed to it, how far they are, and
//! how each ends. What is printed and the exit codes are those of [`super::Fetches`].

use super::FetchOptions;
use super::report::{Complete, FetchReport};
use super::verdict::{self, Verdict};
use crate::cli::exit::Failure;
use crate::cli::{output, progress};
use crate::control::client::{Client, ClientError};
use crate::control::message::RpcError;
use crate::control::params::{DownloadParams, IdParams, NoParams};
use crate::control::results::{TransferRef, TransferRow, TransferState};
use crate::daemon::hit_source;
use crate::driver::PartialFile;
use crate::plan::hit_record::HitRecord;
use crate::transfer::download::{Partial, Source};
use crate::transfer::names::{escape_for_terminal, safe_local_name};
use crate::transfer::url::TransferUrl;
use indicatif::ProgressBar;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Pause between two looks at the transfers: doubled from the first to the last while nothing changes.
const PAUSES: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(200));

/// The downloads of one command.
pub(in crate::cli) struct RemoteFetches {
    client: Client,
    options: FetchOptions,
    /// The folder of the options, absolute.
    folder: PathBuf,
    report: FetchReport,
    verdict: Verdict,
    jobs: Vec<RemoteJob>,
    closed: bool,
    saved: usize,
    next_look: Instant,
    pause: Duration,
    /// Why the servent does not do it: it may not write there.
    refusal: Option<String>,
}

/// One file and its sources.
struct RemoteJob {
    /// Its local name.
    name: String,
    /// Its name at the first source, escaped for a terminal.
    what: String,
    sources: Sources,
    /// Number of hits that the servent has.
    handed: usize,
    /// The download, while the servent has it.
    id: Option<u64>,
    row: TransferRow,
    /// It was told that it has begun.
    announced: bool,
    /// The reason to wait that was told last.
    told: Option<String>,
    bar: Option<ProgressBar>,
    over: bool,
}

/// Where a file is from.
enum Sources {
    Url(TransferUrl),
    Hits(Vec<HitRecord>),
}

impl RemoteFetches {
    pub(in crate::cli) fn new(
        client: Client,
        options: FetchOptions,
    ) -> Result<RemoteFetches, Failure> {
        let folder = std::path::absolute(&options.folder)
            .map_err(|error| Failure::disk(super::unusable(&options.folder, &error)))?;
        Ok(RemoteFetches {
            client,
            folder,
            report: FetchReport::new(options.json, options.paths),
            options,
            verdict: Verdict::default(),
            jobs: Vec::new(),
            closed: false,
            saved: 0,
            next_look: Instant::now(),
            pause: PAUSES.0,
            refusal: None,
        })
    }

    /// Adds a file by its URL.
    pub(in crate::cli) fn offer_url(&mut self, url: TransferUrl) {
        let name = url.name.clone();
        self.add(&name, Sources::Url(url));
    }

    /// Adds a hit, to the file of the same name and size or as a new one.
    pub(in crate::cli) fn offer(&mut self, hit: HitRecord) {
        let known = self.jobs.iter_mut().find_map(|job| match &mut job.sources {
            Sources::Hits(hits) if hits[0].name == hit.name && hits[0].size == hit.size => {
                Some(hits)
            }
            _ => None,
        });
        match known {
            Some(hits) => hits.push(hit),
            None => self.add(&hit.name.clone(), Sources::Hits(vec![hit])),
        }
    }

    fn add(&mut self, name: &str, sources: Sources) {
        let local = self.options.name.clone().unwrap_or_else(|| safe_local_name(name));
        self.jobs.push(RemoteJob {
            name: local,
            what: escape_for_terminal(name).to_string(),
            sources,
            handed: 0,
            id: None,
            row: TransferRow::default(),
            announced: false,
            told: None,
            bar: None,
            over: false,
        });
    }

    /// No more sources will be offered.
    pub(in crate::cli) fn close(&mut self) {
        self.closed = true;
    }

    /// Whether all have ended.
    pub(in crate::cli) fn is_done(&self) -> bool {
        self.jobs.iter().all(|job| job.over)
    }

    /// Number of complete files.
    pub(in crate::cli) fn saved(&self) -> usize {
        self.saved
    }

    /// Why the servent cannot do it: then nothing was begun.
    pub(in crate::cli) fn refusal(&self) -> Option<&str> {
        self.refusal.as_deref()
    }

    /// Waits for the next step, or a signal.
    pub(in crate::cli) fn wait(&mut self) -> Result<(), Failure> {
        let waited = self.client.receive(self.next_look);
        waited.map(|_| ()).map_err(|error| self.gone(error))
    }

    /// Hands over what is due, and looks how far the others are.
    pub(in crate::cli) fn step(&mut self) -> Result<(), Failure> {
        for at in 0..self.jobs.len() {
            let job = &self.jobs[at];
            if job.over || self.refusal.is_some() {
                continue;
            }
            match job.id {
                None if self.has_room() => self.hand_over(at)?,
                // The servent does not fetch now, and there are sources it does not know of.
                Some(id) if job.stands_still() && job.handed < job.hits().len() => {
                    self.cancel(id)?;
                    self.hand_over(at)?;
                }
                _ => {}
            }
        }
        let now = Instant::now();
        if now < self.next_look || self.jobs.iter().all(|job| job.id.is_none()) {
            self.next_look = self.next_look.max(now + PAUSES.0);
            return Ok(());
        }
        let rows: Vec<TransferRow> =
            self.client.ask("transfers", &NoParams {}).map_err(|error| self.gone(error))?;
        let mut changed = false;
        for at in 0..self.jobs.len() {
            let Some(id) = self.jobs[at].id.filter(|_| !self.jobs[at].over) else { continue };
            match rows.iter().find(|row| row.id == id) {
                Some(row) => changed |= self.take_in(at, row.clone())?,
                None => {
                    let text = format!("\"{}\" was cancelled", self.jobs[at].what);
                    self.fail(at, Failure::failed(text))?;
                }
            }
        }
        self.pause = if changed { PAUSES.0 } else { (self.pause * 2).min(PAUSES.1) };
        self.next_look = Instant::now() + self.pause;
        Ok(())
    }

    fn has_room(&self) -> bool {
        let moves = |job: &&RemoteJob| {
            let waits = matches!(job.row.state, TransferState::Waiting | TransferState::Paused);
            job.id.is_some() && !job.over && !waits
        };
        // The servent has its own limit of downloads at one time.
        self.options.at_once > 1 || self.jobs.iter().filter(moves).count() == 0
    }

    fn hand_over(&mut self, at: usize) -> Result<(), Failure> {
        let job = &mut self.jobs[at];
        let source = job.source();
        let url = match &job.sources {
            Sources::Url(url) => Some(url.to_string()),
            Sources::Hits(_) => None,
        };
        // Those it does not know of come first.
        let (known, new) = job.hits().split_at(job.handed);
        let hits = [new, known].concat();
        job.handed = hits.len();
        let params = self.params(url, hits);
        let job = &self.jobs[at];
        // What is here already is told as a guest does.
        let kept = source.as_ref().and_then(|source| job.partial_in(&self.folder, source));
        match self.client.ask::<TransferRef>("download", &params) {
            Ok(TransferRef { id }) => {
                let job = &mut self.jobs[at];
                job.id = Some(id);
                job.row = TransferRow { id, ..TransferRow::default() };
                let bar = job.bar.get_or_insert_with(|| progress::bar(&job.what));
                // Speed and remaining time are computed from here on.
                bar.set_position(kept.map_or(0, |partial| partial.have));
                bar.reset_eta();
                let from = job.peer();
                match kept {
                    _ if std::mem::replace(&mut job.announced, true) => {}
                    None => log::info!("getting \"{}\" from {from}", job.what),
                    Some(partial) => {
                        let size = source.and_then(|source| source.size);
                        let amount = output::part_of(partial.have, partial.total.or(size));
                        log::info!("going on with \"{}\" from {from}: {amount} are here", job.what);
                    }
                }
                (self.pause, self.next_look) = (PAUSES.0, Instant::now());
                Ok(())
            }
            Err(ClientError::Refused(error)) if error.code == RpcError::NOT_WRITABLE => {
                self.refusal = Some(error.message);
                Ok(())
            }
            Err(ClientError::Refused(error)) => self.fail(at, Failure::failed(error.message)),
            Err(error) => Err(self.gone(error)),
        }
    }

    fn params(&self, url: Option<String>, hits: Vec<HitRecord>) -> DownloadParams {
        DownloadParams {
            url,
            hits,
            output: Some(self.folder.clone()),
            name: self.options.name.clone(),
            retry: Some(self.options.retry.as_secs_f64()),
        }
    }

    /// Takes in how far a download is; returns whether anything has changed.
    fn take_in(&mut self, at: usize, row: TransferRow) -> Result<bool, Failure> {
        let job = &mut self.jobs[at];
        let changed = job.row != row;
        job.row = row;
        job.draw();
        match job.row.state {
            TransferState::Done => {
                self.saved += 1;
                self.end(at);
                self.report_done(at)?;
            }
            TransferState::Failed if job.handed < job.hits().len() => {}
            TransferState::Failed => {
                let failure = self.failure(at);
                self.fail(at, failure)?;
                // It has been told, and the same command tries again.
                if let Some(id) = self.jobs[at].id {
                    self.cancel(id)?;
                }
            }
            _ => job.tell_wait(),
        }
        Ok(changed)
    }

    fn cancel(&mut self, id: u64) -> Result<(), Failure> {
        match self.client.call("cancel", &IdParams { id }) {
            // It has just ended.
            Ok(_) | Err(ClientError::Refused(_)) => Ok(()),
            Err(error) => Err(self.gone(error)),
        }
    }

    fn report_done(&mut self, at: usize) -> Result<(), Failure> {
        let path = self.path(at).unwrap_or_else(|| self.options.folder.join(&self.jobs[at].name));
        let job = &self.jobs[at];
        let (url, name) = job.url_and_name();
        self.report.done(&Complete {
            url,
            name,
            path: &path,
            bytes: job.row.size.unwrap_or(job.row.done),
            already_here: job.row.already_here,
            servents: job.row.joined_from,
        })
    }

    fn failure(&self, at: usize) -> Failure {
        let job = &self.jobs[at];
        let row = &job.row;
        let error = row.error.as_deref().unwrap_or("it failed");
        Failure::with_code(row.exit_code.unwrap_or(1), format!("{error}{}", self.kept(at)))
    }

    fn fail(&mut self, at: usize, failure: Failure) -> Result<(), Failure> {
        self.end(at);
        self.report_failed(at, failure.text())?;
        let files = self.jobs.len();
        self.verdict.add(failure, &self.jobs[at].what, files);
        Ok(())
    }

    fn report_failed(&mut self, at: usize, error: &str) -> Result<(), Failure> {
        let (path, total) =
            self.partial(at).map_or((None, None), |(path, _, total)| (Some(path), total));
        let job = &self.jobs[at];
        let size = total.or(job.row.size);
        self.report.failed(job.url_and_name(), size, path.as_deref(), error)
    }

    fn end(&mut self, at: usize) {
        let job = &mut self.jobs[at];
        job.over = true;
        if let Some(bar) = job.bar.take() {
            progress::remove(&bar);
        }
    }

    /// The file here, named as the user named its folder.
    fn path(&self, at: usize) -> Option<PathBuf> {
        let path = Path::new(self.jobs[at].row.path.as_deref()?);
        match path.strip_prefix(&self.folder) {
            Ok(within) => Some(self.options.folder.join(within)),
            Err(_) => Some(path.to_owned()),
        }
    }

    /// The partial file: its path, how much it has, and of how much.
    fn partial(&self, at: usize) -> Option<(PathBuf, u64, Option<u64>)> {
        let job = &self.jobs[at];
        let path = self.path(at).filter(|_| job.row.state != TransferState::Done)?;
        let found = job.source().and_then(|source| job.partial_in(&self.folder, &source));
        let (have, total) = match found {
            Some(Partial { have, total, .. }) => (have, total),
            // The servent still has it open, or the source is a host name.
            None => {
                let have = fs::metadata(&path).map_or(job.row.done, |meta| meta.len());
                (have, job.size_in(&path).filter(|&size| size >= have))
            }
        };
        (have > 0).then(|| (path, have, total.or(job.row.size)))
    }

    /// The part of a file that is kept, as the end of a sentence about it.
    fn kept(&self, at: usize) -> String {
        let of_another_size = self.jobs[at].row.exit_code == Some(7);
        self.partial(at).map_or_else(String::new, |(path, have, total)| {
            verdict::kept(&path, &output::part_of(have, total), of_another_size)
        })
    }

    /// Cancels the downloads that are not complete, and returns their positions.
    fn cancel_rest(&mut self) -> Result<Vec<usize>, Failure> {
        let open: Vec<usize> = (0..self.jobs.len()).filter(|&at| !self.jobs[at].over).collect();
        for &at in &open {
            if let Some(id) = self.jobs[at].id {
                self.cancel(id)?;
            }
            self.end(at);
        }
        Ok(open)
    }

    /// Cancels all downloads and reports what is kept of each.
    pub(in crate::cli) fn interrupt(&mut self) -> Failure {
        let rows = self.client.ask::<Vec<TransferRow>>("transfers", &NoParams {});
        for row in rows.into_iter().flatten() {
            if let Some(job) = self.jobs.iter_mut().find(|job| job.id == Some(row.id) && !job.over)
            {
                job.row = row;
            }
        }
        let open = match self.cancel_rest() {
            Ok(open) => open,
            Err(failure) => return failure,
        };
        let mut told = Vec::new();
        for at in open {
            told.push(format!("\"{}\" interrupted{}", self.jobs[at].what, self.kept(at)));
            if let Err(failure) = self.report_failed(at, "interrupted") {
                return failure;
            }
        }
        verdict::interrupted(&told)
    }

    /// The result of the command; see [`Verdict::outcome`]. What is not complete is cancelled.
    pub(in crate::cli) fn verdict(mut self, summed: bool) -> Result<(), Failure> {
        self.cancel_rest()?;
        std::mem::take(&mut self.verdict).outcome(self.jobs.len(), summed)
    }

    /// The failure of a command whose servent is gone.
    fn gone(&mut self, error: ClientError) -> Failure {
        let open: Vec<usize> = (0..self.jobs.len()).filter(|&at| !self.jobs[at].over).collect();
        open.iter().for_each(|&at| self.end(at));
        let what = match open[..] {
            [at] => format!("\"{}\"", self.jobs[at].what),
            _ => "the downloads".to_owned(),
        };
        let text = format!("{error}; it goes on with {what} when it runs again");
        Failure::from(error).with_text(text)
    }
}

impl Drop for RemoteFetches {
    fn drop(&mut self) {
        (0..self.jobs.len()).for_each(|at| self.end(at));
    }
}

impl RemoteJob {
    /// Its first source, if it is an address.
    fn source(&self) -> Option<Source> {
        match &self.sources {
            Sources::Hits(hits) => hit_source(&hits[0]).ok(),
            Sources::Url(TransferUrl { host, port, index, name }) => Some(Source {
                addr: std::net::SocketAddrV4::new(host.parse().ok()?, *port),
                index: *index,
                name: name.clone(),
                size: None,
                push: None,
            }),
        }
    }

    /// What there is of it in a folder.
    fn partial_in(&self, folder: &Path, source: &Source) -> Option<Partial> {
        let (_, kept) = PartialFile::look_for(folder, &self.name, source).ok()?;
        kept.partial.filter(|partial| partial.have > 0)
    }

    /// The size of the whole file, from the name of a partial one: `NAME.SIZE.part`.
    fn size_in(&self, path: &Path) -> Option<u64> {
        let rest = path.file_name()?.to_str()?.strip_prefix(&self.name)?.strip_prefix('.')?;
        rest.split('.').next()?.parse().ok()
    }

    /// Whether the servent has it and does not fetch it.
    fn stands_still(&self) -> bool {
        matches!(self.row.state, TransferState::Waiting | TransferState::Failed)
    }

    /// Its sources as hits.
    fn hits(&self) -> &[HitRecord] {
        match &self.sources {
            Sources::Url(_) => &[],
            Sources::Hits(hits) => hits,
        }
    }

    /// The host of its first source.
    fn peer(&self) -> String {
        match &self.sources {
            Sources::Url(url) => format!("{}:{}", url.host, url.port),
            Sources::Hits(hits) => format!("{}:{}", hits[0].host, hits[0].port),
        }
    }

    fn url_and_name(&self) -> (String, &str) {
        match &self.sources {
            Sources::Url(url) => (url.to_string(), &url.name),
            Sources::Hits(hits) => (hits[0].url.clone(), &hits[0].name),
        }
    }

    fn draw(&self) {
        let Some(bar) = &self.bar else { return };
        if let Some(size) = self.row.size {
            bar.set_length(size);
        }
        bar.set_position(self.row.done);
    }

    /// Tells once why it waits.
    fn tell_wait(&mut self) {
        if self.row.state != TransferState::Waiting {
            if let Some(bar) = self.bar.as_ref().filter(|_| self.told.take().is_some()) {
                bar.set_message(self.what.clone());
            }
            return;
        }
        let Some(error) = &self.row.error else { return };
        if self.told.as_ref() == Some(error) {
            return;
        }
        let next = self.row.next_try_s.map_or_else(String::new, |seconds| {
            format!("; next try in {:.0} s", seconds.max(0.0).ceil())
        });
        log::info!("{error}{next}");
        if let Some(bar) = &self.bar {
            bar.set_message(format!("(waits) {}", self.what));
        }
        self.told = Some(error.clone());
    }
}
