//! Nodes that a change may affect. Used for reasons and waiting times only: the comparison of snapshots decides whether
//! anything happens.

use crate::model::{App, Change, Node, NodeName};

/// Names of the nodes of `app` that `change` may affect, with named nodes that do not exist yet.
pub fn affected_nodes(change: &Change, app: &App) -> Vec<NodeName> {
    let all_where = |test: &dyn Fn(&Node) -> bool| -> Vec<NodeName> {
        app.nodes.values().filter(|node| test(node)).map(|node| node.name.clone()).collect()
    };
    match change {
        Change::Tenant | Change::App => all_where(&|_| true),
        Change::AppRemoved => Vec::new(),
        Change::Node(name) | Change::NodeRemoved(name) => vec![name.clone()],
        Change::NodeType(name) => all_where(&|node| node.node_type.name == *name),
        Change::MessageType(name) => all_where(&|node| uses(node, name)),
        Change::Edge(ends) => ends.iter().filter(|end| app.nodes.contains_key(*end)).cloned().collect(),
    }
}

fn uses(node: &Node, message_type: &str) -> bool {
    [&node.receive_message_type, &node.send_message_type]
        .into_iter()
        .any(|used| used.as_ref().is_some_and(|used| used.name == message_type))
}
