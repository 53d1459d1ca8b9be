//! Files in and out: wires the upload and download machines to connections, files and slots.

use super::connection::{Connection, Phase};
use super::io::{CloseReason, ConnId, Event, FileDone, FileId, FileOp, Output, TransferId};
use super::{IoFailure, LinkKey, Servent};
use crate::config::{Role, Scope};
use crate::library::Library;
use crate::time::Instant;
use crate::transfer::Shelf;
use crate::transfer::download::{
    Download, DownloadError, DownloadLimits, DownloadStep, Kept, Source,
};
use crate::transfer::upload::{Slot, Upload, UploadClose, UploadLimits, UploadStep};
use crate::wire::http_head::GetPath;
use std::collections::VecDeque;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::sync::Arc;
use std::time::Duration;

/// Servents remembered to want names that are not percent-encoded; the oldest is forgotten.
const MAX_RAW_HOSTS: usize = 256;

/// What a peer is told to wait when nothing says how long the uploads under way will take.
const USUAL_WAIT: Duration = Duration::from_secs(60);

/// The longest wait a peer is told: an upload that is slow now may speed up or break off.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// Bytes of a path that was refused an event tells.
const MAX_TOLD_PATH_BYTES: usize = 256;

/// An inbound HTTP connection.
#[derive(Debug)]
pub(super) struct Uploading {
    pub(super) upload: Upload,
    /// The file it holds a slot for.
    pub(super) file: Option<FileId>,
    /// A Push asked for the connection, and nothing was fetched on it so far.
    pub(super) pushed: bool,
    /// Its next request is in the list of those answered in a later turn.
    pub(super) waits: bool,
}

/// A download and what it uses at the moment.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) download: Download,
    pub(super) conn: Option<ConnId>,
    file: FileId,
    /// When the next Push is due while the source is waited for.
    pub(super) next_push: Option<Instant>,
    /// A Push was sent for it.
    pub(super) pushed: bool,
}

/// Addresses whose servents close when asked for a percent-encoded name (GNU Serveez).
#[derive(Debug, Default)]
pub(super) struct RawHosts(VecDeque<SocketAddrV4>);

impl RawHosts {
    fn contains(&self, addr: SocketAddrV4) -> bool {
        self.0.contains(&addr)
    }

    fn remember(&mut self, addr: SocketAddrV4) {
        if !self.contains(addr) {
            if self.0.len() >= MAX_RAW_HOSTS {
                self.0.pop_front();
            }
            self.0.push_back(addr);
        }
    }
}

/// Whom to tell what came of a file operation.
#[derive(Clone, Copy, Debug)]
pub(super) enum FileOwner {
    Upload(ConnId),
    Download(TransferId),
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file that are here.
    pub received: u64,
    /// Size of the file, once known.
    pub total: Option<u64>,
}

impl Shelf for Library {
    /// The file with this index if the path has its name in any reading, else the only file of
    /// this name: gtk-gnutella asks with index 0 for hits without a hash.
    fn find(&self, path: &GetPath) -> Option<(u32, u64)> {
        let named = |name: &str| path.names().any(|asked| asked == name) || path.masks(name);
        let exact = self.get(path.index).filter(|entry| named(entry.name));
        let by_name = || path.names().find_map(|name| self.by_unique_name(name));
        exact.or_else(by_name).map(|entry| (entry.number, entry.size))
    }
}

impl Servent {
    /// Starts to fetch a file. `kept` is what is on the disk. All its file operations name the
    /// returned [`FileId`]; it ends with [`Event::Downloaded`] or [`Event::DownloadFailed`].
    ///
    /// # Errors
    /// [`DownloadError::SizeMismatch`] when the partial belongs to another file.
    pub fn download(
        &mut self,
        now: Instant,
        source: Source,
        kept: Kept,
    ) -> Result<(TransferId, FileId), DownloadError> {
        let raw = self.raw_hosts.contains(source.addr);
        let download = Download::new(now, source, kept, raw, DownloadLimits::default())?;
        let id = TransferId(self.fresh_id());
        let file = self.hold_file(FileOwner::Download(id));
        let task = Task { download, conn: None, file, next_push: None, pushed: false };
        self.downloads.insert(id, task);
        self.drive_download(now, id);
        Ok((id, file))
    }

