//! The invariants, which hold at all times.
//!
//! The daemon may end a node only for a reason. Each reason allows a number of ends, and each end uses one. Reasons:
//!
//! | reason | ends |
//! | --- | --- |
//! | a delivered snapshot differs for the node from the previous one in its revision | 1 |
//! | the same in its spec | 1 |
//! | a pull brought other content for its image | 1 |
//! | an engine call for the node failed, or its response was lost | 2 |
//! | the daemon crashed during an operation on the node | 2 |
//! | the state file lost the revision of its container | 1 |
//! | it was started without a snapshot | 1 |
//! | an external change, or a call without a waiting caller, affected a container of it | 2 |
//! | a process of it ended by itself, or with the engine | 2 |
//! | the Python program created it | 1 |
//! | settings of all specs changed | 1 |
//!
//! The remaining allowance is cleared when the desired state is reached.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use managed_app::model::{App, Node, NodeName, Snapshot};
use managed_app::reconciler::{Effect, Event, Finish, Operation};
use managed_app_runtimes::{ContainerId, ContainerState, Strategy};

use crate::fault_plan::Class;
use crate::world::World;

/// Contract of the design: minimum time between the two snapshots.
const GONE_APART: Duration = Duration::from_secs(5);

/// The actions so far and their reasons.
#[derive(Default)]
pub struct Invariants {
    /// The first violation.
    pub violation: Option<String>,
    allowed: BTreeMap<NodeName, usize>,
    /// Pending operations, by node.
    operating: BTreeMap<NodeName, Operating>,
    /// Nodes that may have two running containers, because they were replaced with start-first.
    overlapping: BTreeSet<NodeName>,
    pulling: BTreeSet<String>,
    is_fetching: bool,
    is_listing: bool,
    /// The last app with the node, for each node that is not reported as gone.
    known: BTreeMap<NodeName, Arc<App>>,
    /// Start of the uninterrupted reports to the running daemon that the app is gone.
    gone_since: Option<Duration>,
    is_gone_confirmed: bool,
    /// Whether nodes may be ended because the daemon or the app ends.
    pub is_ending: bool,
    /// Whether nodes may be removed for that.
    pub is_clearing: bool,
    /// Nodes that a message reported as removed and that an incomplete snapshot lacked.
    doubtful: BTreeSet<NodeName>,
    removals: BTreeSet<NodeName>,
    /// Nodes whose containers were removed externally, possibly during a replacement.
    pub removed_by_others: BTreeSet<NodeName>,
    /// Numbers of ended nodes and of operations, to verify that runs have an effect.
    pub ends: usize,
    pub operations: usize,
}

/// A pending operation.
struct Operating {
    /// Its sequence number.
    number: usize,
    /// Containers that were up and may have to be restored.
    old: Vec<ContainerId>,
    /// Whether the new container is started first.
    is_start_first: bool,
    /// Whether it needs a host port that a container of another node has: the nodes exchange ports.
    is_exchange: bool,
}

impl Invariants {
    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub fn allow(&mut self, node: &NodeName, ends: usize) {
        *self.allowed.entry(node.clone()).or_default() += ends;
    }

    /// The number of the pending operation on a node.
    pub fn operation_on(&self, node: &NodeName) -> Option<usize> {
        self.operating.get(node).map(|operating| operating.number)
    }

    /// The same for all known nodes.
    pub fn allow_all(&mut self, ends: usize) {
        for node in self.known.keys().cloned().collect::<Vec<_>>() {
            self.allow(&node, ends);
        }
    }

    /// Clears the remaining allowance.
    pub fn clear(&mut self) {
        self.allowed.clear();
        self.removed_by_others.clear();
    }

    /// Records that a call of the running daemon ended a process of `node`.
    pub fn ended(&mut self, node: &NodeName) {
        self.ends += 1;
        if self.is_ending {
            return;
        }
        match self.allowed.get_mut(node) {
            Some(left) if *left > 0 => *left -= 1,
            _ => self.violate(format!("node {node} was ended without a reason")),
        }
    }

    /// Records a crash of the daemon, which cancels its pending work.
    pub fn crashed(&mut self) {
        for node in std::mem::take(&mut self.operating).into_keys() {
            self.allow(&node, 2);
        }
        self.pulling.clear();
        self.is_fetching = false;
        self.is_listing = false;
        self.gone_since = None;
        self.is_gone_confirmed = false;
    }

