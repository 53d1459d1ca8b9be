//! The core's own reading of a clock: a number of microseconds, handed in by the driver.
//!
//! There is deliberately no `now()`. The driver reads a monotonic clock once per turn, the
//! simulator and the tests count for themselves, and the same inputs give the same run.

use std::ops::{Add, AddAssign};
use std::time::Duration;

/// A moment, in microseconds since an origin the driver chose (usually its start).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(u64);

impl Instant {
    /// The origin.
    pub const ZERO: Instant = Instant(0);
    /// Later than every deadline that can be set: "never".
    pub const FAR_FUTURE: Instant = Instant(u64::MAX);

    /// The moment `micros` microseconds after the origin.
    pub const fn from_micros(micros: u64) -> Instant {
        Instant(micros)
    }

    /// Microseconds since the origin.
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Time passed since `earlier`; zero if `earlier` is later.
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    /// Saturates at [`Instant::FAR_FUTURE`].
    fn add(self, duration: Duration) -> Instant {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Instant(self.0.saturating_add(micros))
    }
}

impl AddAssign<Duration> for Instant {
    fn add_assign(&mut self, duration: Duration) {
        *self = *self + duration;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates_at_both_ends() {
        let one = Instant::from_micros(1_000_000);
        assert_eq!(Instant::ZERO + Duration::from_secs(1), one);
        assert_eq!(Instant::ZERO.since(one), Duration::ZERO);
        assert_eq!(one.since(Instant::ZERO), Duration::from_secs(1));
        assert_eq!(one + Duration::MAX, Instant::FAR_FUTURE);
    }
}
