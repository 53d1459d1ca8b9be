//! The folder scan: walks the shared folders in slices that fit between two turns of the event loop.
//!
//! Shared are regular files whose names are UTF-8, and links to such files within the same root.
//! Never shared are hidden files and folders, partial downloads, sockets, FIFOs, devices, and targets
//! of links outside the root. What cannot be read or vanishes during the scan is skipped and counted;
//! a scan always ends.
//!
//! Files that are being written are held back: a [`ScanTrigger::Routine`] scan shares a new file, or
//! one whose size has changed, only when its last modification is a second old. It keeps its number
//! meanwhile. At the start and on request every file is shared as it is.
//!
//! One folder is open at a time; those to come wait in a set, by path. Entries are put in order by
//! maps as they are read, so no slice grows with the size of a folder. The order of the walk, and with
//! it the numbering of a first scan, depends on the paths only.

mod filter;
mod report;

pub use filter::{Filter, GlobError, Shares};
pub use report::{RootReport, ScanReport, Skip};

use super::file_names::{is_hidden, is_obtainable, is_partial};
use super::folder_watch::WatchList;
use super::index::{IndexBuilder, SharedIndex};
use super::share::{ShareRoot, open_folder};
use crate::library::{AddError, Library, MAX_FILES};
use rustix::fs::{Access, AtFlags, Dir, DirEntry, FileType, access, accessat, statat};
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use std::{fmt, fs, io};

/// Greatest depth of a shared file beneath its root, in folders. Bounds the work of opening it.
const MAX_DEPTH: usize = 64;

/// Most folders of one scan. Bounds the set of folders to come to a few hundred megabytes.
const MAX_FOLDERS: usize = 1 << 20;

/// Budget units of a file: its status and the words of its name cost more than a directory entry.
const UNITS_PER_FILE: usize = 2;

/// Words of the library for one unit of the budget: each is that much cheaper than a directory
/// entry.
const WORDS_PER_UNIT: usize = 8;

/// Time since its last modification after which a routine scan shares a file.
const SETTLED_AFTER: Duration = Duration::from_secs(1);

/// Why a scan runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanTrigger {
    /// The servent starts, or the user asks for it: all files are shared at once.
    Asked,
    /// Something changed, or the interval has passed: files that may be half written are held back.
    Routine,
}

/// A walk through the shared folders. Dropping it unfinished is fine.
pub(super) struct Scan {
    shares: Arc<Shares>,
    trigger: ScanTrigger,
    stage: Stage,
    /// Index of the root being walked.
    root: usize,
    /// Folders of this root to be visited, relative to it, least first: a folder comes before what is
    /// in it, and all of that before the next folder.
    pending: BTreeSet<PathBuf>,
    /// Folders found so far, pending ones included.
    folders: usize,
    index: IndexBuilder,
    watches: WatchList,
    settles_in: Option<Duration>,
    report: ScanReport,
}

/// The result of a scan.
#[derive(Debug)]
pub(super) struct Scanned {
    pub(super) index: SharedIndex,
    /// The watches on the folders that were walked.
    pub(super) watches: WatchList,
    /// Time until the first of the files left for later may be shared, from when it was seen.
    pub(super) settles_in: Option<Duration>,
    /// For the user.
    pub(super) report: ScanReport,
}

enum Stage {
    /// The next pending folder is to be opened, or the next root entered.
    Next,
    /// Reading the entries of a folder.
    Reading(Listing),
    /// Adding its files.
    Adding(Listing),
    /// The walk is over; watches on folders that are gone are removed.
    Watches,
    /// The library is being finished.
    Library,
    Done,
}

struct Listing {
    /// Relative to the root.
    path: PathBuf,
    dir: Dir,
    /// Entries that may be shared, by name.
    files: BTreeMap<Box<str>, EntryKind>,
}

#[derive(Clone, Copy)]
enum EntryKind {
    Regular,
    Link,
}

/// Size and modification time of a file.
struct Found {
    size: u64,
    /// Milliseconds since 1970.
    modified_ms: i64,
}

/// Scans the folders of `shares` to the end, however long that takes.
pub fn list_shared(shares: Shares) -> (Arc<Library>, ScanReport) {
    let (shares, before) = (Arc::new(shares), SharedIndex::default());
    let mut scan = Scan::start(&shares, ScanTrigger::Asked, &before, WatchList::default());
    loop {
        if let Some(scanned) = scan.step(usize::MAX) {
            return (scanned.index.library, scanned.report);
        }
    }
}