    /// Whether the effect is allowed. `up`: the containers of its node that hold their ports now.
    fn accepts(&mut self, effect: &Effect, up: &[ContainerId], is_exchange: bool) -> bool {
        match effect {
            Effect::FetchSnapshot => !std::mem::replace(&mut self.is_fetching, true),
            Effect::List => !std::mem::replace(&mut self.is_listing, true),
            Effect::Pull(image) => self.pulling.insert(image.to_string()),
            Effect::Operate { node, operation, .. } => {
                self.operations += 1;
                if matches!(operation, Operation::Start { revision: None, .. }) {
                    self.allow(node, 1);
                }
                let is_start_first =
                    matches!(operation, Operation::Replace { strategy: Strategy::StartFirst, .. }) && up.len() == 1;
                if is_start_first {
                    self.overlapping.insert(node.clone());
                }
                let old = if matches!(operation, Operation::Replace { .. }) { up.to_vec() } else { vec![] };
                let operating = Operating { number: self.operations, old, is_start_first, is_exchange };
                self.operating.insert(node.clone(), operating).is_none()
            }
            Effect::Finish(Finish::AppRemoved | Finish::NoSuchApp) => self.is_gone_confirmed,
            _ => true,
        }
    }

    fn on_snapshot(&mut self, snapshot: &Snapshot, now: Duration) {
        let app = match snapshot {
            Snapshot::Gone => {
                let since = *self.gone_since.get_or_insert(now);
                if now - since >= GONE_APART {
                    self.is_gone_confirmed = true;
                    self.is_ending = true;
                    self.is_clearing = true;
                }
                return;
            }
            Snapshot::App(app) | Snapshot::Update { app, .. } => app,
        };
        self.gone_since = None;
        if !app.is_complete {
            let missing = self.removals.iter().filter(|name| !app.nodes.contains_key(*name)).cloned();
            self.doubtful.extend(missing.collect::<Vec<_>>());
        }
        for (name, node) in &app.nodes {
            let before = self.known.insert(name.clone(), app.clone());
            self.allow_change(app, node, before.as_ref());
        }
        let is_gone = |name: &&NodeName| {
            let is_there = app.nodes.contains_key(*name) || app.invalid_nodes.contains_key(*name);
            !is_there && (app.is_complete || self.removals.contains(*name))
        };
        for name in self.known.keys().filter(is_gone).cloned().collect::<Vec<_>>() {
            self.known.remove(&name);
            self.allow(&name, 1);
        }
    }

    /// `before`: the last app with the node.
    fn allow_change(&mut self, app: &Arc<App>, node: &Node, before: Option<&Arc<App>>) {
        let Some((around, known)) = before.and_then(|before| Some((before, before.nodes.get(&node.name)?))) else {
            return self.allow(&node.name, 2);
        };
        if Arc::ptr_eq(app, around) {
            return;
        }
        if reads(app, node) != reads(around, known) {
            self.allow(&node.name, 1);
        }
        let made_of = |node: &Node| (node.node_type.image_uri.clone(), node.ports.clone(), node.mounts.clone());
        if made_of(node) != made_of(known) {
            self.allow(&node.name, 1);
        }
    }
}

/// The inputs of the revision: the data that a node reads when it starts.
pub fn reads<'a>(app: &'a App, node: &'a Node) -> impl PartialEq + 'a {
    let around = (&app.tenant, &app.config, app.table_access);
    let edges = (&node.receive_edges, &node.send_edges);
    let types = (&node.receive_message_type, &node.send_message_type);
    (around, &node.config, node.is_stopped, &node.logging_level, edges, types)
}

impl World {
    /// Checks an effect of the daemon: at most one of a kind is pending.
    pub fn check_effect(&mut self, effect: &Effect) {
        if let Effect::Operate { operation: Operation::Replace { strategy: Strategy::StartFirst, target, .. }, .. } =
            effect
            && !(target.spec.ports.is_empty() && target.spec.mounts.is_empty())
        {
            self.invariants.violate("start-first with two containers that share a host port or a mount".to_owned());
        }
        let (mut up, mut is_exchange) = (vec![], false);
        if let Effect::Operate { node, operation, .. } = effect {
            for kept in self.engine.containers.iter().filter(|kept| kept.is_up()) {
                match operation {
                    _ if kept.node.as_ref() == Some(node) => up.push(kept.id()),
                    Operation::Replace { target, .. } => {
                        is_exchange |= kept.ports.iter().any(|port| target.publishes(port));
                    }
                    _ => {}
                }
            }
        }
        if !self.invariants.accepts(effect, &up, is_exchange) {
            let text = crate::trace::of_effect(effect);
            self.invariants.violate(format!("requested while the same is pending, or without confirmation: {text}"));
        }
    }

