//! The state machine: passes each event to the part that it concerns, and lets all nodes that may need a step take it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::Instance;

use super::desired::Settings;
use super::effect::{Effect, Finish, Operation};
use super::event::{EndOfNodes, Event, Failure, Outcome};
use super::images::Images;
use super::node::{Intent, ManagedNode, NodeState};
use super::nodes::Nodes;
use super::pending_changes::PendingChanges;
use super::plan::Plan;
use super::ports::{Ports, ports};
use super::reason::Reason;
use super::request::{Requests, take_reached};
use super::retry::Jitter;
use super::revision::AppInputs;
use super::snapshot::{is_same, may_free_images, nodes_to_evaluate};
use super::status::{NodeStatus, Phase, Status};
use super::step::{next_step, stop_step};
use crate::model::{App, Node, NodeName, QueueAddress, Snapshot};

/// How long a cloud that neither responds nor fails delays actions that are possible without it.
pub(super) const CLOUD_WAIT_MAX: Duration = Duration::from_secs(10);
/// Time of the second full comparison after the start. The first snapshot may be older than a change whose message the
/// previous daemon took out of the queue.
const SECOND_RESYNC: Duration = Duration::from_secs(20);
/// Two snapshots, at least this far apart, must report that the app is gone.
const GONE_CONFIRMED_AFTER: Duration = Duration::from_secs(5);
/// A burst of engine events causes one list: the minimum time from one list to the next request.
const LIST_PAUSE: Duration = Duration::from_millis(200);
/// A node that cannot be stopped is skipped after this many attempts.
const STOP_ATTEMPTS_MAX: u32 = 2;

/// The state machine. One value for the life of the daemon.
#[derive(Debug)]
pub struct Reconciler {
    settings: Settings,
    jitter: Jitter,
    phase: Phase,
    /// The last complete response of the cloud.
    app: Option<Arc<App>>,
    /// Since when the cloud reports that the app is gone.
    gone_since: Option<Duration>,
    queue: Option<QueueAddress>,
    nodes: Nodes,
    images: Images,
    pending_changes: PendingChanges,
    requests: Requests,
    /// Effects of the current event.
    outbox: Vec<Effect>,
}

