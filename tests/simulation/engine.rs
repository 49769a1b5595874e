//! A container engine as plain data: containers with names, processes and networks, images, events. The only
//! information about the daemon is which of its calls have no waiting caller.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use managed_app::model::NodeName;
use managed_app::reconciler::Event;
use managed_app_runtimes::{
    Action, Container, ContainerId, ContainerSpec, ContainerState, EngineEvent, ErrorKind, ImageId, ImageReference,
    Origin, PortBinding, labels,
};
use time::OffsetDateTime;
use tokio::sync::oneshot;

use crate::fault_plan::Class;
use crate::world::{Occurrence, World};

/// A container with additional data of the model.
pub struct Kept {
    pub container: Container,
    /// Its node; `None`: a foreign container.
    pub node: Option<NodeName>,
    pub created_at: Duration,
    /// The version of the cloud state that its process read.
    pub read: usize,
    /// Whether its process was started externally, or by a call without a waiting caller.
    pub is_foreign_start: bool,
    /// The number of the operation that started its process, if the daemon started it.
    pub started_in: Option<usize>,
    /// Its host ports while it is up.
    pub ports: Vec<PortBinding>,
    /// Whether an object that it refers to was removed permanently, so that its next start fails.
    pub is_lost: bool,
    /// End of the pending steps of the engine for it; the engine executes one step at a time per container.
    pub busy_until: Duration,
}

/// The state of the engine.
#[derive(Default)]
pub struct Engine {
    pub containers: Vec<Kept>,
    pub images: BTreeMap<String, ImageId>,
    pub networks: BTreeSet<String>,
    /// The node of each container that ever existed.
    pub nodes: BTreeMap<ContainerId, NodeName>,
    pub is_down: bool,
    pub created: usize,
    /// Number of process starts.
    runs: u64,
}

/// Receives the result of a call.
pub type Reply = oneshot::Sender<Result<Option<ContainerId>, ErrorKind>>;

/// The steps of the engine for a call.
pub struct EngineCall {
    /// Time and step, the last first.
    pub steps: Vec<(Duration, Verb)>,
    /// `None`: no caller waits.
    pub reply: Option<Reply>,
}

/// A step of the engine.
#[derive(Debug)]
pub enum Verb {
    Create(Box<ContainerSpec>),
    Start(ContainerId),
    End(ContainerId),
    Rename(ContainerId, String),
    Remove(ContainerId),
    Network(String),
}

impl Kept {
    pub fn id(&self) -> ContainerId {
        self.container.id.clone()
    }

    /// Whether it holds its ports.
    pub fn is_up(&self) -> bool {
        self.container.state.is_running() || self.container.state == ContainerState::Paused
    }
}

impl Engine {
    pub fn get(&mut self, id: &ContainerId) -> Option<&mut Kept> {
        self.containers.iter_mut().find(|kept| kept.container.id == *id)
    }

    fn is_taken(&self, name: &str) -> bool {
        self.containers.iter().any(|kept| kept.container.name == name)
    }

    fn next_id(&mut self) -> ContainerId {
        self.created += 1;
        ContainerId(format!("c{}", self.created))
    }
}

impl World {
    /// Executes the next step of a call; a waiting caller receives the result of the last step.
    pub fn perform(&mut self, mut call: EngineCall) {
        let Some((_, verb)) = call.steps.pop() else { return };
        let is_orphan = call.reply.as_ref().is_none_or(oneshot::Sender::is_closed);
        let result = self.step(&verb, is_orphan);
        match call.steps.last() {
            Some((next, _)) => self.schedule(*next, Occurrence::Engine(call)),
            None => call.reply.into_iter().for_each(|reply| drop(reply.send(result.clone()))),
        }
    }

    fn step(&mut self, verb: &Verb, is_orphan: bool) -> Result<Option<ContainerId>, ErrorKind> {
        self.guard(verb, is_orphan);
        let result = match verb {
            Verb::Create(spec) => self.create(spec).map(Some),
            Verb::Start(id) => self.start(id, is_orphan).map(|()| None),
            Verb::End(id) => self.end(id, is_orphan).map(|()| None),
            Verb::Rename(id, name) => self.rename(id, name).map(|()| None),
            Verb::Remove(id) => self.remove(id, is_orphan).map(|()| None),
            Verb::Network(name) => {
                self.engine.networks.insert(name.clone());
                Ok(None)
            }
        };
        self.log_line(|| {
            let what = match verb {
                Verb::Create(spec) => format!("Create({})", spec.name),
                other => format!("{other:?}"),
            };
            format!("engine: {what}: {result:?}{}", if is_orphan { " (no caller waits)" } else { "" })
        });
        result
    }

