//! What a scan tells the user: how much is shared, and how much is not and why.

use crate::driver::share::ShareRoot;
use indicatif::HumanBytes;
use std::path::PathBuf;
use std::sync::Arc;
use std::{fmt, io};

/// How many roots and unreadable paths a report names; a line or warning should fit the screen.
const MAX_NAMED: usize = 8;

/// What a scan has seen. Its `Display` is one line for the log.
#[derive(Clone, Debug, Default)]
pub struct ScanReport {
    /// One for each root, in the order given.
    pub roots: Vec<RootReport>,
    /// Directory entries read.
    pub entries: u64,
    /// Folders looked into, with the roots.
    pub folders: u64,
    /// Those of them for which the system had no watch left: changes there are only seen by the
    /// next slow scan.
    pub unwatched: u64,
    /// Whether other files are shared than before, or files of other sizes.
    pub changed: bool,
    /// Whether the user, and not a change or the clock, asked for the scan.
    pub asked: bool,
    /// The first few paths that could not be read, and why.
    pub unreadable: Vec<(PathBuf, io::ErrorKind)>,
    skipped: [u64; Skip::ALL.len()],
}

/// What a scan has found in one root.
#[derive(Clone, Debug)]
pub struct RootReport {
    /// Its canonical path.
    pub path: PathBuf,
    /// Files shared.
    pub files: u64,
    /// Their sizes in bytes; saturates.
    pub bytes: u64,
    /// The position of the root that is the same or contains this one. If there is one, this root
    /// was left out, and its files count there.
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
    /// It was gone, or something else, when we came to it.
    Vanished,
    /// The system refused to let us see it.
    Unreadable,
    /// More than 64 folders beneath its root.
    TooDeep,
    /// More files than are to be shared, or more folders than a scan takes.
    TooMany,
    /// Not among the included files, or excluded.
    Excluded,
    /// Written to a moment ago; a later scan will share it.
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

    /// How many files and folders were passed over for this reason. What is in a folder that was
    /// passed over is not counted.
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

    /// Counts `path`, which gave an error. What is gone is worth a warning only if it was
    /// `expected` to be there.
    pub(super) fn failed(&mut self, path: PathBuf, error: &io::Error, expected: bool) {
        // A folder that became a link or a file is gone too.
        let gone = matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
            || error.raw_os_error() == Some(rustix::io::Errno::LOOP.raw_os_error());
        if gone && !expected {
            return self.skip(Skip::Vanished);
        }
        self.skip(Skip::Unreadable);
        if self.unreadable.len() < MAX_NAMED {
            self.unreadable.push((path, error.kind()));
        }
    }
}

impl fmt::Display for ScanReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let files = self.files();
        let bytes = self.roots.iter().fold(0u64, |sum, root| sum.saturating_add(root.bytes));
        let noun = if files == 1 { "file" } else { "files" };
        write!(f, "{files} {noun} ({})", HumanBytes(bytes))?;
        let walked = self.roots.iter().filter(|root| root.covered_by.is_none());
        if walked.clone().nth(1).is_some() {
            let mut before = ": ";
            for root in walked.clone().take(MAX_NAMED) {
                write!(f, "{before}{} {}", root.path.display(), root.files)?;
                before = ", ";
            }
            if let more @ 1.. = walked.count().saturating_sub(MAX_NAMED) {
                write!(f, " and {more} more folders")?;
            }
        }
        let mut before = "; skipped: ";
        for reason in Skip::ALL {
            let count = self.skipped(reason);
            if count > 0 {
                write!(f, "{before}{count} {}", reason.label())?;
                before = ", ";
            }
        }
        Ok(())
    }
}
