//! Updates of the observed state: lists, engine events and results of operations.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use managed_app_runtimes::{
    Action, Container, ContainerId, ContainerState, EngineEvent, ImageReference, Origin, labels,
};

use super::effect::Effect;
use super::event::{Failure, FailureKind, Listing, Outcome};
use super::node::{Intent, ManagedNode, NodeState};
use super::plan::Observed;
use super::quarantine::{Candidate, QUARANTINE, Quarantine, UNCERTAIN_FAILURES_MAX};
use super::status::Phase;
use super::{KnownContainer, Reconciler};
use crate::model::NodeName;

/// Further engine events during operations are dropped, and a list is requested instead.
const EARLY_EVENTS_MAX: usize = 1_000;
/// A burst of engine events causes one list: the minimum time from one list to the next request.
const LIST_PAUSE: Duration = Duration::from_millis(200);

impl Reconciler {
    pub(super) fn on_listed(&mut self, result: Result<Listing, Failure>, now: Duration) {
        let Listing { containers, revisions } = match result {
            Ok(listing) => listing,
            Err(failure) => {
                // A stop that waits for a list continues without it.
                self.dirty.extend(self.nodes.keys().cloned());
                return self.list.failed(failure, now, &mut self.jitter);
            }
        };
        if !self.list.has_succeeded {
            self.outbox.push(Effect::Forget(containers.iter().map(|container| container.id.clone()).collect()));
        }
        self.list.succeeded();
        self.list.not_before = now + LIST_PAUSE;
        let mut found: BTreeMap<NodeName, Vec<Observed>> = BTreeMap::new();
        for container in containers {
            let Some(name) = node_of(&container) else { continue };
            // A later start by somebody else has read this revision or a newer one.
            let revision = revisions.get(&container.id).cloned();
            // Labels of a container never change, so its record is parsed once.
            let known = self.nodes.get(&name).and_then(|node| node.containers.iter().find(|c| c.id == container.id));
            found.entry(name).or_default().push(Observed::new(container, known, revision));
        }
        let names: BTreeSet<NodeName> = self.nodes.keys().chain(found.keys()).cloned().collect();
        for name in names {
            let containers = found.remove(&name).unwrap_or_default();
            self.take_list(name, containers, now);
        }
    }

    /// A list that was requested before the end of an operation is too old for its node.
    fn take_list(&mut self, name: NodeName, containers: Vec<Observed>, now: Duration) {
        let stray = self.intent_for_stray();
        let node =
            self.nodes.entry(name.clone()).or_insert_with(|| ManagedNode { intent: stray, ..ManagedNode::default() });
        if node.is_busy() || node.changed_at > self.list_requested_at {
            return;
        }
        self.with_containers(&name, |node| node.update_observed(containers, now));
        self.schedule_clear(&name);
        self.notify_crash_loop(&name, now);
        self.dirty.insert(name);
    }

    pub(super) fn notify_crash_loop(&mut self, name: &NodeName, now: Duration) {
        let notice = self.nodes.get_mut(name).and_then(|node| node.crash_tracker.take_notice(now));
        self.outbox.extend(notice.map(|notice| Effect::CrashLoop { node: name.clone(), notice }));
    }

    /// Passes an exit to the crash tracker: lists may come too late to show it.
    fn track_exit(&mut self, event: &EngineEvent) {
        let known = self.by_container.get(&event.container);
        let Some(node) = known.and_then(|known| self.nodes.get_mut(&known.node)) else { return };
        match event.action {
            Action::Died => node.crash_tracker.on_exit_event(event.exit_code),
            Action::OutOfMemory => node.crash_tracker.on_oom_event(),
            _ => {}
        }
    }

