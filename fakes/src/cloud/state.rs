//! State of the fake control plane: tenant, app, nodes, types and edges. Plain data; other modules handle permissions
//! and responses, and `commands` contains the commands that change it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use super::commands::Node;

/// Everything in one tenant that its managed app can read.
#[derive(Debug, Clone)]
pub struct World {
    /// The tenant.
    pub tenant: Tenant,
    /// The app; `None` once it was removed.
    pub app: Option<App>,
    /// The edge that carries changes to the app.
    pub change_edge: Edge,
    /// Managed nodes by name.
    pub nodes: BTreeMap<String, Node>,
    /// Image URIs by managed node type.
    pub node_types: BTreeMap<String, String>,
    /// Auditors (Python source) by message type.
    pub message_types: BTreeMap<String, String>,
    /// Edges between nodes. An end that is not a managed node of the app is another node of the tenant.
    pub edges: Vec<Edge>,
    /// Number of edges ever created, so that queue names are unique.
    pub(super) edges_made: usize,
    /// Prefix of all URLs of queues between nodes.
    pub(super) edge_queues: String,
}

/// The tenant.
#[derive(Debug, Clone)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// AWS region of its queues and logs.
    pub region: String,
    /// JSON text.
    pub config: Option<String>,
    /// Whether audit records are enabled.
    pub audit: bool,
    /// Name of its table.
    pub table: String,
}

/// The managed app.
#[derive(Debug, Clone)]
pub struct App {
    /// Its name.
    pub name: String,
    /// JSON text.
    pub config: Option<String>,
    /// Whether its nodes may use the tenant's table.
    pub table_access: bool,
    /// Endpoint for its audit records.
    pub audit_records_endpoint: String,
}

/// A queue between two nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edge {
    /// Name of the sending node.
    pub source: String,
    /// Name of the receiving node.
    pub target: String,
    /// URL of the queue.
    pub queue: String,
    /// Name of the message type that it carries.
    pub message_type: String,
}

impl World {
    /// A tenant with one app that has no nodes yet.
    pub(super) fn new(tenant: Tenant, app: App, change_queue: String, endpoint: Option<&str>) -> Self {
        let change_edge = Edge {
            source: super::CHANGE_ROUTER.to_owned(),
            target: format!("{}:Change Receiver", app.name),
            queue: change_queue,
            message_type: super::CHANGE_MESSAGE_TYPE.to_owned(),
        };
        let aws = || format!("https://sqs.{}.amazonaws.com", tenant.region);
        let edge_queues = format!("{}/{}", endpoint.map_or_else(aws, str::to_owned), super::ACCOUNT);
        Self {
            tenant,
            app: Some(app),
            change_edge,
            nodes: BTreeMap::new(),
            node_types: BTreeMap::new(),
            message_types: BTreeMap::from([(super::CHANGE_MESSAGE_TYPE.to_owned(), auditor_of_changes())]),
            edges: Vec::new(),
            edges_made: 0,
            edge_queues,
        }
    }

    /// The node of this name.
    ///
    /// # Panics
    /// When there is none: a mistake of the test.
    pub fn node(&self, name: &str) -> &Node {
        self.nodes.get(name).unwrap_or_else(|| panic!("the fake cloud has no node {name:?}"))
    }
}

/// The current world and the one before the last change, for stale reads.
pub(super) struct History {
    worlds: Mutex<Worlds>,
}

struct Worlds {
    now: Arc<World>,
    before: Arc<World>,
    stale_reads: usize,
}

impl History {
    pub(super) fn new(world: World) -> Self {
        let now = Arc::new(world);
        Self { worlds: Mutex::new(Worlds { before: Arc::clone(&now), now, stale_reads: 0 }) }
    }

    /// The current world.
    pub(super) fn now(&self) -> Arc<World> {
        Arc::clone(&self.lock().now)
    }

    /// The world for a read: the one before the last change while stale reads are left.
    pub(super) fn read(&self) -> Arc<World> {
        let mut worlds = self.lock();
        if worlds.stale_reads == 0 {
            return Arc::clone(&worlds.now);
        }
        worlds.stale_reads -= 1;
        Arc::clone(&worlds.before)
    }

    /// The next `times` reads return the world before the last change.
    pub(super) fn stale_reads(&self, times: usize) {
        self.lock().stale_reads = times;
    }

    /// Applies one change; returns the result of the edit and the world after it.
    pub(super) fn edit<T>(&self, edit: impl FnOnce(&mut World) -> T) -> (T, Arc<World>) {
        let mut worlds = self.lock();
        let mut world = World::clone(&worlds.now);
        let result = edit(&mut world);
        let after = Arc::new(world);
        worlds.before = std::mem::replace(&mut worlds.now, Arc::clone(&after));
        (result, after)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Worlds> {
        // An edit that panics has not changed the stored world, so the data is consistent.
        self.worlds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn auditor_of_changes() -> String {
    "def auditor(*, message, **kwargs):\n    return {}\n".to_owned()
}
