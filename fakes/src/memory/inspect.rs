//! A way for tests to look into the in-memory engine without going through the trait.

use managed_app_runtimes::{Container, ContainerSpec, Origin, labels};
use time::OffsetDateTime;

use super::InMemoryRuntime;
use super::state::Entry;

/// A container as the engine has it, whoever made it.
#[derive(Debug, Clone)]
pub struct View {
    /// What the trait tells of it. `origin` is a guess from the labels alone for containers on no app's network.
    pub container: Container,
    /// What it was created from; `None` for a stranger's.
    pub spec: Option<ContainerSpec>,
    /// Its volumes.
    pub volumes: Vec<UsedVolume>,
    /// How often its process was started, by whomever.
    pub starts: u64,
}

/// A volume mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedVolume {
    /// Name of the volume.
    pub name: String,
    /// Path inside the container.
    pub target: String,
    /// Whether it goes when the container goes.
    pub is_anonymous: bool,
}

/// A call of the trait as it arrived, whatever came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// When it arrived, by the engine's clock.
    pub at: OffsetDateTime,
    /// The trait's method, for example `start`.
    pub verb: &'static str,
    /// Name of the container (its id when unknown), image, network, or app.
    pub subject: String,
}

impl InMemoryRuntime {
    /// All containers of the engine, oldest first.
    pub fn containers(&self) -> Vec<View> {
        self.lock().containers.values().map(view).collect()
    }

    /// The container called `name`.
    pub fn container(&self, name: &str) -> Option<View> {
        let state = self.lock();
        state.containers.get(&state.serial_by_name(name)?).map(view)
    }

    /// Whether the running container `from` reaches one on its network by `name`: its own or one of its aliases.
    pub fn resolves(&self, from: &str, name: &str) -> bool {
        let state = self.lock();
        let from = state.serial_by_name(from).and_then(|serial| state.containers.get(&serial));
        let Some(from) = from.filter(|entry| entry.has_process()) else { return false };
        let is_called =
            |entry: &Entry| entry.name == name || entry.spec.as_ref().is_some_and(|spec| spec.aliases.contains(name));
        let shares_network = |entry: &Entry| entry.networks.iter().any(|network| from.networks.contains(network));
        state.containers.values().any(|entry| entry.has_process() && is_called(entry) && shares_network(entry))
    }

    /// Names of all networks.
    pub fn networks(&self) -> Vec<String> {
        self.lock().networks.keys().cloned().collect()
    }

    /// Names of all volumes, named and anonymous.
    pub fn volumes(&self) -> Vec<String> {
        self.lock().volumes.iter().cloned().collect()
    }

    /// Labels of a network; `None` when there is no such network.
    pub fn network_labels(&self, name: &str) -> Option<std::collections::BTreeMap<String, String>> {
        self.lock().networks.get(name).cloned()
    }

    /// All calls of the trait so far, oldest first (the newest 200,000).
    pub fn journal(&self) -> Vec<Call> {
        self.lock().journal.iter().cloned().collect()
    }

    /// How often `verb` was called for `subject` (a container's name then, an image, a network, or an app).
    pub fn calls(&self, verb: &str, subject: &str) -> usize {
        self.lock().journal.iter().filter(|call| call.verb == verb && call.subject == subject).count()
    }

    /// Forgets the calls so far.
    pub fn clear_journal(&self) {
        self.lock().journal.clear();
    }

    /// Sets the engine's clock off by as much: what is said from now on has such a time.
    pub fn set_clock_offset(&self, offset: time::Duration) {
        self.lock().clock.set_offset(offset);
    }

    /// The engine's clock; moves with tokio's.
    pub fn now(&self) -> OffsetDateTime {
        self.lock().clock.now()
    }
}

fn view(entry: &Entry) -> View {
    let is_labelled = entry.labels.contains_key(labels::APP);
    let origin = if is_labelled { Origin::Labelled } else { Origin::Legacy };
    View {
        container: entry.to_container(origin),
        spec: entry.spec.clone(),
        volumes: entry.volumes.clone(),
        starts: entry.run,
    }
}
