//! What one call of the servent counted, held against what it told.

use crate::servent::Observation;
use crate::stats::{DropReason, Stats};
use crate::wire::Kind;

/// The counters before and after one call.
pub(super) struct Delta<'a> {
    pub(super) before: &'a Stats,
    pub(super) after: &'a Stats,
}

impl Delta<'_> {
    pub(super) fn dropped(&self, reason: DropReason) -> u64 {
        self.after.dropped(reason) - self.before.dropped(reason)
    }

    /// The observations of a call add up to what it counted.
    pub(super) fn check(&self, seen: &[Observation]) {
        let mut told = [0_u64; 3];
        let mut dropped = [0_u64; DropReason::ALL.len()];
        for observation in seen {
            match observation {
                Observation::Received { .. } => told[0] += 1,
                Observation::Forwarded { .. } => told[1] += 1,
                Observation::Originated { .. } => told[2] += 1,
                Observation::Dropped { reason, .. } => dropped[*reason as usize] += 1,
                Observation::Refused { .. } => dropped[DropReason::QueueFull as usize] += 1,
                // Copies lost with a link may be told later: see `Watched::check`.
                Observation::LinkDown { .. }
                | Observation::LinkUp { .. }
                | Observation::Answered { .. } => {}
            }
        }
        let counted = |stats: &Stats| {
            [&stats.received, &stats.forwarded, &stats.originated].map(|kinds| kinds.total())
        };
        let (before, after) = (counted(self.before), counted(self.after));
        assert_eq!(told, [0, 1, 2].map(|at| after[at] - before[at]), "{seen:?}");
        let told = DropReason::ALL.map(|reason| match reason {
            DropReason::LinkEnded => 0,
            _ => self.dropped(reason),
        });
        assert_eq!(dropped, told, "{seen:?}");
    }

    pub(super) fn received(&self, kind: Kind) -> u64 {
        self.after.received.get(kind) - self.before.received.get(kind)
    }

    pub(super) fn delivered(&self) -> u64 {
        self.after.delivered.total() - self.before.delivered.total()
    }

    /// Why what arrived went no further. Copies refused or lost are another matter.
    pub(super) fn reason(&self) -> Option<DropReason> {
        let copies = [DropReason::QueueFull, DropReason::LinkEnded];
        let mut reasons = DropReason::ALL.into_iter().filter(|reason| !copies.contains(reason));
        let reason = reasons.find(|&reason| self.dropped(reason) > 0)?;
        assert_eq!(self.dropped(reason), 1);
        assert!(reasons.all(|reason| self.dropped(reason) == 0), "two reasons for one descriptor");
        Some(reason)
    }
}