    /// No call ever names a foreign container; late steps count as external changes.
    fn guard(&mut self, verb: &Verb, is_orphan: bool) {
        let (Verb::Start(id) | Verb::End(id) | Verb::Rename(id, _) | Verb::Remove(id)) = verb else { return };
        match self.engine.get(id).map(|kept| kept.node.clone()) {
            Some(None) => self.invariants.violate(format!("a foreign container was changed: {verb:?}")),
            Some(Some(node)) if is_orphan => {
                self.invariants.allow(&node, 2);
                if matches!(verb, Verb::Remove(_)) {
                    self.invariants.removed_by_others.insert(node);
                }
            }
            _ => {}
        }
    }

    fn create(&mut self, spec: &ContainerSpec) -> Result<ContainerId, ErrorKind> {
        if self.engine.is_taken(&spec.name) {
            return Err(ErrorKind::AlreadyExists);
        }
        let image = self.engine.images.get(&spec.image.to_pull()).cloned();
        let (Some(image_id), true) = (image, self.engine.networks.contains(&spec.network)) else {
            return Err(ErrorKind::NotFound);
        };
        let node = spec.labels.get(labels::NODE).and_then(|name| NodeName::new(name.clone()).ok());
        let id = self.add(&spec.name, node, spec.labels.clone(), image_id, &spec.network, Origin::Labelled);
        self.engine.get(&id).expect("it was just created").ports.clone_from(&spec.ports);
        Ok(id)
    }

    /// Adds a container that does not run.
    pub fn add(
        &mut self,
        name: &str,
        node: Option<NodeName>,
        labels: BTreeMap<String, String>,
        image_id: ImageId,
        network: &str,
        origin: Origin,
    ) -> ContainerId {
        let id = self.engine.next_id();
        let container = Container {
            id: id.clone(),
            name: name.to_owned(),
            image_id,
            labels,
            state: ContainerState::Created,
            networks: vec![network.to_owned()],
            started_at: None,
            restarts: Some(0),
            last_exit: None,
            origin,
        };
        let (created_at, busy_until) = (self.now, self.now);
        self.engine.nodes.extend(node.clone().map(|node| (id.clone(), node)));
        self.engine.containers.push(Kept {
            container,
            node,
            created_at,
            read: 0,
            is_foreign_start: false,
            started_in: None,
            ports: vec![],
            is_lost: false,
            busy_until,
        });
        self.emit_event(&id, Action::Created);
        id
    }

    /// Starts a process, which reads the current state of the cloud.
    pub fn start(&mut self, id: &ContainerId, is_foreign: bool) -> Result<(), ErrorKind> {
        let read = self.cloud.newest();
        let Some(kept) = self.engine.get(id) else { return Err(ErrorKind::NotFound) };
        match kept.container.state {
            ContainerState::Running | ContainerState::Restarting => return Ok(()),
            ContainerState::Paused | ContainerState::Removing => return Err(ErrorKind::Conflict),
            _ if kept.is_lost => return Err(ErrorKind::NotFound),
            _ => {}
        }
        // By the contract, a start recreates a removed network.
        let networks = kept.container.networks.clone();
        self.engine.networks.extend(networks);
        if let Some(holder) = self.holder_of_ports(id) {
            self.check_conflict(id, &holder);
            return Err(ErrorKind::Conflict);
        }
        self.run(id, read);
        let kept = self.engine.get(id).expect("it exists");
        let started_in = kept.node.as_ref().filter(|_| !is_foreign).and_then(|node| self.invariants.operation_on(node));
        kept.is_foreign_start = is_foreign;
        kept.started_in = started_in;
        let node = kept.node.clone();
        self.emit_event(id, Action::Started);
        if let Some(node) = node {
            self.check_single(&node);
        }
        Ok(())
    }

    /// Marks its process as running. Start times of the engine are unique.
    pub fn run(&mut self, id: &ContainerId, read: usize) {
        self.engine.runs += 1;
        let started_at = OffsetDateTime::UNIX_EPOCH + self.now + Duration::from_nanos(self.engine.runs);
        if let Some(kept) = self.engine.get(id) {
            kept.container.state = ContainerState::Running;
            kept.container.started_at = Some(started_at);
            kept.read = read;
        }
    }

