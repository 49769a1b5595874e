//! All nodes: their containers, which of them may need a step, and when others are due. Compares engine events with
//! what is known. Decides no step.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use managed_app_runtimes::{Action, ContainerId, ContainerState, EngineEvent, ImageReference, Instance, Target};

use super::event::Outcome;
use super::node::{Intent, ManagedNode, NodeState};
use crate::model::NodeName;

/// Further engine events during operations are dropped, and a list is requested instead.
const EARLY_EVENTS_MAX: usize = 1_000;

/// The nodes by name.
#[derive(Debug, Default)]
pub struct Nodes {
    nodes: BTreeMap<NodeName, ManagedNode>,
    /// Nodes that may need a step.
    dirty: BTreeSet<NodeName>,
    /// When nodes are due again. May contain a node that has recovered since.
    timers: BTreeSet<(Duration, NodeName)>,
    /// Nodes that wait for a host port of another node.
    port_waiters: BTreeSet<NodeName>,
    /// Running operations.
    busy_count: usize,
    /// Begins and ends of operations so far, to detect lists that are too old for a node.
    clock: u64,
    /// Containers that engine events are compared with.
    by_container: HashMap<ContainerId, KnownContainer>,
    /// Engine events received during operations, until these end.
    early_events: Vec<EngineEvent>,
}

/// The known state of a container, for comparison with engine events.
#[derive(Debug)]
struct KnownContainer {
    node: NodeName,
    is_running: bool,
}

impl Nodes {
    /// The node `name`.
    pub fn get(&self, name: &NodeName) -> Option<&ManagedNode> {
        self.nodes.get(name)
    }

    /// The node `name`, to change anything but its containers.
    pub fn get_mut(&mut self, name: &NodeName) -> Option<&mut ManagedNode> {
        self.nodes.get_mut(name)
    }

    /// The node `name`, which is added if it is new.
    pub fn entry(&mut self, name: &NodeName) -> &mut ManagedNode {
        self.nodes.entry(name.clone()).or_default()
    }

    /// All nodes.
    pub fn iter(&self) -> impl Iterator<Item = (&NodeName, &ManagedNode)> {
        self.nodes.iter()
    }

