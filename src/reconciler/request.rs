//! A question that is asked at most once at a time, and asked again when it came up meanwhile.

use std::time::Duration;

use super::event::Failure;
use super::retry::{Jitter, Retry};

/// The state of one question: to the cloud, or to the engine.
#[derive(Debug, Default)]
pub struct Request {
    /// Whether an answer is on its way.
    pub is_running: bool,
    /// Whether it is to be asked (again).
    pub is_wanted: bool,
    /// Not before this time.
    pub not_before: Duration,
    /// Whether it was ever answered.
    pub has_answer: bool,
    /// The last failure, until an answer comes.
    pub failure: Option<Failure>,
    retry: Retry,
}

impl Request {
    /// Asks for it.
    pub fn want(&mut self) {
        self.is_wanted = true;
    }

    /// Asks for it without waiting for the end of a pause after failures.
    pub fn insist(&mut self) {
        self.want();
        self.retry.hurry();
    }

    /// Whether it is to be asked at `now`; it then counts as asked.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let is_due = self.is_wanted && !self.is_running && self.not_before <= now && self.retry.is_due(now);
        if is_due {
            self.is_running = true;
            self.is_wanted = false;
        }
        is_due
    }

    /// When it is to be asked.
    pub fn deadline(&self) -> Option<Duration> {
        let at = self.not_before.max(self.retry.not_before().unwrap_or_default());
        (self.is_wanted && !self.is_running).then_some(at)
    }

    /// It was answered by a failure: it is asked again later.
    pub fn failed(&mut self, failure: Failure, now: Duration, jitter: &mut Jitter) {
        self.is_running = false;
        self.is_wanted = true;
        self.retry.failed(failure.kind, now, jitter);
        self.failure = Some(failure);
    }

    /// It was answered.
    pub fn succeeded(&mut self) {
        self.is_running = false;
        self.has_answer = true;
        self.failure = None;
        self.retry.reset();
    }
}
