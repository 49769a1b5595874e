//! State of the in-memory engine: containers with their indexes, images, networks, volumes, ports, the journal.
//!
//! Everything here is synchronous and found by index: a list touches only the owner's containers.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use managed_app_runtimes::{
    Action, Container, ContainerId, ContainerSpec, ContainerState, EngineEvent, ImageId, LogChunk, Origin, Owner,
    PortBinding, ProcessExit, Protocol, labels,
};
use time::OffsetDateTime;
use tokio::sync::{Notify, broadcast};
use tokio::time::Instant;

use super::clock::Clock;
use super::inspect::{Call, UsedVolume};
use super::process::Due;
use super::registry::Registry;
use super::{Behaviour, Latencies};

/// Calls kept in the journal; older ones are dropped.
const JOURNAL_MAX: usize = 200_000;

/// Creation number of a container; the key of every index.
pub(super) type Serial = u64;
/// Address on which a host port is used, and the container that uses it; `None` is a process of the host.
pub(super) type PortUser = (IpAddr, Option<Serial>);
/// App, tenant and host of an owner.
type OwnerKey = (String, String, String);
/// Startup output of a process: the chunks it writes as soon as it is started.
pub(super) type Output = Vec<(managed_app_runtimes::LogSource, bytes::Bytes)>;

pub(super) struct State {
    pub(super) clock: Clock,
    pub(super) latencies: Latencies,
    pub(super) has_awslogs: bool,
    pub(super) containers: BTreeMap<Serial, Entry>,
    pub(super) registry: Registry,
    pub(super) networks: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) volumes: BTreeSet<String>,
    /// Removed paths of the host.
    pub(super) missing_paths: BTreeSet<String>,
    pub(super) behaviours_by_image: HashMap<String, Behaviour>,
    pub(super) behaviours_by_name: HashMap<String, Behaviour>,
    pub(super) outputs_by_name: HashMap<String, Output>,
    /// Host ports in use, with their users.
    pub(super) ports: HashMap<(Protocol, u16), Vec<PortUser>>,
    pub(super) due: BTreeMap<(Instant, u64), Due>,
    pub(super) due_added: Arc<Notify>,
    pub(super) events: broadcast::Sender<Arc<Occurrence>>,
    /// Incremented when the engine ends its streams.
    pub(super) epoch: u64,
    pub(super) journal: VecDeque<Call>,
    pub(super) counter: u64,
    names: HashMap<String, Serial>,
    ids: HashMap<ContainerId, Serial>,
    owned: HashMap<OwnerKey, BTreeSet<Serial>>,
    maybe_legacy: BTreeSet<Serial>,
}

/// A container.
pub(super) struct Entry {
    pub(super) id: ContainerId,
    pub(super) name: String,
    pub(super) image_id: ImageId,
    pub(super) labels: Arc<BTreeMap<String, String>>,
    pub(super) networks: Vec<String>,
    /// `None` for a stranger's container.
    pub(super) spec: Option<ContainerSpec>,
    pub(super) volumes: Vec<UsedVolume>,
    pub(super) state: ContainerState,
    pub(super) started_at: Option<OffsetDateTime>,
    pub(super) started: Option<Instant>,
    /// Number of the current or last run; 0 before the first start.
    pub(super) run: u64,
    /// Consecutive runs that ended by themselves.
    pub(super) failures: u32,
    /// Restarts by the restart policy since the last start by a call, counted when the process ends, as Docker does.
    pub(super) restarts: u64,
    pub(super) last_exit: Option<ProcessExit>,
    pub(super) logs: VecDeque<(u64, LogChunk)>,
    /// Sequence number of the first kept chunk.
    pub(super) logs_first: u64,
    /// Notified of every change of state and all output.
    pub(super) changed: Arc<Notify>,
}

/// An item for subscribers of events.
pub(super) enum Occurrence {
    /// An event of a container that had these labels and networks then.
    Event { event: EngineEvent, labels: Arc<BTreeMap<String, String>>, networks: Vec<String> },
    /// The engine ended all streams.
    Cut,
}

impl Entry {
    /// Whether there is a process, paused or not.
    pub(super) fn has_process(&self) -> bool {
        matches!(self.state, ContainerState::Running | ContainerState::Paused)
    }

    pub(super) fn ports(&self) -> &[PortBinding] {
        self.spec.as_ref().map_or(&[], |spec| &spec.ports)
    }

    pub(super) fn to_container(&self, origin: Origin) -> Container {
        Container {
            id: self.id.clone(),
            name: self.name.clone(),
            image_id: self.image_id.clone(),
            labels: (*self.labels).clone(),
            state: self.state.clone(),
            networks: self.networks.clone(),
            started_at: self.started_at,
            restarts: Some(self.restarts),
            last_exit: self.last_exit,
            origin,
        }
    }
}