    /// Whether the address in a hit that came by `link` may be connected to.
    pub(super) fn may_fetch_from(&self, link: LinkKey, addr: SocketAddrV4) -> bool {
        match self.config.role {
            Role::Servent => self.config.scope.allows(addr),
            Role::Guest => self
                .link_of(link)
                .is_some_and(|link| Scope::may_follow(*self.connections[link].remote.ip(), addr)),
        }
    }

    /// Ends a download without any event; what was received is kept.
    pub fn cancel_download(&mut self, now: Instant, id: TransferId) {
        self.end_download(now, id);
    }

    /// How far a download is; `None` once it ended.
    pub fn progress(&self, id: TransferId) -> Option<Progress> {
        let download = &self.downloads.get(&id)?.download;
        Some(Progress { received: download.received_bytes(), total: download.expected_bytes() })
    }

    /// Uploads that hold a slot.
    pub fn uploads(&self) -> usize {
        self.uploads_open
    }

    /// An operation asked for by [`Output::File`] ended.
    pub fn handle_file(&mut self, now: Instant, file: FileId, done: FileDone) {
        match self.files.get(&file) {
            Some(&FileOwner::Upload(conn)) => self.upload_file_done(now, conn, done),
            Some(&FileOwner::Download(id)) => self.download_file_done(now, id, done),
            None => {}
        }
    }

    fn upload_file_done(&mut self, now: Instant, conn: ConnId, done: FileDone) {
        let Some(uploading) = self.uploading_mut(conn) else { return };
        match done {
            FileDone::Opened { size } => uploading.upload.handle_opened(now, Ok(size)),
            FileDone::OpenFailed(error) => uploading.upload.handle_opened(now, Err(error)),
            FileDone::Ended => uploading.upload.handle_file_ended(now),
            _ => {}
        }
        self.drive_upload(now, conn);
    }

    fn download_file_done(&mut self, now: Instant, id: TransferId, done: FileDone) {
        let Some(task) = self.downloads.get_mut(&id) else { return };
        match done {
            FileDone::Opened { .. } => task.download.handle_file_opened(),
            FileDone::Compared { same } => task.download.handle_compared(now, same),
            FileDone::Written { bytes } => task.download.handle_written(now, bytes),
            FileDone::Synced => task.download.handle_synced(),
            FileDone::Finished => task.download.handle_finished(),
            FileDone::Fault(fault) => task.download.handle_disk_fault(fault),
            FileDone::OpenFailed(_) | FileDone::Ended => {}
        }
        self.drive_download(now, id);
    }

    pub(super) fn start_upload(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let mut upload = Upload::new(now, UploadLimits::default());
        upload.handle_bytes(now, bytes);
        self.begin_upload(now, id, upload);
    }

    pub(super) fn begin_upload(&mut self, now: Instant, id: ConnId, upload: Upload) {
        let Some(conn) = self.connection_mut(id) else { return };
        let pushed = !conn.inbound;
        conn.phase =
            Phase::Upload(Box::new(Uploading { upload, file: None, pushed, waits: false }));
        self.drive_upload(now, id);
    }

    /// Whether a peer at this address may have one more upload, and if not, when one of those it
    /// waits for is likely to end.
    fn slot_for(&self, now: Instant, ip: Ipv4Addr) -> Slot {
        let own = self.per_address(self.config.limits.uploads_per_address);
        let own_taken = self.slots.of(ip) >= own;
        if self.uploads_open < self.config.max_uploads && !own_taken {
            return Slot::Free;
        }
        let waited_for = self.connections.iter().filter_map(|(_, conn)| match &conn.phase {
            Phase::Upload(uploading) if !own_taken || *conn.remote.ip() == ip => {
                uploading.upload.time_left(now)
            }
            _ => None,
        });
        let left = waited_for.min().unwrap_or(USUAL_WAIT).min(MAX_WAIT);
        Slot::FreeIn(Duration::from_secs(left.as_secs() + 1))
    }

