//! The source of a download, the local files it may resume, and its time limits.

use crate::wire::ServentId;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Overlap in bytes: the end of a partial file that is fetched again and compared before anything is
/// joined to it, and either end of a complete file that is compared to find out whether it is the
/// same.
pub const OVERLAP_BYTES: u64 = 64 * 1024;

/// A file at a servent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The servent's address.
    pub addr: SocketAddrV4,
    /// The index from the hit.
    pub index: u32,
    /// The name at the source.
    pub name: String,
    /// Size in bytes from the hit, if there was one.
    pub size: Option<u64>,
    /// The target of a Push; `None` if its servent id is unknown.
    pub push: Option<PushVia>,
}

impl Source {
    /// Whether both name the same file of the same servent.
    pub fn is_same_file(&self, other: &Source) -> bool {
        (self.addr, self.index) == (other.addr, other.index) && self.name == other.name
    }
}

/// The target of a Push to a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushVia {
    /// The servent to push.
    pub servent: ServentId,
    /// TTL of the Push: the links that the hit crossed, and one or two more.
    pub ttl: u8,
    /// Push without connecting first: the source is firewalled, or its address is out of scope.
    pub firewalled: bool,
}

/// The local files before a download.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// The partial file of an earlier attempt.
    pub partial: Option<Partial>,
    /// There are complete files of the same name, and of the same size if that is known: one of them may
    /// be the file.
    pub complete: bool,
}

/// A partial file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Bytes it has, from the start of the file.
    pub have: u64,
    /// Size of the whole file, if it was recorded.
    pub total: Option<u64>,
    /// It was fetched from the same source.
    pub same_source: bool,
}

/// The local file that received bytes are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The partial file
    Partial,
    /// The complete files of this name and size: those that differ are discarded, and bytes agree while
    /// one is left
    Complete {
        /// Size in bytes
        total: u64,
    },
}

/// Bounds of one download.
#[derive(Clone, Copy, Debug)]
pub struct DownloadLimits {
    /// From the dial to the connection.
    pub connect_timeout: Duration,
    /// From the first Push to the connection of the source.
    pub push_timeout: Duration,
    /// From a request to the end of the response head, and between any two reads of the body.
    pub stall_timeout: Duration,
}

impl Default for DownloadLimits {
    fn default() -> DownloadLimits {
        DownloadLimits {
            connect_timeout: Duration::from_secs(20),
            push_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
        }
    }
}
