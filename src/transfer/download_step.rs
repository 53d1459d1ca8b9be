//! What a download asks its owner to do.

use super::download_error::DownloadError;
use super::source::{Against, PushVia};
use std::net::SocketAddrV4;

/// What the owner must do next. File steps are to be done in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadStep {
    /// Dial, then call `handle_connected` or `handle_connect_failed`.
    Connect(SocketAddrV4),
    /// Have the source connect: by a Push, or on a connection of its that is idle. Then call
    /// `handle_connected`; if no Push can be sent, `handle_connect_failed`.
    Push(PushVia),
    /// Drop the connection; no `handle_closed` is due.
    Disconnect,
    /// The download needs the connection no longer; it is idle and another request may follow on
    /// it. No `handle_closed` is due.
    Release,
    /// Open the partial file to go on behind its first `have` bytes, or create it if there is
    /// none, and record `total`; then call `handle_file_opened`.
    OpenPartial {
        /// Bytes that are to be in it already
        have: u64,
        /// Size of the whole file, if known by now
        total: Option<u64>,
    },
    /// The partial file is not of this file: keep it under another name, open an empty one, then
    /// call `handle_file_opened`.
    SetAside {
        /// Size of the whole file, if known by now
        total: Option<u64>,
    },
    /// Compare with what is on the disk, then call `handle_compared`.
    Compare {
        /// With which file
        against: Against,
        /// Where
        offset: u64,
        /// At most `MAX_WRITE_BYTES`
        bytes: Vec<u8>,
    },
    /// Write to the partial file, then call `handle_written`.
    Write {
        /// Where; always the end of what was written before
        offset: u64,
        /// At most `MAX_WRITE_BYTES`
        bytes: Vec<u8>,
    },
    /// Make the partial file durable, then call `handle_synced`.
    Sync,
    /// Give the file its name, without replacing another; then call `handle_finished`.
    Finish,
    /// A complete file that is here already is the one asked for; then call `handle_finished`.
    UseComplete,
    /// The file is there. Nothing else will come.
    Done {
        /// Its size
        bytes: u64,
        /// It was complete before, and nothing was written
        already_here: bool,
    },
    /// Close the partial file if it is open, and keep it. Nothing else will come.
    Fail(DownloadError),
}
