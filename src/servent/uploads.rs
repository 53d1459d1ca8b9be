//! Uploads: the HTTP machines of peers that fetch files from us, and the slots they hold.

use super::connection::Origin;
use super::io::{ConnId, FileDone, FileId, IoFailure};
use super::per_address::PerAddressCount;
use super::push_replies::PushReplies;
use super::rate_limit::RateLimit;
use crate::config::Config;
use crate::library::Library;
use crate::rare::Rare;
use crate::time::Instant;
use crate::transfer::SharedFiles;
use crate::transfer::upload::{Piece, Slot, Upload, UploadStep};
use crate::wire::http_head::GetPath;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Duration;

/// What a peer is told to wait when nothing says how long the uploads under way will take.
const USUAL_WAIT: Duration = Duration::from_secs(60);

/// The longest wait a peer is told: an upload that is slow now may speed up or break off.
const MAX_WAIT: Duration = Duration::from_secs(600);

/// One HTTP connection of a peer.
#[derive(Debug)]
struct Uploading {
    upload: Upload,
    ip: Ipv4Addr,
    /// The file it holds a slot for.
    file: Option<FileId>,
    /// A Push asked for the connection, and nothing was fetched on it so far.
    pushed: bool,
    /// Its next request is in the list of those answered in a later turn.
    waits: bool,
}

/// Bytes of each upload connection's own state.
pub(super) const UPLOAD_BYTES: usize = size_of::<Uploading>();

/// All HTTP connections of peers.
#[derive(Debug)]
pub(super) struct Uploads {
    by_conn: BTreeMap<ConnId, Uploading>,
    slots_by_ip: PerAddressCount,
    slots_taken: u32,
    /// `None` without a limit.
    rate: Option<Box<RateLimit>>,
    /// The bulk step of this turn was not offered yet.
    bulk_credit: bool,
    push_replies: Rare<PushReplies>,
}

/// What an upload offers its socket next.
pub(super) enum UploadChunk<'a> {
    Bytes(&'a [u8]),
    File { file: FileId, offset: u64, len: usize },
}

/// The library as peers may see it.
struct Offered<'a> {
    library: &'a Library,
    browse: bool,
}

impl SharedFiles for Offered<'_> {
    /// The file with this index if the path has its name in any reading, else the only file of
    /// this name: gtk-gnutella asks with index 0 for hits without a hash.
    fn find(&self, path: &GetPath) -> Option<(u32, u64)> {
        let named = |name: &str| path.names().any(|asked| asked == name) || path.masks(name);
        let exact = self.library.get(path.index).filter(|entry| named(entry.name));
        let by_name = || path.names().find_map(|name| self.library.by_unique_name(name));
        exact.or_else(by_name).map(|entry| (entry.number, entry.size))
    }

    fn index_page(&self) -> Option<Vec<u8>> {
        self.browse.then(|| self.library.index_page())
    }
}

impl Uploads {
    pub(super) fn new(config: &Config, now: Instant) -> Uploads {
        Uploads {
            by_conn: BTreeMap::new(),
            slots_by_ip: PerAddressCount::default(),
            slots_taken: 0,
            rate: config.upload_limit.map(|limit| Box::new(RateLimit::new(limit, now))),
            bulk_credit: true,
            push_replies: Rare::default(),
        }
    }

    /// Uploads that hold a slot.
    pub(super) fn slots_taken(&self) -> usize {
        self.slots_taken as usize
    }

    /// Connections made for Pushes.
    pub(super) fn push_replies(&mut self) -> &mut PushReplies {
        self.push_replies.change()
    }

    /// Takes over a connection: an inbound one, or one that a Push asked for.
    pub(super) fn begin(&mut self, id: ConnId, addr: SocketAddrV4, origin: Origin, upload: Upload) {
        let (ip, pushed) = (*addr.ip(), origin != Origin::Inbound);
        let uploading = Uploading { upload, ip, file: None, pushed, waits: false };
        self.by_conn.insert(id, uploading);
    }

    /// The connection is closed. Returns the file it held a slot for.
    pub(super) fn end(&mut self, id: ConnId) -> Option<FileId> {
        let ended = self.by_conn.remove(&id)?;
        ended.file.inspect(|_| self.free_slot(ended.ip))
    }