impl Reconciler {
    /// A reconciler without any state; `seed` is random.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            jitter: Jitter::new(seed),
            phase: Phase::Starting,
            app: None,
            gone_since: None,
            queue: None,
            nodes: Nodes::default(),
            images: Images::default(),
            pending_changes: PendingChanges::default(),
            requests: Requests::default(),
            outbox: Vec::new(),
        }
    }

    /// Handles one event at `now` (monotonic time since a fixed start) and returns the resulting effects.
    pub fn on(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        match event {
            Event::Begin => {
                self.resync(now);
                self.requests.cloud_wait_until = Some(now + CLOUD_WAIT_MAX);
                self.requests.next_resync = Some(now + SECOND_RESYNC);
            }
            Event::Resync => self.resync_now(now),
            Event::Timer => self.on_timer(now),
            Event::Change(change) => {
                self.pending_changes.add(change);
                self.requests.fetch.request();
            }
            Event::QueueLost => self.requests.fetch.request(),
            Event::Snapshot(Ok(snapshot)) => self.on_snapshot(snapshot, now),
            Event::Snapshot(Err(failure)) => self.on_snapshot_failed(failure, now),
            Event::Listed(Ok(instances)) => self.on_listed(instances, now),
            Event::Listed(Err(failure)) => self.on_list_failed(failure, now),
            Event::Engine(event) => {
                if self.nodes.on_engine_event(event, self.requests.list.is_running) {
                    self.requests.list.request();
                }
            }
            Event::EventsLost => self.requests.list.request(),
            Event::Pulled { image, outcome } => {
                self.images.apply_result(&image, outcome, now, &mut self.jitter);
                self.nodes.mark_image_users(&image);
            }
            Event::Finished { node, outcome } => self.on_finished(&node, outcome, now),
            Event::Settings(settings) => self.on_settings(*settings, now),
            Event::Stop(nodes) => self.begin_stop(nodes, Finish::Stopped),
        }
        self.schedule(now);
        std::mem::take(&mut self.outbox)
    }

    /// The phase of the daemon.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When the next [`Event::Timer`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        let parts = match self.phase {
            Phase::Finished | Phase::Stopping { nodes: EndOfNodes::Leave, .. } => vec![],
            Phase::Stopping { .. } => vec![self.requests.list.deadline(), self.nodes.deadline()],
            Phase::Starting | Phase::Running => vec![
                self.requests.deadline(),
                self.nodes.deadline(),
                self.images.deadline(),
                self.pending_changes.deadline(),
            ],
        };
        parts.into_iter().flatten().min()
    }

    /// The current status. Visits all nodes.
    pub fn status(&self) -> Status {
        let text = |failure: &Failure| failure.text.clone();
        Status {
            phase: self.phase,
            is_converged: self.is_converged(),
            cloud_failure: self.requests.fetch.failure.as_ref().map(text),
            engine_failure: self.requests.list.failure.as_ref().map(text),
            nodes: self.nodes.iter().map(|(name, node)| NodeStatus::of(name, node, &self.images)).collect(),
        }
    }

    fn is_converged(&self) -> bool {
        let is_reached = |node: &ManagedNode| match node.intent {
            Intent::Run(_) | Intent::Remove => node.is_settled() && node.crash_tracker.crash_loop().is_none(),
            Intent::Unknown => node.crash_tracker.crash_loop().is_none(),
            // Without a start, an earlier crash loop never ends.
            Intent::Invalid(_) => node.running().is_empty() || node.crash_tracker.crash_loop().is_none(),
        };
        self.requests.fetch.is_answered()
            && self.requests.list.is_answered()
            && self.nodes.is_idle()
            && !self.images.is_pulling()
            && !self.pending_changes.has_new()
            && self.nodes.all(is_reached)
    }

    // --- Requests and timers ------------------------------------------------------------------------------------------

    fn resync(&mut self, now: Duration) {
        self.requests.resync(now + self.jitter.around(self.settings.resync));
    }

    /// An operator requests a comparison, perhaps after a repair: earlier failures delay nothing.
    fn resync_now(&mut self, now: Duration) {
        self.resync(now);
        self.requests.skip_delays();
        self.images.skip_delay();
        for node in self.nodes.values_mut() {
            node.skip_delay();
            node.crash_tracker.skip_delay();
        }
        self.nodes.mark_all();
    }

    fn on_timer(&mut self, now: Duration) {
        if self.requests.next_resync.is_some_and(|at| at <= now) {
            self.resync(now);
        }
        if take_reached(&mut self.requests.cloud_wait_until, now) {
            self.nodes.mark_all();
        }
        if self.pending_changes.take_due(now) {
            self.requests.fetch.request();
        }
        while let Some(name) = self.nodes.take_due(now) {
            if let Some(node) = self.nodes.get_mut(&name) {
                node.crash_tracker.clear(now);
            }
            self.notify_crash_loop(&name, now);
            self.nodes.mark(&name);
        }
    }

    /// Whether the app is known, or known to be unavailable for now.
    fn is_cloud_settled(&self) -> bool {
        let is_silent = self.requests.cloud_wait_until.is_none();
        self.app.is_some() || self.requests.fetch.failure.is_some() || is_silent
    }

    fn request_list(&mut self, now: Duration) {
        if self.requests.list.take_due(now) {
            self.requests.list_requested_at = self.nodes.clock();
            self.outbox.push(Effect::List);
        }
    }

    // --- The cloud ----------------------------------------------------------------------------------------------------

    fn on_snapshot(&mut self, snapshot: Snapshot, now: Duration) {
        self.requests.fetch.succeeded();
        let (app, changed) = match snapshot {
            Snapshot::Gone => return self.on_gone(now),
            Snapshot::App(app) => (app, None),
            Snapshot::Update { app, since, changed } => {
                let is_known = self.app.as_ref().is_some_and(|known| Arc::ptr_eq(known, &since));
                (app, Some(changed).filter(|_| is_known))
            }
        };
        self.gone_since = None;
        self.on_app(app, changed, now);
    }

    /// Without the cloud, existing containers are started unchanged.
    fn on_snapshot_failed(&mut self, failure: Failure, now: Duration) {
        self.requests.fetch.failed(failure, now, &mut self.jitter);
        if self.app.is_none() {
            self.nodes.mark_all();
        }
    }

    /// Re-evaluates all nodes with the last known app.
    fn on_settings(&mut self, settings: Settings, now: Duration) {
        self.settings = settings;
        if let Some(app) = self.app.take() {
            self.on_app(app, None, now);
        }
        self.resync_now(now);
    }

    fn on_gone(&mut self, now: Duration) {
        let since = *self.gone_since.get_or_insert(now);
        let is_unlisted = !self.requests.list.has_succeeded && self.requests.list.failure.is_none();
        if now.saturating_sub(since) < GONE_CONFIRMED_AFTER || is_unlisted {
            self.requests.fetch.request();
            self.requests.fetch.not_before = now + GONE_CONFIRMED_AFTER;
            return;
        }
        // A mistyped APP looks the same as a removed app, and must not power the host off.
        let was_here = self.app.is_some() || !self.nodes.all(|node| node.containers.is_empty());
        let finish = if was_here { Finish::AppRemoved } else { Finish::NoSuchApp };
        let end = if self.settings.remove_nodes_with_app { EndOfNodes::Remove } else { EndOfNodes::Stop };
        self.begin_stop(end, finish);
    }

    /// `differing`: all nodes that differ from the previous app, if known and if nothing else has changed. Other nodes
    /// are then skipped: the cost depends on the number of changed nodes, not of all nodes.
    fn on_app(&mut self, app: Arc<App>, differing: Option<BTreeSet<NodeName>>, now: Duration) {
        let before = self.app.replace(app.clone());
        let app_inputs = AppInputs::of(&app);
        let causes = self.pending_changes.causes(&app);
        self.nodes.mark_port_waiters();
        let nodes: Vec<&Node> = match &differing {
            Some(names) => names.iter().filter_map(|name| app.nodes.get(name)).collect(),
            None => nodes_to_evaluate(&self.nodes, &app, before.as_deref(), &app_inputs),
        };
        let mut changed = BTreeSet::new();
        for node in nodes {
            if self.evaluate(&app, node, &app_inputs) {
                changed.insert(node.name.clone());
                self.nodes.entry(&node.name).causes = causes.get(&node.name).cloned().unwrap_or_default();
            }
        }
        for (name, reason) in &app.invalid_nodes {
            self.nodes.entry(name).intent = Intent::Invalid(reason.clone());
            self.nodes.mark(name);
        }
        let all = || self.nodes.iter().map(|(name, _)| name.clone()).collect();
        for name in differing.clone().unwrap_or_else(all) {
            self.mark_removed(&name, &app, &mut changed);
        }
        self.pull_changed_types(&app);
        self.pending_changes.settle(&app, &changed, now);
        if differing.is_none_or(|names| may_free_images(&names, before.as_deref(), &app)) {
            let used: BTreeSet<_> =
                self.nodes.iter().filter_map(|(_, node)| Some(node.desired()?.image.clone())).collect();
            self.images.retain(|image| used.contains(image));
        }
        self.listen(&app);
    }

    /// Derives the desired state of `node`; true if it has changed.
    fn evaluate(&mut self, app: &App, node: &Node, app_inputs: &AppInputs) -> bool {
        let state = self.nodes.entry(&node.name);
        let desired = match self.settings.desired(app, node, app_inputs) {
            Ok(desired) => Arc::new(desired),
            Err(reason) => {
                state.intent = Intent::Invalid(reason);
                self.nodes.mark(&node.name);
                return true;
            }
        };
        let before = state.desired().cloned();
        if before.as_ref().is_some_and(|before| is_same(before, &desired)) {
            return false;
        }
        if before.is_none_or(|before| before.image != desired.image) {
            self.images.request(&desired.image);
        }
        state.quarantine = state.quarantine.take().filter(|quarantine| quarantine.candidate.is_same(&desired.target));
        state.set_intent(Intent::Run(desired));
        state.fill_in_inputs();
        state.crash_tracker.reset_delay();
        self.nodes.mark(&node.name);
        true
    }

    /// A changed type may have the same image reference with a moved tag: only a pull shows that.
    fn pull_changed_types(&mut self, app: &App) {
        if !self.pending_changes.reports_any_type_changed() {
            return;
        }
        for node in app.nodes.values().filter(|node| self.pending_changes.reports_type_changed(&node.node_type.name)) {
            if let Some(desired) = self.nodes.get(&node.name).and_then(ManagedNode::desired) {
                self.images.request(&desired.image);
            }
        }
    }

    /// Marks a node that the app does not have (any more) for removal. If the snapshot has gaps, a missing node is kept
    /// unless a message reported its removal.
    fn mark_removed(&mut self, name: &NodeName, app: &App, changed: &mut BTreeSet<NodeName>) {
        let is_there = app.nodes.contains_key(name) || app.invalid_nodes.contains_key(name);
        let Some(node) = self.nodes.get_mut(name) else { return };
        if is_there || matches!(node.intent, Intent::Remove) {
            return;
        }
        if app.is_complete || self.pending_changes.reports_removed(name) {
            node.set_intent(Intent::Remove);
            changed.insert(name.clone());
            self.nodes.mark(name);
        }
    }

    fn listen(&mut self, app: &App) {
        let Some(receiver) = &app.change_receiver else { return };
        let address = QueueAddress { url: receiver.queue.clone(), region: app.tenant.region.clone() };
        if self.queue.as_ref() != Some(&address) {
            self.queue = Some(address.clone());
            self.outbox.push(Effect::Listen(address));
        }
    }

    // --- The engine ---------------------------------------------------------------------------------------------------

    fn on_listed(&mut self, instances: Vec<Instance>, now: Duration) {
        self.requests.list.succeeded();
        self.requests.list.not_before = now + LIST_PAUSE;
        // A node without containers in the list has none.
        let mut found: BTreeMap<NodeName, Vec<Instance>> =
            self.nodes.iter().map(|(name, _)| (name.clone(), Vec::new())).collect();
        for instance in instances {
            // Others may have created a container whose node has an impossible name.
            let Ok(name) = NodeName::new(instance.node.clone()) else { continue };
            found.entry(name).or_default().push(instance);
        }
        for (name, containers) in found {
            let (requested_at, intent) = (self.requests.list_requested_at, self.intent_for_stray());
            if self.nodes.on_listed(&name, containers, requested_at, intent, now) {
                self.schedule_clear(&name);
                self.notify_crash_loop(&name, now);
            }
        }
    }

    /// A stop that waits for a list continues without it.
    fn on_list_failed(&mut self, failure: Failure, now: Duration) {
        self.nodes.mark_all();
        self.requests.list.failed(failure, now, &mut self.jitter);
    }

    /// The intent for a node that a list contains and no snapshot has named.
    fn intent_for_stray(&self) -> Intent {
        match &self.app {
            Some(app) if app.is_complete => Intent::Remove,
            _ => Intent::Unknown,
        }
    }

    fn on_finished(&mut self, name: &NodeName, outcome: Outcome, now: Duration) {
        let candidate = self.nodes.end(name);
        let is_stopping = self.is_stopping();
        let Some(node) = self.nodes.get_mut(name) else { return };
        let due = node.on_outcome(&outcome, candidate, now, &mut self.jitter);
        // The end of the daemon does not wait for the end of a quarantine.
        let is_awaited = !is_stopping || matches!(node.state, NodeState::BackingOff { .. });
        let lost = matches!(outcome, Outcome::ImageMissing).then(|| node.desired().cloned()).flatten();
        if let Some(at) = due.filter(|_| is_awaited) {
            self.nodes.wake_at(at, name);
        }
        if let Some(desired) = lost {
            self.images.lost(&desired.image);
        }
        if self.nodes.apply_outcome(name, outcome, now) {
            self.requests.list.request();
        }
        self.schedule_clear(name);
    }

    /// Schedules the end of a crash loop. The end of the daemon does not wait for it.
    fn schedule_clear(&mut self, name: &NodeName) {
        let at = self.nodes.get(name).and_then(|node| node.crash_tracker.clears_at());
        if let Some(at) = at.filter(|_| !self.is_stopping()) {
            self.nodes.wake_at(at, name);
        }
    }

    fn notify_crash_loop(&mut self, name: &NodeName, now: Duration) {
        let notice = self.nodes.get_mut(name).and_then(|node| node.crash_tracker.take_notice(now));
        self.outbox.extend(notice.map(|notice| Effect::CrashLoop { node: name.clone(), notice }));
    }

    // --- Steps --------------------------------------------------------------------------------------------------------

    /// Emits the requests, pulls and operations that are due.
    fn schedule(&mut self, now: Duration) {
        match self.phase {
            Phase::Finished => {}
            Phase::Stopping { nodes, finish } => self.schedule_stop(nodes, finish, now),
            Phase::Starting | Phase::Running => {
                if self.requests.fetch.take_due(now) {
                    self.pending_changes.mark_requested();
                    self.outbox.push(Effect::FetchSnapshot);
                }
                self.request_list(now);
                if self.requests.list.has_succeeded && self.is_cloud_settled() {
                    while let Some(name) = self.nodes.take_marked() {
                        self.step(name, now);
                    }
                }
                self.outbox.extend(self.images.take_due(now).into_iter().map(Effect::Pull));
                if self.phase == Phase::Starting && self.is_start_complete() {
                    self.phase = Phase::Running;
                    self.outbox.push(Effect::Ready);
                }
            }
        }
    }

    fn step(&mut self, name: NodeName, now: Duration) {
        let Some(node) = self.nodes.get_mut(&name).filter(|node| node.is_free(now)) else { return };
        node.state = NodeState::Pending;
        match next_step(node, &self.images, self.app.is_some(), now) {
            Plan::Settled => {
                // The failed operation took effect after all, or somebody else did it.
                node.settle();
                if matches!(node.intent, Intent::Remove) {
                    self.nodes.remove(&name);
                }
            }
            Plan::Wait => {}
            Plan::Do(operation, reason) => {
                if let (Operation::Start { .. }, Some(at)) = (&operation, node.crash_tracker.pause(now)) {
                    return self.nodes.wake_at(at, &name);
                }
                let reason = Reason { causes: node.causes.clone(), ..reason };
                if !creates(&operation) || self.has_ports(&name, now) {
                    self.operate(name, operation, reason);
                }
            }
        }
    }

    /// Whether the node may be replaced: no other node holds its host ports, or each of those that hold them is replaced
    /// too. Else it waits for them.
    fn has_ports(&mut self, name: &NodeName, now: Duration) -> bool {
        let is_replaced_next = |node: &ManagedNode| {
            let next = next_step(node, &self.images, self.app.is_some(), now);
            matches!(next, Plan::Do(operation, _) if creates(&operation))
        };
        let is_ready = |node: &ManagedNode| node.candidate().is_some() || (node.is_free(now) && is_replaced_next(node));
        let Some(desired) = self.nodes.get(name).and_then(ManagedNode::desired) else { return true };
        match ports(&self.nodes, name, desired, &is_ready) {
            Ports::Free => {}
            Ports::Held(reason) => {
                self.nodes.wait_for_port(name, reason);
                return false;
            }
            // The others of the circle may have waited for this node.
            Ports::Cycle => self.nodes.mark_port_waiters(),
        }
        true
    }

    fn operate(&mut self, node: NodeName, operation: Operation, reason: Reason) {
        let candidate = match &operation {
            Operation::Create(target) | Operation::Replace { target, .. } => Some(target.clone()),
            _ => None,
        };
        self.nodes.begin(&node, operation.verb(), candidate);
        self.outbox.push(Effect::Operate { node, operation, reason });
    }

    /// Whether each node is settled or has failed once.
    fn is_start_complete(&self) -> bool {
        let has_failed = |node: &ManagedNode| {
            let image_failed = node.desired().is_some_and(|desired| self.images.failure(&desired.image).is_some());
            node.failure.is_some()
                || node.quarantine.is_some()
                || matches!(node.state, NodeState::Waiting(_))
                || node.crash_tracker.crash_loop().is_some()
                || image_failed
        };
        self.requests.list.has_succeeded
            && self.is_cloud_settled()
            && self.nodes.is_idle()
            && self.nodes.all(|node| node.is_settled() || has_failed(node))
    }

    // --- The end ------------------------------------------------------------------------------------------------------

    fn is_stopping(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. })
    }

    fn begin_stop(&mut self, nodes: EndOfNodes, finish: Finish) {
        if self.is_stopping() || self.phase == Phase::Finished {
            return;
        }
        self.phase = Phase::Stopping { nodes, finish };
        self.nodes.on_stop();
        // An earlier failure of a list does not predict the next one.
        self.requests.list.failure = None;
        self.requests.list.request_now();
    }

    /// Stops the nodes, each when its running operation ends.
    fn schedule_stop(&mut self, nodes: EndOfNodes, finish: Finish, now: Duration) {
        if nodes != EndOfNodes::Leave {
            if self.requests.list.has_succeeded || self.requests.list.failure.is_some() {
                while let Some(name) = self.nodes.take_marked() {
                    self.step_stop(name, nodes, now);
                }
            }
            self.request_list(now);
            let list = &self.requests.list;
            let is_list_pending = (list.is_running || list.is_requested) && list.failure.is_none();
            if is_list_pending || self.nodes.deadline().is_some() {
                return;
            }
        }
        if !self.nodes.is_busy() {
            self.phase = Phase::Finished;
            self.outbox.push(Effect::Finish(finish));
        }
    }

    fn step_stop(&mut self, name: NodeName, nodes: EndOfNodes, now: Duration) {
        let Some(node) = self.nodes.get(&name) else { return };
        // An abandoned operation may have left more containers: the list that was requested then shows them.
        let is_listing = self.requests.list.failure.is_none();
        let is_free = if is_listing { node.is_free(now) } else { node.is_free_without_list(now) };
        if !is_free || node.attempts >= STOP_ATTEMPTS_MAX {
            return;
        }
        if let Some((operation, reason)) = stop_step(node, nodes) {
            self.operate(name, operation, reason);
        }
    }
}

/// Whether an operation creates a container, which needs its host ports.
fn creates(operation: &Operation) -> bool {
    matches!(operation, Operation::Create(_) | Operation::Replace { .. })
}
