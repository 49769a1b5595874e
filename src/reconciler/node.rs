//! The state of one node.

use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{ContainerId, ContainerState, Origin};

use super::crash_tracker::CrashTracker;
use super::desired::Desired;
use super::event::{Created, Failure, Outcome};
use super::plan::Observed;
use super::quarantine::{Candidate, Quarantine};
use super::retry::Retry;
use crate::model::Change;

/// The desired state of a node.
#[derive(Debug, Clone, Default)]
pub enum Intent {
    /// Not known yet, or no longer: its containers stay unchanged.
    #[default]
    Unknown,
    /// One container with this spec.
    Run(Arc<Desired>),
    /// It cannot be run as the cloud describes it, for this reason: its containers stay unchanged.
    Invalid(String),
    /// No container.
    Remove,
}

/// One node: desired state, observed state and running operation.
#[derive(Debug, Default)]
pub struct NodeState {
    /// The desired state.
    pub intent: Intent,
    /// Its containers.
    pub containers: Vec<Observed>,
    /// The verb of the running operation.
    pub busy: Option<&'static str>,
    /// Whether it has reached its desired state.
    pub is_settled: bool,
    /// Whether an operation failed part way: no operation starts before the next list.
    pub is_view_stale: bool,
    /// When an operation last changed it, by the reconciler's count; lists requested earlier do not count.
    pub changed_at: u64,
    /// Delays between attempts.
    pub retry: Retry,
    /// The last failure, until an operation succeeds.
    pub failure: Option<Failure>,
    /// The candidate of the running operation.
    pub candidate: Option<Candidate>,
    /// The candidate that did not stay up.
    pub quarantine: Option<Quarantine>,
    /// Exits of its process.
    pub crash_tracker: CrashTracker,
    /// The reason why it waits, for people.
    pub waits_for: Option<String>,
    /// The changes that may affect it, oldest first, until it is settled.
    pub causes: Vec<Change>,
}

impl NodeState {
    /// The desired container, if there is one.
    pub fn desired(&self) -> Option<&Arc<Desired>> {
        match &self.intent {
            Intent::Run(desired) => Some(desired),
            _ => None,
        }
    }

    /// Whether an operation may start at `now`.
    pub fn is_free(&self, now: Duration) -> bool {
        self.busy.is_none() && !self.is_view_stale && self.retry.is_due(now)
    }

    /// Ids of its containers that run, are paused, or have an unknown state.
    pub fn running(&self) -> Vec<ContainerId> {
        self.containers.iter().filter(|container| container.may_run()).map(|container| container.id.clone()).collect()
    }

    /// Applies the containers of a list.
    pub fn update_observed(&mut self, containers: Vec<Observed>, now: Duration) {
        for container in &containers {
            let before = self.containers.iter().find(|before| before.id == container.id);
            self.crash_tracker.observe(before, container, now);
        }
        let is_running = containers.iter().any(|container| container.state == ContainerState::Running);
        self.crash_tracker.observe_running(is_running, now);
        self.containers = containers;
        self.fill_in_inputs();
        self.is_view_stale = false;
    }

    /// Applies the result of an operation; `network` is the app's.
    pub fn apply_outcome(&mut self, outcome: Outcome, network: &str, now: Duration) {
        self.is_view_stale |= outcome.needs_list();
        if matches!(outcome, Outcome::Created(_) | Outcome::Started { .. }) {
            self.crash_tracker.started(now);
        }
        match outcome {
            Outcome::Created(created) => self.containers = vec![observed(*created, network)],
            Outcome::Started { id, revision } => self.with(&id, |container| {
                // A restart resets the engine's count. The engine may have started it before this call did.
                container.restarts = container.state.is_running().then_some(0);
                container.state = ContainerState::Running;
                container.revision = revision;
                container.started_at = None;
            }),
            Outcome::Renamed { id, name } => self.with(&id, |container| container.name = name),
            Outcome::Removed(ids) => self.containers.retain(|container| !ids.contains(&container.id)),
            Outcome::Discarded { id, .. } => self.containers.retain(|container| container.id != id),
            Outcome::Stopped(ids) => {
                for id in ids {
                    self.with(&id, |container| container.state = ContainerState::Exited { code: None });
                }
            }
            Outcome::RolledBack(_) | Outcome::ImageMissing | Outcome::Failed(_) | Outcome::Abandoned => {}
        }
    }

    /// Adds the inputs to the revision of containers whose digest is the desired one, so that the next difference can
    /// name fields.
    pub fn fill_in_inputs(&mut self) {
        let Some(desired) = self.desired().map(|desired| desired.target.revision.clone()) else { return };
        for container in &mut self.containers {
            if container.revision.as_ref() == Some(&desired) {
                container.revision = Some(desired.clone());
            }
        }
    }

    fn with(&mut self, id: &ContainerId, change: impl FnOnce(&mut Observed)) {
        if let Some(container) = self.containers.iter_mut().find(|container| container.id == *id) {
            change(container);
        }
    }
}

fn observed(created: Created, network: &str) -> Observed {
    Observed {
        id: created.id,
        name: created.name,
        image_id: created.image_id,
        state: ContainerState::Running,
        origin: Origin::Labelled,
        networks: vec![network.to_owned()],
        record: Some(created.record),
        revision: Some(created.revision),
        started_at: None,
        restarts: Some(0),
        last_exit: None,
    }
}
