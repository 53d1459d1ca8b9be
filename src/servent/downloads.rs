//! Downloads: the machines that fetch files, the Pushes they send, and what is known of sources.
//!
//! Few connections serve many files. One on which a file is complete goes on to the next download
//! from its servent, or is kept for a while. Pushes to one servent are spaced, and repeated while
//! no connection comes: sharers connect only so often to one address (gtk-gnutella: 5 times in
//! 30 s), and a Push may be lost on its way.

use super::io::{ConnId, FileDone, FileId, IoFailure, TransferId};
use crate::rare::Rare;
use crate::time::Instant;
use crate::transfer::download::{Download, DownloadStep, PushVia};
use crate::wire::ServentId;
use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddrV4;
use std::time::Duration;

/// Servents remembered to want names that are not percent-encoded; the oldest is forgotten.
const MAX_RAW_HOSTS: usize = 256;
/// Least time between two Pushes to one servent.
const PUSH_SPACING: Duration = Duration::from_secs(1);
/// Most Pushes to one servent within [`PUSH_WINDOW`] (gtk-gnutella: 4 in 30 s).
const PUSHES_PER_WINDOW: usize = 4;
/// See [`PUSHES_PER_WINDOW`].
const PUSH_WINDOW: Duration = Duration::from_secs(30);
/// A Push that has led to no connection is repeated after this.
const PUSH_AGAIN: Duration = Duration::from_secs(10);

/// A download and what it uses at the moment.
#[derive(Debug)]
struct Task {
    download: Download,
    conn: Option<ConnId>,
    /// When the next Push is due while the source is waited for.
    next_push: Option<Instant>,
    /// A Push was sent for it.
    pushed: bool,
}

/// How far a download is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    /// Bytes of the file that are here.
    pub received: u64,
    /// Size of the file, once known.
    pub total: Option<u64>,
}

/// All downloads.
#[derive(Debug, Default)]
pub(super) struct Downloads {
    tasks: BTreeMap<TransferId, Task>,
    /// Addresses whose servents close when asked for a percent-encoded name (GNU Serveez).
    raw_hosts: Rare<VecDeque<SocketAddrV4>>,
    /// The Pushes sent within the last [`PUSH_WINDOW`], oldest first.
    pushes_sent: Rare<VecDeque<(Instant, ServentId)>>,
}

/// What is due for a download without a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PushStep {
    /// Nothing now.
    Nothing,
    /// It has waited long enough: [`Downloads::handle_timeout`] was called.
    TimedOut,
    /// A Push for this file of a servent.
    Send { via: PushVia, index: u32 },
}

impl Downloads {
    /// Adds a download. Its file has the same number as the download itself.
    pub(super) fn add(&mut self, id: TransferId, download: Download) -> FileId {
        let task = Task { download, conn: None, next_push: None, pushed: false };
        self.tasks.insert(id, task);
        FileId(id.0)
    }

    /// A download ended. Returns its file, to be closed, and its connection.
    pub(super) fn remove(&mut self, id: TransferId) -> Option<(FileId, Option<ConnId>)> {
        self.tasks.remove(&id).map(|task| (FileId(id.0), task.conn))
    }

    /// The download that a file belongs to.
    pub(super) fn transfer_of(&self, file: FileId) -> Option<TransferId> {
        self.tasks.get_key_value(&TransferId(file.0)).map(|(&id, _)| id)
    }

    /// How far a download is; `None` once it ended.
    pub(super) fn progress(&self, id: TransferId) -> Option<Progress> {
        let download = &self.tasks.get(&id)?.download;
        Some(Progress { received: download.received_bytes(), total: download.expected_bytes() })
    }

    /// Bytes of a download that the disk has not taken yet.
    pub(super) fn backlog_bytes(&self, id: TransferId) -> u64 {
        self.tasks.get(&id).map_or(0, |task| task.download.backlog_bytes())
    }

    /// Whether the servent at this address wants names that are not percent-encoded.
    pub(super) fn wants_raw_names(&self, addr: SocketAddrV4) -> bool {
        self.raw_hosts.get().is_some_and(|hosts| hosts.contains(&addr))
    }

