//! Deadlines of connections, kept lazily: activity only moves a connection's own deadline, and an
//! entry that comes up early is put back. A connection has one entry at most, and none once it is
//! closed: coming and going quickly leaves nothing behind.

use super::io::ConnId;
use crate::time::Instant;
use std::collections::BTreeSet;

/// Moments and connections, in order. Ties are broken by connection, so runs replay.
#[derive(Debug, Default)]
pub(super) struct Timers {
    entries: BTreeSet<(Instant, ConnId)>,
}

impl Timers {
    pub(super) fn schedule(&mut self, at: Instant, conn: ConnId) {
        self.entries.insert((at, conn));
    }

    pub(super) fn cancel(&mut self, at: Instant, conn: ConnId) {
        self.entries.remove(&(at, conn));
    }

    pub(super) fn next(&self) -> Option<Instant> {
        self.entries.first().map(|(at, _)| *at)
    }

    /// Takes one entry that is due.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<ConnId> {
        if self.next()? > now {
            return None;
        }
        self.entries.pop_first().map(|(_, conn)| conn)
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }
}
