//! What was tried out in the place of an old container and did not stay up. It is not tried again for a while, so that
//! the old one is not bounced again and again. Kept in memory only: a new daemon tries it once more.

use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{ContainerSpec, ImageId};

use super::desired::Desired;
use super::plan::ImageView;

/// How long a container that did not stay up is left alone, give or take jitter: as long as the longest pause after
/// any permanent failure.
pub const TRY_AGAIN_AFTER: Duration = Duration::from_secs(600);

/// How often in a row a new container may give way for a reason that may not be its own before it is blamed all the
/// same: each attempt costs the old one a stop.
pub const DOUBTS_MAX: u32 = 2;

/// What is tried out: a spec, and the content of its image as far as that is known.
#[derive(Debug, Clone)]
pub struct Candidate {
    spec: Arc<ContainerSpec>,
    image: Option<ImageId>,
}

impl Candidate {
    /// What a new container of `desired` is made of now.
    pub fn new(desired: &Desired, image: ImageView<'_>) -> Self {
        Self { spec: desired.target.spec.clone(), image: image.id().cloned() }
    }

    /// Whether a container of `spec` would be the same, whatever its image holds.
    pub fn is_of(&self, spec: &ContainerSpec) -> bool {
        SpecRecord::new(&self.spec, "").differences(spec).is_empty()
    }

    fn is_same(&self, other: &Self) -> bool {
        self.image == other.image && self.is_of(&other.spec)
    }
}

/// A candidate that failed.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// What.
    pub candidate: Candidate,
    /// Why, for people.
    pub reason: String,
    /// When it is tried again.
    pub until: Duration,
}

impl Rejected {
    /// Whether `candidate` is not to be tried at `now`.
    pub fn counts(&self, candidate: &Candidate, now: Duration) -> bool {
        now < self.until && self.candidate.is_same(candidate)
    }
}
