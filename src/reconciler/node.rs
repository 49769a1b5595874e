//! What the reconciler remembers of one node.

use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{ContainerId, ContainerState, Origin};

use super::desired::Desired;
use super::event::{Failure, Made, Outcome};
use super::plan::Observed;
use super::rejected::{Candidate, Rejected};
use super::retry::Retry;
use crate::model::Change;

/// What the cloud wants of a node.
#[derive(Debug, Clone, Default)]
pub enum Wish {
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
    pub wish: Wish,
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
    /// What the replacement that is going on tries out.
    pub candidate: Option<Candidate>,
    /// What was tried out and did not stay up.
    pub rejected: Option<Rejected>,
    /// What it waits for, for people.
    pub waits_for: Option<String>,
    /// The changes that may have touched it, oldest first, until it is settled.
    pub causes: Vec<Change>,
}

impl NodeState {
    /// What its container should be, where one is wanted.
    pub fn desired(&self) -> Option<&Arc<Desired>> {
        match &self.wish {
            Wish::Run(desired) => Some(desired),
            _ => None,
        }
    }

    /// Whether something may be done to it at `now`.
    pub fn is_free(&self, now: Duration) -> bool {
        self.busy.is_none() && !self.is_view_stale && self.retry.is_due(now)
    }

    /// Ids of its containers that run or are paused.
    pub fn running(&self) -> Vec<ContainerId> {
        self.containers.iter().filter(|container| container.is_up()).map(|container| container.id.clone()).collect()
    }

    /// Whether the engine is busy starting a container of it again and again; that is left to the engine.
    pub fn is_crashing(&self) -> bool {
        self.containers.iter().any(|container| container.state == ContainerState::Restarting)
    }

    /// Takes over the result of an operation on `network`, the app's.
    pub fn absorb(&mut self, outcome: Outcome, network: &str) {
        match outcome {
            Outcome::Made(made) => self.containers = vec![observed(*made, network)],
            Outcome::Started { id, revision } => self.with(&id, |container| {
                container.state = ContainerState::Running;
                container.revision = revision;
                container.started_at = None;
            }),
            Outcome::Renamed { id, name } => self.with(&id, |container| container.name = name),
            Outcome::Removed(ids) => self.containers.retain(|container| !ids.contains(&container.id)),
            Outcome::Stopped(ids) => {
                for id in ids {
                    self.with(&id, |container| container.state = ContainerState::Exited { code: None });
                }
            }
            Outcome::RolledBack(_) | Outcome::ImageMissing | Outcome::Failed(_) | Outcome::Abandoned => {
                self.is_view_stale = true;
            }
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

fn observed(made: Made, network: &str) -> Observed {
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
    }
}
