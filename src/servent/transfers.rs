//! Files in and out: wires the upload and download machines to sockets, files and Pushes.

use super::connection::{Origin, Phase};
use super::downloads::PushStep;
use super::io::{CloseReason, ConnId, Event, FileDone, FileId, FileOp, Output, TransferId};
use super::link_key::LinkKey;
use super::{Progress, Servent, budget};
use crate::config::{Role, Scope};
use crate::stats::DropReason;
use crate::time::Instant;
use crate::transfer::download::{
    Download, DownloadError, DownloadLimits, DownloadStep, Kept, PushVia, Source,
};
use crate::transfer::upload::{Upload, UploadClose, UploadLimits, UploadStep};
use crate::wire::giv::Giv;
use crate::wire::{Guid, Header, Kind, PUSH_BYTES, Push, ServentId};
use std::net::SocketAddrV4;
use std::sync::Arc;
use std::time::Duration;

/// How long a connection is kept for the next file. Servents close an idle one after 30 s.
const IDLE_TIME: Duration = Duration::from_secs(25);
/// Connections kept idle; more are closed.
const MAX_IDLE: usize = 8;
/// Bytes of a refused path that an event tells.
const MAX_TOLD_PATH_BYTES: usize = 256;

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
        let raw = self.downloads.wants_raw_names(source.addr);
        let download = Download::new(now, source, kept, raw, DownloadLimits::default())?;
        let id = TransferId(self.fresh_id());
        let file = self.downloads.add(id, download);
        self.drive_download(now, id);
        Ok((id, file))
    }

    /// Ends a download without any event; what was received is kept.
    pub fn cancel_download(&mut self, now: Instant, id: TransferId) {
        self.end_download(now, id);
    }

    /// How far a download is; `None` once it ended.
    pub fn progress(&self, id: TransferId) -> Option<Progress> {
        self.downloads.progress(id)
    }

    /// Uploads that hold a slot.
    pub fn uploads(&self) -> usize {
        self.uploads.slots_taken()
    }

    /// Whether the address in a hit that came by `link` may be connected to.
    pub(super) fn may_fetch_from(&self, link: LinkKey, addr: SocketAddrV4) -> bool {
        match self.config.role {
            Role::Servent | Role::Leaf => self.config.scope.allows(addr),
            Role::Guest => {
                let conn = self.links.of(link);
                conn.is_some_and(|conn| Scope::may_follow(*conn.remote.ip(), addr))
            }
        }
    }

    /// An operation asked for by [`Output::File`] ended.
    pub fn handle_file(&mut self, now: Instant, file: FileId, done: FileDone) {
        if let Some(id) = self.downloads.transfer_of(file) {
            self.downloads.handle_file(now, id, done);
            self.drive_download(now, id);
        } else if let Some(conn) = self.uploads.conn_of(file) {
            self.uploads.handle_file(now, conn, done);
            self.drive_upload(now, conn);
        }
    }

    /// A peer speaks HTTP.
    pub(super) fn begin_upload(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        let mut upload = Upload::new(now, UploadLimits::default());
        upload.handle_bytes(now, bytes);
        self.add_upload(now, id, upload);
    }

    /// The connection that a Push asked for is established: announces us and waits for requests.
    pub(super) fn reply_to_push(&mut self, now: Instant, id: ConnId, line: Vec<u8>) {
        self.add_upload(now, id, Upload::giving(now, UploadLimits::default(), line));
    }

    fn add_upload(&mut self, now: Instant, id: ConnId, upload: Upload) {
        let Some(conn) = self.links.get_mut(id) else { return };
        conn.phase = Phase::Upload;
        self.uploads.begin(id, conn.remote, conn.origin, upload);
        self.drive_upload(now, id);
    }

    /// Does what an upload wants next.
    pub(super) fn drive_upload(&mut self, now: Instant, id: ConnId) {
        let library = Arc::clone(&self.library);
        let Some(addr) = self.links.get(id).map(|conn| conn.remote) else { return };
        loop {
            if self.uploads.is_asked(id) && !self.may_answer(now, id) {
                break;
            }
            let Some(step) = self.uploads.poll(now, id, &library, &self.config) else { break };
            match step {
                UploadStep::Open { number, .. } => {
                    let file = FileId(self.fresh_id());
                    self.uploads.take_slot(id, file);
                    self.file_op(file, FileOp::OpenShared { number });
                }
                UploadStep::Release { number, bytes, complete } => {
                    if let Some(file) = self.uploads.release_slot(id) {
                        self.close_file(file);
                    }
                    self.stats.files_served += u64::from(complete);
                    self.outbox.event(Event::Served { addr, number, bytes, complete });
                }
                UploadStep::Proxy { path, addr: target } => {
                    let passed_on = self.pass_push_on(now, id, path, target);
                    self.uploads.handle_proxied(now, id, passed_on);
                }
                UploadStep::Refused { status, mut path } => {
                    path.truncate(MAX_TOLD_PATH_BYTES);
                    self.outbox.event(Event::Refused { addr, status, path });
                }
                UploadStep::Stale { number } => self.outbox.event(Event::StaleFile { number }),
                UploadStep::Close(why) => return self.close(now, id, CloseReason::Upload(why)),
            }
        }
        let deadline = self.uploads.poll_timeout(id);
        self.set_deadline(id, deadline.unwrap_or(Instant::FAR_FUTURE));
        self.list_ready(id);
    }

    /// Whether the request on this connection may be answered in this turn; if not, it is in a later
    /// one.
    fn may_answer(&mut self, now: Instant, id: ConnId) -> bool {
        let admitted = self.budget.admit_answer();
        if !admitted && !self.uploads.set_waits(id, true) {
            self.budget.answer_later(now, id);
        }
        admitted
    }

    /// Does what a download wants next.
    pub(super) fn drive_download(&mut self, now: Instant, id: TransferId) {
        while let Some((file, step)) = self.downloads.poll(id) {
            match step {
                DownloadStep::Connect(addr) => {
                    match self.dial(now, addr, Origin::Transfer, Phase::Download(id)) {
                        Some(conn) => drop(self.downloads.set_conn(id, Some(conn))),
                        None => self.downloads.handle_connect_failed(now, id),
                    }
                }
                DownloadStep::Push(via) => self.await_giv(now, id, via),
                DownloadStep::Release => self.keep_conn(now, id),
                DownloadStep::Disconnect => {
                    if let Some(conn) = self.downloads.set_conn(id, None) {
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
                    self.outbox.event(Event::Downloaded { transfer: id, bytes, already_here });
                }
                DownloadStep::Fail(error) => {
                    self.end_download(now, id);
                    self.outbox.event(Event::DownloadFailed { transfer: id, error });
                }
            }
        }
        if let Some((conn, deadline)) = self.downloads.poll_timeout(id) {
            self.set_deadline(conn, deadline);
            self.list_ready(conn);
        }
    }

    fn end_download(&mut self, now: Instant, id: TransferId) {
        let Some((file, conn)) = self.downloads.remove(id) else { return };
        self.close_file(file);
        if let Some(conn) = conn {
            self.close(now, conn, CloseReason::TransferEnded);
        }
    }

    /// Gets a download a connection of its source: one that is idle, or one a Push asks for.
    fn await_giv(&mut self, now: Instant, id: TransferId, via: PushVia) {
        if let Some(conn) = self.links.idle_of(via.servent) {
            return self.adopt(now, conn, id, false);
        }
        if self.push_link(now, via.servent).is_none() {
            return self.downloads.handle_connect_failed(now, id);
        }
        if self.downloads.await_push(now, id, via.servent) {
            let push = self.downloads.due_push(now, id);
            self.send_push(now, id, push);
        }
    }

    /// A download has no use any more for its connection, on which another request may follow.
    fn keep_conn(&mut self, now: Instant, id: TransferId) {
        let Some((conn, servent)) = self.downloads.release_conn(id) else { return };
        let inbound = self.links.get(conn).is_some_and(|conn| conn.origin == Origin::Inbound);
        let Some(servent) = servent.filter(|_| inbound) else {
            return self.close(now, conn, CloseReason::TransferEnded);
        };
        if let Some(next) = self.downloads.awaiting(servent) {
            return self.adopt(now, conn, next, false);
        }
        if self.links.idle_count() >= MAX_IDLE {
            return self.close(now, conn, CloseReason::TransferEnded);
        }
        if let Some(connection) = self.links.get_mut(conn) {
            connection.phase = Phase::Idle(Box::new(servent));
        }
        self.set_deadline(conn, now + IDLE_TIME);
    }

    /// A connection opened with GIV: the source of a download that waits for it, or closed.
    pub(super) fn handle_giv(&mut self, now: Instant, id: ConnId, received: &[u8]) {
        let (giv, len) = match Giv::parse(received) {
            Ok(None) => return,
            Ok(Some(parsed)) => parsed,
            Err(_) => return self.close(now, id, CloseReason::Unasked),
        };
        match self.downloads.awaiting(ServentId(giv.servent_id)) {
            Some(transfer) => {
                self.adopt(now, id, transfer, true);
                self.downloads.handle_bytes(now, transfer, &received[len..]);
                self.drive_download(now, transfer);
            }
            None => self.close(now, id, CloseReason::Unasked),
        }
    }

    /// Hands a connection of its source to a download.
    fn adopt(&mut self, now: Instant, id: ConnId, transfer: TransferId, fresh: bool) {
        if let Some(conn) = self.links.get_mut(id) {
            conn.phase = Phase::Download(transfer);
        }
        self.downloads.set_conn(transfer, Some(id));
        self.downloads.handle_connected(now, transfer, fresh);
        self.drive_download(now, transfer);
    }

    pub(super) fn handle_push_deadlines(&mut self, now: Instant) {
        for id in self.downloads.waiting_for_push() {
            match self.downloads.poll_push(now, id) {
                PushStep::TimedOut => self.drive_download(now, id),
                push => self.send_push(now, id, push),
            }
        }
    }

    /// Sends a Push that is due along the way the hits of its servent came, if there is such a way
    /// and something listens here for the answer.
    fn send_push(&mut self, now: Instant, id: TransferId, push: PushStep) {
        let PushStep::Send { via, index } = push else { return };
        let Some(link) = self.push_link(now, via.servent) else { return };
        let addr = self.advertised_on(link);
        let mut payload = Vec::with_capacity(PUSH_BYTES);
        Push { servent: via.servent, index, addr, extension: &[] }.encode(&mut payload);
        let guid = Guid::random(&mut self.rng);
        self.routing.originate(now, Kind::Push, &guid);
        let header = Header { guid, kind: Kind::Push, ttl: via.ttl, hops: 0, payload_len: 0 };
        let descriptor = self.encoded(header, &payload);
        self.enqueue(None, link, &descriptor);
        if self.downloads.note_push(now, id, via.servent) {
            self.outbox.event(Event::Pushed { transfer: id });
        }
    }

    /// The link by which a Push reaches `servent`, if its answer can reach us.
    fn push_link(&mut self, now: Instant, servent: ServentId) -> Option<LinkKey> {
        let link = self.routing.way_to_servent(now, servent)?;
        let local_ip = self.links.of(link)?.local_ip;
        (self.dialer.advertised(local_ip).port() != 0).then_some(link)
    }

    /// A Push for us, which the router has admitted: connects to the address it names.
    pub(super) fn answer_push(&mut self, now: Instant, push: &Push<'_>) -> Result<(), DropReason> {
        let name = self.library.get(push.index).map_or("", |entry| entry.name).to_owned();
        let mut line = Vec::new();
        Giv { index: push.index, servent_id: self.identity.0, name }.write(&mut line);
        let phase = Phase::PushReply(Box::new(line));
        self.budget.charge(budget::CONNECTION);
        let dialled = self.dial(now, push.addr, Origin::Transfer, phase);
        dialled.ok_or(DropReason::PushThrottled)?;
        self.stats.delivered.add(Kind::Push);
        Ok(())
    }

    pub(super) fn close_file(&mut self, file: FileId) {
        self.file_op(file, FileOp::Close);
    }

    fn file_op(&mut self, file: FileId, op: FileOp) {
        self.outbox.push(Output::File { file, op });
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
