//! Changes that were received and do not show in a snapshot yet.
//!
//! The cloud is eventually consistent: a snapshot fetched right after a change may lack it. A change that shows in no
//! node is checked twice more and then dropped: it was a duplicate, or it concerned nothing that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::model::{App, Change, Node, NodeName};

/// When a change that does not show is checked again, counted from the snapshot that lacked it.
const CHECK_AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(15)];
/// Further changes are not kept: the next resync finds them.
const PENDING_CHANGES_MAX: usize = 10_000;

/// Number of changes named as causes of one operation; older ones are left out.
const CAUSES_MAX: usize = 10;

/// Changes that no snapshot shows yet.
#[derive(Debug, Default)]
pub struct PendingChanges(Vec<PendingChange>);

#[derive(Debug)]
struct PendingChange {
    change: Change,
    /// Whether a snapshot was requested after the change arrived.
    is_requested: bool,
    checks: usize,
    due_at: Option<Duration>,
}

impl PendingChanges {
    /// Adds a change. A change that is pending already starts again.
    pub fn add(&mut self, change: Change) {
        let undone = match &change {
            Change::Node(name) => Some(Change::NodeRemoved(name.clone())),
            _ => None,
        };
        self.0.retain(|pending| pending.change != change && Some(&pending.change) != undone.as_ref());
        if self.0.len() < PENDING_CHANGES_MAX {
            self.0.push(PendingChange { change, is_requested: false, checks: 0, due_at: None });
        }
    }

    /// A snapshot is requested now: all changes so far must show in it.
    pub fn mark_requested(&mut self) {
        for pending in self.0.iter_mut().filter(|pending| pending.due_at.is_none()) {
            pending.is_requested = true;
        }
    }

    /// Whether a message reported the removal of this node.
    pub fn reports_removed(&self, name: &NodeName) -> bool {
        self.0.iter().any(|pending| pending.change == Change::NodeRemoved(name.clone()))
    }

    /// Whether a message reported a change of this node type, and no snapshot has arrived since.
    pub fn reports_type_changed(&self, node_type: &str) -> bool {
        let is_this_type = |change: &Change| matches!(change, Change::NodeType(name) if name == node_type);
        self.0.iter().any(|pending| pending.is_requested && pending.checks == 0 && is_this_type(&pending.change))
    }

    /// Whether a message reported a change of any node type.
    pub fn reports_any_type_changed(&self) -> bool {
        self.0.iter().any(|pending| matches!(pending.change, Change::NodeType(_)))
    }

    /// For each node the changes that may affect it, oldest first: those without an earlier snapshot, otherwise those
    /// that are still pending.
    pub fn causes(&self, app: &App) -> BTreeMap<NodeName, Vec<Change>> {
        let mut causes: BTreeMap<NodeName, Vec<&PendingChange>> = BTreeMap::new();
        for pending in &self.0 {
            for node in affected_nodes(&pending.change, app) {
                causes.entry(node).or_default().push(pending);
            }
        }
        causes.into_iter().map(|(node, pending_changes)| (node, newest(pending_changes))).collect()
    }

    /// Handles a snapshot in which the nodes of `changed` differ from before: drops the changes that it shows.
    pub fn settle(&mut self, app: &App, changed: &BTreeSet<NodeName>, now: Duration) {
        self.0.retain_mut(|pending| {
            if !pending.is_requested {
                return true;
            }
            let affected = affected_nodes(&pending.change, app);
            let is_moot = affected.is_empty() && is_conclusive(&pending.change, app);
            let shows = affected.iter().any(|name| changed.contains(name));
            if is_moot {
                return false;
            }
            pending.is_requested = false;
            if shows {
                // This may be an earlier change of the same object, or a newer snapshot than the next one: check once
                // more.
                pending.checks = pending.checks.max(CHECK_AGAIN.len() - 1);
            }
            pending.due_at = CHECK_AGAIN.get(pending.checks).map(|delay| now + *delay);
            pending.checks += 1;
            pending.due_at.is_some()
        });
    }

    /// Whether a change has to be checked again at `now`.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let mut is_due = false;
        for pending in self.0.iter_mut().filter(|pending| pending.due_at.is_some_and(|at| at <= now)) {
            pending.due_at = None;
            is_due = true;
        }
        is_due
    }

    /// When the next check is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.0.iter().filter_map(|pending| pending.due_at).min()
    }

    /// Whether a change has no requested snapshot yet, or its snapshot is being fetched.
    pub fn has_new(&self) -> bool {
        self.0.iter().any(|pending| pending.due_at.is_none())
    }
}

/// Names of the nodes of `app` that `change` may affect, with named nodes that do not exist yet. For reasons and delays only:
/// the comparison of snapshots decides whether anything happens.
fn affected_nodes(change: &Change, app: &App) -> Vec<NodeName> {
    let all_where = |test: &dyn Fn(&Node) -> bool| -> Vec<NodeName> {
        app.nodes.values().filter(|node| test(node)).map(|node| node.name.clone()).collect()
    };
    match change {
        Change::Tenant | Change::App => all_where(&|_| true),
        Change::AppRemoved => Vec::new(),
        Change::Node(name) | Change::NodeRemoved(name) => vec![name.clone()],
        Change::NodeType(name) => all_where(&|node| node.node_type.name == *name),
        Change::MessageType(name) => all_where(&|node| uses(node, name)),
        Change::Edge(ends) => ends.iter().filter(|end| app.nodes.contains_key(*end)).cloned().collect(),
    }
}

fn uses(node: &Node, message_type: &str) -> bool {
    [&node.receive_message_type, &node.send_message_type]
        .into_iter()
        .any(|used| used.as_ref().is_some_and(|used| used.name == message_type))
}

fn newest(mut pending_changes: Vec<&PendingChange>) -> Vec<Change> {
    if pending_changes.iter().any(|pending| pending.checks == 0) {
        pending_changes.retain(|pending| pending.checks == 0);
    }
    let surplus = pending_changes.len().saturating_sub(CAUSES_MAX);
    pending_changes.drain(..surplus);
    pending_changes.into_iter().map(|pending| pending.change.clone()).collect()
}

/// Whether a snapshot in which `change` touches no node proves that there is none. A snapshot with missing or invalid
/// nodes does not, and a snapshot that still has a removed app is an old one.
fn is_conclusive(change: &Change, app: &App) -> bool {
    app.is_complete && app.invalid_nodes.is_empty() && *change != Change::AppRemoved
}
