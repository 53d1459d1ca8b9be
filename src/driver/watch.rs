//! When the shared folders are looked at, and the scan under way.
//!
//! The system tells about changes in the folders of the last scan. What it tells is only taken as
//! "something changed": a scan of everything follows shortly after, is done in slices, costs little
//! for folders that stayed as they were, and replaces the index as a whole. So nothing has to be
//! right about the order of events, folders that move or events that got lost.
//!
//! A change that leaves files behind as they are to stay (moved, removed) has its scan after
//! [`SOON`]; after a write it waits until the file may have settled. Then the events that came
//! meanwhile are thrown away in portions, and the scan begins. Scans keep a distance that grows
//! with what they cost, so neither a file that is copied for minutes nor a folder in turmoil keeps
//! the loop busy.

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
/// More portions than the system keeps events for; after so many a scan begins though there are
/// still more.
const MAX_PORTIONS: u32 = 512;

/// From a change to its scan: what comes in one go is found in one go.
const SOON: Duration = Duration::from_millis(300);
/// Likewise from a write: somewhat longer than a scan wants the file to have been left alone.
const SETTLED: Duration = Duration::from_millis(1050);
/// Between two scans at least, and at least [`REST_SHARE`] times as long as the last one took.
const LEAST_REST: Duration = Duration::from_millis(500);
/// Scans take at most one part in four of the time.
const REST_SHARE: u32 = 3;

/// How often it is looked whether the roots are still there, or again. No watch tells of a root
/// that returns, of a parent that was moved, or of a file system that was mounted over it.
const ROOT_POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps what is shared up to date with what is on the disk.
pub(super) struct Watch {
    shares: Option<Arc<Shares>>,
    scan: Option<Scan>,
    index: SharedIndex,
    /// While no scan has it.
    list: WatchList,
    changes: Option<Changes>,
    /// Events may be waiting.
    unread: bool,
    /// Read since the last scan began.
    portions: u32,
    schedule: Schedule,
    /// The roots as they were when the last scan began.
    roots: Vec<Option<RootIdentity>>,
    /// When the roots are looked at next.
    next_root_poll: Instant,
}

/// What tells a folder from another one at the same path, and what it may be used for.
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

    /// Begins to listen for changes, with the events of `token`. To no effect where the system
    /// has no such thing; the report of a scan tells if it had no more of it to give. To be tried
    /// again before each scan.
    pub(super) fn listen(&mut self, registry: &Registry, token: Token) {
        // A scan under way has the list, and would bring the old one back.
        if self.changes.is_none() && self.scan.is_none() {
            (self.changes, self.list) = Changes::open(registry, token);
        }
    }

    /// Begins a scan; false while another is under way.
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

    /// Whether there is something to do without waiting.
    pub(super) fn is_busy(&self, now: Instant) -> bool {
        self.scan.is_some() || self.unread && self.schedule.due.is_none_or(|due| due <= now)
    }

    /// When a scan is to begin, or the roots are to be looked at.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let poll = (!self.roots.is_empty()).then_some(self.next_root_poll);
        self.schedule.due.into_iter().chain(poll).min()
    }

    /// What is shared by the last scan that has ended.
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

    /// Asks for a scan when a root has gone, returned or become another folder.
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

    /// Reads a portion of events. While a scan is to come anyway, they stay where they are: the
    /// system keeps only so many, and one mark that there were more.
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
            // A scan is due, and will see it.
            _ if due.is_some() => {}
            Some(Change::Move) => self.schedule.ask(now + SOON),
            Some(Change::Write) => self.schedule.ask(now + SETTLED),
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

/// When the next scan is due by itself.
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

    /// A scan begins; it will see all that happened so far.
    fn begun(&mut self, now: Instant) {
        self.begun = now;
        self.due = None;
    }

    /// The scan has ended; a file it left out may be shared after `settles_in`.
    fn ended(&mut self, now: Instant, settles_in: Option<Duration>) {
        let took = now.since(self.begun);
        self.not_before = now + LEAST_REST.max(took.saturating_mul(REST_SHARE));
        let meanwhile = self.due.take();
        let settled = settles_in.map(|left| now + left);
        for at in meanwhile.into_iter().chain(settled) {
            self.ask(at);
        }
    }
}

#[cfg(test)]
mod tests;