    /// Records an event to the daemon, which may end a request.
    pub fn check_event(&mut self, event: &Event) {
        let invariants = &mut self.invariants;
        match event {
            Event::Snapshot(result) => {
                invariants.is_fetching = false;
                if let Ok(snapshot) = result {
                    invariants.on_snapshot(snapshot, self.now);
                }
            }
            Event::Listed(_) => invariants.is_listing = false,
            Event::Pulled { image, .. } => {
                invariants.pulling.remove(&image.to_string());
            }
            Event::Finished { node, .. } => {
                invariants.operating.remove(node);
            }
            Event::Change(managed_app::model::Change::NodeRemoved(name)) => {
                invariants.removals.insert(name.clone());
            }
            _ => {}
        }
    }

    /// Checks that the daemon never runs two containers of a node.
    pub fn check_single(&mut self, node: &NodeName) {
        let running = self
            .engine
            .containers
            .iter()
            .filter(|kept| kept.node.as_ref() == Some(node) && kept.container.state == ContainerState::Running);
        let (mut count, mut is_foreign) = (0, false);
        for kept in running {
            count += 1;
            is_foreign |= kept.is_foreign_start;
        }
        let most = if self.invariants.overlapping.contains(node) { 2 } else { 1 };
        if count > most && !is_foreign {
            self.invariants.violate(format!("node {node} has {count} running containers"));
        }
    }

    /// Checks after an end by the daemon: during a start-first replacement, another process of the node runs.
    pub fn check_overlap(&mut self, node: &NodeName) {
        use Class::*;
        let is_overlap = self.invariants.operating.get(node).is_some_and(|operating| operating.is_start_first);
        // With these faults, the other process may have ended too.
        let causes_of_other_ends = [Meddling, Dying, EngineRestarts, Hangs, LostReplies, OddStates, Crashes];
        if !is_overlap || causes_of_other_ends.iter().any(|class| self.fault_plan.knows(*class)) {
            return;
        }
        let mut all = self.engine.containers.iter().filter(|kept| kept.node.as_ref() == Some(node));
        if !all.any(|kept| kept.container.state == ContainerState::Running) {
            self.invariants.violate(format!("node {node} was down during a start-first replacement"));
        }
    }

    /// Checks a start that fails because `holder` has the port: the daemon must not give the port of an old container
    /// to another node while the old container may have to be restored.
    pub fn check_conflict(&mut self, id: &ContainerId, holder: &ContainerId) {
        let Some(node) = self.engine.nodes.get(id) else { return };
        let Some(operating) = self.invariants.operating.get(node) else { return };
        let is_old = operating.old.contains(id) && !operating.is_start_first && !operating.is_exchange;
        let taken_in = self.engine.get(holder).and_then(|kept| kept.started_in);
        if is_old && taken_in.is_some_and(|number| number > operating.number) {
            let what = format!("{holder} got the port of {id}, which then could not be restored");
            self.invariants.violate(what);
        }
    }

    /// Checks that the last container of a node is removed only on a report of the cloud.
    pub fn check_removal(&mut self, node: &NodeName, id: &ContainerId) {
        let mut others = self.engine.containers.iter().filter(|kept| kept.node.as_ref() == Some(node));
        if others.any(|kept| kept.container.id != *id) {
            return;
        }
        let created_at = self.engine.get(id).map_or(Duration::ZERO, |kept| kept.created_at);
        let is_lost = self.engine.get(id).is_some_and(|kept| kept.is_lost);
        let is_reported = is_lost
            || self.invariants.is_clearing
            || self.invariants.removed_by_others.contains(node)
            || self.cloud.was_absent(node, created_at)
            || self.invariants.doubtful.contains(node);
        if !is_reported {
            self.invariants.violate(format!("the last container of {node} was removed without a report of the cloud"));
        }
    }

    /// Allows ends after a pull of other content.
    pub fn allow_content(&mut self, image: &str) {
        let uses = |(name, app): &(&NodeName, &Arc<App>)| app.nodes[*name].node_type.image_uri == image;
        let users: Vec<NodeName> = self.invariants.known.iter().filter(uses).map(|(name, _)| name.clone()).collect();
        users.iter().for_each(|name| self.invariants.allow(name, 1));
    }
}
