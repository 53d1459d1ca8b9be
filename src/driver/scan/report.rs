//! The report of a scan: how much is shared, what was skipped, and why.

use crate::driver::share::ShareRoot;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

/// Most unreadable paths that are recorded.
const MAX_UNREADABLE: usize = 8;

/// The result of a scan.
#[derive(Clone, Debug, Default)]
pub struct ScanReport {
    /// One entry for each root, in the order given.
    pub roots: Vec<RootReport>,
    /// Directory entries read.
    pub entries: u64,
    /// Folders walked, roots included.
    pub folders: u64,
    /// Folders for which the system had no watch left: changes in them are found only by the periodic
    /// scan.
    pub unwatched: u64,
    /// Whether other files are shared than before, or files of other sizes.
    pub changed: bool,
    /// Whether the user asked for the scan, rather than a change or the clock.
    pub asked: bool,
    /// The first few paths that could not be read, with the reason.
    pub unreadable: Vec<(PathBuf, io::ErrorKind)>,
    skipped: [u64; Skip::ALL.len()],
}

/// The result of a scan in one root.
#[derive(Clone, Debug)]
pub struct RootReport {
    /// Its canonical path.
    pub path: PathBuf,
    /// Files shared.
    pub files: u64,
    /// Their sizes in bytes; saturates.
    pub bytes: u64,
    /// Index of the root that is the same as this one or contains it. This root was then left out,
    /// and its files count there.
    pub covered_by: Option<usize>,
}

/// Why a file or folder is not shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// The name begins with a dot, or a link leads to such a place.
    Hidden,
    /// The name is that of an unfinished download.
    Partial,
    /// The name is not UTF-8.
    NotUtf8,
    /// The name is too long for a result, or no request can ask for it.
    UnfitName,
    /// A socket, FIFO or device.
    Special,
    /// A link that leads out of its root.
    LinkOut,
    /// A link to a folder.
    LinkToFolder,
    /// A link that leads nowhere, or in a circle.
    BrokenLink,
    /// It was gone, or of another type, when the scan reached it.
    Vanished,
    /// The system refused to read it.
    Unreadable,
    /// More than 64 folders beneath its root.
    TooDeep,
    /// More files than are to be shared, or more folders than a scan takes.
    TooMany,
    /// Not among the included files, or excluded.
    Excluded,
    /// Modified a moment ago; a later scan shares it.
    Settling,
}

impl Skip {
    /// All reasons, in the order of declaration.
    pub const ALL: [Skip; 14] = [
        Skip::Hidden,
        Skip::Partial,
        Skip::NotUtf8,
        Skip::UnfitName,
        Skip::Special,
        Skip::LinkOut,
        Skip::LinkToFolder,
        Skip::BrokenLink,
        Skip::Vanished,
        Skip::Unreadable,
        Skip::TooDeep,
        Skip::TooMany,
        Skip::Excluded,
        Skip::Settling,
    ];

    /// A word or two for the log.
    pub fn label(self) -> &'static str {
        match self {
            Skip::Hidden => "hidden",
            Skip::Partial => "partly downloaded",
            Skip::NotUtf8 => "not named in UTF-8",
            Skip::UnfitName => "with an unfit name",
            Skip::Special => "not a regular file",
            Skip::LinkOut => "linked to outside the share",
            Skip::LinkToFolder => "linked to a folder",
            Skip::BrokenLink => "linked to nothing",
            Skip::Vanished => "vanished",
            Skip::Unreadable => "unreadable",
            Skip::TooDeep => "too deep",
            Skip::TooMany => "over --max-files",
            Skip::Excluded => "excluded",
            Skip::Settling => "still being written",
        }
    }
}

impl ScanReport {
    pub(super) fn new(roots: &[Arc<ShareRoot>], covered_by: Vec<Option<usize>>) -> ScanReport {
        let root = |(root, covered_by): (&Arc<ShareRoot>, _)| RootReport {
            path: root.path().to_owned(),
            files: 0,
            bytes: 0,
            covered_by,
        };
        ScanReport {
            roots: roots.iter().zip(covered_by).map(root).collect(),
            ..ScanReport::default()
        }
    }

    /// Files and folders skipped for this reason. The contents of a skipped folder are not counted.
    pub fn skipped(&self, reason: Skip) -> u64 {
        self.skipped[reason as usize]
    }

    /// Files shared from all roots.
    pub fn files(&self) -> u64 {
        self.roots.iter().map(|root| root.files).sum()
    }

    pub(super) fn skip(&mut self, reason: Skip) {
        self.skipped[reason as usize] += 1;
    }

    pub(super) fn shared(&mut self, root: usize, size: u64) {
        let root = &mut self.roots[root];
        root.files += 1;
        root.bytes = root.bytes.saturating_add(size);
    }

    /// Counts a path that gave an error. A path that is gone is recorded as unreadable only if it was
    /// `expected` to exist.
    pub(super) fn failed(&mut self, path: PathBuf, error: &io::Error, expected: bool) {
        // A folder that was replaced by a link or a file is gone too.
        let gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        if gone && !expected {
            return self.skip(Skip::Vanished);
        }
        self.skip(Skip::Unreadable);
        if self.unreadable.len() < MAX_UNREADABLE {
            self.unreadable.push((path, error.kind()));
        }
    }
}
