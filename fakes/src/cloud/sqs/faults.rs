//! Fault injection: tests set faults and the server queries them. Knows no messages.
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::error::SqsError;

/// Longest stall, if no test releases it.
const STALL_MAX: Duration = Duration::from_secs(10 * 60);

#[derive(Debug, Default)]
struct Counters {
    failures: VecDeque<SqsError>,
    failed_deletes: usize,
    lost_deletes: usize,
    doubled_sends: usize,
}

/// All faults, off at first.
#[derive(Debug, Default)]
pub(super) struct Faults {
    counters: Mutex<Counters>,
    stalled: watch::Sender<bool>,
}

impl Faults {
    pub(super) fn fail_next(&self, count: usize, status: u16, code: &str) {
        let failure = SqsError::injected(status, code);
        self.lock().failures.extend(std::iter::repeat_n(failure, count));
    }

    pub(super) fn fail_next_deletes(&self, count: usize) {
        self.lock().failed_deletes += count;
    }

    pub(super) fn lose_next_deletes(&self, count: usize) {
        self.lock().lost_deletes += count;
    }

    pub(super) fn double_next_sends(&self, count: usize) {
        self.lock().doubled_sends += count;
    }

    pub(super) fn stall(&self, stalled: bool) {
        self.stalled.send_replace(stalled);
    }

    pub(super) fn clear(&self) {
        *self.lock() = Counters::default();
        self.stall(false);
    }

    pub(super) fn take_failure(&self) -> Option<SqsError> {
        self.lock().failures.pop_front()
    }

    pub(super) fn take_failed_delete(&self) -> bool {
        take(&mut self.lock().failed_deletes)
    }

    pub(super) fn take_lost_delete(&self) -> bool {
        take(&mut self.lock().lost_deletes)
    }

    pub(super) fn take_doubled_send(&self) -> bool {
        take(&mut self.lock().doubled_sends)
    }

    /// Returns when calls are not stalled, or after [`STALL_MAX`].
    pub(super) async fn until_released(&self) {
        let mut stalled = self.stalled.subscribe();
        // A timeout and a release have the same effect here.
        let _ = tokio::time::timeout(STALL_MAX, stalled.wait_for(|stalled| !stalled)).await;
    }

    fn lock(&self) -> MutexGuard<'_, Counters> {
        self.counters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn take(counter: &mut usize) -> bool {
    let any = *counter > 0;
    *counter = counter.saturating_sub(1);
    any
}
