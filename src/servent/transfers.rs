//! Files in and out: wires the upload and download machines to connections, files and slots.

use super::connection::{Connection, Phase};
use super::io::{CloseReason, ConnId, Event, FileDone, FileId, FileOp, Output, TransferId};
use super::{IoFailure, Servent};
use crate::library::Library;
use crate::time::Instant;
use crate::transfer::Shelf;
use crate::transfer::download::{
    Download, DownloadError, DownloadLimits, DownloadStep, Partial, Source,
};
use crate::transfer::upload::{Upload, UploadClose, UploadLimits, UploadStep};
use std::net::Ipv4Addr;
use std::sync::Arc;

/// An inbound HTTP connection.
#[derive(Debug)]
pub(super) struct Uploading {
    pub(super) upload: Upload,
    /// The file it holds a slot for.
    pub(super) file: Option<FileId>,
}

/// A download and what it uses at the moment.
#[derive(Debug)]
pub(super) struct Task {
    pub(super) download: Download,
    conn: Option<ConnId>,
    file: FileId,
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
    fn find(&self, index: u32, name: &str) -> Option<(u32, u64)> {
        let exact = self.get(index).filter(|entry| entry.name == name);
        exact.or_else(|| self.by_unique_name(name)).map(|entry| (entry.number, entry.size))
    }
}

impl Servent {
    /// Starts to fetch a file. `partial` is what an earlier attempt left. All its file operations
    /// name the returned [`FileId`]; it ends with [`Event::Downloaded`] or
    /// [`Event::DownloadFailed`].
    ///
    /// # Errors
    /// [`DownloadError::SizeMismatch`] when the partial belongs to another file.
    pub fn download(
        &mut self,
        now: Instant,
        source: Source,
        partial: Option<Partial>,
    ) -> Result<(TransferId, FileId), DownloadError> {
        let download = Download::new(now, source, partial, DownloadLimits::default())?;
        let id = TransferId(self.fresh_id());
        let file = self.hold_file(FileOwner::Download(id));
        self.downloads.insert(id, Task { download, conn: None, file });
        self.drive_download(now, id);
        Ok((id, file))
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
        conn.phase = Phase::Upload(Box::new(Uploading { upload, file: None }));
        self.drive_upload(now, id);
    }

    /// Whether a peer at this address may have one more upload.
    fn has_slot_for(&self, ip: Ipv4Addr) -> bool {
        self.uploads_open < self.config.max_uploads
            && self.slots.of(ip) < self.per_address(self.config.limits.uploads_per_address)
    }

    /// Does what an upload wants next.
    pub(super) fn drive_upload(&mut self, now: Instant, id: ConnId) {
        let library = Arc::clone(&self.library);
        let Some(ip) = self.connection_mut(id).map(|conn| *conn.remote.ip()) else { return };
        loop {
            let slot_free = self.has_slot_for(ip);
            let Some(uploading) = self.uploading_mut(id) else { return };
            let Some(step) = uploading.upload.poll(now, &*library, slot_free) else { break };
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
                    self.release_upload(id);
                    self.stats.files_served += u64::from(complete);
                    let addr = self.connections[id.index as usize].remote;
                    self.event(Event::Served { addr, number, bytes, complete });
                }
                UploadStep::Stale { number } => self.event(Event::StaleFile { number }),
                UploadStep::Close(why) => return self.close(now, id, CloseReason::Upload(why)),
            }
        }
        let deadline = self.uploading_mut(id).and_then(|uploading| uploading.upload.poll_timeout());
        self.set_deadline(id, deadline.unwrap_or(Instant::FAR_FUTURE));
        self.mark_dirty(id.index as usize);
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
                DownloadStep::Push(via) => {
                    let index = task.download.source().index;
                    if !self.send_push(now, id, via, index) {
                        self.fail_connect(now, id);
                    }
                }
                DownloadStep::Disconnect => {
                    if let Some(conn) = self.set_task_conn(id, None) {
                        self.close(now, conn, CloseReason::TransferEnded);
                    }
                }
                DownloadStep::OpenPartial { have, total } => {
                    self.file_op(file, FileOp::OpenPartial { have, total });
                }
                DownloadStep::Write { offset, bytes } => {
                    self.file_op(file, FileOp::Write { offset, bytes });
                }
                DownloadStep::Sync => self.file_op(file, FileOp::Sync),
                DownloadStep::Finish => self.file_op(file, FileOp::Finish),
                DownloadStep::Done { bytes } => {
                    self.end_download(now, id);
                    self.event(Event::Downloaded { transfer: id, bytes });
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

    fn fail_connect(&mut self, now: Instant, id: TransferId) {
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
    pub(super) fn handle_fetch_connected(&mut self, now: Instant, id: TransferId) {
        if let Some(task) = self.downloads.get_mut(&id) {
            task.download.handle_connected(now);
        }
        self.drive_download(now, id);
    }

    /// The source of a download sent bytes.
    pub(super) fn handle_fetched(&mut self, now: Instant, id: TransferId, bytes: &[u8]) {
        if let Some(task) = self.downloads.get_mut(&id) {
            task.download.handle_bytes(now, bytes);
        }
        self.drive_download(now, id);
    }

    pub(super) fn handle_fetch_timeout(&mut self, now: Instant, id: TransferId) {
        if let Some(task) = self.downloads.get_mut(&id) {
            task.download.handle_timeout(now);
        }
        self.drive_download(now, id);
    }

    /// When the first download that waits for a pushed connection gives up. Those that have a
    /// connection use its timer; of the others there are few.
    pub(super) fn next_push_deadline(&self) -> Option<Instant> {
        self.waiting_for_push().filter_map(|(_, task)| task.download.poll_timeout()).min()
    }

    pub(super) fn handle_push_deadlines(&mut self, now: Instant) {
        let waiting: Vec<TransferId> = self.waiting_for_push().map(|(&id, _)| id).collect();
        for id in waiting {
            self.handle_fetch_timeout(now, id);
        }
    }

    fn waiting_for_push(&self) -> impl Iterator<Item = (&TransferId, &Task)> {
        self.downloads.iter().filter(|(_, task)| task.conn.is_none())
    }

    /// Whatever a closed connection held goes back.
    pub(super) fn release_transfer(&mut self, ended: &Connection) {
        if let Phase::Upload(uploading) = &ended.phase
            && let Some(file) = uploading.file
        {
            self.free_slot(*ended.remote.ip(), file);
        }
    }

    fn uploading_mut(&mut self, id: ConnId) -> Option<&mut Uploading> {
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
