//! Retry delays: exponential, with jitter and a maximum, by kind of failure.

use std::time::Duration;

use super::event::FailureKind;

/// Failures in a row and the time of the next attempt.
#[derive(Debug, Clone, Default)]
pub struct Retry {
    attempts: u32,
    not_before: Option<Duration>,
}

impl Retry {
    /// Records a failure at `now`; the next attempt is due at [`Retry::not_before`].
    pub fn failed(&mut self, kind: FailureKind, now: Duration, jitter: &mut Jitter) {
        self.not_before = Some(now + delay_after(kind, self.attempts, jitter));
        self.attempts = self.attempts.saturating_add(1);
    }

    /// Starts again after a success or a change of the desired state.
    pub fn reset(&mut self) {
        *self = Self::default();
    }

    /// The next attempt is due at once; the count of failures stays.
    pub fn skip_delay(&mut self) {
        self.not_before = None;
    }

    /// Failures in a row.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// The time of the next attempt; `None` means at once.
    pub fn not_before(&self) -> Option<Duration> {
        self.not_before
    }

    /// Whether the next attempt is due.
    pub fn is_due(&self, now: Duration) -> bool {
        self.not_before.is_none_or(|at| at <= now)
    }
}

/// The delay after a failure that follows `attempts` failures in a row.
pub fn delay_after(kind: FailureKind, attempts: u32, jitter: &mut Jitter) -> Duration {
    let (first, ceiling) = match kind {
        FailureKind::Transient => (Duration::from_secs(1), Duration::from_secs(60)),
        FailureKind::Throttled => (Duration::from_secs(10), Duration::from_secs(300)),
        FailureKind::Permanent => (Duration::from_secs(15), Duration::from_secs(600)),
    };
    jitter.around(first.saturating_mul(1 << attempts.min(10)).min(ceiling))
}

/// A small deterministic source of jitter, seeded from outside (splitmix64).
#[derive(Debug, Clone)]
pub struct Jitter(u64);

impl Jitter {
    /// Jitter from `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A duration between 75% and 125% of `delay`.
    pub fn around(&mut self, delay: Duration) -> Duration {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        delay.mul_f64(0.75 + (z % 1_000) as f64 / 2_000.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_a_maximum_for_each_kind() {
        let cases = [
            (FailureKind::Transient, [1, 2, 4, 8, 16, 32, 60, 60]),
            (FailureKind::Throttled, [10, 20, 40, 80, 160, 300, 300, 300]),
            (FailureKind::Permanent, [15, 30, 60, 120, 240, 480, 600, 600]),
        ];
        let mut jitter = Jitter::new(1);
        for (kind, seconds) in cases {
            let mut retry = Retry::default();
            for _ in 0..200 {
                let expected = *seconds.get(retry.attempts() as usize).unwrap_or(&seconds[7]) as f64;
                retry.failed(kind, Duration::ZERO, &mut jitter);
                let delay = retry.not_before().expect("it has failed").as_secs_f64() / expected;
                assert!((0.75..=1.25).contains(&delay), "{kind:?} after {}: {delay}", retry.attempts());
            }
        }
    }
}