    /// All nodes, to change anything but their containers.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut ManagedNode> {
        self.nodes.values_mut()
    }

    /// Whether `test` holds for each node.
    pub fn all(&self, test: impl Fn(&ManagedNode) -> bool) -> bool {
        self.nodes.values().all(test)
    }

    /// Drops a node that has no containers.
    pub fn remove(&mut self, name: &NodeName) {
        self.nodes.remove(name);
    }

    /// The node may need a step.
    pub fn mark(&mut self, name: &NodeName) {
        self.dirty.insert(name.clone());
    }

    /// Each node may need a step.
    pub fn mark_all(&mut self) {
        self.dirty.extend(self.nodes.keys().cloned());
    }

    /// The nodes with this desired image may need a step.
    pub fn mark_image_users(&mut self, image: &ImageReference) {
        let is_user = |node: &ManagedNode| node.desired().is_some_and(|desired| desired.image == *image);
        self.dirty.extend(self.nodes.iter().filter(|(_, node)| is_user(node)).map(|(name, _)| name.clone()));
    }

    /// The nodes that wait for a host port may need a step.
    pub fn mark_port_waiters(&mut self) {
        self.dirty.append(&mut self.port_waiters);
    }

    /// Takes a node that may need a step.
    pub fn take_marked(&mut self) -> Option<NodeName> {
        self.dirty.pop_first()
    }

    /// Whether no operation runs and no node may need a step.
    pub fn is_idle(&self) -> bool {
        self.busy_count == 0 && self.dirty.is_empty()
    }

    /// Whether an operation runs.
    pub fn is_busy(&self) -> bool {
        self.busy_count > 0
    }

    /// The node is due at `at`.
    pub fn wake_at(&mut self, at: Duration, name: &NodeName) {
        self.timers.insert((at, name.clone()));
    }

    /// Takes a node that is due.
    pub fn take_due(&mut self, now: Duration) -> Option<NodeName> {
        self.timers.first().is_some_and(|(at, _)| *at <= now).then(|| self.timers.pop_first())?.map(|(_, name)| name)
    }

    /// When the next node is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The daemon ends: earlier failures delay nothing.
    pub fn on_stop(&mut self) {
        self.timers.clear();
        for node in self.nodes.values_mut() {
            node.attempts = 0;
            node.skip_delay();
        }
        self.mark_all();
    }

    /// The time of a request of a list, for [`Nodes::on_listed`].
    pub fn clock(&self) -> u64 {
        self.clock
    }

    /// Applies what a list, requested at `requested_at`, has of the node `name`. A list that was requested before the end
    /// of an operation is too old for its node: false. `intent` is that of a node which is new here.
    pub fn on_listed(
        &mut self,
        name: &NodeName,
        containers: Vec<Instance>,
        requested_at: u64,
        intent: Intent,
        now: Duration,
    ) -> bool {
        let node = self.nodes.entry(name.clone()).or_insert_with(|| ManagedNode { intent, ..ManagedNode::default() });
        if node.is_busy() || node.changed_at > requested_at {
            return false;
        }
        self.with_containers(name, |node| node.update_observed(containers, now));
        self.mark(name);
        true
    }

    /// An operation begins.
    pub fn begin(&mut self, name: &NodeName, verb: &'static str, candidate: Option<Target>) {
        let Some(node) = self.nodes.get_mut(name) else { return };
        self.clock += 1;
        self.busy_count += 1;
        node.changed_at = self.clock;
        node.state = NodeState::Busy { verb, candidate };
    }

    /// An operation has ended; its candidate.
    pub fn end(&mut self, name: &NodeName) -> Option<Target> {
        self.clock += 1;
        let node = self.nodes.get_mut(name)?;
        node.changed_at = self.clock;
        self.dirty.insert(name.clone());
        self.dirty.append(&mut self.port_waiters);
        let NodeState::Busy { candidate, .. } = &mut node.state else { return None };
        let candidate = candidate.take();
        node.state = NodeState::Pending;
        self.busy_count -= 1;
        candidate
    }

    /// Applies the result of an operation that has ended. True if a list is needed: the operation failed part way, or an
    /// event meanwhile had another cause.
    pub fn apply_outcome(&mut self, name: &NodeName, outcome: Outcome, now: Duration) -> bool {
        let Some(node) = self.nodes.get(name) else { return false };
        let before: Vec<ContainerId> = node.containers.iter().map(|container| container.id.clone()).collect();
        let needs_list = outcome.needs_list();
        self.with_containers(name, |node| node.apply_outcome(outcome, now));
        self.apply_early_events(name, &before) || needs_list
    }

    /// The node waits for a host port of another node; `reason` is for people.
    pub fn wait_for_port(&mut self, name: &NodeName, reason: String) {
        if let Some(node) = self.nodes.get_mut(name) {
            node.state = NodeState::Waiting(reason);
            self.port_waiters.insert(name.clone());
        }
    }

    /// Handles an engine event; true if a list is needed. An event that agrees with the known state has no effect. An
    /// event during an operation waits for its end, because the operation causes most of them. A list that is running may
    /// be older than the event.
    pub fn on_engine_event(&mut self, event: EngineEvent, is_listing: bool) -> bool {
        let known = self.by_container.get(&event.container);
        // The usual event. With thousands of nodes, the look-up of one node is the cost.
        let is_news = event.action != Action::Started || known.is_none_or(|known| !known.is_running);
        if !is_news && self.busy_count == 0 && !is_listing {
            return false;
        }
        self.track_exit(&event);
        let known = self.by_container.get(&event.container);
        let node = known.and_then(|known| self.nodes.get(&known.node));
        let is_early = node.map_or(self.busy_count > 0, ManagedNode::is_busy);
        if is_early && self.early_events.len() < EARLY_EVENTS_MAX {
            self.early_events.push(event);
            return false;
        }
        let is_known = node.map_or(event.action == Action::Removed, |node| agrees(node, &event));
        is_early || !is_known || is_listing
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