    /// Does what an upload wants next.
    pub(super) fn drive_upload(&mut self, now: Instant, id: ConnId) {
        let library = Arc::clone(&self.library);
        let Some(ip) = self.connection_mut(id).map(|conn| *conn.remote.ip()) else { return };
        loop {
            let Some(uploading) = self.uploading_mut(id) else { return };
            let slot = match uploading.upload.is_asked() {
                true if !self.may_answer(now, id) => break,
                true => self.slot_for(now, ip),
                false => Slot::Free,
            };
            let Some(uploading) = self.uploading_mut(id) else { return };
            let Some(step) = uploading.upload.poll(now, &*library, slot) else { break };
            match step {
                UploadStep::Open { number, .. } => {
                    self.uploads_open += 1;
                    self.slots.add(ip);
                    let file = self.hold_file(FileOwner::Upload(id));
                    if let Some(uploading) = self.uploading_mut(id) {
                        uploading.file = Some(file);
                    }
                    self.file_op(file, FileOp::OpenShared { number });
                }
                UploadStep::Release { number, bytes, complete } => {
                    if (complete || bytes > 0) && std::mem::take(&mut uploading.pushed) {
                        self.push_log.led_to_download(ip);
                    }
                    self.release_upload(id);
                    self.stats.files_served += u64::from(complete);
                    let addr = self.connections[id.index as usize].remote;
                    self.event(Event::Served { addr, number, bytes, complete });
                }
                UploadStep::Refused { status, mut path } => {
                    path.truncate(MAX_TOLD_PATH_BYTES);
                    let addr = self.connections[id.index as usize].remote;
                    self.event(Event::Refused { addr, status, path });
                }
                UploadStep::Stale { number } => self.event(Event::StaleFile { number }),
                UploadStep::Close(why) => return self.close(now, id, CloseReason::Upload(why)),
            }
        }
        let deadline = self.uploading_mut(id).and_then(|uploading| uploading.upload.poll_timeout());
        self.set_deadline(id, deadline.unwrap_or(Instant::FAR_FUTURE));
        self.mark_dirty(id.index as usize);
    }

    /// Whether the request on this connection may be answered in this turn; if not, it is in a later
    /// one.
    fn may_answer(&mut self, now: Instant, id: ConnId) -> bool {
        if self.budget.admit_answer() {
            return true;
        }
        let Some(uploading) = self.uploading_mut(id) else { return false };
        if !std::mem::replace(&mut uploading.waits, true) {
            self.budget.answer_later(now, id);
        }
        false
    }

    fn release_upload(&mut self, id: ConnId) {
        let Some(file) = self.uploading_mut(id).and_then(|uploading| uploading.file.take()) else {
            return;
        };
        let ip = *self.connections[id.index as usize].remote.ip();
        self.free_slot(ip, file);
    }

    fn free_slot(&mut self, ip: Ipv4Addr, file: FileId) {
        self.uploads_open -= 1;
        self.slots.remove(ip);
        self.release_file(file);
    }

    /// The socket of an upload ended on the peer's side; it may still take what we send.
    pub(super) fn upload_ended(&mut self, now: Instant, id: ConnId, failure: &IoFailure) {
        let Some(uploading) = self.uploading_mut(id) else { return };
        match failure {
            IoFailure::Eof => uploading.upload.handle_eof(now),
            _ => uploading.upload.handle_reset(now),
        }
        self.drive_upload(now, id);
    }

    /// Does what a download wants next.
    pub(super) fn drive_download(&mut self, now: Instant, id: TransferId) {
        while let Some(task) = self.downloads.get_mut(&id) {
            let file = task.file;
            let Some(step) = task.download.poll() else { break };
            match step {
                DownloadStep::Connect(addr) => {
                    let phase = Phase::Fetching(id);
                    match self.open(now, addr, None, Ipv4Addr::UNSPECIFIED, phase) {
                        Some(conn) => {
                            self.outputs.push_back(Output::Connect { conn, addr });
                            self.set_task_conn(id, Some(conn));
                        }
                        None => self.fail_connect(now, id),
                    }
                }
                DownloadStep::Push(via) => self.await_giv(now, id, via),
                DownloadStep::Release => self.keep_giv(now, id),
                DownloadStep::Disconnect => {
                    if let Some(conn) = self.set_task_conn(id, None) {
                        self.close(now, conn, CloseReason::TransferEnded);
                    }
                }
                DownloadStep::OpenPartial { have, total } => {
                    self.file_op(file, FileOp::OpenPartial { have, total });
                }
                DownloadStep::SetAside { total } => self.file_op(file, FileOp::SetAside { total }),
                DownloadStep::Compare { against, offset, bytes } => {
                    self.file_op(file, FileOp::Compare { against, offset, bytes });
                }
                DownloadStep::UseComplete => self.file_op(file, FileOp::UseComplete),
                DownloadStep::Write { offset, bytes } => {
                    self.file_op(file, FileOp::Write { offset, bytes });
                }
                DownloadStep::Sync => self.file_op(file, FileOp::Sync),
                DownloadStep::Finish => self.file_op(file, FileOp::Finish),
                DownloadStep::Done { bytes, already_here } => {
                    self.end_download(now, id);
                    self.event(Event::Downloaded { transfer: id, bytes, already_here });
                }
                DownloadStep::Fail(error) => {
                    self.end_download(now, id);
                    self.event(Event::DownloadFailed { transfer: id, error });
                }
            }
        }
        let Some(task) = self.downloads.get(&id) else { return };
        if let Some(conn) = task.conn {
            let deadline = task.download.poll_timeout().unwrap_or(Instant::FAR_FUTURE);
            self.set_deadline(conn, deadline);
            self.mark_dirty(conn.index as usize);
        }
    }

