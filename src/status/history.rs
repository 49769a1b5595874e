//! The actions on each node and their reasons, bounded for each node and in total. Pure: `file` does the I/O.

mod file;

use std::collections::{BTreeMap, VecDeque};

pub use file::HistoryFile;

use super::model::{Action, Outcome};
use crate::reconciler::ReasonKind;

/// Maximum of actions for each node.
pub const PER_NODE_MAX: usize = 50;
/// Maximum of actions of all nodes.
pub const TOTAL_MAX: usize = 1_000;

/// Verbs that start a new process of the node.
const STARTING: [&str; 3] = ["restart", "replace", "start"];

/// The actions on all nodes, and on removed ones within the bounds.
#[derive(Debug, Default)]
pub struct History {
    nodes: BTreeMap<String, VecDeque<Action>>,
    total: usize,
    newest_id: u64,
}

impl History {
    /// Loads the actions of a file: a later line about an action replaces an earlier one. Actions without an end count as
    /// cut off.
    pub fn of(actions: impl IntoIterator<Item = Action>) -> Self {
        let mut history = Self::default();
        for action in actions {
            history.put(action);
        }
        for action in history.nodes.values_mut().flatten().filter(|action| action.outcome == Outcome::GoingOn) {
            action.outcome = Outcome::CutOff;
        }
        history
    }

    /// Begins a new action, or another attempt at the node's last one. Returns the recorded action.
    pub fn begin(&mut self, new: Action) -> Action {
        let last = self.nodes.get_mut(&new.node).and_then(VecDeque::back_mut);
        if let Some(last) = last.filter(|last| is_same_attempt(last, &new)) {
            *last = Action {
                id: last.id,
                began_at: last.began_at,
                attempts: last.attempts.saturating_add(1),
                causes: if new.causes.is_empty() { std::mem::take(&mut last.causes) } else { new.causes },
                restarts: last.restarts,
                ..new
            };
            return last.clone();
        }
        let restarts = last_of(&self.nodes, &new.node).map_or(0, |last| last.restarts);
        let action = Action { id: self.newest_id + 1, restarts, ..new };
        self.put(action.clone());
        action
    }

    /// Ends an action. Returns the recorded action; `None` if it was dropped.
    pub fn end(&mut self, node: &str, id: u64, finish: impl FnOnce(&mut Action)) -> Option<Action> {
        let action = self.nodes.get_mut(node)?.iter_mut().rev().find(|action| action.id == id)?;
        finish(action);
        // A replacement that only had to rename the container starts nothing.
        let is_start = STARTING.contains(&action.action.as_str()) && action.reason != ReasonKind::Misnamed.as_str();
        if action.outcome == Outcome::Done && is_start {
            action.restarts += 1;
        }
        Some(action.clone())
    }

    /// The actions on one node, oldest first.
    pub fn of_node(&self, node: &str) -> impl Iterator<Item = &Action> {
        self.nodes.get(node).into_iter().flatten()
    }

    /// The last action on a node.
    pub fn last(&self, node: &str) -> Option<&Action> {
        last_of(&self.nodes, node)
    }

    /// Whether there are actions of a node.
    pub fn knows(&self, node: &str) -> bool {
        self.nodes.contains_key(node)
    }

    /// The newest actions of all nodes, newest first.
    pub fn recent(&self, count: usize) -> Vec<Action> {
        let mut all: Vec<&Action> = self.nodes.values().flatten().collect();
        all.sort_by_key(|action| std::cmp::Reverse((action.ended_at.unwrap_or(action.began_at), action.id)));
        all.into_iter().take(count).cloned().collect()
    }

    /// All actions, oldest first.
    pub fn all(&self) -> Vec<&Action> {
        let mut all: Vec<&Action> = self.nodes.values().flatten().collect();
        all.sort_by_key(|action| action.id);
        all
    }

    fn put(&mut self, action: Action) {
        self.newest_id = self.newest_id.max(action.id);
        let of_node = self.nodes.entry(action.node.clone()).or_default();
        if let Some(known) = of_node.iter_mut().find(|known| known.id == action.id) {
            *known = action;
            return;
        }
        of_node.push_back(action);
        self.total += 1;
        if of_node.len() > PER_NODE_MAX {
            of_node.pop_front();
            self.total -= 1;
        }
        while self.total > TOTAL_MAX {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.nodes.iter().filter_map(|(node, all)| Some((all.front()?.id, node.clone()))).min();
        let Some((_, node)) = oldest else { return };
        if let Some(all) = self.nodes.get_mut(&node) {
            all.pop_front();
            self.total -= 1;
            if all.is_empty() {
                self.nodes.remove(&node);
            }
        }
    }
}

fn last_of<'a>(nodes: &'a BTreeMap<String, VecDeque<Action>>, node: &str) -> Option<&'a Action> {
    nodes.get(node).and_then(VecDeque::back)
}

/// Successive failures for one reason are one action, so that they do not displace older actions.
fn is_same_attempt(last: &Action, new: &Action) -> bool {
    let is_open = matches!(last.outcome, Outcome::Failed | Outcome::RolledBack | Outcome::CutOff | Outcome::Abandoned);
    is_open && last.action == new.action && last.because == new.because && last.differences == new.differences
}

#[cfg(test)]
mod tests;
