//! The journal of engine calls: verb, node, time and result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use managed_app_runtimes::{Container, ContainerId, ErrorKind, labels};

/// One call of the runtime trait.
#[derive(Debug, Clone)]
pub struct Call {
    /// The method of the trait, for example `restart`.
    pub verb: &'static str,
    /// The node that the container belongs to; for other calls the image, the network or the app.
    pub subject: String,
    /// Start of the call.
    pub at: Instant,
    /// `None` while it runs, and also after it was cancelled.
    pub result: Option<Result<(), ErrorKind>>,
}

/// All calls so far, oldest first. A cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Journal(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    calls: Vec<Call>,
    nodes: HashMap<ContainerId, String>,
}

impl Journal {
    /// Number of calls of `verb` for `subject`, with any result.
    pub fn count(&self, verb: &str, subject: &str) -> usize {
        self.lock().calls.iter().filter(|call| call.verb == verb && call.subject == subject).count()
    }

    /// Number of successful starts and restarts of containers of `node`.
    pub fn starts(&self, node: &str) -> usize {
        let is_start = |call: &&Call| matches!(call.verb, "start" | "restart") && call.subject == node;
        self.lock().calls.iter().filter(is_start).filter(|call| call.result == Some(Ok(()))).count()
    }

    /// Calls that change containers and images, as `restart a`, in the order of their start; queries are left out.
    pub fn actions(&self) -> Vec<String> {
        let is_action = |call: &&Call| {
            !matches!(call.verb, "info" | "host" | "list" | "image" | "events" | "ensure_network" | "logs")
        };
        self.lock().calls.iter().filter(is_action).map(|call| format!("{} {}", call.verb, call.subject)).collect()
    }

    /// As [`Journal::actions`], without order.
    pub fn sorted_actions(&self) -> Vec<String> {
        let mut actions = self.actions();
        actions.sort();
        actions
    }

    /// The last call of `verb` for `subject`.
    pub fn last(&self, verb: &str, subject: &str) -> Option<Call> {
        self.lock().calls.iter().rfind(|call| call.verb == verb && call.subject == subject).cloned()
    }

    /// All calls.
    pub fn calls(&self) -> Vec<Call> {
        self.lock().calls.clone()
    }

    /// Forgets the calls so far, but not which container belongs to which node.
    pub fn clear(&self) {
        self.lock().calls.clear();
    }

    /// Records the start of a call. The entry is valid until the next [`Journal::clear`].
    pub(super) fn begin(&self, verb: &'static str, subject: String) -> Entry {
        let at = Instant::now();
        self.lock().calls.push(Call { verb, subject: subject.clone(), at, result: None });
        Entry { journal: self.clone(), verb, subject, at }
    }

    /// The node of a container, or the ID of the container if the node is unknown.
    pub(super) fn node_of(&self, id: &ContainerId) -> String {
        self.lock().nodes.get(id).cloned().unwrap_or_else(|| id.0.clone())
    }

    pub(super) fn remember(&self, id: &ContainerId, node: &str) {
        self.lock().nodes.insert(id.clone(), node.to_owned());
    }

    pub(super) fn remember_all(&self, containers: &[Container]) {
        for container in containers {
            self.remember(&container.id, container.labels.get(labels::NODE).unwrap_or(&container.name));
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each statement leaves it consistent.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that has started.
pub(super) struct Entry {
    journal: Journal,
    verb: &'static str,
    subject: String,
    at: Instant,
}

impl Entry {
    pub(super) fn end(self, result: Result<(), ErrorKind>) {
        let mut state = self.journal.lock();
        let is_it = |call: &&mut Call| call.at == self.at && call.verb == self.verb && call.subject == self.subject;
        if let Some(call) = state.calls.iter_mut().rev().find(is_it) {
            call.result = Some(result);
        }
    }
}
