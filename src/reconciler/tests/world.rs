//! A cloud, an engine and a disk of plain data, which execute the reconciler's effects at once.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{
    Container, ContainerId, ContainerState, ImageId, ImageReference, Instance, Origin, Owner, Revision, Strategy,
    Target, labels,
};

use crate::model::{App, Edge, Node, NodeName, NodeType, Snapshot, Tenant};
use crate::reconciler::*;

pub struct World {
    pub reconciler: Reconciler,
    pub now: Duration,
    pub app: App,
    pub is_gone: bool,
    pub cloud_is_down: bool,
    /// It does not respond at all.
    pub cloud_is_silent: bool,
    /// Pulls never end.
    pub pulls_hang: bool,
    /// Number of operations that are executed and reported as failed.
    pub lost_responses: usize,
    pub containers: Vec<Container>,
    pub broken_images: BTreeSet<String>,
    /// Number of moves of tags to other content.
    pub tags_moved: usize,
    pub broken_nodes: BTreeSet<String>,
    /// Images whose containers do not stay up when they replace others.
    pub crashing_images: BTreeSet<String>,
    /// The kind of failure of such a rollback.
    pub blame: FailureKind,
    pub is_ready: bool,
    /// Reported crash loops.
    pub crash_loops: Vec<(String, CrashLoopNotice)>,
    pub finish: Option<Finish>,
    /// The last response of the cloud.
    last_app: Option<Arc<App>>,
    state: HashMap<ContainerId, Revision>,
    log: Vec<String>,
    created_count: usize,
}

pub fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a valid name")
}

pub fn settings() -> Settings {
    Settings {
        owner: Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() },
        env: BTreeMap::new(),
        logs: NodeLogSettings::Engine { file_bytes_max: 1, files_max: 1 },
        kept_logs: None,
        stop_grace: Duration::from_secs(30),
        resync: Duration::from_secs(300),
        overlap: false,
        remove_nodes_with_app: false,
        policy: Policy::open(),
        hardening: Default::default(),
    }
}

fn node(text: &str) -> Node {
    Node {
        name: name(text),
        node_type: NodeType { name: "type".to_owned(), image_uri: "registry.test/img/a:1".to_owned(), registry: None },
        config: None,
        logging_level: None,
        is_stopped: false,
        ports: vec![],
        mounts: vec![],
        receive_edges: vec![],
        send_edges: vec![],
        receive_message_type: None,
        send_message_type: None,
    }
}

impl World {
    pub fn new(nodes: &[&str]) -> Self {
        let tenant = Tenant {
            name: "tenant".to_owned(),
            region: "us-east-1".to_owned(),
            config: None,
            audit: false,
            table: "table".to_owned(),
        };
        let app = App {
            name: "app".to_owned(),
            tenant,
            config: None,
            table_access: false,
            audit_records_endpoint: None,
            change_receiver: None,
            nodes: nodes.iter().map(|text| (name(text), node(text))).collect(),
            invalid_nodes: BTreeMap::new(),
            is_complete: true,
        };
        Self {
            reconciler: Reconciler::new(settings(), 1),
            now: Duration::ZERO,
            app,
            last_app: None,
            is_gone: false,
            cloud_is_down: false,
            cloud_is_silent: false,
            pulls_hang: false,
            lost_responses: 0,
            crash_loops: Vec::new(),
            containers: vec![],
            broken_images: BTreeSet::new(),
            tags_moved: 0,
            broken_nodes: BTreeSet::new(),
            crashing_images: BTreeSet::new(),
            blame: FailureKind::Permanent,
            is_ready: false,
            finish: None,
            state: HashMap::new(),
            log: vec![],
            created_count: 0,
        }
    }

    /// A new daemon with the same cloud, engine and disk.
    pub fn restart_daemon(self) -> Self {
        let reconciler = Reconciler::new(settings(), 1);
        Self { reconciler, now: Duration::ZERO, is_ready: false, finish: None, ..self }
    }

    /// The same with other settings; call it before the start.
    pub fn with_settings(self, settings: Settings) -> Self {
        let reconciler = Reconciler::new(settings, 1);
        Self { reconciler, ..self }
    }

