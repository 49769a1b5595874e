//! The app and its surroundings, as one whole snapshot.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Node, NodeName};

/// One answer of the control plane about the whole app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Snapshot {
    /// The app as it is now.
    App(Arc<App>),
    /// The app as it is now, where it is known by node what has changed since an earlier answer.
    Update {
        /// As it is now.
        app: Arc<App>,
        /// The earlier answer.
        since: Arc<App>,
        /// The nodes that are new, gone or not as they were; everything that nodes read besides is as it was.
        changed: BTreeSet<NodeName>,
    },
    /// The cloud says that there is no such app (any more).
    Gone,
}

impl Snapshot {
    /// The same with what has changed since `before`, where that can be told by node. Costs a walk over all nodes, so
    /// that whoever takes the snapshot in need not walk.
    pub fn since(self, before: Option<&Arc<App>>) -> Self {
        match (self, before) {
            (Self::App(app), Some(since)) if app.is_readable() && app.differs_in_nodes_alone(since) => {
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
    /// Whether all nodes are there and can be run.
    fn is_readable(&self) -> bool {
        self.is_complete && self.invalid_nodes.is_empty()
    }

    fn differs_in_nodes_alone(&self, before: &Self) -> bool {
        before.is_readable()
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
    fn an_update_names_nodes_that_are_new_gone_or_other() {
        let before = Arc::new(app(&[("a", false), ("b", false), ("c", false)]));
        let after = Arc::new(app(&[("a", false), ("b", true), ("d", false)]));
        let Snapshot::Update { app, since, changed } = Snapshot::App(after.clone()).since(Some(&before)) else {
            panic!("no update");
        };
        assert!(Arc::ptr_eq(&app, &after) && Arc::ptr_eq(&since, &before));
        assert_eq!(changed.iter().map(NodeName::as_str).collect::<Vec<_>>(), ["b", "c", "d"]);
    }

    #[test]
    fn nothing_is_told_by_node_where_more_has_changed_or_something_is_missing() {
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
