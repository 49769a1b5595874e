//! Handling of a snapshot: desired states, image pulls, the queue address, and the removal of the app.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::labels::SpecRecord;

use super::desired::{Desired, Settings};
use super::effect::{Effect, Finish};
use super::node::{Intent, ManagedNode};
use super::revision::AppInputs;
use super::{EndOfNodes, Reconciler};
use crate::model::{App, Node, NodeName, QueueAddress, Snapshot};

/// Two snapshots, at least this far apart, must report that the app is gone.
const GONE_CONFIRMED_AFTER: Duration = Duration::from_secs(5);

impl Reconciler {
    pub(super) fn on_snapshot(&mut self, snapshot: Snapshot, now: Duration) {
        self.fetch.is_running = false;
        self.fetch.succeeded();
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

    /// Re-evaluates all nodes with the last known app.
    pub(super) fn on_settings(&mut self, settings: Settings, now: Duration) {
        self.settings = settings;
        if let Some(app) = self.app.take() {
            self.on_app(app, None, now);
        }
        self.resync_now(now);
    }

    fn on_gone(&mut self, now: Duration) {
        let since = *self.gone_since.get_or_insert(now);
        let is_unlisted = !self.list.has_succeeded && self.list.failure.is_none();
        if now.saturating_sub(since) < GONE_CONFIRMED_AFTER || is_unlisted {
            self.fetch.request();
            self.fetch.not_before = now + GONE_CONFIRMED_AFTER;
            return;
        }
        // A mistyped APP looks the same as a removed app, and must not power the host off.
        let was_here = self.app.is_some() || self.nodes.values().any(|node| !node.containers.is_empty());
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
        self.dirty.append(&mut self.port_waiters);
        let nodes: Vec<&Node> = match &differing {
            Some(names) => names.iter().filter_map(|name| app.nodes.get(name)).collect(),
            None => self.nodes_to_evaluate(&app, before.as_deref(), &app_inputs),
        };
        let mut changed = BTreeSet::new();
        for node in nodes {
            if self.set_intent(&app, node, &app_inputs) {
                changed.insert(node.name.clone());
                let state = self.nodes.entry(node.name.clone()).or_default();
                state.causes = causes.get(&node.name).cloned().unwrap_or_default();
            }
        }
        for (name, reason) in &app.invalid_nodes {
            self.nodes.entry(name.clone()).or_default().intent = Intent::Invalid(reason.clone());
            self.dirty.insert(name.clone());
        }
        match &differing {
            Some(names) => names.iter().for_each(|name| self.mark_removed(name, &app, &mut changed)),
            None => {
                let names: Vec<NodeName> = self.nodes.keys().cloned().collect();
                names.iter().for_each(|name| self.mark_removed(name, &app, &mut changed));
            }
        }
        self.pull_changed_types(&app);
        self.pending_changes.settle(&app, &changed, now);
        if differing.is_none_or(|names| may_free_images(&names, before.as_deref(), &app)) {
            let wanted: BTreeSet<_> = self.nodes.values().filter_map(|n| Some(n.desired()?.image.clone())).collect();
            self.images.retain(|image| wanted.contains(image));
        }
        self.listen(&app);
    }

    /// The nodes whose desired state may have changed.
    fn nodes_to_evaluate<'a>(&self, app: &'a App, before: Option<&App>, app_inputs: &AppInputs) -> Vec<&'a Node> {
        let before = before.filter(|before| AppInputs::of(before) == *app_inputs);
        let is_as_before = |node: &Node| before.is_some_and(|before| before.nodes.get(&node.name) == Some(node));
        let is_evaluated = |name| !matches!(self.nodes.get(name).map(|n| &n.intent), None | Some(Intent::Unknown));
        app.nodes.values().filter(|node| !(is_as_before(node) && is_evaluated(&node.name))).collect()
    }

    /// Sets the desired state of `node`; true if it has changed.
    fn set_intent(&mut self, app: &App, node: &Node, app_inputs: &AppInputs) -> bool {
        let state = self.nodes.entry(node.name.clone()).or_default();
        let desired = match self.settings.desired(app, node, app_inputs) {
            Ok(desired) => Arc::new(desired),
            Err(reason) => {
                state.intent = Intent::Invalid(reason);
                self.dirty.insert(node.name.clone());
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
        state.quarantine = state.quarantine.take().filter(|quarantine| quarantine.candidate.is_of(&desired.target));
        state.intent = Intent::Run(desired);
        state.fill_in_inputs();
        state.on_intent_changed();
        state.crash_tracker.reset_delay();
        self.dirty.insert(node.name.clone());
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
        let Some(state) = self.nodes.get_mut(name) else { return };
        if is_there || matches!(state.intent, Intent::Remove) {
            return;
        }
        if app.is_complete || self.pending_changes.reports_removed(name) {
            state.intent = Intent::Remove;
            state.on_intent_changed();
            changed.insert(name.clone());
            self.dirty.insert(name.clone());
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

    /// The intent for a node that a list contains and no snapshot has named.
    pub(super) fn intent_for_stray(&self) -> Intent {
        match &self.app {
            Some(app) if app.is_complete => Intent::Remove,
            _ => Intent::Unknown,
        }
    }
}

/// Whether one of these nodes may have been the last user of its image.
fn may_free_images(names: &BTreeSet<NodeName>, before: Option<&App>, app: &App) -> bool {
    let image = |app: &App, name| app.nodes.get(name).map(|node| node.node_type.image_uri.clone());
    names.iter().any(|name| {
        let old = before.and_then(|before| image(before, name));
        old.is_some() && old != image(app, name)
    })
}

fn is_same(before: &Desired, after: &Desired) -> bool {
    before.target.revision == after.target.revision
        && before.kept_logs == after.kept_logs
        && SpecRecord::new(&before.target.spec, "").differences(&after.target.spec).is_empty()
}
