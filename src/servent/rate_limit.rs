//! The upload limit: a token bucket for all uploads together, which holds a quarter of a second.
//!
//! It is shared by turns: the list of uploads gives each one step.

use crate::time::Instant;
use std::time::Duration;

/// Depth of the bucket, in time at the limit.
const BURST: Duration = Duration::from_millis(250);
/// Smallest step, as a fraction of the burst: less is not worth a system call.
const STEP_FRACTION: u64 = 4;

/// A token bucket.
#[derive(Debug)]
pub(super) struct RateLimit {
    bytes_per_second: u64,
    tokens: u64,
    refilled: Instant,
    blocked_until: Option<Instant>,
}

impl RateLimit {
    pub(super) fn new(bytes_per_second: u64, now: Instant) -> RateLimit {
        RateLimit { bytes_per_second, tokens: 0, refilled: now, blocked_until: None }
    }

    /// Adds the tokens earned since the last call. False if there are too few for a step.
    pub(super) fn refill(&mut self, now: Instant) -> bool {
        let rate = self.bytes_per_second;
        let burst = bytes_in(BURST, rate).max(1);
        let earned = bytes_in(now.since(self.refilled), rate);
        // Time that has not earned a whole byte yet is not lost.
        if earned > 0 {
            self.tokens = self.tokens.saturating_add(earned).min(burst);
            self.refilled = now;
        }
        let step = (burst / STEP_FRACTION).max(1);
        if self.tokens >= step {
            self.blocked_until = None;
            return true;
        }
        let missing = u128::from(step - self.tokens) * 1_000_000 / u128::from(rate.max(1)) + 1;
        let micros = u64::try_from(missing).unwrap_or(u64::MAX);
        self.blocked_until = Some(now + Duration::from_micros(micros));
        false
    }

    /// Bytes of `step` that may be sent now.
    pub(super) fn allowance(&self, step: usize) -> usize {
        usize::try_from(self.tokens).unwrap_or(usize::MAX).min(step)
    }

    /// `bytes` were sent.
    pub(super) fn spend(&mut self, bytes: usize) {
        self.tokens = self.tokens.saturating_sub(bytes as u64);
    }

    /// When there are enough tokens for a step again, if there were too few.
    pub(super) fn blocked_until(&self) -> Option<Instant> {
        self.blocked_until
    }
}

fn bytes_in(time: Duration, rate: u64) -> u64 {
    u64::try_from(time.as_micros() * u128::from(rate) / 1_000_000).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that get through in ten seconds when asked for at every chance.
    fn through_in_ten_seconds(rate: u64) -> u64 {
        let mut limit = RateLimit::new(rate, Instant::ZERO);
        let (mut now, mut sent) = (Instant::ZERO, 0);
        let end = Instant::ZERO + Duration::from_secs(10);
        while now < end {
            if limit.refill(now) {
                let bytes = limit.allowance(256 * 1024);
                limit.spend(bytes);
                sent += bytes as u64;
            }
            now = limit.blocked_until().unwrap_or(now + Duration::from_micros(10));
        }
        sent
    }

    #[test]
    fn the_rate_is_kept_whatever_its_size() {
        for rate in [10, 1_000, 123_456, 50_000_000] {
            let sent = through_in_ten_seconds(rate);
            let expected = rate * 10;
            assert!(sent <= expected + rate / 4, "{rate}: {sent}");
            assert!(sent >= expected - rate, "{rate}: {sent}");
        }
    }
}
