//! Inspection of the in-memory engine for tests, without the trait.

use managed_app_runtimes::{Container, ContainerSpec, Origin, labels};
use time::OffsetDateTime;

use super::InMemoryRuntime;
use super::state::Entry;

/// A container as the engine has it, however it was created.
#[derive(Debug, Clone)]
pub struct View {
    /// The container as the trait reports it. For containers on no app's network, `origin` is derived from the labels
    /// alone.
    pub container: Container,
    /// Its spec; `None` for a stranger's container.
    pub spec: Option<ContainerSpec>,
    /// Its volumes.
    pub volumes: Vec<UsedVolume>,
    /// Number of starts of its process, by anyone.
    pub starts: u64,
}

/// A volume mounted into a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsedVolume {
    /// Name of the volume.
    pub name: String,
    /// Path inside the container.
    pub target: String,
    /// Whether it is removed with the container.
    pub is_anonymous: bool,
}

/// A call of the trait as it arrived, whatever its result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Time of its arrival, by the engine's clock.
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

    /// Whether the running container `from` resolves `name` to a container on its network: its name or one of its
    /// aliases.
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

    /// Number of calls of `verb` for `subject` (a container's name at that time, an image, a network, or an app).
    pub fn calls(&self, verb: &str, subject: &str) -> usize {
        self.lock().journal.iter().filter(|call| call.verb == verb && call.subject == subject).count()
    }

    /// Clears the journal.
    pub fn clear_journal(&self) {
        self.lock().journal.clear();
    }

    /// Sets the offset of the engine's clock; later output has times with this offset.
    pub fn set_clock_offset(&self, offset: time::Duration) {
        self.lock().clock.set_offset(offset);
    }

    /// The engine's clock; follows tokio's.
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
