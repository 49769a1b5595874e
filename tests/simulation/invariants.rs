//! The invariants that hold all along.
//!
//! A node may be ended by us only for a reason, so each reason allows so many ends, and each end uses one up. Reasons:
//!
//! | reason | ends |
//! | --- | --- |
//! | a snapshot was delivered that differs for the node from the one delivered before, in what it reads | 1 |
//! | the same, in what its container is made of | 1 |
//! | a pull brought other content for its image | 1 |
//! | an engine call on the node failed, or seemed to | 2 |
//! | the daemon crashed in the middle of an operation on the node | 2 |
//! | the state file lost what its container had read | 1 |
//! | it was started while the cloud could not be asked | 1 |
//! | others, or a call that nobody waited for any more, did something to a container of it | 2 |
//! | a process of it died by itself, or with the engine | 2 |
//! | it was made by the Python program | 1 |
//! | the settings changed that all containers are made of | 1 |
//!
//! When all is right, whatever is left of this is taken away.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use managed_app::model::{App, Node, NodeName, Snapshot};
use managed_app::reconciler::{Effect, Event, Finish, Operation, Strategy};
use managed_app_runtimes::{ContainerId, ContainerState};

use crate::engine::Kept;
use crate::fault_plan::Class;
use crate::world::World;

/// Contract of the design: two snapshots at least so far apart.
const GONE_APART: Duration = Duration::from_secs(5);

/// What was done and what for.
#[derive(Default)]
pub struct Invariants {
    /// The first thing that was wrong.
    pub violation: Option<String>,
    allowed: BTreeMap<NodeName, usize>,
    /// Operations that are going on, by node.
    operating: BTreeMap<NodeName, Operating>,
    /// Nodes that may have two running containers, as one is replaced in the overlapping manner.
    overlapping: BTreeSet<NodeName>,
    pulling: BTreeSet<String>,
    is_fetching: bool,
    is_listing: bool,
    /// For each node that was not said to be gone, the app in which it was last seen.
    known: BTreeMap<NodeName, Arc<App>>,
    /// Since when, without a word to the contrary, the daemon that lives was told that the app is gone.
    gone_since: Option<Duration>,
    is_gone_confirmed: bool,
    /// Whether nodes may be ended because the daemon or the app ends.
    pub is_ending: bool,
    /// Whether they may be removed for that.
    pub is_clearing: bool,
    /// Nodes that a message said to be removed while a snapshot had gaps where they were.
    doubtful: BTreeSet<NodeName>,
    removals: BTreeSet<NodeName>,
    /// Nodes whose containers others have removed, perhaps while we were replacing them.
    pub removed_by_others: BTreeSet<NodeName>,
    /// Ends of nodes and operations, to see whether runs do anything.
    pub ends: usize,
    pub operations: usize,
}

/// An operation that is going on.
struct Operating {
    /// Counts operations.
    number: usize,
    /// Containers that were up, and may have to come back.
    old: Vec<ContainerId>,
    strategy: Option<Strategy>,
}

impl Invariants {
    pub fn violate(&mut self, what: String) {
        self.violation.get_or_insert(what);
    }

    pub fn allow(&mut self, node: &NodeName, ends: usize) {
        *self.allowed.entry(node.clone()).or_default() += ends;
    }

    /// The number of the operation on a node that is going on.
    pub fn operation_on(&self, node: &NodeName) -> Option<usize> {
        self.operating.get(node).map(|operating| operating.number)
    }

    /// The same for all nodes that were ever told of.
    pub fn allow_all(&mut self, ends: usize) {
        for node in self.known.keys().cloned().collect::<Vec<_>>() {
            self.allow(&node, ends);
        }
    }

    /// Takes back what is left when all is right.
    pub fn clear(&mut self) {
        self.allowed.clear();
        self.removed_by_others.clear();
    }

    /// A running process of `node` was ended by a call of the daemon that lives.
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

    /// The daemon is gone, and with it all that it was doing.
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