    /// Whether a connection holds a slot.
    pub(super) fn holds_slot(&self, id: ConnId) -> bool {
        self.by_conn.get(&id).is_some_and(|uploading| uploading.file.is_some())
    }

    /// Connections that hold a slot, the numbers of their files, and how many bytes of each were sent.
    pub(super) fn holders(&self) -> impl Iterator<Item = (ConnId, u32, u64)> + '_ {
        self.by_conn.iter().filter_map(|(&id, uploading)| {
            let upload = &uploading.upload;
            Some((id, upload.file_number()?, upload.body_bytes_sent()))
        })
    }

    /// Limits all uploads together to `limit` bytes per second, or not at all.
    pub(super) fn set_rate(&mut self, now: Instant, limit: Option<u64>) {
        self.rate = limit.map(|limit| Box::new(RateLimit::new(limit, now)));
    }

    /// The upload that a file was opened for. Takes O(n).
    pub(super) fn conn_of(&self, file: FileId) -> Option<ConnId> {
        let holder = self.by_conn.iter().find(|(_, uploading)| uploading.file == Some(file));
        holder.map(|(&id, _)| id)
    }

    pub(super) fn handle_bytes(&mut self, now: Instant, id: ConnId, bytes: &[u8]) {
        self.change(id, |upload| upload.handle_bytes(now, bytes));
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, id: ConnId) {
        self.change(id, |upload| upload.handle_timeout(now));
    }

    /// The socket ended on the peer's side; it may still take what we send.
    pub(super) fn handle_closed(&mut self, now: Instant, id: ConnId, failure: &IoFailure) {
        self.change(id, |upload| match failure {
            IoFailure::Eof => upload.handle_eof(now),
            _ => upload.handle_reset(now),
        });
    }

    /// What came of an [`UploadStep::Proxy`].
    pub(super) fn handle_proxied(&mut self, now: Instant, id: ConnId, passed_on: bool) {
        self.change(id, |upload| upload.handle_proxied(now, passed_on));
    }

    pub(super) fn handle_file(&mut self, now: Instant, id: ConnId, done: FileDone) {
        self.change(id, |upload| match done {
            FileDone::Opened { size } => upload.handle_opened(now, Ok(size)),
            FileDone::OpenFailed(error) => upload.handle_opened(now, Err(error)),
            FileDone::Ended => upload.handle_file_ended(now),
            _ => {}
        });
    }

    fn change(&mut self, id: ConnId, change: impl FnOnce(&mut Upload)) {
        if let Some(uploading) = self.by_conn.get_mut(&id) {
            change(&mut uploading.upload);
        }
    }

    /// Whether a complete request waits for its answer.
    pub(super) fn is_asked(&self, id: ConnId) -> bool {
        self.by_conn.get(&id).is_some_and(|uploading| uploading.upload.is_asked())
    }

    /// Notes whether the next request is in the list of those answered in a later turn. Returns
    /// whether it was.
    pub(super) fn set_waits(&mut self, id: ConnId, waits: bool) -> bool {
        self.by_conn
            .get_mut(&id)
            .is_some_and(|uploading| std::mem::replace(&mut uploading.waits, waits))
    }

    /// What an upload wants done next.
    pub(super) fn poll(
        &mut self,
        now: Instant,
        id: ConnId,
        library: &Library,
        config: &Config,
    ) -> Option<UploadStep> {
        let uploading = self.by_conn.get(&id)?;
        let slot = match uploading.upload.is_asked() {
            true => self.slot_for(now, uploading.ip, config),
            false => Slot::Free,
        };
        let offered = Offered { library, browse: config.browse };
        let step = self.by_conn.get_mut(&id)?.upload.poll(now, &offered, slot);
        if let Some(UploadStep::Release { bytes, complete, .. }) = step {
            self.note_release(id, complete || bytes > 0);
        }
        step
    }

    /// Whether a peer at this address may have one more upload, and if not, when one of those it
    /// waits for is likely to end.
    fn slot_for(&self, now: Instant, ip: Ipv4Addr, config: &Config) -> Slot {
        let own = config.per_address(config.limits.uploads_per_address);
        let own_taken = self.slots_by_ip.of(ip) >= own;
        if self.slots_taken() < config.max_uploads && !own_taken {
            return Slot::Free;
        }
        let waited_for = self.by_conn.values().filter(|other| !own_taken || other.ip == ip);
        let left = waited_for.filter_map(|other| other.upload.time_left(now)).min();
        let left = left.unwrap_or(USUAL_WAIT).min(MAX_WAIT);
        Slot::FreeIn(Duration::from_secs(left.as_secs() + 1))
    }

    /// An upload may open its file: it holds a slot from now on.
    pub(super) fn take_slot(&mut self, id: ConnId, file: FileId) {
        let Some(uploading) = self.by_conn.get_mut(&id) else { return };
        uploading.file = Some(file);
        self.slots_taken += 1;
        self.slots_by_ip.add(uploading.ip);
    }

    /// An upload needs its file no more. Returns it, to be closed.
    pub(super) fn release_slot(&mut self, id: ConnId) -> Option<FileId> {
        let uploading = self.by_conn.get_mut(&id)?;
        let (ip, file) = (uploading.ip, uploading.file.take()?);
        self.free_slot(ip);
        Some(file)
    }

    fn free_slot(&mut self, ip: Ipv4Addr) {
        self.slots_taken -= 1;
        self.slots_by_ip.remove(ip);
    }

    fn note_release(&mut self, id: ConnId, fetched: bool) {
        let Some(uploading) = self.by_conn.get_mut(&id) else { return };
        if fetched && std::mem::take(&mut uploading.pushed) {
            self.push_replies.change().led_to_download(uploading.ip);
        }
    }

    /// When an upload wants its timeout.
    pub(super) fn poll_timeout(&self, id: ConnId) -> Option<Instant> {
        self.by_conn.get(&id)?.upload.poll_timeout()
    }

    /// Whether an upload has something to send, and whether that is a piece of its file.
    pub(super) fn has_bulk(&self, id: ConnId) -> Option<bool> {
        let piece = self.by_conn.get(&id)?.upload.transmit()?;
        Some(matches!(piece, Piece::File { .. }))
    }

    /// What an upload offers its socket next; of its file no more than one step of `step_bytes`
    /// and the upload limit.
    pub(super) fn transmit(&self, id: ConnId, step_bytes: usize) -> Option<UploadChunk<'_>> {
        let uploading = self.by_conn.get(&id)?;
        Some(match uploading.upload.transmit()? {
            Piece::Bytes(bytes) => UploadChunk::Bytes(bytes),
            Piece::File { offset, len } => {
                let rate = self.rate.as_deref();
                let step = rate.map_or(step_bytes, |rate| rate.allowance(step_bytes));
                let len = usize::try_from(len).unwrap_or(usize::MAX).min(step);
                UploadChunk::File { file: uploading.file?, offset, len }
            }
        })
    }

    /// The socket took `written` bytes of what [`Uploads::transmit`] offered.
    pub(super) fn sent(&mut self, now: Instant, id: ConnId, written: usize, bulk: bool) {
        if let Some(rate) = self.rate.as_mut().filter(|_| bulk) {
            rate.spend(written);
        }
        self.change(id, |upload| upload.sent(now, written));
    }

    /// A turn begins: one step of one upload may be polled.
    pub(super) fn start_turn(&mut self) {
        self.bulk_credit = true;
    }

    /// Whether this turn's bulk step was taken.
    pub(super) fn has_bulk_credit(&self) -> bool {
        self.bulk_credit
    }

    /// Takes this turn's bulk step. False if the upload limit has no room for it yet.
    pub(super) fn admit_bulk(&mut self, now: Instant) -> bool {
        let admitted = self.rate.as_mut().is_none_or(|rate| rate.refill(now));
        self.bulk_credit &= !admitted;
        admitted
    }

    /// When the upload limit has room again, if it had none.
    pub(super) fn rate_blocked_until(&self) -> Option<Instant> {
        self.rate.as_ref()?.blocked_until()
    }
}