    /// Changes the known containers of a node and the index by container.
    fn with_containers(&mut self, name: &NodeName, change: impl FnOnce(&mut ManagedNode)) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        for container in &node.containers {
            self.by_container.remove(&container.id);
        }
        change(node);
        for container in &node.containers {
            let is_running = container.state == ContainerState::Running;
            self.by_container.insert(container.id.clone(), KnownContainer { node: name.clone(), is_running });
        }
    }

    /// Schedules the end of a crash loop. The end of the daemon does not wait for it.
    fn schedule_clear(&mut self, name: &NodeName) {
        let at = self.nodes.get(name).and_then(|node| node.crash_tracker.clears_at());
        if !matches!(self.phase, Phase::Stopping { .. }) {
            self.retries.extend(at.map(|at| (at, name.clone())));
        }
    }

    /// An event that agrees with the known state has no effect; any other one requests a list. An event during an
    /// operation waits for its end, because the operation causes most of them.
    pub(super) fn on_engine_event(&mut self, event: EngineEvent) {
        let known = self.by_container.get(&event.container);
        // The usual event. With thousands of nodes, the look-up of one node is the cost.
        let is_news = event.action != Action::Started || known.is_none_or(|known| !known.is_running);
        if !is_news && self.busy_count == 0 && !self.list.is_running {
            return;
        }
        self.track_exit(&event);
        let known = self.by_container.get(&event.container);
        let node = known.and_then(|known| self.nodes.get(&known.node));
        let is_early = node.map_or(self.busy_count > 0, ManagedNode::is_busy);
        if is_early && self.early_events.len() < EARLY_EVENTS_MAX {
            return self.early_events.push(event);
        }
        let is_known = node.map_or(event.action == Action::Removed, |node| agrees(node, &event));
        // A list in progress may be older than the event.
        if !is_early && is_known && !self.list.is_running {
            return;
        }
        self.list.request();
    }

    /// An operation on the node `name` has ended, before which it had the containers `before`. True if an event during
    /// the operation had another cause.
    fn apply_early_events(&mut self, name: &NodeName, before: &[ContainerId]) -> bool {
        let Some(node) = self.nodes.get(name) else { return false };
        let is_here = |event: &EngineEvent| node.containers.iter().any(|container| container.id == event.container);
        let (here, rest): (Vec<_>, Vec<_>) = self.early_events.drain(..).partition(is_here);
        let is_unexpected = here.iter().enumerate().any(|(index, event)| contradicts(node, event, &here[index..]));
        // Events of containers that the operation removed do not count.
        self.early_events = rest.into_iter().filter(|event| !before.contains(&event.container)).collect();
        if self.busy_count > 0 {
            return is_unexpected;
        }
        // No operation can have created the rest, unless it was removed again.
        let strays = std::mem::take(&mut self.early_events);
        let is_gone = |id: &ContainerId| strays.iter().any(|h| h.container == *id && h.action == Action::Removed);
        is_unexpected || strays.iter().any(|event| !is_gone(&event.container))
    }

    pub(super) fn mark_image_users(&mut self, image: &ImageReference) {
        let uses = |node: &ManagedNode| node.desired().is_some_and(|desired| desired.image == *image);
        self.dirty.extend(self.nodes.iter().filter(|(_, node)| uses(node)).map(|(name, _)| name.clone()));
    }

    pub(super) fn on_finished(&mut self, name: &NodeName, outcome: Outcome, now: Duration) {
        self.clock += 1;
        let Some(node) = self.nodes.get_mut(name) else { return };
        let mut candidate = None;
        if let NodeState::Busy { candidate: busy, .. } = &mut node.state {
            candidate = busy.take();
            node.state = NodeState::Pending;
            self.busy_count -= 1;
        }
        node.changed_at = self.clock;
        self.dirty.insert(name.clone());
        self.dirty.append(&mut self.port_waiters);
        self.update_retry(name, &outcome, candidate, now);
        let Some(node) = self.nodes.get(name) else { return };
        let before: Vec<ContainerId> = node.containers.iter().map(|container| container.id.clone()).collect();
        let needs_list = outcome.needs_list();
        let network = self.settings.network();
        self.with_containers(name, |node| node.apply_outcome(outcome, &network, now));
        self.schedule_clear(name);
        if self.apply_early_events(name, &before) || needs_list {
            self.list.request();
        }
    }

    /// Updates retries, failure and quarantine from the result of an operation.
    fn update_retry(&mut self, name: &NodeName, outcome: &Outcome, candidate: Option<Candidate>, now: Duration) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        let may_blame =
            |failure: &Failure| failure.kind == FailureKind::Permanent || node.attempts >= UNCERTAIN_FAILURES_MAX;
        match (outcome, candidate) {
            (Outcome::RolledBack(failure), Some(candidate)) if may_blame(failure) => {
                let until = now + self.jitter.around(QUARANTINE);
                node.quarantine = Some(Quarantine { candidate, reason: failure.text.clone(), until });
                node.clear_failures();
                // The end of the daemon does not wait for another attempt.
                if !matches!(self.phase, Phase::Stopping { .. }) {
                    self.retries.insert((until, name.clone()));
                }
            }
            (Outcome::Failed(failure) | Outcome::RolledBack(failure), _) => {
                let until = node.back_off(failure.clone(), now, &mut self.jitter);
                self.retries.insert((until, name.clone()));
            }
            // Another one is created at once, and with increasing delays if that does not start either.
            (Outcome::Discarded { failure, .. }, _) => {
                node.failure = Some(failure.clone());
            }
            (Outcome::ImageMissing, _) => {
                if let Intent::Run(desired) = &node.intent {
                    self.images.lost(&desired.image);
                }
            }
            (_, candidate) => {
                // A successful replacement, or a first container.
                if candidate.is_some() || matches!(outcome, Outcome::Created(_)) {
                    node.quarantine = None;
                }
                node.clear_failures();
            }
        }
    }
}

/// Whether an event during an operation on `node`, followed by `later` ones, contradicts the known state after it.
fn contradicts(node: &ManagedNode, event: &EngineEvent, later: &[EngineEvent]) -> bool {
    let is_of_same = |other: &EngineEvent| other.container == event.container;
    match event.action {
        Action::Created | Action::Started => false,
        Action::Renamed => !agrees(node, event),
        Action::Network | Action::Paused => true,
        _ => {
            let runs = node.containers.iter().any(|known| known.id == event.container && known.state.is_running());
            let is_started_since = later.iter().any(|next| is_of_same(next) && next.action == Action::Started);
            runs && !is_started_since
        }
    }
}

fn agrees(node: &ManagedNode, event: &EngineEvent) -> bool {
    let known = node.containers.iter().find(|known| known.id == event.container);
    match event.action {
        Action::Created => true,
        Action::Started | Action::Unpaused => known.is_some_and(|known| known.state == ContainerState::Running),
        Action::Renamed => known.is_some_and(|known| known.name == event.name),
        _ => false,
    }
}

/// The node of one of our containers; `None` for a name that no node can have.
fn node_of(container: &Container) -> Option<NodeName> {
    let name = match container.origin {
        Origin::Labelled => container.labels.get(labels::NODE)?,
        Origin::Legacy => &container.name,
    };
    NodeName::new(name.clone()).ok()
}
