//! The disk of a fuzzed servent: sizes without contents, and faults.

use crate::library::Library;
use crate::servent::{FileDone, FileId, FileOp};
use crate::transfer::download;
use crate::transfer::upload::OpenError;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Fault of the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DiskFault {
    /// Shared files are gone, or shorter than they were.
    Gone,
    /// Files are not what they were.
    Changed,
    /// Nothing can be written.
    Full,
}

/// A file that the servent has open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum File {
    /// `to` is the downloader's address, once something of the file is sent.
    Shared {
        size: u64,
        to: Option<Ipv4Addr>,
    },
    Partial,
}

#[derive(Default)]
pub(super) struct Disk {
    pub(super) files: BTreeMap<FileId, File>,
    pub(super) fault: Option<DiskFault>,
}

impl Disk {
    /// Carries out an operation.
    pub(super) fn carry_out(
        &mut self,
        library: &Library,
        file: FileId,
        op: &FileOp,
    ) -> Option<FileDone> {
        let full = FileDone::Fault(download::DiskFault::Full);
        let is_full = self.fault == Some(DiskFault::Full);
        Some(match (op, self.files.get(&file).copied()) {
            (FileOp::OpenShared { .. }, None) if self.fault == Some(DiskFault::Gone) => {
                FileDone::OpenFailed(OpenError::Gone)
            }
            (FileOp::OpenShared { number }, None) => {
                let size = library.get(*number).map_or(0, |entry| entry.size);
                let size = size.saturating_add((self.fault == Some(DiskFault::Changed)).into());
                self.files.insert(file, File::Shared { size, to: None });
                FileDone::Opened { size }
            }
            (FileOp::OpenPartial { have, .. }, None) => {
                self.files.insert(file, File::Partial);
                if is_full { full } else { FileDone::Opened { size: *have } }
            }
            (FileOp::SetAside { .. }, _) => {
                self.files.insert(file, File::Partial);
                FileDone::Opened { size: 0 }
            }
            // Complete files are compared before anything is opened.
            (FileOp::Compare { .. }, None | Some(File::Partial)) => {
                FileDone::Compared { same: self.fault != Some(DiskFault::Changed) }
            }
            (FileOp::UseComplete, None | Some(File::Partial)) => FileDone::Finished,
            (FileOp::Write { .. }, Some(File::Partial)) if is_full => full,
            (FileOp::Write { bytes, .. }, Some(File::Partial)) => {
                FileDone::Written { bytes: bytes.len() as u64 }
            }
            (FileOp::Sync, Some(File::Partial)) => FileDone::Synced,
            (FileOp::Finish, Some(File::Partial)) => FileDone::Finished,
            (FileOp::Close, _) => {
                self.files.remove(&file);
                return None;
            }
            (op, known) => panic!("{op:?} of a file that is {known:?}"),
        })
    }

    /// A step of an upload to `ip` wants a part of a file. False if the file is too short for it.
    pub(super) fn read(&mut self, file: FileId, offset: u64, len: usize, ip: Ipv4Addr) -> bool {
        let Some(File::Shared { size, to }) = self.files.get_mut(&file) else {
            panic!("{file:?} is not open")
        };
        assert!(offset + len as u64 <= *size, "beyond the end");
        *to = Some(ip);
        self.fault != Some(DiskFault::Gone)
    }

    /// Uploads under way to each address.
    pub(super) fn served(&self) -> BTreeMap<Ipv4Addr, usize> {
        let mut served = BTreeMap::new();
        for file in self.files.values() {
            if let File::Shared { to: Some(ip), .. } = file {
                *served.entry(*ip).or_default() += 1;
            }
        }
        served
    }
}
