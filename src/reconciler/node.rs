//! What the reconciler remembers of one node.

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

/// What the cloud wants of a node.
#[derive(Debug, Clone, Default)]
pub enum Intent {
    /// Not known yet, or no longer: its containers stay as they are.
    #[default]
    Unknown,
    /// One container like this.
    Run(Arc<Desired>),
    /// It cannot be run as the cloud describes it, for this reason: its containers stay as they are.
    Invalid(String),
    /// None.
    Remove,
}

/// One node: wanted, observed, and what is going on.
#[derive(Debug, Default)]
pub struct NodeState {
    /// What is wanted.
    pub intent: Intent,
    /// Its containers.
    pub containers: Vec<Observed>,
    /// The verb of the operation that is going on.
    pub busy: Option<&'static str>,
    /// Whether nothing is left to do.
    pub is_settled: bool,
    /// Whether an operation failed half way: nothing is done before the next list.
    pub is_view_stale: bool,
    /// When an operation last changed it, by the reconciler's count; a list asked for earlier says nothing about it.
    pub touched: u64,
    /// Retries of its operations.
    pub retry: Retry,
    /// The last failure, until something succeeds.
    pub failure: Option<Failure>,
    /// What the operation that is going on makes or tries out.
    pub candidate: Option<Candidate>,
    /// What was tried out and did not stay up.
    pub quarantine: Option<Quarantine>,
    /// Ends of its process one after another.
    pub crash_tracker: CrashTracker,
    /// What it waits for, for people.
    pub waits_for: Option<String>,
    /// The changes that may have touched it, oldest first, until it is settled.
    pub causes: Vec<Change>,
}

impl NodeState {
    /// What its container should be, where one is wanted.
    pub fn desired(&self) -> Option<&Arc<Desired>> {
        match &self.intent {
            Intent::Run(desired) => Some(desired),
            _ => None,
        }
    }

    /// Whether something may be done to it at `now`.
    pub fn is_free(&self, now: Duration) -> bool {
        self.busy.is_none() && !self.is_view_stale && self.retry.is_due(now)
    }

    /// Ids of its containers that run, are paused, or may run for all that is known.
    pub fn running(&self) -> Vec<ContainerId> {
        self.containers.iter().filter(|container| container.may_run()).map(|container| container.id.clone()).collect()
    }

    /// Takes over what a list says of its containers.
    pub fn see(&mut self, containers: Vec<Observed>, now: Duration) {
        for container in &containers {
            let before = self.containers.iter().find(|before| before.id == container.id);
            self.crash_tracker.see(before, container, now);
        }
        self.containers = containers;
        self.learn_inputs();
        self.is_view_stale = false;
    }

    /// Takes over the result of an operation on `network`, the app's.
    pub fn absorb(&mut self, outcome: Outcome, network: &str, now: Duration) {
        self.is_view_stale |= outcome.is_unsure();
        if matches!(outcome, Outcome::Created(_) | Outcome::Started { .. }) {
            self.crash_tracker.started(now);
        }
        match outcome {
            Outcome::Created(made) => self.containers = vec![observed(*made, network)],
            Outcome::Started { id, revision } => self.with(&id, |container| {
                // A restart sets the engine's count back. A start may have come second to the engine's own.
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

    /// A container that read what is wanted, told by digest, is known to have read these inputs: the next difference can
    /// then be told by field.
    pub fn learn_inputs(&mut self) {
        let Some(wanted) = self.desired().map(|desired| desired.target.revision.clone()) else { return };
        for container in &mut self.containers {
            if container.revision.as_ref() == Some(&wanted) {
                container.revision = Some(wanted.clone());
            }
        }
    }

    fn with(&mut self, id: &ContainerId, change: impl FnOnce(&mut Observed)) {
        if let Some(container) = self.containers.iter_mut().find(|container| container.id == *id) {
            change(container);
        }
    }
}

fn observed(made: Created, network: &str) -> Observed {
    Observed {
        id: made.id,
        name: made.name,
        image_id: made.image_id,
        state: ContainerState::Running,
        origin: Origin::Labelled,
        networks: vec![network.to_owned()],
        record: Some(made.record),
        revision: Some(made.revision),
        started_at: None,
        restarts: Some(0),
        last_exit: None,
    }
}
