//! The delay after consecutive failures.

use std::time::Duration;

/// Delay after the first failure, without jitter.
const FIRST: Duration = Duration::from_millis(500);

/// Longest delay.
pub(crate) const CEILING: Duration = Duration::from_secs(30);

/// Doubles the delay with each failure, up to a limit; a success resets it.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The last call succeeded.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }

    /// Consecutive failures so far.
    pub(crate) fn failures(&self) -> u32 {
        self.failures
    }

    /// Counts a failure. Returns the delay before the next attempt; `jitter` (0 to 1) reduces it by up to half.
    pub(crate) fn next(&mut self, jitter: f64) -> Duration {
        let whole = FIRST.saturating_mul(2_u32.saturating_pow(self.failures)).min(CEILING);
        self.failures = self.failures.saturating_add(1);
        whole.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit() {
        let mut backoff = Backoff::default();
        let waits: Vec<u128> = (0..8).map(|_| backoff.next(0.0).as_millis()).collect();
        assert_eq!(waits, [500, 1000, 2000, 4000, 8000, 16_000, 30_000, 30_000]);
        backoff.reset();
        assert_eq!(backoff.next(1.0).as_millis(), 250);
    }
}
