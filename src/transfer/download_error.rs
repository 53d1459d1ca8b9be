//! Why a download fails.

use crate::wire::http_head::ResponseError;
use std::fmt;
use std::time::Duration;

/// A failure of the local disk.
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

/// Why a download failed. Received bytes stay in the partial file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadError {
    /// No connection
    Connect {
        /// The host refused it: nothing listens on that port. Otherwise the network failed
        refused: bool,
    },
    /// No connection within this time
    ConnectTimeout(Duration),
    /// The source did not connect within this time after a Push
    PushUnanswered(Duration),
    /// No route to the source for a Push, or no address for it to connect to
    NoPushRoute,
    /// The source closed the connection without a response
    NoAnswer,
    /// The source sent nothing for some time
    Stalled {
        /// How long it was silent
        silence: Duration,
        /// It had responded before
        begun: bool,
    },
    /// The source closed the connection during the transfer
    Interrupted,
    /// The source has no such file
    NotFound,
    /// The source has no free upload slot
    Busy {
        /// Its Retry-After, if it sent one
        retry_after: Option<Duration>,
    },
    /// The source responded with another status
    Refused {
        /// The three digits
        status: u16,
    },
    /// The source offers a file of another size than the hit or the partial file has
    SizeMismatch {
        /// Expected size
        expected: u64,
        /// Size at the source
        offered: u64,
    },
    /// The source sent another range than the requested one
    WrongRange {
        /// First byte requested
        wanted: u64,
        /// First byte offered, if any
        offered: Option<u64>,
    },
    /// The file at the source has changed during the transfer
    Changed,
    /// The source sends too few bytes per request
    TooManyPieces {
        /// Requests made
        requests: u32,
    },
    /// The response is malformed
    Response(ResponseError),
    /// The local disk failed
    Disk(DiskFault),
}

impl DownloadError {
    /// Whether a later attempt may succeed: the source is busy, or broke off after it had responded.
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
            DownloadError::PushUnanswered(limit) => {
                write!(
                    f,
                    "the source was asked to connect and did not within {} s",
                    limit.as_secs()
                )
            }
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