    /// What a download wants done next, and its file.
    pub(super) fn poll(&mut self, id: TransferId) -> Option<(FileId, DownloadStep)> {
        let step = self.tasks.get_mut(&id)?.download.poll()?;
        Some((FileId(id.0), step))
    }

    /// The connection of a download, and when that wants its timeout.
    pub(super) fn poll_timeout(&self, id: TransferId) -> Option<(ConnId, Instant)> {
        let task = self.tasks.get(&id)?;
        Some((task.conn?, task.download.poll_timeout().unwrap_or(Instant::FAR_FUTURE)))
    }

    /// What a download offers its socket next.
    pub(super) fn transmit(&self, id: TransferId) -> Option<&[u8]> {
        self.tasks.get(&id)?.download.transmit()
    }

    /// The socket took `written` bytes of what [`Downloads::transmit`] offered.
    pub(super) fn sent(&mut self, id: TransferId, written: usize) {
        self.change(id, |download| download.sent(written));
    }

    /// Gives a download its connection, or takes it away. Returns the one it had.
    pub(super) fn set_conn(&mut self, id: TransferId, conn: Option<ConnId>) -> Option<ConnId> {
        let task = self.tasks.get_mut(&id)?;
        if conn.is_some() {
            task.next_push = None;
        }
        std::mem::replace(&mut task.conn, conn)
    }

    /// The connection of a download stands. `fresh` says that nothing was fetched on it before.
    pub(super) fn handle_connected(&mut self, now: Instant, id: TransferId, fresh: bool) {
        self.change(id, |download| download.handle_connected(now, fresh));
    }

    /// There is no connection to be had.
    pub(super) fn handle_connect_failed(&mut self, now: Instant, id: TransferId) {
        self.change(id, |download| download.handle_connect_failed(now, false));
    }

    /// The connection ended, or never came to be.
    pub(super) fn handle_closed(&mut self, now: Instant, id: TransferId, failure: &IoFailure) {
        self.set_conn(id, None);
        self.change(id, |download| match download.is_connecting() {
            true => download.handle_connect_failed(now, *failure == IoFailure::Refused),
            false => download.handle_closed(now, *failure != IoFailure::Eof),
        });
    }

    /// The source sent bytes.
    pub(super) fn handle_bytes(&mut self, now: Instant, id: TransferId, bytes: &[u8]) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        task.download.handle_bytes(now, bytes);
        let addr = task.download.source().addr;
        if task.download.found_raw() {
            let hosts = self.raw_hosts.change();
            if !hosts.contains(&addr) {
                if hosts.len() >= MAX_RAW_HOSTS {
                    hosts.pop_front();
                }
                hosts.push_back(addr);
            }
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Instant, id: TransferId) {
        self.change(id, |download| download.handle_timeout(now));
    }

    pub(super) fn handle_file(&mut self, now: Instant, id: TransferId, done: FileDone) {
        self.change(id, |download| match done {
            FileDone::Opened { .. } => download.handle_file_opened(),
            FileDone::Compared { same } => download.handle_compared(now, same),
            FileDone::Written { bytes } => download.handle_written(now, bytes),
            FileDone::Synced => download.handle_synced(),
            FileDone::Finished => download.handle_finished(),
            FileDone::Fault(fault) => download.handle_disk_fault(fault),
            FileDone::OpenFailed(_) | FileDone::Ended => {}
        });
    }

    fn change(&mut self, id: TransferId, change: impl FnOnce(&mut Download)) {
        if let Some(task) = self.tasks.get_mut(&id) {
            change(&mut task.download);
        }
    }

    /// A download has no use any more for its connection: takes it away, and tells the servent that
    /// made it, if it can be asked by a Push.
    pub(super) fn release_conn(&mut self, id: TransferId) -> Option<(ConnId, Option<ServentId>)> {
        let task = self.tasks.get_mut(&id)?;
        let servent = task.download.source().push.map(|push| push.servent);
        Some((task.conn.take()?, servent))
    }

    /// The first download that waits for this servent to connect.
    pub(super) fn awaiting(&self, servent: ServentId) -> Option<TransferId> {
        let awaited = |task: &Task| task.download.awaited_push() == Some(servent);
        self.tasks.iter().find(|(_, task)| awaited(task)).map(|(&id, _)| id)
    }

