//! Transfers of a running servent: requests about them, and the steps of downloads.

use super::clients::Asker;
use super::queue::{Doing, Job, JobRecord, MAX_JOBS, Queue, SourceRecord, Standing, Step};
use super::run::Run;
use super::steer::{Outcome, now, refuse};
use super::uploads::Uploads;
use super::views;
use crate::control::message::RpcError;
use crate::control::params::{DownloadParams, Topic};
use crate::control::results::{TransferRef, TransferRow, TransferState};
use crate::driver::{DriverEvent, Host, JobDone, Looked, PartialFile, Resolved};
use crate::plan::hit_record::HitRecord;
use crate::servent::{Event, Hit, TransferId};
use crate::text;
use crate::transfer::download::{DownloadError, Source};
use crate::transfer::names::{safe_local_name, search_words};
use crate::transfer::url::TransferUrl;
use crate::wire::Guid;
use serde_json::json;
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::net::SocketAddrV4;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Interval of looking how far transfers are.
const TICK: Duration = Duration::from_secs(1);
/// Most requests for downloads that wait for the disk or a look-up.
const MAX_PENDING: usize = 256;

/// What is known of transfers beside the queue and the core.
#[derive(Debug, Default)]
pub(super) struct Transfers {
    pub(super) uploads: Uploads,
    next_tick: Option<Instant>,
    next_ticket: u64,
    /// Requests that wait until their folder is found usable.
    checking: BTreeMap<u64, (Asker, JobRecord)>,
    /// Requests whose change is not being stored yet.
    unstored: Vec<(Asker, u64)>,
    /// Requests that wait until their change is stored, by the ticket of that.
    storing: BTreeMap<u64, Vec<(Asker, u64)>>,
    /// Requests that wait for a host's address.
    looking_up: Vec<(Asker, TransferUrl, DownloadParams)>,
}

impl Transfers {
    fn fresh_ticket(&mut self) -> u64 {
        self.next_ticket += 1;
        self.next_ticket
    }
}

