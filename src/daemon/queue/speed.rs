//! The speed of a transfer over the last seconds.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time over which the speed is taken.
const WINDOW: Duration = Duration::from_secs(5);
/// Least time between two samples.
const SPACING: Duration = Duration::from_millis(500);

/// Samples of how far a transfer was.
#[derive(Clone, Debug, Default)]
pub(in crate::daemon) struct Speed(VecDeque<(Instant, u64)>);

impl Speed {
    /// The transfer is at `bytes`.
    pub(in crate::daemon) fn note(&mut self, now: Instant, bytes: u64) {
        if self.0.back().is_some_and(|(_, before)| *before > bytes) {
            // It began anew.
            self.0.clear();
        }
        if self.0.back().is_none_or(|(at, _)| now.duration_since(*at) >= SPACING) {
            self.0.push_back((now, bytes));
        }
        while self.0.len() > 2
            && self.0.get(1).is_some_and(|(at, _)| now.duration_since(*at) > WINDOW)
        {
            self.0.pop_front();
        }
    }

    /// Bytes per second at `now`, when it is at `bytes`.
    pub(in crate::daemon) fn rate(&self, now: Instant, bytes: u64) -> u64 {
        let Some((at, before)) = self.0.front() else { return 0 };
        let seconds = now.duration_since(*at).as_secs_f64();
        if seconds < 0.1 {
            return 0;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "not negative")]
        let rate = (bytes.saturating_sub(*before) as f64 / seconds) as u64;
        rate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_speed_is_that_of_the_last_seconds() {
        let (mut speed, start) = (Speed::default(), Instant::now());
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        assert_eq!(speed.rate(at(0), 9), 0);
        for second in 0..20 {
            speed.note(at(second), second.min(10) * 1_000);
        }
        assert_eq!(speed.rate(at(20), 10_000), 0, "it stands");
        speed.note(at(20), 0);
        speed.note(at(22), 3_000);
        assert_eq!(speed.rate(at(23), 6_000), 2_000, "it began anew");
    }
}
