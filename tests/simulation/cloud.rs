//! The cloud: the history of its true state, and responses that may be old, partial or wrong.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use managed_app::cloud::CloudErrorKind;
use managed_app::model::{App, ChangeReceiver, MessageType, Node, NodeName, NodeType, Snapshot, Tenant};

use managed_app_runtimes::{ImageId, ImageReference};

use crate::fault_plan::Class;
use crate::prng::Prng;
use crate::world::World;

/// Maximum age of a response.
pub const LAG_MAX: Duration = Duration::from_secs(12);
/// Names of nodes.
pub const NAMES: [&str; 5] = ["alpha", "beta", "gamma", "delta", "epsilon"];
/// Node types and message types.
pub const TYPES: [&str; 2] = ["one", "two"];

/// The true state and its history.
pub struct Cloud {
    /// `None`: the app does not exist.
    versions: Vec<(Duration, Option<Arc<App>>)>,
    pub types: BTreeMap<String, String>,
    pub message_types: BTreeMap<String, String>,
    /// The content of each image of the registry, as a number.
    pub registry: BTreeMap<String, usize>,
    /// Whether the last response reported falsely that the app is gone; the next one does not.
    is_false: bool,
    numbers: usize,
}

impl Cloud {
    pub fn new(prng: &mut Prng) -> Self {
        let image = |index: usize| format!("r{index}.test/image:0");
        let mut cloud = Self {
            versions: vec![],
            types: TYPES.iter().enumerate().map(|(index, name)| ((*name).to_owned(), image(index))).collect(),
            message_types: TYPES.iter().map(|name| ((*name).to_owned(), "0".to_owned())).collect(),
            registry: BTreeMap::new(),
            is_false: false,
            numbers: 0,
        };
        let tenant = Tenant {
            name: "tenant".to_owned(),
            region: "us-east-1".to_owned(),
            config: None,
            audit: false,
            table: "table".to_owned(),
        };
        let receiver = ChangeReceiver {
            name: "app:Change Receiver".to_owned(),
            queue: "queue".to_owned(),
            source: "App Change Router".to_owned(),
        };
        let count = 1 + prng.below(4);
        let nodes = NAMES.iter().take(count).map(|name| cloud.new_node(name, prng));
        let nodes: Vec<Node> = nodes.collect();
        let app = App {
            name: "app".to_owned(),
            tenant,
            config: None,
            table_access: false,
            audit_records_endpoint: None,
            change_receiver: Some(receiver),
            nodes: nodes.into_iter().map(|node| (node.name.clone(), node)).collect(),
            invalid_nodes: BTreeMap::new(),
            is_complete: true,
        };
        cloud.versions.push((Duration::ZERO, Some(Arc::new(app))));
        cloud
    }

    /// A node as a user creates it.
    pub fn new_node(&mut self, name: &str, prng: &mut Prng) -> Node {
        let node_type = (*prng.pick(&TYPES)).to_owned();
        let message_type = (*prng.pick(&TYPES)).to_owned();
        let auditor = self.message_types[&message_type].clone();
        Node {
            name: NodeName::new(name).expect("names of the model are valid"),
            node_type: NodeType { image_uri: self.types[&node_type].clone(), name: node_type, registry: None },
            config: Some(self.number().to_string()),
            logging_level: None,
            is_stopped: false,
            ports: vec![],
            mounts: vec![],
            receive_edges: vec![],
            send_edges: vec![],
            receive_message_type: Some(MessageType { name: message_type, auditor }),
            send_message_type: None,
        }
    }

    /// An unused number. No value of the true state ever recurs, because no daemon could detect that a process read
    /// another value in between.
    pub fn number(&mut self) -> usize {
        self.numbers += 1;
        self.numbers
    }

    pub fn set(&mut self, now: Duration, app: Option<App>) {
        self.versions.push((now, app.map(Arc::new)));
    }

    pub fn newest(&self) -> usize {
        self.versions.len() - 1
    }

    pub fn truth(&self) -> Option<&Arc<App>> {
        self.versions[self.newest()].1.as_ref()
    }

    pub fn version(&self, index: usize) -> Option<&Arc<App>> {
        self.versions[index].1.as_ref()
    }

    fn at(&self, time: Duration) -> usize {
        self.versions.iter().rposition(|(since, _)| *since <= time).unwrap_or(0)
    }

    /// Whether, at some time since `since`, the app existed without this node, or did not exist.
    pub fn was_absent(&self, node: &NodeName, since: Duration) -> bool {
        let first = self.at(since.saturating_sub(LAG_MAX));
        self.versions[first..].iter().any(|(_, app)| match app {
            Some(app) => !app.nodes.contains_key(node) && !app.invalid_nodes.contains_key(node),
            None => true,
        })
    }

    /// The content of the registry for this image name.
    pub fn content(&self, image: &str) -> String {
        format!("sha256:{image}#{}", self.registry.get(image).copied().unwrap_or(0))
    }
}

impl World {
    /// A successful pull: the ID of the current content of the registry. `None`: the engine is down.
    pub fn pulled(&mut self, image: &ImageReference) -> Option<ImageId> {
        if self.engine.is_down {
            return None;
        }
        let name = image.to_pull();
        let id = ImageId(self.cloud.content(&name));
        if self.engine.images.insert(name.clone(), id.clone()).as_ref() != Some(&id) {
            self.allow_content(&name);
        }
        Some(id)
    }

    /// A response of the cloud, with the state of some moment of the last seconds.
    pub fn snapshot(&mut self) -> Result<Snapshot, CloudErrorKind> {
        for (class, kind) in
            [(Class::CloudFails, CloudErrorKind::Failed), (Class::CloudRefuses, CloudErrorKind::Denied)]
        {
            if self.fault_plan.has(class) && self.prng.chance(40) {
                return Err(kind);
            }
        }
        if self.fault_plan.has(Class::FalseGone) && !self.cloud.is_false && self.prng.chance(25) {
            self.cloud.is_false = true;
            return Ok(Snapshot::Gone);
        }
        self.cloud.is_false = false;
        // Old responses occur also outside fault phases.
        let lag = if self.fault_plan.knows(Class::Stale) { LAG_MAX.as_millis() as usize } else { 0 };
        let at = self.now.saturating_sub(self.prng.ms(0, lag));
        let index = self.cloud.at(at);
        let Some(app) = self.cloud.version(index).cloned() else { return Ok(Snapshot::Gone) };
        if self.fault_plan.has(Class::Gaps) && self.prng.chance(50) {
            return Ok(Snapshot::App(Arc::new(self.add_gaps(&app))));
        }
        Ok(Snapshot::App(app))
    }

    /// Removes some nodes and makes some invalid.
    fn add_gaps(&mut self, app: &App) -> App {
        let mut app = app.clone();
        for name in app.nodes.keys().cloned().collect::<Vec<_>>() {
            match self.prng.below(3) {
                0 => {
                    app.nodes.remove(&name);
                    app.is_complete = false;
                }
                1 => {
                    app.nodes.remove(&name);
                    app.invalid_nodes.insert(name, "odd".to_owned());
                }
                _ => {}
            }
        }
        app
    }
}
