//! The app and its surroundings, as one whole snapshot.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Node, NodeName};

/// One answer of the control plane about the whole app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snapshot {
    /// The app as it is now.
    App(Arc<App>),
    /// The cloud says that there is no such app (any more).
    Gone,
}

/// The managed app: one host and the nodes it should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name, unique in the tenant.
    pub name: String,
    /// The tenant it belongs to.
    pub tenant: Tenant,
    /// Its configuration, JSON text as the cloud gave it.
    pub config: Option<String>,
    /// Whether its nodes may use the tenant's table.
    pub table_access: bool,
    /// Where audit records go.
    pub audit_records_endpoint: Option<String>,
    /// Where change messages come from; `None` while the cloud has not made it.
    pub change_receiver: Option<ChangeReceiver>,
    /// The nodes that can be read.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Nodes that exist and cannot be run as the cloud describes them, with the reason. Their containers stay as they are.
    pub invalid_nodes: BTreeMap<NodeName, String>,
    /// Whether the list of nodes is whole. When the cloud gave nulls among them, a node that is missing is not gone.
    pub is_complete: bool,
}

/// The tenant, as far as its nodes read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// AWS region of its queues and of its nodes' log groups.
    pub region: String,
    /// Its configuration, JSON text as the cloud gave it.
    pub config: Option<String>,
    /// Whether audit records are wanted.
    pub audit: bool,
    /// Name of its table.
    pub table: String,
}

/// The node that carries change messages to this daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChangeReceiver {
    /// Its name, `<APP>:Change Receiver`.
    pub name: String,
    /// URL of the FIFO queue of its one edge.
    pub queue: String,
    /// The node at the other end: the tenant's App Change Router.
    pub source: String,
}

/// Where change messages come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAddress {
    /// URL of the queue.
    pub url: String,
    /// Its AWS region, the tenant's.
    pub region: String,
}
