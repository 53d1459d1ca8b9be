//! Scheduling of folder scans: at the start, on request, and after changes that the system reports.
//!
//! An event means only that something changed. A scan of everything follows, in slices, and replaces
//! the index as a whole; folders that did not change cost little. So the order of events, folders
//! that move and lost events need no care.
//!
//! A move or removal is followed by a scan after [`SCAN_AFTER_MOVE`], a write after
//! [`SCAN_AFTER_WRITE`], when the file may have settled. Events that arrived meanwhile are then
//! discarded in portions and the scan begins. The pause between scans grows with their cost, so
//! neither a file that is copied for minutes nor a folder that changes all the time keeps the loop
//! busy.

use super::change::Change;
use super::clock::Clock;
use super::folder_watch::{Changes, WatchList};
use super::index::SharedIndex;
use super::scan::{Scan, ScanReport, ScanTrigger, Shares};
use super::share::ShareRoot;
use crate::time::Instant;
use mio::{Registry, Token};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::sync::Arc;
use std::time::Duration;

/// Directory entries or index steps per slice of a scan.
const SCAN_BUDGET: usize = 128;
/// A slice ends after this long even if its budget is not used up.
const SCAN_SLICE: Duration = Duration::from_millis(1);
/// Bytes of events read in one turn: some hundred events.
const PORTION_BYTES: usize = 16 * 1024;
/// Portions of events discarded before a scan begins regardless; more than the kernel queues.
const MAX_PORTIONS: u32 = 512;

/// Delay from a move or removal to its scan: several changes at once are found by one scan.
const SCAN_AFTER_MOVE: Duration = Duration::from_millis(300);
/// Delay from a write to its scan: a little longer than a file takes to settle.
const SCAN_AFTER_WRITE: Duration = Duration::from_millis(1050);
/// Least pause between two scans; see also [`PAUSE_FACTOR`].
const MIN_PAUSE: Duration = Duration::from_millis(500);
/// The pause is at least this many times as long as the last scan, so scans take at most a quarter of
/// the time.
const PAUSE_FACTOR: u32 = 3;

/// Interval between checks of the roots. No watch reports a root that returns, a parent that was moved, or
/// a file system mounted over a root.
const ROOT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps what is shared up to date with what is on the disk.
pub(super) struct Watch {
    shares: Option<Arc<Shares>>,
    scan: Option<Scan>,
    index: SharedIndex,
    /// While no scan has it.
    list: WatchList,
    changes: Option<Changes>,
    /// Events may be waiting in the kernel.
    unread: bool,
    /// Portions read since the last scan began.
    portions: u32,
    schedule: Schedule,
    /// The roots as they were when the last scan began.
    roots: Vec<Option<RootIdentity>>,
    /// Time of the next check of the roots.
    next_root_poll: Instant,
}

/// Identity and permissions of a folder: another folder at the same path differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct RootIdentity {
    device: u64,
    inode: u64,
    mode: u32,
}

impl Watch {
    pub(super) fn new() -> Watch {
        Watch {
            shares: None,
            scan: None,
            index: SharedIndex::default(),
            list: WatchList::default(),
            changes: None,
            unread: false,
            portions: 0,
            schedule: Schedule::default(),
            roots: Vec::new(),
            next_root_poll: Instant::ZERO,
        }
    }

    /// Starts to listen for changes, whose events carry `token`. Has no effect where the system cannot
    /// report changes; when it has no watches left, the report of a scan says so. Called again before
    /// each scan.
    pub(super) fn listen(&mut self, registry: &Registry, token: Token) {
        // A running scan owns the list, and would bring the old one back.
        if self.changes.is_none() && self.scan.is_none() {
            (self.changes, self.list) = Changes::open(registry, token);
        }
    }

    /// Begins a scan. Returns false while another one is running.
    pub(super) fn scan(
        &mut self,
        now: Instant,
        shares: &Arc<Shares>,
        trigger: ScanTrigger,
    ) -> bool {
        if self.scan.is_some() {
            return false;
        }
        self.shares = Some(Arc::clone(shares));
        self.begin(now, trigger);
        true
    }

    fn begin(&mut self, now: Instant, trigger: ScanTrigger) {
        let Some(shares) = &self.shares else { return };
        self.roots = identities(shares);
        self.next_root_poll = now + ROOT_POLL_INTERVAL;
        let watches = std::mem::take(&mut self.list);
        self.scan = Some(Scan::start(shares, trigger, &self.index, watches));
        self.schedule.begun(now);
        self.portions = 0;
    }

