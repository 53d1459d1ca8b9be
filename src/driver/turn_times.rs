//! How long turns of the loop take, from the end of the wait to the end of the turn: what a descriptor
//! that arrives meanwhile may have to wait for.

use std::time::Duration;

/// Upper bounds of the buckets, in microseconds.
const BOUNDS_MICROS: [u64; 12] =
    [10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000, 3_000_000];

/// A histogram of turn times since the start.
#[derive(Clone, Debug, Default)]
pub struct TurnTimes {
    /// Turns by the first bound that is not below them; the last are longer than all.
    counts: [u64; BOUNDS_MICROS.len() + 1],
    micros: u64,
}

impl TurnTimes {
    pub(super) fn add(&mut self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = BOUNDS_MICROS.iter().position(|bound| micros <= *bound);
        self.counts[at.unwrap_or(BOUNDS_MICROS.len())] += 1;
        self.micros = self.micros.saturating_add(micros);
    }

    /// For each bound, the turns that took no longer.
    pub fn cumulative(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let sums = self.counts.iter().scan(0, |sum, count| {
            *sum += count;
            Some(*sum)
        });
        BOUNDS_MICROS.into_iter().zip(sums)
    }

    /// All turns.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// The time of all turns.
    pub fn sum(&self) -> Duration {
        Duration::from_micros(self.micros)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_turn_is_counted_in_all_buckets_from_its_own_on() {
        let mut turns = TurnTimes::default();
        for micros in [0, 10, 11, 2_999_999, 3_000_000, 3_000_001] {
            turns.add(Duration::from_micros(micros));
        }
        let counts: Vec<u64> = turns.cumulative().map(|(_, count)| count).collect();
        assert_eq!(counts, [2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 5]);
        assert_eq!((turns.count(), turns.sum()), (6, Duration::from_micros(9_000_021)));
    }
}
