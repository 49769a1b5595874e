//! Comparison of a snapshot with the one before: which nodes have to be evaluated, and which images may be unused.

use std::collections::BTreeSet;

use managed_app_runtimes::labels::SpecRecord;

use super::desired::Desired;
use super::node::Intent;
use super::nodes::Nodes;
use super::revision::AppInputs;
use crate::model::{App, Node, NodeName};

/// The nodes of `app` whose desired state may have changed since `before`.
pub fn nodes_to_evaluate<'a>(
    nodes: &Nodes,
    app: &'a App,
    before: Option<&App>,
    app_inputs: &AppInputs,
) -> Vec<&'a Node> {
    let before = before.filter(|before| AppInputs::of(before) == *app_inputs);
    let is_as_before = |node: &Node| before.is_some_and(|before| before.nodes.get(&node.name) == Some(node));
    let is_evaluated = |name| !matches!(nodes.get(name).map(|node| &node.intent), None | Some(Intent::Unknown));
    app.nodes.values().filter(|node| !(is_as_before(node) && is_evaluated(&node.name))).collect()
}

/// Whether one of these nodes may have been the last user of its image.
pub fn may_free_images(names: &BTreeSet<NodeName>, before: Option<&App>, app: &App) -> bool {
    let image = |app: &App, name| app.nodes.get(name).map(|node| node.node_type.image_uri.clone());
    names.iter().any(|name| {
        let old = before.and_then(|before| image(before, name));
        old.is_some() && old != image(app, name)
    })
}

/// Whether two desired containers are the same.
pub fn is_same(before: &Desired, after: &Desired) -> bool {
    before.target.revision == after.target.revision
        && before.target.kept_logs == after.target.kept_logs
        && SpecRecord::new(&before.target.spec, "").differences(&after.target.spec).is_empty()
}
