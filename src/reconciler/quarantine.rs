//! Quarantine of a candidate that replaced an old container and did not stay up. It is not tried again for a while,
//! because each attempt interrupts the old container. Another spec, image or revision is tried at once. Kept in memory
//! only: a new daemon tries it once more.

use std::time::Duration;

use managed_app_runtimes::Target;

/// Duration of a quarantine, before jitter: the longest delay after a permanent failure.
pub const QUARANTINE: Duration = Duration::from_secs(600);

/// Failures in a row with a cause that may lie outside the new container, before it is quarantined anyway: each attempt
/// stops the old one.
pub const UNCERTAIN_FAILURES_MAX: u32 = 2;

/// A target whose container failed.
#[derive(Debug, Clone)]
pub struct Quarantine {
    /// The target.
    pub candidate: Target,
    /// The cause, for people.
    pub reason: String,
    /// When it may be tried again.
    pub until: Duration,
}

impl Quarantine {
    /// Whether `candidate` must not be tried at `now`.
    pub fn blocks(&self, candidate: &Target, now: Duration) -> bool {
        now < self.until && self.candidate.image_id == candidate.image_id && self.candidate.is_same(candidate)
    }
}
