//! Quarantine of a candidate that replaced an old container and did not stay up. It is not tried again for a while,
//! because each attempt interrupts the old container. Another spec, image or revision is tried at once. Kept in memory
//! only: a new daemon tries it once more.

use std::time::Duration;

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{ImageId, PortBinding};

use super::desired::Desired;
use super::effect::Target;
use super::plan::ImageView;

/// Duration of a quarantine, before jitter: the longest delay after a permanent failure.
pub const QUARANTINE: Duration = Duration::from_secs(600);

/// Failures in a row with a cause that may lie outside the new container, before it is quarantined anyway: each attempt
/// stops the old one.
pub const UNCERTAIN_FAILURES_MAX: u32 = 2;

/// A container to create: its spec, its startup inputs, and the content of its image, if known.
#[derive(Debug, Clone)]
pub struct Candidate {
    target: Target,
    image: Option<ImageId>,
}

impl Candidate {
    /// The candidate that `desired` yields now.
    pub fn new(desired: &Desired, image: ImageView<'_>) -> Self {
        Self { target: desired.target.clone(), image: image.id().cloned() }
    }

    /// Whether a container of `target` would be the same, apart from the image content.
    pub fn is_of(&self, target: &Target) -> bool {
        let record = || SpecRecord::new(&self.target.spec, "");
        self.target.revision == target.revision && record().differences(&target.spec).is_empty()
    }

    /// Whether its container publishes the host port of `port`.
    pub fn publishes(&self, port: &PortBinding) -> bool {
        self.target.spec.ports.iter().any(|own| own.shares_host_port(port))
    }

    fn is_same(&self, other: &Self) -> bool {
        self.image == other.image && self.is_of(&other.target)
    }
}

/// A candidate that failed.
#[derive(Debug, Clone)]
pub struct Quarantine {
    /// The candidate.
    pub candidate: Candidate,
    /// The cause, for people.
    pub reason: String,
    /// When it may be tried again.
    pub until: Duration,
}

impl Quarantine {
    /// Whether `candidate` must not be tried at `now`.
    pub fn blocks(&self, candidate: &Candidate, now: Duration) -> bool {
        now < self.until && self.candidate.is_same(candidate)
    }
}