impl Scan {
    /// A scan of `shares` that keeps the numbers of `previous` and the watches on folders that are
    /// still there.
    ///
    /// A root given twice, or one that is visited anyway as a folder of another root, is left out;
    /// the report says so.
    pub(super) fn start(
        shares: &Arc<Shares>,
        trigger: ScanTrigger,
        previous: &SharedIndex,
        mut watches: WatchList,
    ) -> Scan {
        let roots = &shares.roots;
        watches.begin();
        let mut scan = Scan {
            trigger,
            stage: Stage::Next,
            root: 0,
            pending: BTreeSet::new(),
            folders: 0,
            index: IndexBuilder::new(roots, previous),
            watches,
            settles_in: None,
            report: ScanReport::new(roots, covering_roots(shares)),
            shares: Arc::clone(shares),
        };
        scan.report.asked = trigger == ScanTrigger::Asked;
        scan.enter_root(0);
        scan
    }

    /// Does work worth about `budget` directory entries. Returns the result at the end of the scan,
    /// and `None` before and after.
    ///
    /// 256 entries take less than 2 ms while the kernel has the folders cached.
    pub(super) fn step(&mut self, budget: usize) -> Option<Scanned> {
        let mut left = budget.max(1);
        while left > 0 {
            self.stage = match std::mem::replace(&mut self.stage, Stage::Done) {
                Stage::Next => self.open_next(&mut left),
                Stage::Reading(listing) => self.read(listing, &mut left),
                Stage::Adding(listing) => self.add(listing, &mut left),
                Stage::Watches => match self.watches.drop_stale(&mut left) {
                    true => Stage::Library,
                    false => Stage::Watches,
                },
                Stage::Library => {
                    let budget = std::mem::take(&mut left).saturating_mul(WORDS_PER_UNIT);
                    if let Some((index, changed)) = self.index.step(budget) {
                        return Some(self.finish(index, changed));
                    }
                    Stage::Library
                }
                Stage::Done => return None,
            };
        }
        None
    }

    fn finish(&mut self, index: SharedIndex, changed: bool) -> Scanned {
        let mut report = std::mem::take(&mut self.report);
        report.changed = changed;
        report.unwatched = self.watches.refused();
        let watches = std::mem::take(&mut self.watches);
        Scanned { index, watches, settles_in: self.settles_in, report }
    }

    /// Goes to the root at `position`, or to the first one after it that has to be walked.
    fn enter_root(&mut self, position: usize) {
        let walked = |root: &RootReport| root.covered_by.is_none();
        let ahead = self.report.roots[position..].iter().position(walked);
        self.root = ahead.map_or(self.shares.roots.len(), |ahead| position + ahead);
        if ahead.is_some() {
            self.pending.insert(PathBuf::new());
        }
    }

    fn open_next(&mut self, left: &mut usize) -> Stage {
        let Some(path) = self.pending.pop_first() else {
            if self.root >= self.shares.roots.len() {
                return Stage::Watches;
            }
            self.enter_root(self.root + 1);
            return Stage::Next;
        };
        *left = left.saturating_sub(1 + path.components().count());
        let root = &self.shares.roots[self.root];
        // Watched before it is read: a change from here on is seen below or reported by the watch.
        self.watches.add(&root.path().join(&path));
        let opened = open_folder(root, &path).and_then(|folder| Ok(Dir::new(folder)?));
        self.report.folders += 1;
        match opened {
            Ok(dir) => Stage::Reading(Listing { path, dir, files: BTreeMap::new() }),
            Err(error) => {
                // A missing root is an error; a missing subfolder is not.
                let is_root = path.as_os_str().is_empty();
                let path = if is_root { root.path().to_owned() } else { root.path().join(path) };
                self.report.failed(path, &error, is_root);
                Stage::Next
            }
        }
    }

    fn read(&mut self, mut listing: Listing, left: &mut usize) -> Stage {
        while *left > 0 {
            *left -= 1;
            match listing.dir.read() {
                Some(Ok(entry)) => {
                    self.report.entries += 1;
                    self.sort_in(&mut listing, &entry);
                }
                Some(Err(error)) => {
                    let path = self.shares.roots[self.root].path().join(&listing.path);
                    self.report.failed(path, &error.into(), false);
                    return self.begin_adding(listing);
                }
                None => return self.begin_adding(listing),
            }
        }
        Stage::Reading(listing)
    }