/// Requests.
impl Run<'_> {
    /// Downloads, then uploads.
    pub(super) fn transfer_rows(&self) -> Vec<TransferRow> {
        let now = Instant::now();
        let mut rows: Vec<TransferRow> = self.queue.jobs().iter().map(|job| job.row(now)).collect();
        rows.extend(self.upload_rows(now));
        rows
    }

    pub(super) fn add_download(&mut self, asker: &Asker, params: DownloadParams) -> Outcome {
        let wrong = |text: &str| refuse(RpcError::INVALID_PARAMS, text);
        let pending = self.transfers.checking.len() + self.transfers.looking_up.len();
        if self.queue.len() + pending >= MAX_JOBS || pending >= MAX_PENDING {
            let text = format!("{MAX_JOBS} downloads are listed: cancel those that are over");
            return refuse(RpcError::REFUSED, text);
        }
        if params.output.as_ref().is_some_and(|folder| !folder.is_absolute()) {
            return wrong(
                "\"output\" is an absolute path: the servent has another folder than you",
            );
        }
        if let Some(name) = params.name.as_ref().filter(|name| safe_local_name(name) != **name) {
            let example = safe_local_name(name);
            return wrong(&format!(
                "\"{name}\" cannot be the name of a download; example: \"{example}\""
            ));
        }
        if params.retry.is_some_and(|retry| Duration::try_from_secs_f64(retry).is_err()) {
            return wrong("\"retry\" is a number of seconds, 0 or more");
        }
        match (&params.url, &params.hits[..]) {
            (Some(url), []) => {
                let url = match url.parse::<TransferUrl>() {
                    Ok(url) => url,
                    Err(error) => return wrong(&format!("{url}: {error}")),
                };
                match format!("{}:{}", url.host, url.port).parse::<Host>() {
                    Ok(Host::Addr(addr)) => {
                        self.check_folder(asker, vec![source_of(&url, addr)], &params)
                    }
                    Ok(Host::Name(host, port)) => {
                        if let Err(error) = self.driver.resolve(host, port) {
                            return refuse(RpcError::INTERNAL, error.to_string());
                        }
                        self.transfers.looking_up.push((asker.clone(), url, params));
                    }
                    Err(error) => return wrong(&error.to_string()),
                }
            }
            (None, [_, ..]) => {
                let sources: Result<Vec<_>, _> =
                    params.hits.iter().map(|hit| self.source_in(hit)).collect();
                match sources {
                    Ok(sources) => self.check_folder(asker, sources, &params),
                    Err(text) => return wrong(&text),
                }
            }
            _ => return wrong("one of \"url\" and \"hits\" is needed"),
        }
        None
    }

    /// A host of a URL was looked up. Whether it was one of a download.
    pub(super) fn looked_up(&mut self, resolved: &Resolved) -> bool {
        let wanted = |(_, url, _): &(Asker, TransferUrl, DownloadParams)| {
            (&url.host, url.port) == (&resolved.host, resolved.port)
        };
        let Some(at) = self.transfers.looking_up.iter().position(wanted) else { return false };
        let (asker, url, params) = self.transfers.looking_up.remove(at);
        match &resolved.addr {
            Ok(addr) => self.check_folder(&asker, vec![source_of(&url, *addr)], &params),
            Err(text) => {
                self.clients.answer(&asker, Err(RpcError::new(RpcError::NOT_FOUND, text.clone())));
            }
        }
        true
    }

    /// The source that a hit stands for.
    fn source_in(&self, hit: &HitRecord) -> Result<Source, String> {
        let mut source = views::hit_source(hit)?;
        let scope = self.driver.core().config().scope;
        if let Some(push) = source.push.as_mut().filter(|_| source.addr != self.addr) {
            push.firewalled |= !scope.allows(source.addr);
        }
        Ok(source)
    }

    /// Adds a download once its folder is found to be usable.
    fn check_folder(&mut self, asker: &Asker, sources: Vec<Source>, params: &DownloadParams) {
        let folder = params.output.clone().unwrap_or_else(|| self.downloads_folder());
        let name = params.name.clone().unwrap_or_else(|| safe_local_name(&sources[0].name));
        let size = sources.iter().find_map(|source| source.size);
        let job = JobRecord {
            id: self.queue.fresh_id(),
            name,
            folder: folder.clone(),
            size,
            sources: sources.iter().map(SourceRecord::of).collect(),
            standing: Standing::Open,
            error: None,
            exit_code: None,
            path: None,
            inode: None,
            bytes: 0,
            already_here: false,
            joined_from: 0,
            patience_s: params.retry,
        };
        let ticket = self.transfers.fresh_ticket();
        self.transfers.checking.insert(ticket, (asker.clone(), job));
        self.driver.work(ticket, Box::new(move || JobDone::Stored(usable(&folder))));
    }

    pub(super) fn pause_download(&mut self, asker: &Asker, id: u64) -> Outcome {
        let Some(job) = self.queue.get_mut(id) else { return unknown(id) };
        match job.record.standing {
            Standing::Done | Standing::Failed => return over(job),
            Standing::Open | Standing::Paused => job.record.standing = Standing::Paused,
        }
        self.stop_fetching(id);
        self.changed(asker, id)
    }

    pub(super) fn resume_download(&mut self, asker: &Asker, id: u64) -> Outcome {
        let Some(job) = self.queue.get_mut(id) else { return unknown(id) };
        match job.record.standing {
            Standing::Done | Standing::Failed => return over(job),
            Standing::Paused => job.try_again(),
            Standing::Open => {}
        }
        self.changed(asker, id)
    }

    pub(super) fn retry_download(&mut self, asker: &Asker, id: u64) -> Outcome {
        let Some(job) = self.queue.get_mut(id) else { return unknown(id) };
        match job.record.standing {
            Standing::Done => return over(job),
            _ if job.is_active() => {}
            _ => {
                self.stop_fetching(id);
                if let Some(job) = self.queue.get_mut(id) {
                    job.try_again();
                }
            }
        }
        self.changed(asker, id)
    }

    pub(super) fn cancel_transfer(&mut self, asker: &Asker, id: u64) -> Outcome {
        if let Some(conn) = self.transfers.uploads.conn_of(id) {
            self.driver.command(|core, now| core.end_upload(now, conn));
            return now(TransferRef { id });
        }
        self.stop_fetching(id);
        let Some(job) = self.queue.remove(id) else { return unknown(id) };
        let mut row = job.row(Instant::now());
        if row.state != TransferState::Done {
            log::info!("download of \"{}\" cancelled; its partial file is kept", job.what());
            row.error = Some("cancelled".to_owned());
        }
        self.clients.tell(Topic::Transfers, "transfer", &json!(row));
        self.changed(asker, id)
    }

    /// A client is told of a change once it is stored, which the next step does.
    fn changed(&mut self, asker: &Asker, id: u64) -> Outcome {
        self.queue.note_change();
        self.transfers.unstored.push((asker.clone(), id));
        self.touch_transfers();
        None
    }

    /// Ends what a download is doing; what was received is kept.
    fn stop_fetching(&mut self, id: u64) {
        let Some(job) = self.queue.get_mut(id) else { return };
        match std::mem::replace(&mut job.doing, Doing::Nothing) {
            Doing::Fetching { transfer, .. } => {
                self.driver.command(|core, now| core.cancel_download(now, transfer));
            }
            Doing::Searching { search, .. } => {
                self.driver.command(|core, _| core.end_request(search));
            }
            Doing::Looking { .. } | Doing::Resting { .. } | Doing::Nothing => {}
        }
    }

    fn downloads_folder(&self) -> PathBuf {
        let given = self.settings.downloads.clone();
        given.unwrap_or_else(|| self.state.folder().join("downloads"))
    }
}

