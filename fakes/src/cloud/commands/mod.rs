//! The words of somebody who uses the cloud: add a node, connect two, change an image. Each changes the world and sends
//! the change message that belongs to it; `quietly` and `send_raw` do one without the other.

mod app;
mod edges;
mod node;
mod nodes;

use std::sync::Arc;

use super::messages::{Change, Sent};
use super::{FakeCloud, World, sqs};

pub use node::{LogLevel, Mount, Node, Port, Protocol};

/// A change of the world as a word, told to the app. All panic when they name something that does not exist.
impl FakeCloud {
    /// Adds a managed node: `cloud.add_node("a", |n| n.image("example/a:1").tcp(8080, 80))`.
    pub fn add_node(&self, name: &str, describe: impl FnOnce(Node) -> Node) -> Sent {
        self.tell(|world| world.add_node(name, describe(Node::default())))
    }

    /// Removes a node and all its edges.
    pub fn remove_node(&self, name: &str) -> Sent {
        self.tell(|world| world.remove_node(name))
    }

    /// Gives a node these ports.
    pub fn change_ports(&self, name: &str, ports: Vec<Port>) -> Sent {
        self.tell(|world| world.change_node(name, |node| node.ports = ports))
    }

    /// Gives a node these mounts.
    pub fn change_mounts(&self, name: &str, mounts: Vec<Mount>) -> Sent {
        self.tell(|world| world.change_node(name, |node| node.mounts = mounts))
    }

    /// Sets the configuration of a node, JSON text.
    pub fn set_node_config(&self, name: &str, config: &str) -> Sent {
        self.tell(|world| world.change_node(name, |node| node.config = Some(config.to_owned())))
    }

    /// Sets the logging level of a node.
    pub fn set_logging_level(&self, name: &str, level: LogLevel) -> Sent {
        self.tell(|world| world.change_node(name, |node| node.logging_level = Some(level)))
    }

    /// Tells a node to process nothing (or to go on); its container runs all the same.
    pub fn set_stopped(&self, name: &str, stopped: bool) -> Sent {
        self.tell(|world| world.change_node(name, |node| node.stopped = stopped))
    }

    /// Gives a managed node type another image. The type of a node that was added by `image` alone is called
    /// `<node>:type`.
    pub fn set_image(&self, node_type: &str, uri: &str) -> Sent {
        self.tell(|world| world.set_image(node_type, uri))
    }

    /// Makes an edge. An end that is no managed node of the app is taken for a node elsewhere in the tenant.
    pub fn connect(&self, source: &str, target: &str) -> Sent {
        self.tell(|world| world.connect(source, target))
    }

    /// Removes an edge.
    pub fn disconnect(&self, source: &str, target: &str) -> Sent {
        self.tell(|world| world.disconnect(source, target))
    }

    /// Moves an edge to other ends; its queue stays.
    pub fn move_edge(&self, from: (&str, &str), to: (&str, &str)) -> Sent {
        self.tell(|world| world.move_edge(from, to))
    }

    /// Gives a message type another auditor.
    pub fn change_auditor(&self, message_type: &str, auditor: &str) -> Sent {
        self.tell(|world| world.change_auditor(message_type, auditor))
    }

    /// Sets the configuration of the app, JSON text.
    pub fn set_app_config(&self, config: &str) -> Sent {
        self.tell(|world| world.change_app(|app| app.config = Some(config.to_owned())))
    }

    /// Sets whether the nodes of the app may use the tenant's table.
    pub fn set_table_access(&self, access: bool) -> Sent {
        self.tell(|world| world.change_app(|app| app.table_access = access))
    }

    /// Sets the configuration of the tenant, JSON text.
    pub fn set_tenant_config(&self, config: &str) -> Sent {
        self.tell(|world| world.change_tenant(|tenant| tenant.config = Some(config.to_owned())))
    }

    /// Sets whether the tenant wants audit records.
    pub fn set_audit(&self, audit: bool) -> Sent {
        self.tell(|world| world.change_tenant(|tenant| tenant.audit = audit))
    }

    /// Removes the app with its nodes and edges; one message tells it.
    pub fn remove_app(&self) -> Sent {
        self.tell(World::remove_app)
    }

    /// Changes the world without any message: `cloud.quietly(|world| world.connect("a", "b"))`.
    pub fn quietly<T>(&self, edit: impl FnOnce(&mut World) -> T) -> T {
        self.edit(edit).0
    }

    /// Sends these bytes to the app's change receiver, whatever they are; the world stays as it is.
    pub fn send_raw(&self, body: &str) -> Sent {
        self.shared.outbox.send(&self.world().change_edge, vec![body.to_owned()])
    }

    /// Sends a change message of the right form about anything, known or not; the world stays as it is.
    pub fn send_change(&self, old: Option<serde_json::Value>, new: Option<serde_json::Value>) -> Sent {
        self.tell(|_| vec![Change { old, new }])
    }

    /// Edits the world, then sends what the edit has to tell. Returns when the last message can be received.
    pub fn tell(&self, edit: impl FnOnce(&mut World) -> Vec<Change>) -> Sent {
        let (changes, world) = self.edit(edit);
        let outbox = &self.shared.outbox;
        outbox.send(&world.change_edge, changes.into_iter().map(|change| outbox.body(&world, change)).collect())
    }

    /// Edits the world. A node that is new gets its log group and an edge its queue, as in the real cloud; the daemon
    /// never opens the queues of edges, nodes do.
    fn edit<T>(&self, edit: impl FnOnce(&mut World) -> T) -> (T, Arc<World>) {
        let before = self.world();
        let (result, after) = self.shared.history.edit(edit);
        for name in after.nodes.keys().filter(|name| !before.nodes.contains_key(*name)) {
            self.cloudwatch.create_group(&after.tenant.region, &self.node_log_group(name));
        }
        let has = |world: &World, queue: &str| world.edges.iter().any(|edge| edge.queue == queue);
        for edge in after.edges.iter().filter(|edge| !has(&before, &edge.queue)) {
            self.queues.create_edge(sqs::name_of(&edge.queue));
        }
        for edge in before.edges.iter().filter(|edge| !has(&after, &edge.queue)) {
            self.queues.delete(&edge.queue);
        }
        (result, after)
    }
}
