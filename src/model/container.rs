//! The containers of the nodes, as the driver knows them.

use std::collections::BTreeMap;

use managed_app_runtimes::labels::{self, SpecRecord};
use managed_app_runtimes::{Container, ContainerId, ContainerState, Origin};
use time::OffsetDateTime;

use super::NodeName;

/// All containers of the nodes, by id.
pub type NodeContainers = BTreeMap<ContainerId, NodeContainer>;

/// A container of a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeContainer {
    /// The node.
    pub node: NodeName,
    /// State of its process.
    pub state: ContainerState,
    /// When its process was last started, by the engine's clock; `None` if never or not known.
    pub started_at: Option<OffsetDateTime>,
    /// Whether the engine keeps its output for this daemon.
    pub keeps_output: bool,
}

impl NodeContainer {
    /// A container of the engine's list; `None` for a name that no node can have.
    pub fn listed(container: &Container) -> Option<Self> {
        let Container { state, started_at, .. } = container;
        let created = Self::created(node_of(container)?, &container.labels);
        Some(Self { state: state.clone(), started_at: *started_at, ..created })
    }

    /// A new container of `node` with these labels.
    pub fn created(node: NodeName, labels: &BTreeMap<String, String>) -> Self {
        let keeps_output = SpecRecord::from_labels(labels).is_some_and(|record| record.keeps_output());
        Self { node, state: ContainerState::Created, started_at: None, keeps_output }
    }
}

/// The node of one of our containers; `None` for a name that no node can have.
pub fn node_of(container: &Container) -> Option<NodeName> {
    let name = match container.origin {
        Origin::Labelled => container.labels.get(labels::NODE)?,
        Origin::Legacy => &container.name,
    };
    NodeName::new(name.clone()).ok()
}