    /// Events are waiting.
    pub(super) fn handle_readable(&mut self) {
        self.unread = true;
    }

    /// Whether there is something to do at once.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.scan.is_some() || self.unread && self.schedule.due.is_none_or(|due| due <= now)
    }

    /// Time of the next scan or check of the roots.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let poll = (!self.roots.is_empty()).then_some(self.next_root_poll);
        self.schedule.due.into_iter().chain(poll).min()
    }

    /// The index of the last completed scan.
    pub(super) fn index(&self) -> &SharedIndex {
        &self.index
    }

    /// Reads one portion of events, or does one slice of a scan. When a scan has ended, its result is
    /// the index from now on.
    pub(super) fn turn(&mut self, clock: &Clock, buffer: &mut [u8]) -> Option<ScanReport> {
        let now = clock.now();
        self.read(now, buffer);
        self.poll_roots(now);
        let drained = !self.unread || self.portions >= MAX_PORTIONS;
        if self.scan.is_none() && drained && self.schedule.due.is_some_and(|due| due <= now) {
            self.begin(now, ScanTrigger::Routine);
        }
        let scan = self.scan.as_mut()?;
        let end = clock.now() + SCAN_SLICE;
        while clock.now() < end {
            if let Some(scanned) = scan.step(SCAN_BUDGET) {
                self.scan = None;
                self.list = scanned.watches;
                self.index = scanned.index;
                self.schedule.ended(clock.now(), scanned.settles_in);
                return Some(scanned.report);
            }
        }
        None
    }

    /// Schedules a scan when a root is gone, is back, or has become another folder.
    fn poll_roots(&mut self, now: Instant) {
        let Some(shares) = &self.shares else { return };
        if now < self.next_root_poll || self.scan.is_some() {
            return;
        }
        self.next_root_poll = now + ROOT_POLL_INTERVAL;
        let roots = identities(shares);
        if roots != self.roots {
            self.roots = roots;
            self.schedule.ask(now);
        }
    }

    /// Reads a portion of events. While a scan is due anyway they stay in the kernel, which bounds its
    /// queue and marks an overflow.
    fn read(&mut self, now: Instant, buffer: &mut [u8]) {
        let Some(changes) = self.changes.as_mut().filter(|_| self.unread) else { return };
        let due = self.schedule.due;
        if due.is_some_and(|due| now < due || self.scan.is_some()) {
            return;
        }
        let portion = buffer.len().min(PORTION_BYTES);
        let Some(change) = changes.read(&mut buffer[..portion]) else {
            self.unread = false;
            return;
        };
        self.portions = self.portions.saturating_add(1);
        match change {
            // A scan is due and will see it.
            _ if due.is_some() => {}
            Some(Change::Move) => self.schedule.ask(now + SCAN_AFTER_MOVE),
            Some(Change::Write) => self.schedule.ask(now + SCAN_AFTER_WRITE),
            None => {}
        }
    }
}

fn identities(shares: &Shares) -> Vec<Option<RootIdentity>> {
    let identity = |root: &Arc<ShareRoot>| {
        let metadata = fs::symlink_metadata(root.path()).ok().filter(fs::Metadata::is_dir)?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        Some(RootIdentity { device, inode, mode: metadata.mode() })
    };
    shares.roots.iter().map(identity).collect()
}

/// The time of the next scan.
#[derive(Debug, Default)]
struct Schedule {
    due: Option<Instant>,
    begun: Instant,
    not_before: Instant,
}

impl Schedule {
    fn ask(&mut self, at: Instant) {
        let at = at.max(self.not_before);
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// A scan begins; it will see every change so far.
    fn begun(&mut self, now: Instant) {
        self.begun = now;
        self.due = None;
    }

    /// The scan has ended; a file it held back may be shared after `settles_in`.
    fn ended(&mut self, now: Instant, settles_in: Option<Duration>) {
        let took = now.since(self.begun);
        self.not_before = now + MIN_PAUSE.max(took.saturating_mul(PAUSE_FACTOR));
        let meanwhile = self.due.take();
        let settled = settles_in.map(|left| now + left);
        for at in meanwhile.into_iter().chain(settled) {
            self.ask(at);
        }
    }
}

#[cfg(test)]
mod tests;