    pub fn begin(&mut self) {
        self.send(Event::Begin);
    }

    pub fn edit(&mut self, edit: impl FnOnce(&mut App)) {
        edit(&mut self.app);
    }

    pub fn edit_node(&mut self, node: &str, edit: impl FnOnce(&mut Node)) {
        edit(self.app.nodes.get_mut(&name(node)).expect("a node of the app"));
    }

    pub fn connect(&mut self, source: &str, target: &str) {
        let queue = format!("{source}-{target}");
        let edge = |other: &str| Edge { other: other.to_owned(), queue: queue.clone() };
        if let Some(node) = self.app.nodes.get_mut(&name(source)) {
            node.send_edges.push(edge(target));
        }
        if let Some(node) = self.app.nodes.get_mut(&name(target)) {
            node.receive_edges.push(edge(source));
        }
    }

    /// The operations and pulls since the last call; images without registry and tag.
    pub fn take_log(&mut self) -> Vec<String> {
        std::mem::take(&mut self.log)
    }

    /// Sends `event` and everything that follows from it at this moment; lists within their delay come later.
    pub fn send(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        loop {
            while let Some(event) = events.pop_front() {
                for effect in self.reconciler.on(event, self.now) {
                    events.extend(self.execute(effect));
                }
            }
            // The short delay between lists is part of the moment.
            let soon = self.now + Duration::from_millis(250);
            match self.reconciler.deadline() {
                Some(at) if at <= soon => {
                    self.now = at;
                    events.push_back(Event::Timer);
                }
                _ => return,
            }
        }
    }

    pub fn advance(&mut self, by: Duration) {
        let end = self.now + by;
        while let Some(at) = self.reconciler.deadline().filter(|at| *at <= end) {
            self.now = self.now.max(at);
            self.send(Event::Timer);
        }
        self.now = self.now.max(end);
    }

    pub fn execute(&mut self, effect: Effect) -> Option<Event> {
        match effect {
            Effect::FetchSnapshot if self.cloud_is_silent => None,
            Effect::FetchSnapshot => Some(Event::Snapshot(self.snapshot())),
            Effect::List => {
                let instance = |container: &Container| {
                    Instance::new(container.clone(), None, self.state.get(&container.id).cloned())
                };
                Some(Event::Listed(Ok(self.containers.iter().filter_map(instance).collect())))
            }
            Effect::Pull(image) => {
                self.log.push(format!("pull {}", image.repository()));
                if self.pulls_hang {
                    return None;
                }
                let outcome = match self.broken_images.contains(image.repository()) {
                    true => Pulled::Failed(failure()),
                    false => Pulled::Fresh(self.content(&image)),
                };
                Some(Event::Pulled { image, outcome })
            }
            Effect::Operate { node, operation, .. } => {
                self.log.push(match &operation {
                    Operation::Replace { strategy: Strategy::StartFirst, .. } => format!("replace {node} startfirst"),
                    other => format!("{} {node}", other.verb()),
                });
                let outcome = match self.broken_nodes.contains(node.as_str()) {
                    true => Outcome::Failed(failure()),
                    false => self.operate(&node, operation),
                };
                let is_lost = self.lost_responses > 0;
                self.lost_responses -= usize::from(is_lost);
                let outcome = if is_lost { Outcome::Failed(failure()) } else { outcome };
                Some(Event::Finished { node, outcome })
            }
            Effect::Ready => {
                self.is_ready = true;
                None
            }
            Effect::Finish(finish) => {
                self.finish = Some(finish);
                None
            }
            Effect::CrashLoop { node, notice } => {
                self.crash_loops.push((node.to_string(), notice));
                None
            }
            Effect::Listen(_) => None,
        }
    }

    /// The snapshot as the driver sends it.
    fn snapshot(&mut self) -> Result<Snapshot, Failure> {
        match (self.cloud_is_down, self.is_gone) {
            (true, _) => Err(failure()),
            (_, true) => Ok(Snapshot::Gone),
            _ => {
                let app = Arc::new(self.app.clone());
                let before = self.last_app.replace(app.clone());
                Ok(Snapshot::App(app).since(before.as_ref()))
            }
        }
    }

