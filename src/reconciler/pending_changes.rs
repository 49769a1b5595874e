//! Changes that were told of and not yet seen in a snapshot.
//!
//! The cloud is eventually consistent: a snapshot fetched right after a change may still lack it. A change that no node
//! shows is looked for again, twice, and then forgotten: it was a duplicate, or it concerned nothing that counts.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::impact;
use crate::model::{App, Change, NodeName};

/// When a change that does not show is looked for again, counted from the snapshot that lacked it.
const CHECK_AGAIN: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(15)];
/// More notes than this are not kept: the next resync finds the rest.
const PENDING_CHANGES_MAX: usize = 10_000;

/// More changes than this are not named as causes of one operation: the newest are.
const CAUSES_MAX: usize = 10;

/// The changes that are waited for.
#[derive(Debug, Default)]
pub struct PendingChanges(Vec<PendingChange>);

#[derive(Debug)]
struct PendingChange {
    change: Change,
    /// Whether a snapshot was asked for after the change arrived.
    is_asked: bool,
    checks: usize,
    due_at: Option<Duration>,
}

impl PendingChanges {
    /// Notes a change. One that is already waited for starts afresh.
    pub fn add(&mut self, change: Change) {
        let undone = match &change {
            Change::Node(name) => Some(Change::NodeRemoved(name.clone())),
            _ => None,
        };
        self.0.retain(|pending| pending.change != change && Some(&pending.change) != undone.as_ref());
        if self.0.len() < PENDING_CHANGES_MAX {
            self.0.push(PendingChange { change, is_asked: false, checks: 0, due_at: None });
        }
    }

    /// A snapshot is asked for now: all that arrived so far must show in it.
    pub fn mark_asked(&mut self) {
        for pending in self.0.iter_mut().filter(|pending| pending.due_at.is_none()) {
            pending.is_asked = true;
        }
    }

    /// Whether a message said that this node is gone.
    pub fn reports_removed(&self, name: &NodeName) -> bool {
        self.0.iter().any(|pending| pending.change == Change::NodeRemoved(name.clone()))
    }

    /// Whether a message said that this node type changed, and no snapshot has come since.
    pub fn reports_type_changed(&self, node_type: &str) -> bool {
        let is_it = |change: &Change| matches!(change, Change::NodeType(name) if name == node_type);
        self.0.iter().any(|pending| pending.is_asked && pending.checks == 0 && is_it(&pending.change))
    }

    /// Whether a message said that any node type changed.
    pub fn reports_any_type_changed(&self) -> bool {
        self.0.iter().any(|pending| matches!(pending.change, Change::NodeType(_)))
    }

    /// For each node the changes that may have touched it, oldest first: those that no snapshot has been asked for
    /// before, else those that are still looked for.
    pub fn causes(&self, app: &App) -> BTreeMap<NodeName, Vec<Change>> {
        let mut causes: BTreeMap<NodeName, Vec<&PendingChange>> = BTreeMap::new();
        for pending in &self.0 {
            for node in impact::touched(&pending.change, app) {
                causes.entry(node).or_default().push(pending);
            }
        }
        causes.into_iter().map(|(node, pending_changes)| (node, newest(pending_changes))).collect()
    }

    /// A snapshot came in which the nodes of `changed` differ from before: forgets what shows in it.
    pub fn settle(&mut self, app: &App, changed: &BTreeSet<NodeName>, now: Duration) {
        self.0.retain_mut(|pending| {
            if !pending.is_asked {
                return true;
            }
            let touched = impact::touched(&pending.change, app);
            let is_moot = touched.is_empty() && can_tell(&pending.change, app);
            let shows = touched.iter().any(|name| changed.contains(name));
            if is_moot {
                return false;
            }
            pending.is_asked = false;
            if shows {
                // Perhaps only an earlier change of the same, or in a snapshot newer than the next: one last look.
                pending.checks = pending.checks.max(CHECK_AGAIN.len() - 1);
            }
            pending.due_at = CHECK_AGAIN.get(pending.checks).map(|delay| now + *delay);
            pending.checks += 1;
            pending.due_at.is_some()
        });
    }

    /// Whether some change has to be looked for again at `now`.
    pub fn take_due(&mut self, now: Duration) -> bool {
        let mut is_due = false;
        for pending in self.0.iter_mut().filter(|pending| pending.due_at.is_some_and(|at| at <= now)) {
            pending.due_at = None;
            is_due = true;
        }
        is_due
    }

    /// When the next look is due.
    pub fn deadline(&self) -> Option<Duration> {
        self.0.iter().filter_map(|pending| pending.due_at).min()
    }

    /// Whether a change has arrived that no snapshot was asked for yet, or whose snapshot is on its way.
    pub fn has_new(&self) -> bool {
        self.0.iter().any(|pending| pending.due_at.is_none())
    }
}

fn newest(mut pending_changes: Vec<&PendingChange>) -> Vec<Change> {
    if pending_changes.iter().any(|pending| pending.checks == 0) {
        pending_changes.retain(|pending| pending.checks == 0);
    }
    let surplus = pending_changes.len().saturating_sub(CAUSES_MAX);
    pending_changes.drain(..surplus);
    pending_changes.into_iter().map(|pending| pending.change.clone()).collect()
}

/// Whether a snapshot that shows no node which `change` touches proves that there is none: not when nodes are missing in
/// it or cannot be read, and an app that was removed is still there only in a snapshot of before.
fn can_tell(change: &Change, app: &App) -> bool {
    app.is_complete && app.invalid_nodes.is_empty() && *change != Change::AppRemoved
}