    /// `up`: the containers that hold their ports now.
    fn accepts(&mut self, effect: &Effect, up: &[ContainerId]) -> bool {
        match effect {
            Effect::FetchSnapshot => !std::mem::replace(&mut self.is_fetching, true),
            Effect::List => !std::mem::replace(&mut self.is_listing, true),
            Effect::Pull(image) => self.pulling.insert(image.to_string()),
            Effect::Operate { node, operation, .. } => {
                self.operations += 1;
                if matches!(operation, Operation::Start { revision: None, .. }) {
                    self.allow(node, 1);
                }
                let (old, strategy) = match operation {
                    Operation::Replace { old, strategy, .. } | Operation::Confirm { old, strategy, .. } => {
                        (old.iter().filter(|id| up.contains(id)).cloned().collect(), Some(*strategy))
                    }
                    _ => (vec![], None),
                };
                match strategy {
                    Some(Strategy::StartFirst) => self.overlapping.insert(node.clone()),
                    _ => false,
                };
                let operating = Operating { number: self.operations, old, strategy };
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

    /// `before`: the app as it was when the node was last seen in an answer.
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

/// What a node reads when it starts: what a revision is made of.
pub fn reads<'a>(app: &'a App, node: &'a Node) -> impl PartialEq + 'a {
    let around = (&app.tenant, &app.config, app.table_access);
    let edges = (&node.receive_edges, &node.send_edges);
    let types = (&node.receive_message_type, &node.send_message_type);
    (around, &node.config, node.is_stopped, &node.logging_level, edges, types)
}

impl World {
    /// The daemon asks for something: at most one of a kind at a time.
    pub fn check_effect(&mut self, effect: &Effect) {
        if let Effect::Operate { operation: Operation::Replace { strategy: Strategy::StartFirst, target, .. }, .. } =
            effect
            && !(target.spec.ports.is_empty() && target.spec.mounts.is_empty())
        {
            self.invariants.violate("two containers that share something of the host were to run at once".to_owned());
        }
        let up: Vec<ContainerId> = self.engine.containers.iter().filter(|kept| kept.is_up()).map(Kept::id).collect();
        if !self.invariants.accepts(effect, &up) {
            let text = crate::trace::of_effect(effect);
            self.invariants.violate(format!("asked for while the same is going on, or without confirmation: {text}"));
        }
    }

    /// The daemon is told something: what it asked for is over.
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

    /// A node never has two running containers, as far as it is our doing.
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

    /// A process of a node was ended by us: while it is replaced in the overlapping manner, another one runs on.
    pub fn check_overlap(&mut self, node: &NodeName) {
        use Class::*;
        let is_overlap = self.invariants.operating.get(node).is_some_and(|o| o.strategy == Some(Strategy::StartFirst));
        // Where processes end by themselves or by others there may be none.
        let causes_of_other_ends = [Meddling, Dying, EngineRestarts, Hangs, LostReplies, OddStates, Crashes];
        if !is_overlap || causes_of_other_ends.iter().any(|class| self.fault_plan.knows(*class)) {
            return;
        }
        let mut all = self.engine.containers.iter().filter(|kept| kept.node.as_ref() == Some(node));
        if !all.any(|kept| kept.container.state == ContainerState::Running) {
            self.invariants.violate(format!("node {node} was down while it was replaced in the overlapping strategy"));
        }
    }

    /// A container cannot start because `holder` has its port: no other node of ours may have been given the port of an
    /// old container while that one may still have to come back.
    pub fn check_conflict(&mut self, id: &ContainerId, holder: &ContainerId) {
        let Some(node) = self.engine.nodes.get(id) else { return };
        let Some(operating) = self.invariants.operating.get(node) else { return };
        let is_old = operating.old.contains(id) && operating.strategy == Some(Strategy::StopFirst);
        let taken_in = self.engine.get(holder).and_then(|kept| kept.started_in);
        if is_old && taken_in.is_some_and(|number| number > operating.number) {
            let what = format!("{holder} was given the port of {id}, which then could not come back");
            self.invariants.violate(what);
        }
    }

    /// The last container of a node goes only when the cloud said so.
    pub fn check_removal(&mut self, node: &NodeName, id: &ContainerId) {
        let mut others = self.engine.containers.iter().filter(|kept| kept.node.as_ref() == Some(node));
        if others.any(|kept| kept.container.id != *id) {
            return;
        }
        let created_at = self.engine.get(id).map_or(Duration::ZERO, |kept| kept.created_at);
        let is_lost = self.engine.get(id).is_some_and(|kept| kept.is_lost);
        let is_said = is_lost
            || self.invariants.is_clearing
            || self.invariants.removed_by_others.contains(node)
            || self.cloud.was_absent(node, created_at)
            || self.invariants.doubtful.contains(node);
        if !is_said {
            self.invariants.violate(format!("the last container of {node} was removed, and the cloud never said so"));
        }
    }

    /// A pull brought other content than there was.
    pub fn allow_content(&mut self, image: &str) {
        let uses = |(name, app): &(&NodeName, &Arc<App>)| app.nodes[*name].node_type.image_uri == image;
        let users: Vec<NodeName> = self.invariants.known.iter().filter(uses).map(|(name, _)| name.clone()).collect();
        users.iter().for_each(|name| self.invariants.allow(name, 1));
    }
}