    fn operate(&mut self, node: &NodeName, operation: Operation) -> Outcome {
        match operation {
            Operation::Create(target) => self.create(target),
            Operation::Start { id, revision } => {
                self.set(&id, ContainerState::Running, revision.clone());
                Outcome::Started { id, revision }
            }
            Operation::Restart { id, revision } => {
                self.set(&id, ContainerState::Running, Some(revision.clone()));
                Outcome::Started { id, revision: Some(revision) }
            }
            Operation::Replace { target, strategy } => self.replace(node, target, strategy),
            Operation::Remove(ids) => {
                self.containers.retain(|container| !ids.contains(&container.id));
                Outcome::Removed(ids)
            }
            Operation::Stop(ids) => {
                ids.iter().for_each(|id| self.set(id, ContainerState::Exited { code: Some(0) }, None));
                Outcome::Stopped(ids)
            }
        }
    }

    pub fn content(&self, image: &ImageReference) -> ImageId {
        ImageId(format!("{image} {}", self.tags_moved))
    }

    fn create(&mut self, target: Target) -> Outcome {
        self.created_count += 1;
        let id = ContainerId(format!("c{}", self.created_count));
        let record = SpecRecord::new(&target.spec, "");
        let mut all = target.spec.labels.clone();
        all.insert(labels::SPEC.to_owned(), record.to_label());
        self.containers.push(Container {
            id: id.clone(),
            name: target.spec.name.clone(),
            image_id: self.content(&target.spec.image),
            labels: all,
            state: ContainerState::Running,
            networks: vec![target.spec.network.clone()],
            started_at: None,
            restarts: None,
            last_exit: None,
            origin: Origin::Labelled,
        });
        self.state.insert(id.clone(), target.revision);
        self.created(&id)
    }

    fn created(&self, id: &ContainerId) -> Outcome {
        let container = self.containers.iter().find(|container| container.id == *id).expect("it exists").clone();
        let instance = Instance::new(container, None, self.state.get(id).cloned()).expect("it has a node");
        Outcome::Created(Box::new(Instance { restarts: Some(0), ..instance }))
    }

    /// A container of `target` that exists is used, and others are removed.
    fn replace(&mut self, node: &NodeName, target: Target, strategy: Strategy) -> Outcome {
        let instance = |container: &Container| Instance::new(container.clone(), None, None);
        let of_node: Vec<Instance> = self.containers.iter().filter_map(instance).collect();
        let of_node: Vec<Instance> = of_node.into_iter().filter(|found| found.node == node.as_str()).collect();
        let (next, old): (Vec<_>, Vec<_>) = of_node.iter().partition(|found| target.differences(found).is_empty());
        if self.crashing_images.contains(target.spec.image.repository()) {
            self.containers.retain(|container| next.iter().all(|next| next.id != container.id));
            if strategy == Strategy::StopFirst {
                self.set(&old[0].id, ContainerState::Running, Some(target.revision));
            }
            return Outcome::RolledBack(Failure { kind: self.blame, text: "it did not stay up".to_owned() });
        }
        self.containers.retain(|container| old.iter().all(|old| old.id != container.id));
        match next.first() {
            None => self.create(target),
            Some(next) => {
                let is_up = next.is_up();
                self.set(&next.id, ContainerState::Running, (!is_up).then_some(target.revision));
                self.rename(&next.id, &target.spec.name);
                self.created(&next.id)
            }
        }
    }

    fn set(&mut self, id: &ContainerId, state: ContainerState, revision: Option<Revision>) {
        if let Some(container) = self.containers.iter_mut().find(|container| container.id == *id) {
            container.state = state;
        }
        self.state.extend(revision.map(|revision| (id.clone(), revision)));
    }

    fn rename(&mut self, id: &ContainerId, name: &str) {
        if let Some(container) = self.containers.iter_mut().find(|container| container.id == *id) {
            container.name = name.to_owned();
        }
    }
}

fn failure() -> Failure {
    Failure { kind: FailureKind::Transient, text: "as the test wants it".to_owned() }
}