    /// A download begins to wait for `servent` to connect. Returns whether a Push is due at once.
    pub(super) fn await_push(&mut self, now: Instant, id: TransferId, servent: ServentId) -> bool {
        let due = self.next_push_slot(now, servent);
        if let Some(task) = self.tasks.get_mut(&id) {
            task.next_push = Some(due);
        }
        due <= now
    }

    /// When the first download that waits for its source to connect has something to do. Downloads
    /// with a connection use its timer; of the others there are few.
    pub(super) fn next_push_deadline(&self) -> Option<Instant> {
        let due =
            |task: &Task| task.download.poll_timeout().into_iter().chain(task.next_push).min();
        self.tasks.values().filter(|task| task.conn.is_none()).filter_map(due).min()
    }

    /// Downloads that wait for their source to connect.
    pub(super) fn waiting_for_push(&self) -> Vec<TransferId> {
        let waiting = self.tasks.iter().filter(|(_, task)| task.conn.is_none());
        waiting.map(|(&id, _)| id).collect()
    }

    /// What is due for a download that waits for its source to connect.
    pub(super) fn poll_push(&mut self, now: Instant, id: TransferId) -> PushStep {
        let served = self.is_served_elsewhere(id);
        let Some(task) = self.tasks.get_mut(&id) else { return PushStep::Nothing };
        if task.download.poll_timeout().is_some_and(|at| at <= now) {
            if !served {
                task.download.handle_timeout(now);
                return PushStep::TimedOut;
            }
            task.download.wait_on(now);
        }
        match task.next_push.is_some_and(|at| at <= now) {
            // It gets the connection when the other file is complete.
            true if served && task.pushed => {
                task.next_push = Some(now + PUSH_AGAIN);
                PushStep::Nothing
            }
            true => self.due_push(now, id),
            false => PushStep::Nothing,
        }
    }

    /// The Push that is due for a download, if its source is still waited for.
    pub(super) fn due_push(&mut self, now: Instant, id: TransferId) -> PushStep {
        let Some(task) = self.tasks.get(&id) else { return PushStep::Nothing };
        let source = task.download.source();
        let index = source.index;
        let via = source.push.filter(|_| task.download.awaited_push().is_some());
        let slot = via.map(|via| self.next_push_slot(now, via.servent));
        let Some(task) = self.tasks.get_mut(&id) else { return PushStep::Nothing };
        task.next_push = slot.map(|slot| if slot <= now { now + PUSH_AGAIN } else { slot });
        match (via, slot) {
            (Some(via), Some(slot)) if slot <= now => PushStep::Send { via, index },
            _ => PushStep::Nothing,
        }
    }

    /// A Push for a download was sent. Returns whether it is the first.
    pub(super) fn note_push(&mut self, now: Instant, id: TransferId, servent: ServentId) -> bool {
        let sent = self.pushes_sent.change();
        while sent.front().is_some_and(|(at, _)| now.since(*at) >= PUSH_WINDOW) {
            sent.pop_front();
        }
        sent.push_back((now, servent));
        self.tasks.get_mut(&id).is_some_and(|task| !std::mem::replace(&mut task.pushed, true))
    }

    /// The first moment at which one more Push may be sent to `servent`.
    fn next_push_slot(&self, now: Instant, servent: ServentId) -> Instant {
        let sent =
            self.pushes_sent.get().into_iter().flatten().rev().filter(|(_, to)| *to == servent);
        let mut latest = sent.map(|(at, _)| *at);
        let spaced = latest.next().map_or(now, |at| at + PUSH_SPACING);
        let fourth = latest.nth(PUSHES_PER_WINDOW - 2).map_or(now, |at| at + PUSH_WINDOW);
        now.max(spaced).max(fourth)
    }

    /// Whether the source of a download gives us another file at the moment.
    fn is_served_elsewhere(&self, id: TransferId) -> bool {
        let servent = |task: &Task| task.download.source().push.map(|push| push.servent);
        let Some(wanted) = self.tasks.get(&id).and_then(servent) else { return false };
        self.tasks.values().any(|task| task.conn.is_some() && servent(task) == Some(wanted))
    }
}
