//! Why a download ends without its file, in one plain sentence each.

use crate::wire::http_head::ResponseError;
use std::fmt;
use std::time::Duration;

/// What went wrong on the local disk, as far as it makes a difference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiskFault {
    /// No space is left
    Full,
    /// The folder or file may not be written
    Denied,
    /// Anything else
    Failed,
}

impl fmt::Display for DiskFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            DiskFault::Full => "the disk is full",
            DiskFault::Denied => "access was denied",
            DiskFault::Failed => "the disk failed",
        })
    }
}

/// Why a download ended without its file. What was received stays in the partial file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadError {
    /// No connection; `refused` if the other side said so, else the network did
    Connect {
        /// The host answered, but nothing listens on that port
        refused: bool,
    },
    /// No connection within the time given
    ConnectTimeout(Duration),
    /// The source was asked by a Push to connect, and did not within the time given
    PushUnanswered(Duration),
    /// There is no link by which a Push would reach the source, or no way back from it
    NoPushRoute,
    /// The source closed the connection without a word
    NoAnswer,
    /// The source sent nothing for the time given
    Stalled {
        /// How long it was silent
        silence: Duration,
        /// It had answered before
        begun: bool,
    },
    /// The source closed the connection in the middle
    Interrupted,
    /// The source has no such file
    NotFound,
    /// The source has no free upload slot
    Busy {
        /// How long it wants to be left alone, if it said so
        retry_after: Option<Duration>,
    },
    /// The source answered with another status
    Refused {
        /// The three digits
        status: u16,
    },
    /// The source offers a file of another size than the hit or the partial said
    SizeMismatch {
        /// Size the file should have
        expected: u64,
        /// Size the source gives it
        offered: u64,
    },
    /// The source sent other bytes of the file than those asked for
    WrongRange {
        /// First byte that was asked for
        wanted: u64,
        /// First byte that was offered, if the source named one
        offered: Option<u64>,
    },
    /// The source sends other bytes than it sent before
    Changed,
    /// The source hands out the file in pieces too small to be worth it
    TooManyPieces {
        /// Requests made
        requests: u32,
    },
    /// The response cannot be understood
    Response(ResponseError),
    /// The local disk
    Disk(DiskFault),
}

impl DownloadError {
    /// Whether the same source may give the file soon: it is busy, or broke off after it had begun
    /// to answer.
    pub fn may_pass(&self) -> bool {
        matches!(
            self,
            DownloadError::Busy { .. }
                | DownloadError::Interrupted
                | DownloadError::Stalled { begun: true, .. }
        )
    }
}

impl fmt::Display for DownloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DownloadError::Connect { refused: true } => {
                f.write_str("the source refused the connection: nothing listens there")
            }
            DownloadError::Connect { refused: false } => {
                f.write_str("the source cannot be reached")
            }
            DownloadError::ConnectTimeout(limit) => {
                write!(f, "no connection to the source within {} s", limit.as_secs())
            }
            DownloadError::PushUnanswered(limit) => write!(
                f,
                "the source was asked to connect and did not within {} s",
                limit.as_secs()
            ),
            DownloadError::NoPushRoute => f.write_str(
                "the source cannot be connected to, and no Push can reach it; search again",
            ),
            DownloadError::NoAnswer => {
                f.write_str("the source closed the connection without an answer")
            }
            DownloadError::Stalled { silence, .. } => {
                write!(f, "no answer for {} s", silence.as_secs())
            }
            DownloadError::Interrupted => f.write_str("the connection ended early"),
            DownloadError::NotFound => f.write_str("the source no longer shares it"),
            DownloadError::Busy { .. } => {
                f.write_str("the source is busy: all its upload slots are taken")
            }
            DownloadError::Refused { status } => {
                write!(f, "the source answered with status {status}")
            }
            DownloadError::SizeMismatch { expected, offered } => write!(
                f,
                "the source offers a file of {offered} bytes instead of {expected}: it is another \
                 file"
            ),
            DownloadError::WrongRange { wanted, offered: Some(offered) } => {
                write!(f, "the source was asked for bytes from {wanted} on and sent {offered} on")
            }
            DownloadError::WrongRange { wanted, offered: None } => {
                write!(f, "the source has no bytes from {wanted} on")
            }
            DownloadError::Changed => {
                f.write_str("the file at the source changed while it was fetched")
            }
            DownloadError::TooManyPieces { requests } => {
                write!(
                    f,
                    "the source sends too little at a time: gave up after {requests} requests"
                )
            }
            DownloadError::Response(error) => write!(f, "unreadable answer: {error}"),
            DownloadError::Disk(fault) => write!(f, "cannot write: {fault}"),
        }
    }
}

impl std::error::Error for DownloadError {}
