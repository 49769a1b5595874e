//! The commands of a user of the cloud: add a node, connect two, change an image. Each changes the world and sends the
//! corresponding change message; `quietly` and `send_raw` do only one of both.

mod app;
mod edges;
mod node;
mod nodes;

use std::sync::Arc;

use super::messages::{Change, Sent};
use super::{FakeCloud, World, sqs};

pub use node::{LogLevel, Mount, Node, Port, Protocol};

/// Commands that change the world and notify the app. All panic when an object does not exist.
impl FakeCloud {
    /// Adds a managed node: `cloud.add_node("a", |n| n.image("example/a:1").tcp(8080, 80))`.
    pub fn add_node(&self, name: &str, describe: impl FnOnce(Node) -> Node) -> Sent {
        self.publish(|world| world.add_node(name, describe(Node::default())))
    }

    /// Removes a node and all its edges.
    pub fn remove_node(&self, name: &str) -> Sent {
        self.publish(|world| world.remove_node(name))
    }

    /// Sets the ports of a node.
    pub fn change_ports(&self, name: &str, ports: Vec<Port>) -> Sent {
        self.publish(|world| world.change_node(name, |node| node.ports = ports))
    }

    /// Sets the mounts of a node.
    pub fn change_mounts(&self, name: &str, mounts: Vec<Mount>) -> Sent {
        self.publish(|world| world.change_node(name, |node| node.mounts = mounts))
    }

    /// Sets the configuration of a node, JSON text.
    pub fn set_node_config(&self, name: &str, config: &str) -> Sent {
        self.publish(|world| world.change_node(name, |node| node.config = Some(config.to_owned())))
    }

    /// Sets the logging level of a node.
    pub fn set_logging_level(&self, name: &str, level: LogLevel) -> Sent {
        self.publish(|world| world.change_node(name, |node| node.logging_level = Some(level)))
    }

    /// Makes a node stop (or resume) processing; its container keeps running.
    pub fn set_stopped(&self, name: &str, stopped: bool) -> Sent {
        self.publish(|world| world.change_node(name, |node| node.stopped = stopped))
    }

    /// Sets the image of a managed node type. The type of a node that was added by `image` alone is named
    /// `<node>:type`.
    pub fn set_image(&self, node_type: &str, uri: &str) -> Sent {
        self.publish(|world| world.set_image(node_type, uri))
    }

    /// Creates an edge. An end that is not a managed node of the app is another node of the tenant.
    pub fn connect(&self, source: &str, target: &str) -> Sent {
        self.publish(|world| world.connect(source, target))
    }

    /// Removes an edge.
    pub fn disconnect(&self, source: &str, target: &str) -> Sent {
        self.publish(|world| world.disconnect(source, target))
    }

    /// Moves an edge to other ends; it keeps its queue.
    pub fn move_edge(&self, from: (&str, &str), to: (&str, &str)) -> Sent {
        self.publish(|world| world.move_edge(from, to))
    }

    /// Sets the auditor of a message type.
    pub fn change_auditor(&self, message_type: &str, auditor: &str) -> Sent {
        self.publish(|world| world.change_auditor(message_type, auditor))
    }

    /// Sets the configuration of the app, JSON text.
    pub fn set_app_config(&self, config: &str) -> Sent {
        self.publish(|world| world.change_app(|app| app.config = Some(config.to_owned())))
    }

    /// Sets whether the nodes of the app may use the tenant's table.
    pub fn set_table_access(&self, access: bool) -> Sent {
        self.publish(|world| world.change_app(|app| app.table_access = access))
    }

    /// Sets the configuration of the tenant, JSON text.
    pub fn set_tenant_config(&self, config: &str) -> Sent {
        self.publish(|world| world.change_tenant(|tenant| tenant.config = Some(config.to_owned())))
    }

    /// Enables or disables the tenant's audit records.
    pub fn set_audit(&self, audit: bool) -> Sent {
        self.publish(|world| world.change_tenant(|tenant| tenant.audit = audit))
    }

    /// Removes the app with its nodes and edges; sends one message.
    pub fn remove_app(&self) -> Sent {
        self.publish(World::remove_app)
    }

    /// Changes the world without any message: `cloud.quietly(|world| world.connect("a", "b"))`.
    pub fn quietly<T>(&self, edit: impl FnOnce(&mut World) -> T) -> T {
        self.edit(edit).0
    }

    /// Sends these bytes to the app's change receiver; the world does not change.
    pub fn send_raw(&self, body: &str) -> Sent {
        self.shared.outbox.send(&self.world().change_edge, vec![body.to_owned()])
    }

    /// Sends a valid change message about any object, known or not; the world does not change.
    pub fn send_change(&self, old: Option<serde_json::Value>, new: Option<serde_json::Value>) -> Sent {
        self.publish(|_| vec![Change { old, new }])
    }

    /// Edits the world, then sends the changes of the edit. Returns when the last message can be received.
    pub fn publish(&self, edit: impl FnOnce(&mut World) -> Vec<Change>) -> Sent {
        let (changes, world) = self.edit(edit);
        let outbox = &self.shared.outbox;
        outbox.send(&world.change_edge, changes.into_iter().map(|change| outbox.body(&world, change)).collect())
    }

    /// Edits the world. A new node gets its log group and a new edge its queue, as in the real cloud; the daemon never
    /// opens the queues of edges, nodes do.
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
