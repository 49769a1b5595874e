//! Requests, pulls and operations that are due.

use std::time::Duration;

use managed_app_runtimes::Origin;

use super::desired::Desired;
use super::effect::{Effect, Finish, Operation, Strategy};
use super::node::{Intent, ManagedNode, NodeState};
use super::plan::{ImageView, Observed, Plan, plan};
use super::ports::Ports;
use super::quarantine::Candidate;
use super::reason::{Reason, ReasonKind};
use super::status::Phase;
use super::{EndOfNodes, Reconciler};
use crate::model::NodeName;

/// A node that cannot be stopped is skipped after this many attempts.
const STOP_ATTEMPTS_MAX: u32 = 2;

impl Reconciler {
    pub(super) fn schedule(&mut self, now: Duration) {
        match self.phase {
            Phase::Finished => {}
            Phase::Stopping { nodes, finish } => self.schedule_stop(nodes, finish, now),
            Phase::Starting | Phase::Running => {
                self.send_requests(now);
                self.step_nodes(now);
                for image in self.images.take_due(now) {
                    self.outbox.push(Effect::Pull(image));
                }
                if self.phase == Phase::Starting && self.is_start_over() {
                    self.phase = Phase::Running;
                    self.outbox.push(Effect::Ready);
                }
            }
        }
    }

    fn send_requests(&mut self, now: Duration) {
        if self.fetch.take_due(now) {
            self.pending_changes.mark_requested();
            self.outbox.push(Effect::FetchSnapshot);
        }
        self.request_list(now);
    }

    fn request_list(&mut self, now: Duration) {
        if self.list.take_due(now) {
            self.list_requested_at = self.clock;
            self.outbox.push(Effect::List);
        }
    }

    fn step_nodes(&mut self, now: Duration) {
        if !self.list.has_succeeded || !self.is_cloud_settled() {
            return;
        }
        for name in std::mem::take(&mut self.dirty) {
            self.step(name, now);
        }
    }

    fn step(&mut self, name: NodeName, now: Duration) {
        let Some(node) = self.nodes.get_mut(&name) else { return };
        if !node.is_free(now) {
            return;
        }
        let next = match &node.intent {
            Intent::Invalid(_) => Plan::Settled,
            Intent::Unknown if self.app.is_none() => start_existing(node),
            Intent::Unknown => Plan::Settled,
            Intent::Remove => plan(None, ImageView::Missing, &node.containers),
            Intent::Run(desired) if node.containers.is_empty() && self.images.is_fetching(&desired.image) => Plan::Wait,
            Intent::Run(desired) => {
                plan(Some(desired), view(self.images.view(&desired.image), node, desired, now), &node.containers)
            }
        };
        node.state = NodeState::Pending;
        match next {
            Plan::Settled => {
                node.state = NodeState::Settled;
                node.causes.clear();
                // The failed operation took effect after all, or somebody else did it.
                node.clear_failures();
                if matches!(node.intent, Intent::Run(_)) {
                    node.quarantine = None;
                }
                if matches!(node.intent, Intent::Remove) {
                    self.nodes.remove(&name);
                }
            }
            Plan::Wait => {}
            Plan::Do(Operation::Start { .. }, _) if node.crash_tracker.pause(now).is_some() => {
                self.retries.extend(node.crash_tracker.pause(now).map(|at| (at, name)));
            }
            Plan::Do(operation, reason) => {
                let reason = Reason { causes: node.causes.clone(), ..reason };
                if let Some(operation) = self.with_ports(&name, operation) {
                    self.operate(name, operation, reason);
                }
            }
        }
    }

    /// The operation with the strategy that the host ports require; `None` if it has to wait for them.
    fn with_ports(&mut self, name: &NodeName, mut operation: Operation) -> Option<Operation> {
        if !matches!(operation, Operation::Create(_) | Operation::Replace { .. }) {
            return Some(operation);
        }
        let desired = self.nodes.get(name)?.desired()?.clone();
        match (self.ports(name, &desired), &mut operation) {
            (Ports::Held(text), _) => {
                self.nodes.get_mut(name)?.state = NodeState::Waiting(text);
                self.port_waiters.insert(name.clone());
                return None;
            }
            (Ports::Cycle, Operation::Replace { strategy, .. }) => *strategy = Strategy::PortSwap,
            _ => {}
        }
        Some(operation)
    }

