//! What a [`Driver`](super::Driver) reports to its owner.

use super::resolve::Resolved;
use super::scan::ScanReport;
use super::worker::JobDone;
use crate::servent::{Event, FileId};
use std::io;
use std::path::PathBuf;

/// Something that happened.
#[derive(Debug)]
pub enum DriverEvent {
    /// The core reports an event.
    Core(Event),
    /// A download is complete.
    Saved {
        /// Its file id, as [`Driver::download`](super::Driver::download) returned it.
        file: FileId,
        /// The path of the file.
        path: PathBuf,
        /// The number of servents its bytes come from.
        servents: usize,
    },
    /// The partial file of a download was opened, or made.
    Opened {
        /// Its file id, as [`Driver::download`](super::Driver::download) returned it.
        file: FileId,
        /// Its path.
        path: PathBuf,
        /// Its device and inode, which it keeps when it gets its final name.
        inode: (u64, u64),
    },
    /// The file of a download cannot be written.
    DiskFailed {
        /// Its file id, as [`Driver::download`](super::Driver::download) returned it.
        file: FileId,
        /// Which file, and why, as a sentence.
        text: String,
    },
    /// The worker has done what [`Driver::work`](super::Driver::work) asked for.
    Done {
        /// What the owner named it by.
        ticket: u64,
        /// What came of it.
        done: JobDone,
    },
    /// INT or TERM arrived, or the terminal this was started on is gone.
    Stop,
    /// HUP arrived.
    Reload,
    /// USR1 arrived.
    Status,
    /// A name look-up ended.
    Resolved(Resolved),
    /// A folder scan ended and its result is in use.
    Scanned(ScanReport),
    /// Inbound connections cannot be accepted for a while.
    AcceptFailed(io::Error),
}
