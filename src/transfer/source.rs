//! Where a download comes from, what is here of it already, and how long its source may take.

use crate::wire::ServentId;
use std::net::SocketAddrV4;
use std::time::Duration;

/// Bytes at the end of a partial file that are fetched again and compared before anything is
/// joined to it, and bytes at either end of a complete file that decide whether it is the one
/// asked for.
pub const OVERLAP_BYTES: u64 = 64 * 1024;

/// A file at a servent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The servent's address.
    pub addr: SocketAddrV4,
    /// The index from the hit.
    pub index: u32,
    /// The name as the source calls it.
    pub name: String,
    /// Size in bytes from the hit, if there was one.
    pub size: Option<u64>,
    /// How to have it connect to us; `None` if its servent id is not known.
    pub push: Option<PushVia>,
}

impl Source {
    /// Whether both name the same file of the same servent.
    pub fn is_same_file(&self, other: &Source) -> bool {
        (self.addr, self.index) == (other.addr, other.index) && self.name == other.name
    }
}

/// What a Push to a source needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PushVia {
    /// The servent to push.
    pub servent: ServentId,
    /// Links the Push may cross: those its hit crossed, and one or two more.
    pub ttl: u8,
    /// Push at once and never connect: the source says that it is firewalled, or its address is
    /// out of scope.
    pub firewalled: bool,
}

/// What is on the disk before a download begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    /// What an earlier attempt left.
    pub partial: Option<Partial>,
    /// Complete files of the same name are here, and of the same size if that is known: one of
    /// them may be the file.
    pub complete: bool,
}

/// A partial file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Partial {
    /// Bytes from the start of the file that are there.
    pub have: u64,
    /// Size of the whole file, if it was recorded.
    pub total: Option<u64>,
    /// It was fetched from this very source.
    pub same_source: bool,
}

/// The file on the disk that received bytes are compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Against {
    /// The partial file
    Partial,
    /// The complete files of this name that have this size: those that differ are no longer
    /// candidates, and bytes agree while there is a candidate left
    Complete {
        /// Size in bytes
        total: u64,
    },
}

/// Bounds of one download.
#[derive(Clone, Copy, Debug)]
pub struct DownloadLimits {
    /// From dialling to being connected.
    pub connect_timeout: Duration,
    /// From the first Push to the connection it asks for.
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
