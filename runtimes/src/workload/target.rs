//! What a workload is to be.

use std::fmt;
use std::sync::Arc;

use super::{Instance, Revision};
use crate::labels::{Difference, SpecRecord};
use crate::{ContainerSpec, ContainerState, ImageId, LogSettings, Origin, PortBinding};

/// How a new instance replaces an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// The old one is stopped before the new one is started: never two run at a time.
    StopFirst,
    /// The new one is started first, and both run until it has stayed up. Applies only if exactly one old instance is
    /// up; else as `StopFirst`.
    StartFirst,
}

/// The desired instance of a workload.
#[derive(Clone)]
pub struct Target {
    /// Its spec; the engine adds the label that records it.
    pub spec: Arc<ContainerSpec>,
    /// Its startup inputs.
    pub revision: Revision,
    /// Content of its image, if known.
    pub image_id: Option<ImageId>,
    /// Other output settings that an existing instance may keep.
    pub kept_logs: Option<Arc<LogSettings>>,
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.spec.name, self.revision)
    }
}

/// An instance that runs without its network. No engine call of the daemon connects it again.
const CUT_OFF: &str = "not on the app's network";
/// An instance that the engine cannot use any more, or is removing.
const DEAD: &str = "dead";

impl Target {
    /// The same with this image content.
    pub fn with_image(&self, image_id: Option<&ImageId>) -> Self {
        Self { image_id: image_id.cloned(), ..self.clone() }
    }

    /// The differences of an instance to this target that only another instance removes.
    pub fn differences(&self, instance: &Instance) -> Vec<Difference> {
        if instance.origin == Origin::Legacy {
            return vec![Difference::of("made by the Python program")];
        }
        let Some(record) = &instance.record else { return vec![Difference::of("without a record of its spec")] };
        let mut found = record.differences(&self.spec);
        if self.kept_logs.as_ref().is_some_and(|kept| record.has_logs(kept)) {
            found.retain(|difference| difference.field != "logs");
        }
        let is_other = |id: &&ImageId| **id != instance.image_id && !instance.image_id.0.is_empty();
        if let Some(id) = self.image_id.as_ref().filter(is_other)
            && !found.iter().any(|difference| difference.field == "image")
        {
            found.push(Difference::between("image content", Some(&instance.image_id.0), Some(&id.0)));
        }
        if matches!(instance.state, ContainerState::Dead | ContainerState::Removing) {
            found.push(Difference::of(DEAD));
        }
        let is_connected = instance.networks.iter().any(|network| *network == self.spec.network);
        if !is_connected && instance.state.is_running() {
            found.push(Difference::of(CUT_OFF));
        }
        found
    }

    /// Whether an instance with these differences is not worth keeping.
    pub(crate) fn is_unusable(differences: &[Difference]) -> bool {
        matches!(differences, [only] if only.field == CUT_OFF || only.field == DEAD)
    }

    /// Sorts instances: running ones first, then those with the right name.
    pub fn sort_by_preference(&self, instances: &mut [&Instance]) {
        instances.sort_by_key(|instance| {
            let has_name = instance.name == self.spec.name;
            std::cmp::Reverse((instance.state == ContainerState::Running, has_name, instance.state.is_running()))
        });
    }

    /// Whether an instance of `other` would be the same, apart from the image content.
    pub fn is_same(&self, other: &Self) -> bool {
        let record = || SpecRecord::new(&self.spec, "");
        self.revision == other.revision && record().differences(&other.spec).is_empty()
    }

    /// Whether its instances publish the host port of `port`.
    pub fn publishes(&self, port: &PortBinding) -> bool {
        self.spec.ports.iter().any(|own| own.shares_host_port(port))
    }
}
