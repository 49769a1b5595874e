//! What was tried out in the place of an old container and did not stay up. It is not tried again for a while, so that
//! the old one is not bounced again and again; but another spec, image or revision may be the cure. Kept in memory only:
//! a new daemon tries it once more.

use std::time::Duration;

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{ImageId, PortBinding};

use super::desired::Desired;
use super::effect::Target;
use super::plan::ImageView;

/// How long a container that did not stay up is left alone, give or take jitter: as long as the longest pause after
/// any permanent failure.
pub const QUARANTINE: Duration = Duration::from_secs(600);

/// How often in a row a new container may give way for a reason that may not be its own before it is blamed all the
/// same: each attempt costs the old one a stop.
pub const DOUBTS_MAX: u32 = 2;

/// What is made or tried out: a spec, what it reads, and the content of its image as far as that is known.
#[derive(Debug, Clone)]
pub struct Candidate {
    target: Target,
    image: Option<ImageId>,
}

impl Candidate {
    /// What a new container of `desired` is made of now.
    pub fn new(desired: &Desired, image: ImageView<'_>) -> Self {
        Self { target: desired.target.clone(), image: image.id().cloned() }
    }

    /// Whether a container of `target` would be the same, whatever its image holds.
    pub fn is_of(&self, target: &Target) -> bool {
        let record = || SpecRecord::new(&self.target.spec, "");
        self.target.revision == target.revision && record().differences(&target.spec).is_empty()
    }

    /// Whether a container of it has the host port of `port`.
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
    /// What.
    pub candidate: Candidate,
    /// Why, for people.
    pub reason: String,
    /// When it is tried again.
    pub until: Duration,
}

impl Quarantine {
    /// Whether `candidate` is not to be tried at `now`.
    pub fn counts(&self, candidate: &Candidate, now: Duration) -> bool {
        now < self.until && self.candidate.is_same(candidate)
    }
}
