//! The steps that a download asks its owner for.

use super::download_error::DownloadError;
use super::source::{Against, PushVia};
use std::net::SocketAddrV4;

/// A step for the owner. File steps must be done in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DownloadStep {
    /// Dial, then call `handle_connected` or `handle_connect_failed`.
    Connect(SocketAddrV4),
    /// Have the source connect by a Push, or use an idle connection it has made. Then call
    /// `handle_connected`, or `handle_connect_failed` if no Push can be sent.
    Push(PushVia),
    /// Drop the connection; no `handle_closed` is due.
    Disconnect,
    /// The download no longer needs the connection, which is idle and may be reused. No `handle_closed`
    /// is due.
    Release,
    /// Open the partial file to continue after its first `have` bytes, or create it, and record `total`;
    /// then call `handle_file_opened`.
    OpenPartial {
        /// Bytes it must have already
        have: u64,
        /// Size of the whole file, if known
        total: Option<u64>,
    },
    /// The partial file belongs to another file: rename it, create an empty one, then call
    /// `handle_file_opened`.
    SetAside {
        /// Size of the whole file, if known
        total: Option<u64>,
    },
    /// Compare with a local file, then call `handle_compared`.
    Compare {
        /// The file to compare with
        against: Against,
        /// Offset
        offset: u64,
        /// At most `MAX_WRITE_BYTES`
        bytes: Vec<u8>,
    },
    /// Write to the partial file, then call `handle_written`.
    Write {
        /// Where; always the end of the last write
        offset: u64,
        /// At most `MAX_WRITE_BYTES`
        bytes: Vec<u8>,
    },
    /// Make the partial file durable, then call `handle_synced`.
    Sync,
    /// Rename the partial file to its final name, without replacing another; then call `handle_finished`.
    Finish,
    /// A complete local file is the requested one; then call `handle_finished`.
    UseComplete,
    /// The download has succeeded. This is the last step.
    Done {
        /// Its size
        bytes: u64,
        /// The file was complete before, and nothing was written
        already_here: bool,
    },
    /// The download has failed: close the partial file if it is open, and keep it. This is the last step.
    Fail(DownloadError),
}