    fn begin_adding(&mut self, listing: Listing) -> Stage {
        self.index.enter(self.root, &listing.path);
        Stage::Adding(listing)
    }

    /// Adds an entry to the files of `listing` or to the pending folders, or counts why not.
    fn sort_in(&mut self, listing: &mut Listing, entry: &DirEntry) {
        let name = entry.file_name().to_bytes();
        if matches!(name, b"." | b"..") {
            return;
        }
        let name = match visible(OsStr::from_bytes(name)) {
            Ok(name) => name,
            Err(skip) => return self.report.skip(skip),
        };
        let kind = match entry.file_type() {
            // Some file systems do not report the type.
            FileType::Unknown => match status(&listing.dir, name) {
                Ok((kind, _)) => kind,
                Err(error) => return self.failed_file(listing, name, &error),
            },
            kind => kind,
        };
        let kind = match kind {
            FileType::Directory => return self.sort_in_folder(listing.path.join(name)),
            FileType::RegularFile => EntryKind::Regular,
            FileType::Symlink => EntryKind::Link,
            _ => return self.report.skip(Skip::Special),
        };
        if is_partial(name) {
            self.report.skip(Skip::Partial);
        } else if !self.shares.filter.takes_file(&listing.path, name) {
            self.report.skip(Skip::Excluded);
        } else if listing.files.len() >= MAX_FILES {
            self.report.skip(Skip::TooMany);
        } else {
            listing.files.insert(name.into(), kind);
        }
    }

    fn sort_in_folder(&mut self, path: PathBuf) {
        if path.components().count() > MAX_DEPTH {
            self.report.skip(Skip::TooDeep);
        } else if !self.shares.filter.enters_folder(&path) {
            self.report.skip(Skip::Excluded);
        } else if self.folders >= MAX_FOLDERS {
            self.report.skip(Skip::TooMany);
        } else {
            self.folders += 1;
            self.pending.insert(path);
        }
    }

    fn add(&mut self, mut listing: Listing, left: &mut usize) -> Stage {
        while *left > 0 {
            *left = left.saturating_sub(UNITS_PER_FILE);
            let Some((name, kind)) = listing.files.pop_first() else { return Stage::Next };
            if self.report.files() >= self.shares.max_files as u64 {
                self.report.skip(Skip::TooMany);
                continue;
            }
            match kind {
                EntryKind::Regular => match status(&listing.dir, &name) {
                    Ok((FileType::RegularFile, found)) => match readable(&listing.dir, &name) {
                        Ok(()) => self.add_file(&name, &found, None),
                        Err(error) => self.failed_file(&listing, &name, &error),
                    },
                    // It was a regular file when the folder was read.
                    Ok(_) => self.report.skip(Skip::Vanished),
                    Err(error) => self.failed_file(&listing, &name, &error),
                },
                EntryKind::Link => {
                    // Following a link costs a look at each folder on the way.
                    *left = left.saturating_sub(listing.path.components().count());
                    let link = listing.path.join(&*name);
                    match follow(&self.shares.roots[self.root], &link) {
                        Ok((target, found)) => self.add_file(&name, &found, Some(&target)),
                        Err(skip) => self.report.skip(skip),
                    }
                }
            }
        }
        Stage::Adding(listing)
    }

    fn add_file(&mut self, name: &str, found: &Found, target: Option<&Path>) {
        if !is_obtainable(name) {
            return self.report.skip(Skip::UnfitName);
        }
        let Some(known) = self.index.look_up(name) else {
            return self.report.skip(Skip::TooMany);
        };
        if self.trigger == ScanTrigger::Routine
            && known.size != Some(found.size)
            && let Some(left) = settles_in(found.modified_ms)
        {
            self.settles_in = Some(self.settles_in.map_or(left, |least| least.min(left)));
            self.index.hold_back(name, known);
            return self.report.skip(Skip::Settling);
        }
        match self.index.add(name, known, found.size, target) {
            Ok(()) => self.report.shared(self.root, found.size),
            Err(AddError::UnfitName) => self.report.skip(Skip::UnfitName),
            Err(AddError::Full) => self.report.skip(Skip::TooMany),
            Err(error @ (AddError::NumberTaken(_) | AddError::Finishing)) => {
                // Numbers are unique by path, and files are added before the library is finished.
                debug_assert!(false, "{error}");
            }
        }
    }

