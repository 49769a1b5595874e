//! Processes that end again and again where the engine's own restart policy does not act: they are started again after
//! growing pauses, as Docker's policy would, and said so in the status.

use std::time::Duration;

/// A run of this length clears what was before.
const STEADY_RUN: Duration = Duration::from_secs(10);
/// The pause after the first short run; each further one doubles it.
const PAUSE_FIRST: Duration = Duration::from_millis(100);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// So many short runs in a row are worth a word: one or two may be somebody's doing.
const REPORTED_FROM: u32 = 3;

/// The short runs of one node's process. Whoever starts or ends it is of no matter; runs that were not seen to begin do
/// not count.
#[derive(Debug, Default)]
pub struct Relapses {
    running_since: Option<Duration>,
    short_runs: u32,
    not_before: Option<Duration>,
}

impl Relapses {
    /// A run has begun.
    pub fn started(&mut self, now: Duration) {
        self.running_since = Some(now);
        self.not_before = None;
    }

    /// The run is over. Said twice it counts once.
    pub fn ended(&mut self, now: Duration) {
        let Some(since) = self.running_since.take() else { return };
        if now.saturating_sub(since) >= STEADY_RUN {
            self.short_runs = 0;
            return;
        }
        let pause = PAUSE_FIRST.saturating_mul(1 << self.short_runs.min(16)).min(PAUSE_MAX);
        self.short_runs = self.short_runs.saturating_add(1);
        self.not_before = Some(now + pause);
    }

    /// When the pause is over, if there is one at `now`.
    pub fn pause(&self, now: Duration) -> Option<Duration> {
        self.not_before.filter(|at| *at > now)
    }

    /// The pause is over at once; short runs go on counting.
    pub fn hurry(&mut self) {
        self.not_before = None;
    }

    /// When the present run will have lasted long enough to clear what was before, if there is anything to clear.
    pub fn clears_at(&self) -> Option<Duration> {
        self.running_since.filter(|_| self.short_runs > 0).map(|since| since + STEADY_RUN)
    }

    /// Clears what was before a run that has lasted.
    pub fn clear(&mut self, now: Duration) {
        if self.clears_at().is_some_and(|at| at <= now) {
            self.short_runs = 0;
        }
    }

    /// Whether it ends again and again.
    pub fn is_reported(&self) -> bool {
        self.short_runs >= REPORTED_FROM
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Pauses after runs of `runs` milliseconds, one after another.
    fn pauses(runs: &[u64]) -> Vec<Duration> {
        let (mut relapses, mut now) = (Relapses::default(), Duration::from_secs(1));
        let pause = |run: &u64| {
            relapses.started(now);
            now += Duration::from_millis(*run);
            relapses.ended(now);
            relapses.ended(now);
            let pause = relapses.pause(now).map_or(Duration::ZERO, |until| until - now);
            now += pause;
            pause
        };
        runs.iter().map(pause).collect()
    }

    #[test]
    fn pauses_grow_to_a_bound_and_a_long_run_clears_them() {
        let ms = |all: &[u64]| all.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        assert_eq!(pauses(&[60_000, 5, 5, 5]), ms(&[0, 100, 200, 400]));
        assert_eq!(pauses(&[5; 40])[10..], [PAUSE_MAX; 30]);
        assert_eq!(pauses(&[5, 5, 10_000, 5]), ms(&[100, 200, 0, 100]));
    }
}