    pub(super) fn set_task_conn(&mut self, id: TransferId, conn: Option<ConnId>) -> Option<ConnId> {
        let task = self.downloads.get_mut(&id)?;
        std::mem::replace(&mut task.conn, conn)
    }

    pub(super) fn fail_connect(&mut self, now: Instant, id: TransferId) {
        if let Some(task) = self.downloads.get_mut(&id) {
            task.download.handle_connect_failed(now, false);
        }
    }

    fn end_download(&mut self, now: Instant, id: TransferId) {
        let Some(task) = self.downloads.remove(&id) else { return };
        self.release_file(task.file);
        if let Some(conn) = task.conn {
            self.close(now, conn, CloseReason::TransferEnded);
        }
    }

    /// The connection of a download ended, or never came to be.
    pub(super) fn fetch_ended(
        &mut self,
        now: Instant,
        conn: ConnId,
        id: TransferId,
        failure: &IoFailure,
    ) {
        self.set_task_conn(id, None);
        self.close(now, conn, CloseReason::Io(failure.clone()));
        if let Some(task) = self.downloads.get_mut(&id) {
            if task.download.is_connecting() {
                task.download.handle_connect_failed(now, *failure == IoFailure::Refused);
            } else {
                task.download.handle_closed(now, *failure != IoFailure::Eof);
            }
        }
        self.drive_download(now, id);
    }

    /// The connection of a download stands.
    pub(super) fn handle_fetch_connected(&mut self, now: Instant, id: TransferId, fresh: bool) {
        if let Some(task) = self.downloads.get_mut(&id) {
            task.download.handle_connected(now, fresh);
        }
        self.drive_download(now, id);
    }

    /// The source of a download sent bytes.
    pub(super) fn handle_fetched(&mut self, now: Instant, id: TransferId, bytes: &[u8]) {
        if let Some(task) = self.downloads.get_mut(&id) {
            task.download.handle_bytes(now, bytes);
            if task.download.found_raw() {
                self.raw_hosts.remember(task.download.source().addr);
            }
        }
        self.drive_download(now, id);
    }

    pub(super) fn handle_fetch_timeout(&mut self, now: Instant, id: TransferId) {
        if let Some(task) = self.downloads.get_mut(&id) {
            task.download.handle_timeout(now);
        }
        self.drive_download(now, id);
    }

    /// Whatever a closed connection held goes back.
    pub(super) fn release_transfer(&mut self, ended: &Connection) {
        if let Phase::Upload(uploading) = &ended.phase
            && let Some(file) = uploading.file
        {
            self.free_slot(*ended.remote.ip(), file);
        }
    }

    pub(super) fn uploading_mut(&mut self, id: ConnId) -> Option<&mut Uploading> {
        match &mut self.connection_mut(id)?.phase {
            Phase::Upload(uploading) => Some(uploading),
            _ => None,
        }
    }

    fn hold_file(&mut self, owner: FileOwner) -> FileId {
        let file = FileId(self.fresh_id());
        self.files.insert(file, owner);
        file
    }

    fn release_file(&mut self, file: FileId) {
        self.files.remove(&file);
        self.file_op(file, FileOp::Close);
    }

    fn file_op(&mut self, file: FileId, op: FileOp) {
        self.outputs.push_back(Output::File { file, op });
    }

    fn fresh_id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }
}

impl CloseReason {
    /// Whether an upload ended as it should.
    pub fn is_clean_upload(&self) -> bool {
        matches!(self, CloseReason::Upload(UploadClose::Done | UploadClose::ByPeer))
    }
}