    fn failed_file(&mut self, listing: &Listing, name: &str, error: &io::Error) {
        let path = self.shares.roots[self.root].path().join(&listing.path).join(name);
        self.report.failed(path, error, false);
    }
}

impl fmt::Debug for Scan {
    /// Counts only.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan")
            .field("root", &self.root)
            .field("pending", &self.pending.len())
            .field("entries", &self.report.entries)
            .finish_non_exhaustive()
    }
}

/// For each root, another root that contains it and whose walk visits its files.
///
/// A walk does not visit hidden or excluded folders: a root in one of them is walked by itself, with
/// the globs matched against paths beneath it.
fn covering_roots(shares: &Shares) -> Vec<Option<usize>> {
    let roots = &shares.roots;
    let covers = |outer: usize, inner: usize| {
        let (outer, inner) = (roots[outer].path(), roots[inner].path());
        let Ok(path) = inner.strip_prefix(outer) else { return false };
        let folders = path.ancestors().filter(|folder| !folder.as_os_str().is_empty());
        path.iter().all(is_visible)
            && folders.into_iter().all(|folder| shares.filter.enters_folder(folder))
    };
    // Outermost first; of equal ones, the first given.
    let mut order: Vec<usize> = (0..roots.len()).collect();
    order.sort_by_key(|&at| (roots[at].path().as_os_str().len(), at));
    let (mut covered, mut walked) = (vec![None; roots.len()], Vec::new());
    for at in order {
        covered[at] = walked.iter().copied().find(|&other| covers(other, at));
        if covered[at].is_none() {
            walked.push(at);
        }
    }
    covered
}

/// Time until a file is settled; `None` if it is.
///
/// A modification time ahead of our clock by more than the waiting time counts as settled: it may
/// stay ahead for years.
fn settles_in(modified_ms: i64) -> Option<Duration> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    let age = i64::try_from(now.as_millis()).ok()?.abs_diff(modified_ms);
    SETTLED_AFTER.checked_sub(Duration::from_millis(age)).filter(|left| !left.is_zero())
}

/// Type, size and modification time of an entry of an open folder; of a link itself, not its target.
fn status(dir: &Dir, name: &str) -> io::Result<(FileType, Found)> {
    let stat = statat(dir.fd()?, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let found = Found {
        size: u64::try_from(stat.st_size).unwrap_or(0),
        modified_ms: milliseconds(stat.st_mtime, stat.st_mtime_nsec),
    };
    Ok((FileType::from_raw_mode(stat.st_mode), found))
}

/// Checks that a file can be read, and so be served.
fn readable(dir: &Dir, name: &str) -> io::Result<()> {
    Ok(accessat(dir.fd()?, name, Access::READ_OK, AtFlags::empty())?)
}

fn milliseconds(seconds: i64, nanoseconds: impl TryInto<i64>) -> i64 {
    seconds.saturating_mul(1000).saturating_add(nanoseconds.try_into().unwrap_or(0) / 1_000_000)
}

/// The target of a link, relative to `root`.
fn follow(root: &ShareRoot, link: &Path) -> Result<(PathBuf, Found), Skip> {
    let target = fs::canonicalize(root.path().join(link)).map_err(|_| Skip::BrokenLink)?;
    let relative = target.strip_prefix(root.path()).map_err(|_| Skip::LinkOut)?;
    let mut name = "";
    for component in relative {
        name = visible(component)?;
    }
    let metadata = fs::symlink_metadata(&target).map_err(|_| Skip::BrokenLink)?;
    if metadata.is_dir() {
        return Err(Skip::LinkToFolder);
    }
    if !metadata.is_file() {
        return Err(Skip::Special);
    }
    if is_partial(name) {
        return Err(Skip::Partial);
    }
    if relative.components().count() > MAX_DEPTH + 1 {
        return Err(Skip::TooDeep);
    }
    access(&target, Access::READ_OK).map_err(|_| Skip::Unreadable)?;
    let modified_ms = milliseconds(metadata.mtime(), metadata.mtime_nsec());
    Ok((relative.to_owned(), Found { size: metadata.len(), modified_ms }))
}

/// The name, unless it is hidden or cannot be sent as text.
fn visible(name: &OsStr) -> Result<&str, Skip> {
    match is_hidden(name) {
        true => Err(Skip::Hidden),
        false => name.to_str().ok_or(Skip::NotUtf8),
    }
}

fn is_visible(name: &OsStr) -> bool {
    visible(name).is_ok()
}

#[cfg(test)]
mod tests;
