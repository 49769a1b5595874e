//! Which nodes a change may touch. Only a hint for reasons and patience: whether anything happens is decided by
//! comparing snapshots.

use crate::model::{App, Change, Node, NodeName};

/// Names of the nodes of `app` that `change` may touch; nodes that are not there yet count when they are named.
pub fn touched(change: &Change, app: &App) -> Vec<NodeName> {
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