    fn operate(&mut self, name: NodeName, operation: Operation, reason: Reason) {
        let Some(node) = self.nodes.get_mut(&name) else { return };
        self.clock += 1;
        self.busy_count += 1;
        node.changed_at = self.clock;
        let candidate = match &operation {
            Operation::Create(_) | Operation::Replace { .. } | Operation::Confirm { .. } => {
                node.desired().map(|desired| Candidate::new(desired, self.images.view(&desired.image)))
            }
            _ => None,
        };
        node.state = NodeState::Busy { verb: operation.verb(), candidate };
        self.outbox.push(Effect::Operate { node: name, operation, reason });
    }

    /// Whether each node is settled or has failed once.
    fn is_start_over(&self) -> bool {
        let has_failed = |node: &ManagedNode| {
            let image_failed = node.desired().is_some_and(|desired| self.images.failure(&desired.image).is_some());
            node.failure.is_some()
                || node.quarantine.is_some()
                || matches!(node.state, NodeState::Waiting(_))
                || node.crash_tracker.crash_loop().is_some()
                || image_failed
        };
        let is_over = |node: &ManagedNode| !node.is_busy() && (node.is_settled() || has_failed(node));
        self.list.has_succeeded
            && self.is_cloud_settled()
            && self.busy_count == 0
            && self.dirty.is_empty()
            && self.nodes.values().all(is_over)
    }

    /// Stops the nodes, each when its running operation ends.
    fn schedule_stop(&mut self, nodes: EndOfNodes, finish: Finish, now: Duration) {
        if nodes != EndOfNodes::Leave && !self.list.has_succeeded && self.list.failure.is_none() {
            return self.request_list(now);
        }
        if nodes != EndOfNodes::Leave {
            for name in std::mem::take(&mut self.dirty) {
                self.step_stop(name, nodes, now);
            }
            self.request_list(now);
        }
        let is_list_pending = nodes != EndOfNodes::Leave && (self.list.is_running || self.list.is_requested);
        let has_new = nodes != EndOfNodes::Leave && !self.retries.is_empty();
        if self.busy_count == 0 && !has_new && (!is_list_pending || self.list.failure.is_some()) {
            self.phase = Phase::Finished;
            self.outbox.push(Effect::Finish(finish));
        }
    }

    fn step_stop(&mut self, name: NodeName, nodes: EndOfNodes, now: Duration) {
        let Some(node) = self.nodes.get(&name) else { return };
        // An abandoned operation may have left more containers: the list that was requested then shows them.
        let is_free = if self.list.failure.is_none() { node.is_free(now) } else { node.is_free_without_list(now) };
        if !is_free || node.attempts >= STOP_ATTEMPTS_MAX {
            return;
        }
        let running = node.running();
        let all: Vec<_> = node.containers.iter().map(|container| container.id.clone()).collect();
        if nodes == EndOfNodes::Remove && !all.is_empty() {
            self.operate(name, Operation::Remove(all), Reason::of(ReasonKind::AppRemoved));
        } else if !running.is_empty() {
            self.operate(name, Operation::Stop(running), Reason::of(ReasonKind::DaemonEnds));
        }
    }
}

/// The image for this node: quarantined if a new container of it did not stay up.
fn view<'a>(image: ImageView<'a>, node: &ManagedNode, desired: &Desired, now: Duration) -> ImageView<'a> {
    let is_quarantined =
        node.quarantine.as_ref().is_some_and(|quarantine| quarantine.blocks(&Candidate::new(desired, image), now));
    match image {
        ImageView::Present(id) if is_quarantined => ImageView::Quarantined(id),
        other => other,
    }
}

/// Without the cloud, a labelled container that does not run is started unchanged.
fn start_existing(node: &ManagedNode) -> Plan {
    if node.containers.iter().any(Observed::may_run) {
        return Plan::Settled;
    }
    match node.containers.iter().find(|c| c.origin == Origin::Labelled && c.can_start()) {
        Some(old) => {
            let operation = Operation::Start { id: old.id.clone(), revision: None };
            Plan::Do(operation, Reason::of(ReasonKind::CloudAway))
        }
        None => Plan::Settled,
    }
}