impl State {
    pub(super) fn new(events: broadcast::Sender<Arc<Occurrence>>, due_added: Arc<Notify>) -> Self {
        Self {
            clock: Clock::new(),
            latencies: Latencies::default(),
            has_awslogs: false,
            containers: BTreeMap::new(),
            registry: Registry::default(),
            networks: BTreeMap::new(),
            volumes: BTreeSet::new(),
            missing_paths: BTreeSet::new(),
            behaviours_by_image: HashMap::new(),
            behaviours_by_name: HashMap::new(),
            outputs_by_name: HashMap::new(),
            ports: HashMap::new(),
            due: BTreeMap::new(),
            due_added,
            events,
            epoch: 0,
            journal: VecDeque::new(),
            counter: 0,
            names: HashMap::new(),
            ids: HashMap::new(),
            owned: HashMap::new(),
            maybe_legacy: BTreeSet::new(),
        }
    }

    /// A number that was never used before.
    pub(super) fn next_number(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    pub(super) fn record_call(&mut self, verb: &'static str, subject: &str) {
        if self.journal.len() == JOURNAL_MAX {
            self.journal.pop_front();
        }
        self.journal.push_back(Call { at: self.clock.now(), verb, subject: subject.to_owned() });
    }

    pub(super) fn serial_by_id(&self, id: &ContainerId) -> Option<Serial> {
        self.ids.get(id).copied()
    }

    pub(super) fn serial_by_name(&self, name: &str) -> Option<Serial> {
        self.names.get(name).copied()
    }

    /// The name of a container for the journal; its id if the name is unknown.
    pub(super) fn name_of(&self, id: &ContainerId) -> String {
        let entry = self.serial_by_id(id).and_then(|serial| self.containers.get(&serial));
        entry.map_or_else(|| id.0.clone(), |entry| entry.name.clone())
    }

    pub(super) fn insert(&mut self, serial: Serial, entry: Entry) {
        self.names.insert(entry.name.clone(), serial);
        self.ids.insert(entry.id.clone(), serial);
        if let Some(key) = owner_key(&entry.labels) {
            self.owned.entry(key).or_default().insert(serial);
        }
        if entry.labels.contains_key(labels::MANAGED_NODE_TYPE) {
            self.maybe_legacy.insert(serial);
        }
        self.containers.insert(serial, entry);
    }

    /// Removes a container whose process has ended, with its anonymous volumes.
    pub(super) fn remove_container(&mut self, serial: Serial) {
        let Some(entry) = self.containers.remove(&serial) else { return };
        self.names.remove(&entry.name);
        self.ids.remove(&entry.id);
        self.maybe_legacy.remove(&serial);
        if let Some(key) = owner_key(&entry.labels)
            && let Some(serials) = self.owned.get_mut(&key)
        {
            serials.remove(&serial);
        }
        for volume in entry.volumes.iter().filter(|volume| volume.is_anonymous) {
            self.volumes.remove(&volume.name);
        }
        entry.changed.notify_waiters();
        self.send_event(&entry, Action::Removed, Instant::now());
    }

    pub(super) fn change_name(&mut self, serial: Serial, name: &str) {
        let Some(entry) = self.containers.get_mut(&serial) else { return };
        self.names.remove(&entry.name);
        entry.name = name.to_owned();
        self.names.insert(entry.name.clone(), serial);
        self.publish(serial, Action::Renamed, Instant::now());
    }

    /// The owner's containers, oldest first.
    pub(super) fn of_owner(&self, owner: &Owner) -> Vec<Container> {
        let key = (owner.app.clone(), owner.tenant.clone(), owner.host.clone());
        let labelled = self.owned.get(&key).into_iter().flatten();
        let labelled = labelled.filter_map(|serial| Some(self.containers.get(serial)?.to_container(Origin::Labelled)));
        let legacy = self.maybe_legacy.iter().filter_map(|serial| self.containers.get(serial));
        let legacy = legacy.filter(|entry| owner.owns_legacy(&entry.labels, &entry.networks));
        labelled.chain(legacy.map(|entry| entry.to_container(Origin::Legacy))).collect()
    }

    /// Publishes an event of a container.
    pub(super) fn publish(&self, serial: Serial, action: Action, at: Instant) {
        if let Some(entry) = self.containers.get(&serial) {
            entry.changed.notify_waiters();
            self.send_event(entry, action, at);
        }
    }

    fn send_event(&self, entry: &Entry, action: Action, at: Instant) {
        let exit_code = entry.last_exit.and_then(|exit| exit.code).filter(|_| action == Action::Died);
        let (container, name) = (entry.id.clone(), entry.name.clone());
        let event = EngineEvent { container, name, action, at: Some(self.clock.at(at)), exit_code };
        let occurrence =
            Occurrence::Event { event, labels: Arc::clone(&entry.labels), networks: entry.networks.clone() };
        // No subscriber is fine: events are not authoritative.
        let _ = self.events.send(Arc::new(occurrence));
    }

    /// Ends every event and log stream.
    pub(super) fn cut_streams(&mut self) {
        self.epoch += 1;
        let _ = self.events.send(Arc::new(Occurrence::Cut));
        for entry in self.containers.values() {
            entry.changed.notify_waiters();
        }
    }
}

fn owner_key(labels: &BTreeMap<String, String>) -> Option<OwnerKey> {
    let get = |key| labels.get(key).cloned();
    Some((get(labels::APP)?, get(labels::TENANT)?, get(labels::HOST)?))
}