/// Steps.
impl Run<'_> {
    /// Does what is due for transfers. Returns when it wants to be called again.
    pub(super) fn step_transfers(&mut self, now: Instant) -> Option<Instant> {
        let mut next = None;
        let mut active = self.queue.active();
        for at in 0..self.queue.len() {
            let job = &mut self.queue.jobs_mut()[at];
            let id = job.record.id;
            match job.step(now) {
                Step::Wait(until) => next = Queue::soonest(next, until),
                Step::Try(source) => {
                    let (folder, name) = (job.record.folder.clone(), job.record.name.clone());
                    let has_place = active < self.settings.max_downloads;
                    if has_place && self.queue.has_room_for(&folder, &name) {
                        self.look(id, source);
                        active += 1;
                    }
                }
                Step::Search => {
                    next = Queue::soonest(next, Some(now + TICK));
                    self.search_sources(now, id);
                }
                Step::GiveUp => {
                    job.give_up();
                    log::warn!("{}", job.record.error.clone().unwrap_or_default());
                    self.queue.note_change();
                }
            }
        }
        self.tell_states(now);
        if let Some(work) = self.queue.take_storing() {
            let ticket = self.transfers.fresh_ticket();
            let waiting = std::mem::take(&mut self.transfers.unstored);
            self.transfers.storing.insert(ticket, waiting);
            self.driver.work(ticket, work);
        }
        let moves = self.driver.core().uploads() > 0 || self.queue.active() > 0;
        let is_ticking = moves || !self.transfers.uploads.is_empty();
        if is_ticking && self.transfers.next_tick.is_none_or(|at| at <= now) {
            self.tick(now);
            self.transfers.next_tick = Some(now + TICK);
        }
        Queue::soonest(next, self.transfers.next_tick.filter(|_| is_ticking))
    }

    /// Looks how far transfers are.
    fn tick(&mut self, now: Instant) {
        let core = self.driver.core();
        for job in self.queue.jobs_mut() {
            if let Some(progress) = job.transfer().and_then(|transfer| core.progress(transfer)) {
                job.note_progress(now, progress);
            }
        }
        self.look_at_uploads(now);
    }

    /// Tells subscribers of downloads whose state has changed.
    fn tell_states(&mut self, now: Instant) {
        for job in self.queue.jobs_mut() {
            let state = job.state();
            if job.told != Some(state) {
                job.told = Some(state);
                self.clients.tell(Topic::Transfers, "transfer", &json!(job.row(now)));
            }
        }
    }

    /// Has the worker look what there is of a download's file.
    fn look(&mut self, id: u64, source: Source) {
        let ticket = self.transfers.fresh_ticket();
        let Some(job) = self.queue.get_mut(id) else { return };
        let before = std::mem::replace(&mut job.doing, Doing::Looking { ticket });
        let (folder, name) = (job.record.folder.clone(), job.record.name.clone());
        let inode = job.record.inode;
        if let Doing::Searching { search, .. } = before {
            self.driver.command(|core, _| core.end_request(search));
        }
        let look = move || {
            fs::create_dir_all(&folder)?;
            let looked = PartialFile::look_for(&folder, &name, &source)?;
            Ok(Box::new((PartialFile::finished_as(&folder, &name, inode), looked)))
        };
        self.driver.work(ticket, Box::new(move || JobDone::Looked(look())));
    }

    /// Searches for further sources of a file by its name.
    fn search_sources(&mut self, now: Instant, id: u64) {
        let Some(job) = self.queue.get_mut(id) else { return };
        let words = search_words(&job.last_source().name);
        let begun = self.driver.command(|core, at| core.search(at, &words, None));
        let Some(job) = self.queue.get_mut(id) else { return };
        match begun {
            Ok(search) => {
                log::info!("\"{}\" has no source: searching for others", job.what());
                job.searching(now, search);
            }
            // No servent would answer such words.
            Err(_) => job.rest(now),
        }
    }

    /// A hit came for a search of the queue.
    pub(super) fn source_found(&mut self, search: Guid, hit: &Hit) {
        let Some(job) = self.queue.by_search(search) else { return };
        let source = hit.clone().into_source();
        if job.fits(&source) && job.add_source(source) {
            log::info!("found a source of \"{}\": {}", job.what(), hit.addr);
            self.queue.note_change();
        }
    }

    /// Handles what happened to downloads. Returns any other event.
    pub(super) fn digest_transfer(&mut self, event: DriverEvent) -> Option<DriverEvent> {
        match event {
            DriverEvent::Done { ticket, done: JobDone::Stored(stored) } => {
                self.stored(ticket, stored)
            }
            DriverEvent::Done { ticket, done: JobDone::Looked(looked) } => {
                self.looked(ticket, looked)
            }
            DriverEvent::Opened { file, path, inode } => {
                if let Some(job) = self.queue.by_file(file) {
                    (job.record.path, job.record.inode) = (Some(path), Some(inode));
                    self.queue.note_change();
                }
            }
            DriverEvent::Saved { file, path, servents } => {
                if let Some(job) = self.queue.by_file(file) {
                    (job.record.path, job.record.joined_from) = (Some(path), servents);
                }
            }
            DriverEvent::DiskFailed { file, text } => {
                if let Some(job) = self.queue.by_file(file) {
                    job.disk_failure = Some(text);
                }
            }
            DriverEvent::Core(Event::Pushed { transfer }) => {
                if let Some(job) = self.queue.by_transfer(transfer) {
                    log::info!("asking the source of \"{}\" to connect to us", job.what());
                }
            }
            DriverEvent::Core(Event::Downloaded { transfer, bytes, already_here }) => {
                self.downloaded(transfer, bytes, already_here);
            }
            DriverEvent::Core(Event::DownloadFailed { transfer, error }) => {
                self.download_failed(transfer, &error);
            }
            other => return Some(other),
        }
        None
    }

    /// The worker has stored the queue, or found a folder usable.
    fn stored(&mut self, ticket: u64, stored: io::Result<()>) {
        if let Some((asker, job)) = self.transfers.checking.remove(&ticket) {
            match stored {
                Ok(()) => {
                    let id = job.id;
                    self.queue.add(job);
                    self.transfers.unstored.push((asker, id));
                }
                Err(error) => {
                    let folder = job.folder.display();
                    let text = format!("the servent cannot write to {folder}: {error}");
                    self.clients.answer(&asker, Err(RpcError::new(RpcError::NOT_WRITABLE, text)));
                }
            }
            return;
        }
        let waiting = self.transfers.storing.remove(&ticket).unwrap_or_default();
        if let Err(error) = &stored {
            log::warn!(
                "cannot store the list of downloads: {error}; it is lost if the servent ends now"
            );
        }
        for (asker, id) in waiting {
            let outcome = match &stored {
                Ok(()) => Ok(json!(TransferRef { id })),
                Err(error) => {
                    let text = format!("the change of download {id} cannot be stored: {error}");
                    Err(RpcError::new(RpcError::INTERNAL, text))
                }
            };
            self.clients.answer(&asker, outcome);
        }
    }

    /// The worker has looked what there is of a download's file.
    fn looked(&mut self, ticket: u64, looked: io::Result<Box<Looked>>) {
        let Some(job) = self.queue.by_ticket(ticket) else { return };
        let id = job.record.id;
        let (finished, (place, kept)) = match looked {
            Ok(looked) => *looked,
            Err(error) => {
                let folder = job.record.folder.display();
                let text =
                    format!("cannot use the folder {folder}: {error}; name another with --output");
                job.disk_failed(text.clone());
                log::warn!("{text}");
                return self.queue.note_change();
            }
        };
        if let Some((path, bytes)) = finished {
            // The program ended after the file was complete, and before that was stored.
            job.record.path = Some(path);
            return self.complete(id, bytes, false);
        }
        if let Some(path) = place.path() {
            job.record.path = Some(path.to_owned());
        }
        let source = job.last_source().clone();
        let begun = self.driver.download(source.clone(), place, kept);
        let Some(job) = self.queue.get_mut(id) else { return };
        match begun {
            Ok((transfer, file)) => {
                job.doing = Doing::Fetching { transfer, file };
                let (what, addr) = (job.what(), source.addr);
                match kept.partial.filter(|partial| partial.have > 0) {
                    None => log::info!("getting \"{what}\" from {addr}"),
                    Some(partial) => {
                        let amount = text::part_of(partial.have, partial.total.or(source.size));
                        log::info!("going on with \"{what}\" from {addr}: {amount} are here");
                    }
                }
            }
            Err(error) => job.source_failed(Instant::now(), &error),
        }
    }

    fn downloaded(&mut self, transfer: TransferId, bytes: u64, already_here: bool) {
        if let Some(job) = self.queue.by_transfer(transfer) {
            let id = job.record.id;
            self.complete(id, bytes, already_here);
        }
    }

    /// A file is complete.
    fn complete(&mut self, id: u64, bytes: u64, already_here: bool) {
        let Some(job) = self.queue.get_mut(id) else { return };
        job.doing = Doing::Nothing;
        let record = &mut job.record;
        (record.standing, record.size, record.bytes) = (Standing::Done, Some(bytes), bytes);
        (record.already_here, record.error, record.inode) = (already_here, None, None);
        let (path, servents) = (record.path.clone().unwrap_or_default(), record.joined_from);
        let (shown, size) = (path.display(), text::bytes(bytes));
        match (already_here, servents) {
            (true, _) => log::info!("already here: {shown} ({size})"),
            (false, ..2) => log::info!("saved {shown} ({size})"),
            (false, several) => log::info!(
                "saved {shown} ({size}), joined from {several} sources: they agreed where they met, but \
                 no hash has confirmed the whole"
            ),
        }
        if let Some(program) = self.settings.on_complete.as_deref().filter(|_| !already_here) {
            super::hook::run(program, &path);
        }
        self.queue.note_change();
    }

    fn download_failed(&mut self, transfer: TransferId, error: &DownloadError) {
        let Some(job) = self.queue.by_transfer(transfer) else { return };
        job.source_failed(Instant::now(), error);
        if matches!(error, DownloadError::Disk(_)) {
            job.give_up();
            log::warn!("{}", job.record.error.clone().unwrap_or_default());
        }
        self.queue.note_change();
    }
}

fn source_of(url: &TransferUrl, addr: SocketAddrV4) -> Source {
    Source { addr, index: url.index, name: url.name.clone(), size: None, push: None }
}

/// Whether files can be created in a folder, which is made if it is missing.
fn usable(folder: &Path) -> io::Result<()> {
    use rustix::fs::{Access, access};
    fs::create_dir_all(folder)?;
    Ok(access(folder, Access::WRITE_OK | Access::EXEC_OK)?)
}

fn unknown(id: u64) -> Outcome {
    refuse(
        RpcError::NOT_FOUND,
        format!("there is no download {id}; transfers lists those there are"),
    )
}

fn over(job: &Job) -> Outcome {
    let advice = match job.record.standing {
        Standing::Failed => "it has failed; retry starts it again",
        _ => "it is complete",
    };
    refuse(RpcError::REFUSED, format!("download {}: {advice}", job.record.id))
}
