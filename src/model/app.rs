//! The app with its tenant, as one complete snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Node, NodeName};

/// One response of the control plane about the whole app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snapshot {
    /// The current app.
    App(Arc<App>),
    /// The current app, and the nodes that have changed since an earlier response.
    Update {
        /// The current app.
        app: Arc<App>,
        /// The earlier response.
        since: Arc<App>,
        /// The nodes that are new, removed or different; everything else that nodes read is unchanged.
        changed: BTreeSet<NodeName>,
    },
    /// The cloud reports that this app does not exist (any more).
    Gone,
}

impl Snapshot {
    /// Adds the changed nodes since `before`, if only nodes have changed. Visits all nodes, so that the receiver of the
    /// snapshot need not.
    pub fn since(self, before: Option<&Arc<App>>) -> Self {
        match (self, before) {
            (Self::App(app), Some(since)) if app.is_valid() && app.differs_only_in_nodes(since) => {
                let changed = app.changed_nodes(since);
                Self::Update { app, since: since.clone(), changed }
            }
            (other, _) => other,
        }
    }

    /// The app, unless it is gone.
    pub fn app(&self) -> Option<&Arc<App>> {
        match self {
            Self::App(app) | Self::Update { app, .. } => Some(app),
            Self::Gone => None,
        }
    }
}

impl App {
    /// Whether all nodes are present and valid.
    fn is_valid(&self) -> bool {
        self.is_complete && self.invalid_nodes.is_empty()
    }

    fn differs_only_in_nodes(&self, before: &Self) -> bool {
        before.is_valid()
            && self.name == before.name
            && self.tenant == before.tenant
            && self.config == before.config
            && self.table_access == before.table_access
    }

    fn changed_nodes(&self, before: &Self) -> BTreeSet<NodeName> {
        let changed = self.nodes.iter().filter(|(name, node)| before.nodes.get(name) != Some(node));
        let gone = before.nodes.keys().filter(|name| !self.nodes.contains_key(name));
        changed.map(|(name, _)| name).chain(gone).cloned().collect()
    }
}

/// The managed app: one host and the nodes it should run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct App {
    /// Its name, unique in the tenant.
    pub name: String,
    /// The tenant it belongs to.
    pub tenant: Tenant,
    /// Its configuration, JSON text from the cloud.
    pub config: Option<String>,
    /// Whether its nodes may use the tenant's table.
    pub table_access: bool,
    /// Destination of audit records.
    pub audit_records_endpoint: Option<String>,
    /// Source of change messages; `None` until the cloud has created it.
    pub change_receiver: Option<ChangeReceiver>,
    /// The valid nodes.
    pub nodes: BTreeMap<NodeName, Node>,
    /// Nodes that exist and cannot be run as the cloud describes them, with the reason. Their containers stay
    /// unchanged.
    pub invalid_nodes: BTreeMap<NodeName, String>,
    /// Whether the list of nodes is complete. If the cloud returned nulls in it, a missing node is not removed.
    pub is_complete: bool,
}

/// The tenant, with what its nodes read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    /// Its name.
    pub name: String,
    /// AWS region of its queues and of its nodes' log groups.
    pub region: String,
    /// Its configuration, JSON text from the cloud.
    pub config: Option<String>,
    /// Whether audit records are requested.
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

/// Source of change messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QueueAddress {
    /// URL of the queue.
    pub url: String,
    /// Its AWS region, the tenant's.
    pub region: String,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::NodeType;

    fn app(nodes: &[(&str, bool)]) -> App {
        let node = |(text, is_stopped): &(&str, bool)| {
            let name = NodeName::new(*text).expect("a valid name");
            let node = Node {
                name: name.clone(),
                node_type: NodeType { name: "t".to_owned(), image_uri: "i".to_owned(), registry: None },
                config: None,
                logging_level: None,
                is_stopped: *is_stopped,
                ports: vec![],
                mounts: vec![],
                receive_edges: vec![],
                send_edges: vec![],
                receive_message_type: None,
                send_message_type: None,
            };
            (name, node)
        };
        let (name, region, table) = ("acme".to_owned(), "us-east-1".to_owned(), "table".to_owned());
        App {
            name: "app".to_owned(),
            tenant: Tenant { name, region, config: None, audit: false, table },
            config: None,
            table_access: false,
            audit_records_endpoint: None,
            change_receiver: None,
            nodes: nodes.iter().map(node).collect(),
            invalid_nodes: BTreeMap::new(),
            is_complete: true,
        }
    }

    #[test]
    fn update_names_new_removed_and_changed_nodes() {
        let before = Arc::new(app(&[("a", false), ("b", false), ("c", false)]));
        let after = Arc::new(app(&[("a", false), ("b", true), ("d", false)]));
        let Snapshot::Update { app, since, changed } = Snapshot::App(after.clone()).since(Some(&before)) else {
            panic!("no update");
        };
        assert!(Arc::ptr_eq(&app, &after) && Arc::ptr_eq(&since, &before));
        assert_eq!(changed.iter().map(NodeName::as_str).collect::<Vec<_>>(), ["b", "c", "d"]);
    }

    #[test]
    fn update_by_node_needs_complete_snapshots_and_equal_settings() {
        let before = Arc::new(app(&[("a", false)]));
        let is_whole = |app: App, before: Option<&Arc<App>>| {
            matches!(Snapshot::App(Arc::new(app)).since(before), Snapshot::App(_))
        };
        let with = |edit: &dyn Fn(&mut App)| {
            let mut app = App::clone(&before);
            edit(&mut app);
            app
        };
        assert!(is_whole(with(&|_| ()), None));
        let edits: [&dyn Fn(&mut App); 5] = [
            &|app| app.config = Some("{}".to_owned()),
            &|app| app.table_access = true,
            &|app| app.tenant.audit = true,
            &|app| app.is_complete = false,
            &|app| app.invalid_nodes = [(NodeName::new("x").expect("a valid name"), "odd".to_owned())].into(),
        ];
        for (index, edit) in edits.into_iter().enumerate() {
            assert!(is_whole(with(edit), Some(&before)), "edit {index}");
            assert!(is_whole(with(&|_| ()), Some(&Arc::new(with(edit)))), "edit {index} before");
        }
        assert!(!is_whole(with(&|_| ()), Some(&before)));
    }
}