    /// Another running container that uses a host port of this one.
    fn holder_of_ports(&mut self, id: &ContainerId) -> Option<ContainerId> {
        let ports = self.engine.get(id)?.ports.clone();
        let has_one = |kept: &&Kept| kept.ports.iter().any(|held| ports.iter().any(|port| port.shares_host_port(held)));
        let mut others = self.engine.containers.iter().filter(|kept| kept.container.id != *id);
        others.find(|kept| kept.is_up() && has_one(kept)).map(Kept::id)
    }

    fn end(&mut self, id: &ContainerId, is_orphan: bool) -> Result<(), ErrorKind> {
        let Some(kept) = self.engine.get(id) else { return Err(ErrorKind::NotFound) };
        let was_running = kept.container.state == ContainerState::Running;
        if !was_running && !matches!(kept.container.state, ContainerState::Paused | ContainerState::Restarting) {
            return Ok(());
        }
        kept.container.state = ContainerState::Exited { code: Some(0) };
        let node = kept.node.clone();
        self.emit_event(id, Action::Died);
        if let (Some(node), true, false) = (node, was_running, is_orphan) {
            self.invariants.ended(&node);
            self.check_overlap(&node);
        }
        Ok(())
    }

    pub fn rename(&mut self, id: &ContainerId, name: &str) -> Result<(), ErrorKind> {
        if self.engine.containers.iter().any(|kept| kept.container.name == name && kept.container.id != *id) {
            return Err(ErrorKind::AlreadyExists);
        }
        let Some(kept) = self.engine.get(id) else { return Err(ErrorKind::NotFound) };
        kept.container.name = name.to_owned();
        self.emit_event(id, Action::Renamed);
        Ok(())
    }

    fn remove(&mut self, id: &ContainerId, is_orphan: bool) -> Result<(), ErrorKind> {
        let _ = self.end(id, is_orphan);
        if let (Some(node), false) = (self.engine.get(id).and_then(|kept| kept.node.clone()), is_orphan) {
            self.check_removal(&node, id);
        }
        self.delete(id);
        Ok(())
    }

    /// Removes a container externally.
    pub fn delete_externally(&mut self, id: &ContainerId) {
        let node = self.engine.get(id).and_then(|kept| kept.node.clone());
        self.invariants.removed_by_others.extend(node);
        self.delete(id);
    }

    fn delete(&mut self, id: &ContainerId) {
        if self.engine.get(id).is_some() {
            self.emit_event(id, Action::Removed);
            self.engine.containers.retain(|kept| kept.container.id != *id);
        }
    }

    /// The current list of the containers of the owner.
    pub fn listed(&mut self) -> Vec<Container> {
        let ours = self.engine.containers.iter().filter(|kept| kept.node.is_some());
        let mut list: Vec<Container> = ours.map(|kept| kept.container.clone()).collect();
        if self.fault_plan.has(Class::OddStates) && !list.is_empty() && self.prng.chance(20) {
            let index = self.prng.below(list.len());
            list[index].state = ContainerState::Unknown("odd".to_owned());
            let node = self.engine.get(&list[index].id).and_then(|kept| kept.node.clone());
            node.iter().for_each(|node| self.invariants.allow(node, 2));
        }
        list
    }

    pub fn local_image(&self, image: &ImageReference) -> Option<ImageId> {
        self.engine.images.get(&image.to_pull()).cloned()
    }

    /// Whether the registry has another content than the engine for the image of a node type.
    pub fn has_unknown_tag(&self) -> bool {
        let mut images = self.cloud.types.values();
        images.any(|image| self.engine.images.get(image).is_some_and(|id| id.0 != self.cloud.content(image)))
    }

    /// Schedules an engine event for the daemon: soon and once, except for faults.
    pub fn emit_event(&mut self, id: &ContainerId, action: Action) {
        let Some(kept) = self.engine.get(id) else { return };
        if kept.node.is_none() || self.engine.is_down {
            return;
        }
        let name = self.engine.get(id).map(|kept| kept.container.name.clone()).unwrap_or_default();
        if self.fault_plan.has(Class::EventsLost) && self.prng.chance(30) {
            return;
        }
        let is_late = self.fault_plan.has(Class::EventsLate);
        let copies = if is_late && self.prng.chance(20) { 2 } else { 1 };
        for _ in 0..copies {
            let most = if is_late && self.prng.chance(30) { 20_000 } else { 300 };
            let delay = self.prng.ms(1, most);
            let event = EngineEvent { container: id.clone(), name: name.clone(), action, at: None, exit_code: None };
            let daemon = self.daemon;
            self.after(delay, Occurrence::Deliver { daemon, event: Event::Engine(event) });
        }
    }
}
