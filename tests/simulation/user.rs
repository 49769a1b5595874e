//! Actions of users in the cloud, and the resulting change messages. Every value is new: see `Cloud::number`.

use managed_app::model::{App, Change, Edge, MessageType, Node, NodeName};
use managed_app_runtimes::{EnvValue, Mount, MountSource, PortBinding, Protocol};

use crate::cloud::{NAMES, TYPES};
use crate::fault_plan::Class;
use crate::world::{Occurrence, World};

/// Number of host ports of nodes and foreign containers.
pub const PORTS: usize = 6;

/// One of the ports.
pub fn port(index: usize) -> PortBinding {
    PortBinding {
        host_address: "0.0.0.0".parse().expect("an address"),
        host_port: 8_000 + index as u16,
        container_port: 80,
        protocol: Protocol::Tcp,
    }
}

impl World {
    /// A user changes something; messages about it are queued.
    pub fn user_action(&mut self) {
        let Some(app) = self.cloud.truth() else { return };
        let mut app = App::clone(app);
        let changes = match self.prng.below(15) {
            0 => self.add_node(&mut app),
            1 => self.remove_node(&mut app),
            2 | 3 => self.edit_node(&mut app),
            4 => self.redefine_node(&mut app),
            5 => self.change_image(&mut app),
            6 => self.change_auditor(&mut app),
            7 | 8 => self.connect(&mut app),
            9 => self.edit_around(&mut app),
            10 => self.move_tag(),
            11 | 12 => self.rotate_ports(&mut app),
            13 => self.change_settings(),
            _ => vec![Change::Node(self.any_name())],
        };
        self.log_line(|| {
            let all: Vec<String> = changes.iter().map(ToString::to_string).collect();
            format!("user: {}", all.join(", "))
        });
        if self.cloud.truth().is_none_or(|truth| **truth != app) {
            self.cloud.set(self.now, Some(app));
        }
        for change in changes {
            self.send(change);
        }
    }

    /// Queues a message; its delivery depends on the fault plan.
    pub fn send(&mut self, change: Change) {
        if self.fault_plan.has(Class::QueueLoses) && self.prng.chance(30) {
            return;
        }
        let is_late = self.fault_plan.has(Class::QueueLate);
        let most = if is_late && self.prng.chance(40) { 60_000 } else { 2_000 };
        let delay = self.prng.ms(5, most);
        self.after(delay, Occurrence::Message(change.clone()));
        if is_late && self.prng.chance(30) {
            let delay = self.prng.ms(5, 300_000);
            self.after(delay, Occurrence::Message(change));
        }
    }

    fn any_name(&mut self) -> NodeName {
        let name = *self.prng.pick(&NAMES);
        NodeName::new(name).expect("names of the model are valid")
    }

