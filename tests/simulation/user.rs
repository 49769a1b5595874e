//! What users do in the cloud, and the change messages that follow. Every value is new: see `Cloud::number`.

use managed_app::model::{App, Change, Edge, MessageType, Node, NodeName};
use managed_app_runtimes::{Mount, MountSource, PortBinding, Protocol};

use crate::cloud::{NAMES, TYPES};
use crate::weather::Class;
use crate::world::{Occurrence, World};

impl World {
    /// A user changes something; messages about it are on their way.
    pub fn user_acts(&mut self) {
        let Some(app) = self.cloud.truth() else { return };
        let mut app = App::clone(app);
        let changes = match self.prng.below(12) {
            0 => self.add_node(&mut app),
            1 => self.remove_node(&mut app),
            2 | 3 => self.edit_node(&mut app),
            4 => self.redefine_node(&mut app),
            5 => self.change_image(&mut app),
            6 => self.change_auditor(&mut app),
            7 | 8 => self.connect(&mut app),
            9 => self.edit_around(&mut app),
            10 => self.move_tag(),
            _ => vec![Change::Node(self.any_name())],
        };
        self.note(|| {
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

    /// A message goes into the queue; how it comes out depends on the weather.
    pub fn send(&mut self, change: Change) {
        if self.weather.has(Class::QueueLoses) && self.prng.chance(30) {
            return;
        }
        let is_late = self.weather.has(Class::QueueLate);
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
        let Some(node) = self.any_node(app) else { return vec![] };
        node.ports = vec![PortBinding {
            host_address: "0.0.0.0".parse().expect("an address"),
            host_port: 1_000 + number as u16,
            container_port: 80,
            protocol: Protocol::Tcp,
        }];
        if self.prng.chance(50) {
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
        self.cloud.types.insert(name.clone(), uri.clone());
        app.nodes.values_mut().filter(|node| node.node_type.name == name).for_each(|node| {
            node.node_type.image_uri.clone_from(&uri);
        });
        vec![Change::NodeType(name)]
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

    /// A new edge; now and then it takes the place of another.
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
            // An edge that is only taken away would bring back a revision of before.
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

    /// The registry holds something else under the same name. Nobody is told.
    fn move_tag(&mut self) -> Vec<Change> {
        if self.weather.has(Class::TagsMove) {
            let name = *self.prng.pick(&TYPES);
            let number = self.cloud.number();
            let image = self.cloud.types[name].clone();
            self.cloud.registry.insert(image, number);
        }
        vec![]
    }
}
