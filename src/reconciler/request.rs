//! The requests of the reconciler: the snapshot of the app and the list of containers. Each runs at most once at a time,
//! and runs again if it was requested meanwhile.

use std::time::Duration;

use super::event::Failure;
use super::retry::{Jitter, Retry};

/// The state of one request to the cloud or the engine.
#[derive(Debug, Default)]
pub struct Request {
    /// Whether it is running.
    pub is_running: bool,
    /// Whether it is requested (again).
    pub is_requested: bool,
    /// Not before this time.
    pub not_before: Duration,
    /// Whether it ever succeeded.
    pub has_succeeded: bool,
    /// The last failure, until a success.
    pub failure: Option<Failure>,
    retry: Retry,
}

impl Request {
    /// Requests it.
    pub fn request(&mut self) {
        self.is_requested = true;
    }

    /// Requests it without the delay after failures.
    pub fn request_now(&mut self) {
        self.request();
        self.retry.skip_delay();
    }

    /// Whether it is due at `now`; it then counts as running.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let is_due = self.is_requested && !self.is_running && self.not_before <= now && self.retry.is_due(now);
        if is_due {
            self.is_running = true;
            self.is_requested = false;
        }
        is_due
    }

    /// When it is due.
    pub fn deadline(&self) -> Option<Duration> {
        let at = self.not_before.max(self.retry.not_before().unwrap_or_default());
        (self.is_requested && !self.is_running).then_some(at)
    }

    /// Whether it has succeeded, and no other one runs or is requested.
    pub fn is_answered(&self) -> bool {
        self.has_succeeded && !self.is_running && !self.is_requested
    }

    /// It failed: it is retried later.
    pub fn failed(&mut self, failure: Failure, now: Duration, jitter: &mut Jitter) {
        self.is_running = false;
        self.is_requested = true;
        self.retry.failed(failure.kind, now, jitter);
        self.failure = Some(failure);
    }

    /// It succeeded.
    pub fn succeeded(&mut self) {
        self.is_running = false;
        self.has_succeeded = true;
        self.failure = None;
        self.retry.reset();
    }
}

/// Both requests, and when they are repeated.
#[derive(Debug, Default)]
pub struct Requests {
    /// The snapshot of the app.
    pub fetch: Request,
    /// The list of containers.
    pub list: Request,
    /// The clock of the nodes when the list was requested.
    pub list_requested_at: u64,
    /// The next full comparison.
    pub next_resync: Option<Duration>,
    /// End of the wait for the first response of the cloud, until it is reached.
    pub cloud_wait_until: Option<Duration>,
}

impl Requests {
    /// Requests both; they are requested again at `next`.
    pub fn resync(&mut self, next: Duration) {
        self.fetch.request();
        self.list.request();
        self.next_resync = Some(next);
    }

    /// Both are due without the delay after failures.
    pub fn skip_delays(&mut self) {
        self.fetch.request_now();
        self.list.request_now();
    }

    /// When something of it is due.
    pub fn deadline(&self) -> Option<Duration> {
        let all = [self.fetch.deadline(), self.list.deadline(), self.next_resync, self.cloud_wait_until];
        all.into_iter().flatten().min()
    }
}

/// Whether `at` is reached; it is then taken.
pub fn take_reached(at: &mut Option<Duration>, now: Duration) -> bool {
    at.take_if(|at| *at <= now).is_some()
}
