//! The cloud's data: the app with its nodes, and changes to it; and the containers of the nodes. Plain types without
//! I/O, never serialized; `cloud` and `changes` contain the wire formats.

mod app;
mod change;
mod container;
mod node;
mod registry_host;

pub use app::{App, ChangeReceiver, QueueAddress, Snapshot, Tenant};
pub use change::Change;
pub use container::{NodeContainer, NodeContainers, node_of};
pub use node::{Edge, InvalidName, MessageType, Node, NodeName, NodeType};
pub use registry_host::RegistryHost;
