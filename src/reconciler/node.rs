//! One node: desired state, observed state, and what it does now.

use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{ContainerId, ContainerState, Instance, Target};

use super::crash_tracker::CrashTracker;
use super::desired::Desired;
use super::event::{Failure, FailureKind, Outcome};
use super::quarantine::{QUARANTINE, Quarantine, UNCERTAIN_FAILURES_MAX};
use super::retry::{Jitter, delay_after};
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

/// What a node does now.
#[derive(Debug, Default)]
pub enum NodeState {
    /// It may need a step.
    #[default]
    Pending,
    /// It has reached its desired state.
    Settled,
    /// It needs a step that is not possible yet, for this reason, for people.
    Waiting(String),
    /// An operation runs.
    Busy {
        /// The verb of the operation.
        verb: &'static str,
        /// The container that the operation creates.
        candidate: Option<Target>,
    },
    /// An operation failed part way: no operation starts before the next list and before `until`.
    Uncertain {
        /// As in [`NodeState::BackingOff`].
        until: Option<Duration>,
    },
    /// An operation failed.
    BackingOff {
        /// No operation starts before this time.
        until: Duration,
    },
}

/// One node. The quarantine is not a state of its own: an old container of a quarantined node is restarted as usual.
#[derive(Debug, Default)]
pub struct ManagedNode {
    /// The desired state.
    pub intent: Intent,
    /// Its containers.
    pub containers: Vec<Instance>,
    /// What it does now.
    pub state: NodeState,
    /// Failed operations in a row.
    pub attempts: u32,
    /// The last failure, until an operation succeeds.
    pub failure: Option<Failure>,
    /// The candidate that did not stay up.
    pub quarantine: Option<Quarantine>,
    /// Exits of its process.
    pub crash_tracker: CrashTracker,
    /// The changes that may affect it, oldest first, until it is settled.
    pub causes: Vec<Change>,
    /// When an operation last changed it, by the reconciler's count; lists requested earlier do not count.
    pub changed_at: u64,
}

impl ManagedNode {
    /// The desired container, if there is one.
    pub fn desired(&self) -> Option<&Arc<Desired>> {
        match &self.intent {
            Intent::Run(desired) => Some(desired),
            _ => None,
        }
    }

    /// Whether an operation may start at `now`.
    pub fn is_free(&self, now: Duration) -> bool {
        match self.state {
            NodeState::Pending | NodeState::Settled | NodeState::Waiting(_) => true,
            NodeState::BackingOff { until } => until <= now,
            NodeState::Busy { .. } | NodeState::Uncertain { .. } => false,
        }
    }

    /// Whether an operation may start at `now` although the last one failed part way.
    pub fn is_free_without_list(&self, now: Duration) -> bool {
        match self.state {
            NodeState::Uncertain { until } => until.is_none_or(|until| until <= now),
            _ => self.is_free(now),
        }
    }

    /// Whether an operation runs.
    pub fn is_busy(&self) -> bool {
        matches!(self.state, NodeState::Busy { .. })
    }

    /// Whether it has reached its desired state.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, NodeState::Settled)
    }

    /// The container that the running operation creates.
    pub fn candidate(&self) -> Option<&Target> {
        match &self.state {
            NodeState::Busy { candidate, .. } => candidate.as_ref(),
            _ => None,
        }
    }

    /// Sets another desired state: earlier failures do not count.
    pub fn set_intent(&mut self, intent: Intent) {
        self.intent = intent;
        self.attempts = 0;
        self.skip_delay();
        if self.is_settled() {
            self.state = NodeState::Pending;
        }
    }

    /// The next operation may start at once. The count of failures stays.
    pub fn skip_delay(&mut self) {
        match &mut self.state {
            NodeState::BackingOff { .. } => self.state = NodeState::Pending,
            NodeState::Uncertain { until } => *until = None,
            _ => {}
        }
    }

    /// Updates failures and quarantine from the result of an operation with this candidate; when the node is due again,
    /// if it failed.
    pub fn on_outcome(
        &mut self,
        outcome: &Outcome,
        candidate: Option<Target>,
        now: Duration,
        jitter: &mut Jitter,
    ) -> Option<Duration> {
        let may_blame =
            |failure: &Failure| failure.kind == FailureKind::Permanent || self.attempts >= UNCERTAIN_FAILURES_MAX;
        match (outcome, candidate) {
            (Outcome::RolledBack(failure), Some(candidate)) if may_blame(failure) => {
                let until = now + jitter.around(QUARANTINE);
                self.quarantine = Some(Quarantine { candidate, reason: failure.text.clone(), until });
                self.clear_failures();
                Some(until)
            }
            (Outcome::Failed(failure) | Outcome::RolledBack(failure), _) => {
                let until = now + delay_after(failure.kind, self.attempts, jitter);
                self.attempts = self.attempts.saturating_add(1);
                self.failure = Some(failure.clone());
                self.state = NodeState::BackingOff { until };
                Some(until)
            }
            // Another one is created at once, and with increasing delays if that does not start either.
            (Outcome::Discarded { failure, .. }, _) => {
                self.failure = Some(failure.clone());
                None
            }
            (Outcome::ImageMissing, _) => None,
            (_, candidate) => {
                // A successful replacement, or a first container.
                if candidate.is_some() || matches!(outcome, Outcome::Created(_)) {
                    self.quarantine = None;
                }
                self.clear_failures();
                None
            }
        }
    }

    /// It has reached its desired state.
    pub fn settle(&mut self) {
        self.state = NodeState::Settled;
        self.causes.clear();
        self.clear_failures();
        if matches!(self.intent, Intent::Run(_)) {
            self.quarantine = None;
        }
    }

    fn clear_failures(&mut self) {
        self.attempts = 0;
        self.failure = None;
    }

    /// Ids of its containers that run, are paused, or have an unknown state.
    pub fn running(&self) -> Vec<ContainerId> {
        self.containers.iter().filter(|container| container.may_run()).map(|container| container.id.clone()).collect()
    }

    /// Applies the containers of a list.
    pub fn update_observed(&mut self, containers: Vec<Instance>, now: Duration) {
        for container in &containers {
            let before = self.containers.iter().find(|before| before.id == container.id);
            self.crash_tracker.observe(before, container, now);
        }
        let is_running = containers.iter().any(|container| container.state == ContainerState::Running);
        self.crash_tracker.observe_running(is_running, now);
        self.containers = containers;
        self.fill_in_inputs();
        if let NodeState::Uncertain { until } = self.state {
            self.state = until.map_or(NodeState::Pending, |until| NodeState::BackingOff { until });
        }
    }

    /// Applies the result of an operation.
    pub fn apply_outcome(&mut self, outcome: Outcome, now: Duration) {
        if outcome.needs_list() {
            let until = if let NodeState::BackingOff { until } = self.state { Some(until) } else { None };
            self.state = NodeState::Uncertain { until };
        }
        if matches!(outcome, Outcome::Created(_) | Outcome::Started { .. }) {
            self.crash_tracker.started(now);
        }
        match outcome {
            Outcome::Created(instance) => self.containers = vec![*instance],
            Outcome::Started { id, revision } => self.with(&id, |container| {
                // A restart resets the engine's count. The engine may have started it before this call did.
                container.restarts = container.state.is_running().then_some(0);
                container.state = ContainerState::Running;
                container.revision = revision;
                container.started_at = None;
            }),
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

    fn with(&mut self, id: &ContainerId, change: impl FnOnce(&mut Instance)) {
        if let Some(container) = self.containers.iter_mut().find(|container| container.id == *id) {
            change(container);
        }
    }
}