    fn any_node<'a>(&mut self, app: &'a mut App) -> Option<&'a mut Node> {
        if app.nodes.is_empty() {
            return None;
        }
        let index = self.prng.below(app.nodes.len());
        app.nodes.values_mut().nth(index)
    }

    fn add_node(&mut self, app: &mut App) -> Vec<Change> {
        let name = self.any_name();
        if app.nodes.contains_key(&name) {
            return vec![];
        }
        let node = self.cloud.new_node(name.as_str(), &mut self.prng);
        app.nodes.insert(name.clone(), node);
        vec![Change::Node(name)]
    }

    fn remove_node(&mut self, app: &mut App) -> Vec<Change> {
        let name = self.any_name();
        if app.nodes.len() < 2 || app.nodes.remove(&name).is_none() {
            return vec![];
        }
        vec![Change::NodeRemoved(name)]
    }

    fn edit_node(&mut self, app: &mut App) -> Vec<Change> {
        let number = self.cloud.number();
        let Some(node) = self.any_node(app) else { return vec![] };
        node.config = Some(number.to_string());
        node.is_stopped = self.prng.chance(50);
        vec![Change::Node(node.name.clone())]
    }

    fn redefine_node(&mut self, app: &mut App) -> Vec<Change> {
        let number = self.cloud.number();
        let free: Vec<PortBinding> = (0..PORTS).map(port).filter(|port| !is_wanted(app, port)).collect();
        let choice = free.get(self.prng.below(PORTS)).cloned();
        let Some(node) = self.any_node(app) else { return vec![] };
        node.ports = choice.into_iter().collect();
        if self.prng.chance(30) {
            let source = MountSource::Volume(format!("volume{number}"));
            node.mounts = vec![Mount { source, target: "/data".to_owned() }];
        }
        vec![Change::Node(node.name.clone())]
    }

    fn change_image(&mut self, app: &mut App) -> Vec<Change> {
        let name = (*self.prng.pick(&TYPES)).to_owned();
        let number = self.cloud.number();
        let uri = match self.prng.below(8) {
            0 => format!("not an image {number}"),
            _ => format!("r{}.test/image:{number}", self.prng.below(2)),
        };
        self.set_image(app, &name, &uri);
        vec![Change::NodeType(name)]
    }

    fn set_image(&mut self, app: &mut App, node_type: &str, uri: &str) {
        self.cloud.types.insert(node_type.to_owned(), uri.to_owned());
        for node in app.nodes.values_mut().filter(|node| node.node_type.name == node_type) {
            node.node_type.image_uri = uri.to_owned();
        }
    }

    /// Corrects invalid types if there are ports: a node with an invalid type keeps its container, possibly with a port
    /// that belongs to another node now.
    pub fn repair_types_in_the_way(&mut self) {
        let Some(app) = self.cloud.truth() else { return };
        let mut app = App::clone(app);
        let are_ports_held = self.engine.containers.iter().any(|kept| !kept.ports.is_empty());
        let are_there_ports = are_ports_held || app.nodes.values().any(|node| !node.ports.is_empty());
        for name in TYPES {
            let is_invalid = self.cloud.types[name].starts_with("not");
            if is_invalid && are_there_ports {
                let uri = format!("r0.test/image:{}", self.cloud.number());
                self.set_image(&mut app, name, &uri);
                self.log_line(|| format!("user: corrects the type {name}"));
                self.cloud.set(self.now, Some(app.clone()));
                self.send(Change::NodeType(name.to_owned()));
            }
        }
    }

    /// Rotates the ports of some nodes, for example swaps those of two.
    fn rotate_ports(&mut self, app: &mut App) -> Vec<Change> {
        let count = 2 + self.prng.below(2);
        let mut names: Vec<NodeName> = app.nodes.keys().cloned().collect();
        let index = self.prng.below(names.len().max(1));
        names.rotate_left(index);
        names.truncate(count);
        let mut ports: Vec<Vec<PortBinding>> = names.iter().map(|name| app.nodes[name].ports.clone()).collect();
        if !ports.is_empty() {
            ports.rotate_left(1);
        }
        for (name, ports) in names.iter().zip(ports) {
            app.nodes.get_mut(name).expect("it exists").ports = ports;
        }
        names.into_iter().map(Change::Node).collect()
    }

    /// An operator changes the environment of all containers, or the replacement strategy.
    fn change_settings(&mut self) -> Vec<Change> {
        let secret = self.cloud.number().to_string();
        self.settings.env.insert("PASSWORD".to_owned(), EnvValue::Plain(secret));
        self.settings.overlap = self.prng.chance(50);
        self.invariants.allow_all(1);
        self.schedule(self.now, Occurrence::Settings);
        vec![]
    }

    fn change_auditor(&mut self, app: &mut App) -> Vec<Change> {
        let name = (*self.prng.pick(&TYPES)).to_owned();
        let auditor = self.cloud.number().to_string();
        self.cloud.message_types.insert(name.clone(), auditor.clone());
        for node in app.nodes.values_mut() {
            for used in [&mut node.receive_message_type, &mut node.send_message_type] {
                if used.as_ref().is_some_and(|used| used.name == name) {
                    *used = Some(MessageType { name: name.clone(), auditor: auditor.clone() });
                }
            }
        }
        vec![Change::MessageType(name)]
    }

    /// A new edge, sometimes in place of another.
    fn connect(&mut self, app: &mut App) -> Vec<Change> {
        let (source, target) = (self.any_name(), self.any_name());
        let queue = format!("queue{}", self.cloud.number());
        let mut ends = vec![source.clone(), target.clone()];
        if self.prng.chance(30)
            && let Some(edge) = app.nodes.get(&source).and_then(|node| node.send_edges.first()).cloned()
        {
            for node in app.nodes.values_mut() {
                node.receive_edges.retain(|other| other.queue != edge.queue);
                node.send_edges.retain(|other| other.queue != edge.queue);
            }
            let other = NodeName::new(edge.other).expect("names of the model are valid");
            // The removal of an edge alone would restore an earlier revision.
            if let Some(node) = app.nodes.get_mut(&other).filter(|_| other != target) {
                node.config = Some(self.cloud.number().to_string());
            }
            ends.push(other);
        }
        if let Some(node) = app.nodes.get_mut(&source) {
            node.send_edges.push(Edge { other: target.to_string(), queue: queue.clone() });
        }
        if let Some(node) = app.nodes.get_mut(&target) {
            node.receive_edges.push(Edge { other: source.to_string(), queue });
        }
        vec![Change::Edge(ends)]
    }

    fn edit_around(&mut self, app: &mut App) -> Vec<Change> {
        let number = self.cloud.number().to_string();
        if self.prng.chance(50) {
            app.tenant.config = Some(number);
            app.tenant.audit = self.prng.chance(50);
            return vec![Change::Tenant];
        }
        app.config = Some(number);
        app.table_access = self.prng.chance(50);
        vec![Change::App]
    }

    /// Changes the content of a tag in the registry without a message.
    fn move_tag(&mut self) -> Vec<Change> {
        if self.fault_plan.has(Class::TagsMove) {
            let name = *self.prng.pick(&TYPES);
            let number = self.cloud.number();
            let image = self.cloud.types[name].clone();
            self.cloud.registry.insert(image, number);
        }
        vec![]
    }
}

fn is_wanted(app: &App, port: &PortBinding) -> bool {
    app.nodes.values().any(|node| node.ports.iter().any(|wanted| wanted.shares_host_port(port)))
}
