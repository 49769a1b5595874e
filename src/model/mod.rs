//! The cloud's data: the app with its nodes, and changes to it. Plain types without I/O, never serialized; `cloud` and
//! `changes` contain the wire formats.

mod app;
mod change;
mod node;

pub use app::{App, ChangeReceiver, QueueAddress, Snapshot, Tenant};
pub use change::Change;
pub use node::{Edge, InvalidName, MessageType, Node, NodeName, NodeType, RegistryHost};
