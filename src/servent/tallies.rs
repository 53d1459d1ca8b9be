//! What crossed each link, for those who want to see it. Nothing is counted until it is asked for, so
//! that a servent nobody watches pays one branch for each read and each write.

use super::io::ConnId;
use crate::rare::Rare;

/// Descriptors of one link since it stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Descriptors that arrived.
    pub received: u64,
    /// Copies that left its queue to the last byte.
    pub sent: u64,
    /// Descriptors from it that went no further, and copies its queue had no room for.
    pub dropped: u64,
}

/// The tallies of all links, by the index of their connection.
#[derive(Debug, Default)]
pub(super) struct Tallies(Rare<Vec<Tally>>);

impl Tallies {
    /// Counts from now on.
    pub(super) fn begin(&mut self) {
        self.0.change();
    }

    /// Whether anything is counted.
    #[inline]
    pub(super) fn are_kept(&self) -> bool {
        self.0.get().is_some()
    }

    /// A link stands: it counts from zero.
    pub(super) fn reset(&mut self, id: ConnId) {
        self.change(id, |tally| *tally = Tally::default());
    }

    /// Changes the tally of a link, if tallies are kept.
    #[inline]
    pub(super) fn change(&mut self, id: ConnId, change: impl FnOnce(&mut Tally)) {
        let Some(tallies) = self.0.get_mut() else { return };
        if tallies.len() <= id.index() {
            tallies.resize(id.index() + 1, Tally::default());
        }
        change(&mut tallies[id.index()]);
    }

    pub(super) fn of(&self, id: ConnId) -> Tally {
        self.0.get().and_then(|tallies| tallies.get(id.index())).copied().unwrap_or_default()
    }
}
