//! One TCP connection in memory: two ordered byte pipes, each with a tap that notes the
//! descriptors crossing it.

use super::descriptor::{Descriptor, take_descriptors};
use super::net::Who;
use servent::servent::ConnId;

/// Bytes one direction holds before its reader has taken them.
pub(super) const CAPACITY_BYTES: usize = 64 * 1024;

pub(super) struct Pipe {
    /// The dialling end first.
    pub(super) ends: [End; 2],
}

pub(super) struct End {
    pub(super) who: Who,
    /// What its owner calls it, if that is a core.
    pub(super) conn: Option<ConnId>,
    pub(super) open: bool,
    /// Bytes this end has written and the other has not taken.
    pub(super) backlog: usize,
    /// Its owner was told that the pipe is full.
    pub(super) blocked: bool,
    pub(super) tap: Tap,
}

impl End {
    pub(super) fn new(who: Who, conn: Option<ConnId>) -> End {
        End { who, conn, open: true, backlog: 0, blocked: false, tap: Tap::default() }
    }

    pub(super) fn room(&self) -> usize {
        CAPACITY_BYTES.saturating_sub(self.backlog)
    }
}

/// Follows what one end writes, as far as it is a Gnutella link.
#[derive(Default)]
pub(super) struct Tap {
    stream: Vec<u8>,
    phase: Phase,
}

#[derive(Default, PartialEq)]
enum Phase {
    #[default]
    Hello,
    Link,
    /// HTTP or noise.
    Other,
}

impl Tap {
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Vec<Descriptor> {
        if self.phase != Phase::Other {
            self.stream.extend_from_slice(bytes);
        }
        if self.phase == Phase::Hello {
            self.phase = self.read_connect();
        }
        if self.phase != Phase::Link {
            return Vec::new();
        }
        take_descriptors(&mut self.stream).unwrap_or_else(|| {
            self.phase = Phase::Other;
            Vec::new()
        })
    }

    fn read_connect(&mut self) -> Phase {
        for hello in [&b"GNUTELLA CONNECT/0.4\n\n"[..], b"GNUTELLA OK\n\n"] {
            if self.stream.starts_with(hello) {
                self.stream.drain(..hello.len());
                return Phase::Link;
            }
            if hello.starts_with(&self.stream) {
                return Phase::Hello;
            }
        }
        Phase::Other
    }
}
