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

/// Why a download ended without its file. What was received stays in the partial file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DownloadError {
    /// No connection; `refused` if the other side said so, else the network did
    Connect {
        /// Somebody answered, but nobody listens on that port
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
        /// Bytes of the file that are here
        received: u64,
        /// Size of the file, if known
        expected: Option<u64>,
    },
    /// The source closed the connection in the middle
    Interrupted {
        /// Bytes of the file that are here
        received: u64,
        /// Size of the file, if known
        expected: Option<u64>,
    },
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

impl fmt::Display for DownloadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            DownloadError::Connect { refused: true } => f.write_str(
                "expected a servent at this address, the connection was refused; it may be gone or \
                 on another port",
            ),
            DownloadError::Connect { refused: false } => {
                f.write_str("expected a connection, the network gave none; check the address")
            }
            DownloadError::ConnectTimeout(limit) => write!(
                f,
                "expected a connection within {} s, none came; the source may be gone or firewalled",
                limit.as_secs()
            ),
            DownloadError::PushUnanswered(limit) => write!(
                f,
                "expected the source to connect within {} s after a Push, it did not; it may be \
                 gone, or this machine cannot be connected to either",
                limit.as_secs()
            ),
            DownloadError::NoPushRoute => f.write_str(
                "expected to reach the source by a Push, there is no way to it or none back; search \
                 again",
            ),
            DownloadError::NoAnswer => f.write_str(
                "expected an HTTP response, the source closed the connection without one; try \
                 another source",
            ),
            DownloadError::Stalled { silence, received, expected } => write!(
                f,
                "expected {}, got {received} and then nothing for {} s; try again to resume",
                Bytes(expected),
                silence.as_secs()
            ),
            DownloadError::Interrupted { received, expected } => write!(
                f,
                "expected {}, got {received} before the connection ended; try again to resume",
                Bytes(expected)
            ),
            DownloadError::NotFound => f.write_str(
                "expected the file, the source does not share it (any more); search again",
            ),
            DownloadError::Busy { retry_after: Some(delay) } => write!(
                f,
                "expected a free upload slot, the source has none; try again in {} s",
                delay.as_secs()
            ),
            DownloadError::Busy { retry_after: None } => f.write_str(
                "expected a free upload slot, the source has none; try again in a minute or more",
            ),
            DownloadError::Refused { status } => {
                write!(f, "expected the file, the source answered {status}; try another source")
            }
            DownloadError::SizeMismatch { expected, offered } => write!(
                f,
                "expected a file of {expected} bytes, the source offers {offered}; it is another \
                 file, try another source"
            ),
            DownloadError::WrongRange { wanted, offered: Some(offered) } => write!(
                f,
                "expected bytes from {wanted} on, the source offers bytes from {offered} on; try \
                 another source"
            ),
            DownloadError::WrongRange { wanted, offered: None } => write!(
                f,
                "expected bytes from {wanted} on, the source has no such range; try another source"
            ),
            DownloadError::TooManyPieces { requests } => write!(
                f,
                "expected the file in fewer than {requests} pieces, it is still incomplete; try \
                 another source"
            ),
            DownloadError::Response(error) => write!(f, "{error}; try another source"),
            DownloadError::Disk(DiskFault::Full) => {
                f.write_str("expected room for the file, the disk is full; free some and try again")
            }
            DownloadError::Disk(DiskFault::Denied) => f.write_str(
                "expected a folder that can be written, access was denied; choose another folder",
            ),
            DownloadError::Disk(DiskFault::Failed) => {
                f.write_str("expected the disk to take the file, it failed; check the disk")
            }
        }
    }
}

impl std::error::Error for DownloadError {}

struct Bytes(Option<u64>);

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(bytes) => write!(f, "{bytes} bytes"),
            None => f.write_str("a file of unknown size"),
        }
    }
}
