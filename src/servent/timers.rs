//! Deadlines of connections, kept lazily: activity only moves a connection's own deadline, and
//! an entry that comes up early is put back. A deadline that moves closer gets a new entry; the
//! old one no longer matches the connection's `scheduled` and is ignored.

use super::io::ConnId;
use crate::time::Instant;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A heap of (moment, connection). Ties are broken by connection, so runs replay.
#[derive(Debug, Default)]
pub(super) struct Timers {
    heap: BinaryHeap<Reverse<(Instant, ConnId)>>,
}

impl Timers {
    pub(super) fn schedule(&mut self, at: Instant, conn: ConnId) {
        self.heap.push(Reverse((at, conn)));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// Takes one entry that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(Instant, ConnId)> {
        if self.next()? > now {
            return None;
        }
        self.heap.pop().map(|Reverse(entry)| entry)
    }
}
