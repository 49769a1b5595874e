//! Fault injection of the services on wiremock: tests set faults and the services query them.
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// An injected failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self { status, code: code.to_owned(), message: message.into() }
    }
}

#[derive(Debug, Default)]
struct State {
    failures: VecDeque<Failure>,
    outage: bool,
    denied: bool,
    denied_operations: BTreeSet<String>,
    delay: Option<Duration>,
}

/// The faults of one service, all off at first; a cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Faults(Arc<Mutex<State>>);

impl Faults {
    /// Responds to the next `count` calls with this status and error code, such as (400, `ThrottlingException`).
    pub fn fail_next(&self, count: usize, status: u16, code: &str) {
        let failure = Failure::new(status, code, "injected by the test");
        self.lock().failures.extend(std::iter::repeat_n(failure, count));
    }

    /// Responds to all calls with 503 while it is on.
    pub fn set_outage(&self, outage: bool) {
        self.lock().outage = outage;
    }

    /// Responds to all calls with `AccessDeniedException` while it is on, as for a role without the permission.
    pub fn set_denied(&self, denied: bool) {
        self.lock().denied = denied;
    }

    /// Responds to calls of one operation (`PutLogEvents`) with `AccessDeniedException` from now on, as for a role
    /// without that permission.
    pub fn deny(&self, operation: &str) {
        self.lock().denied_operations.insert(operation.to_owned());
    }

    /// Delays every response by this time. The delay of a call that already waits cannot be shortened.
    pub fn set_delay(&self, delay: Option<Duration>) {
        self.lock().delay = delay;
    }

    /// Removes all faults.
    pub fn clear(&self) {
        *self.lock() = State::default();
    }

    /// As [`Faults::take`], for a call of one operation of a service with this prefix of permissions.
    pub(crate) fn take_for(&self, prefix: &str, operation: &str) -> Result<(), Failure> {
        self.permitted(prefix, operation)?;
        self.take()
    }

    /// Whether a permission is granted.
    pub(crate) fn permitted(&self, prefix: &str, operation: &str) -> Result<(), Failure> {
        if !self.lock().denied_operations.contains(operation) {
            return Ok(());
        }
        let user = "arn:aws:iam::123456789012:user/host";
        let message = format!("User: {user} is not authorized to perform: {prefix}:{operation}");
        Err(Failure::new(400, "AccessDeniedException", message))
    }

    /// The failure of this call, if there is one.
    pub(crate) fn take(&self) -> Result<(), Failure> {
        let mut state = self.lock();
        if state.outage {
            return Err(Failure::new(503, "ServiceUnavailableException", "the service is unavailable"));
        }
        if state.denied {
            let message = "User: arn:aws:iam::123456789012:user/host is not authorized to perform this operation";
            return Err(Failure::new(400, "AccessDeniedException", message));
        }
        state.failures.pop_front().map_or(Ok(()), Err)
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        self.lock().delay
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
