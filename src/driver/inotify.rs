//! Changes in folders as inotify(7) reports them.
//!
//! One watch per folder, not per file. The kernel takes about 1 KiB for each and limits them for all
//! programs of a user together; folders beyond the limit are counted.

use super::change::{Change, concerns_shares};
use inotify::{EventMask, Inotify, WatchDescriptor, WatchMask, Watches};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use rustix::io::Errno;
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::Path;

/// Most folders watched, as many as one scan walks. Bounds our list of watches to some ten megabytes;
/// the kernel's own limit is usually lower.
const MAX_WATCHES: usize = 1 << 20;

/// The source of events.
pub(super) struct Changes(Inotify);

impl Changes {
    /// Starts to listen. If the kernel refuses, the list counts every folder as refused.
    pub(super) fn open(registry: &Registry, token: Token) -> (Option<Changes>, WatchList) {
        let opened = Inotify::init().and_then(|inotify| {
            let fd = inotify.as_raw_fd();
            registry.register(&mut SourceFd(&fd), token, Interest::READABLE)?;
            Ok(inotify)
        });
        let mut list = WatchList { max: MAX_WATCHES, ..WatchList::default() };
        match opened {
            Ok(inotify) => {
                list.handle = Some(inotify.watches());
                (Some(Changes(inotify)), list)
            }
            Err(_) => (None, list),
        }
    }

    /// Reads events into `buffer` and returns the weightiest change among them. `None`: no events
    /// are waiting.
    pub(super) fn read(&mut self, buffer: &mut [u8]) -> Option<Option<Change>> {
        match self.0.read_events(buffer) {
            Ok(events) => Some(events.filter_map(|event| weigh(event.mask, event.name)).max()),
            Err(error) if error.kind() == ErrorKind::Interrupted => Some(None),
            Err(_) => None,
        }
    }
}

/// The change an event stands for; `None` if it does not concern what is shared.
fn weigh(mask: EventMask, name: Option<&OsStr>) -> Option<Change> {
    let folder = mask.contains(EventMask::ISDIR);
    if name.is_some_and(|name| !concerns_shares(name, folder)) {
        return None;
    }
    if mask.contains(EventMask::IGNORED) {
        return None;
    }
    let write = EventMask::CREATE | EventMask::MODIFY | EventMask::CLOSE_WRITE | EventMask::ATTRIB;
    if !folder && mask.intersects(write) {
        // Attributes of a file are not shared.
        return (!mask.contains(EventMask::ATTRIB)).then_some(Change::Write);
    }
    Some(Change::Move)
}

/// The watched folders. A scan owns the list while it runs, and adds each folder it walks.
#[derive(Debug, Default)]
pub(super) struct WatchList {
    handle: Option<Watches>,
    /// Most watches.
    max: usize,
    /// Watches on folders that the running scan has walked.
    walked: BTreeSet<WatchDescriptor>,
    /// Watches on folders that it has not walked yet.
    stale: BTreeSet<WatchDescriptor>,
    refused: u64,
}

impl WatchList {
    /// A scan begins.
    pub(super) fn begin(&mut self) {
        self.stale.append(&mut self.walked);
        self.refused = 0;
    }

    /// Watches the folder at `path`. A lack of watches is counted; other failures are left to the
    /// scan, which reads the folder next.
    pub(super) fn add(&mut self, path: &Path) {
        match self.try_add(path) {
            Err(error) if is_limit(&error) => self.refused += 1,
            _ => {}
        }
    }

    fn try_add(&mut self, path: &Path) -> io::Result<()> {
        let Some(handle) = &mut self.handle else {
            // Watching is off with a maximum of 0, so nothing is refused.
            return if self.max == 0 { Ok(()) } else { Err(Errno::NOSPC.into()) };
        };
        let mask = WatchMask::CREATE
            | WatchMask::MODIFY
            | WatchMask::CLOSE_WRITE
            | WatchMask::ATTRIB
            | WatchMask::MOVE
            | WatchMask::DELETE
            | WatchMask::DELETE_SELF
            | WatchMask::MOVE_SELF
            | WatchMask::ONLYDIR
            | WatchMask::DONT_FOLLOW
            | WatchMask::EXCL_UNLINK;
        // A folder that is watched already gets the same descriptor, even if it was moved.
        let watch = handle.add(path, mask)?;
        let new = !self.stale.remove(&watch) && !self.walked.contains(&watch);
        if new && self.walked.len() + self.stale.len() >= self.max {
            handle.remove(watch)?;
            return Err(Errno::NOSPC.into());
        }
        self.walked.insert(watch);
        Ok(())
    }

    /// Removes watches on folders that were not walked, as far as the budget `left` goes. Returns
    /// true when none is left.
    pub(super) fn drop_stale(&mut self, left: &mut usize) -> bool {
        while *left > 0 {
            *left -= 1;
            let Some(watch) = self.stale.pop_first() else { return true };
            if let Some(handle) = &mut self.handle {
                // Fails if the folder is gone: the kernel has removed its watch already.
                let _ = handle.remove(watch);
            }
        }
        false
    }

    /// Folders of the last scan that could not be watched because there are too many.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    #[cfg(test)]
    pub(super) fn set_max(&mut self, max: usize) {
        self.max = max;
    }
}

fn is_limit(error: &io::Error) -> bool {
    let limits = [Errno::NOSPC, Errno::NOMEM, Errno::MFILE, Errno::NFILE];
    limits.iter().any(|limit| error.raw_os_error() == Some(limit.raw_os_error()))
}
