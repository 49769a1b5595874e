//! The step of `check` about bounds: nodes that the restrictions of this host refuse, and the setting that decides.

use super::super::query::Problem;
use super::super::report::Report;
use crate::config::Config;
use crate::model::{App, Node};
use crate::reconciler::Policy;

/// Prints a line for each refused node, or one for all. Invalid image references belong to the step about images.
pub(super) fn check(config: &Config, app: Option<&App>, report: &mut Report) {
    let Some(app) = app else { return report.skipped("bounds", "no app") };
    let mut is_good = true;
    for node in app.nodes.values() {
        if let Err(found) = refusal(&config.policy, node) {
            is_good = false;
            let remedy = "if this is intended, allow it on this host (docs/security.md); until then its container stays unchanged";
            report.problem("bounds", &Problem::wrong(format!("{:?}: {found}", node.name.as_str()), remedy));
        }
    }
    if is_good {
        report.ok("bounds", "images and bind mounts of all nodes are allowed on this host");
    }
}

fn refusal(policy: &Policy, node: &Node) -> Result<(), String> {
    let registry = node.node_type.registry.as_ref();
    node.node_type.image_uri.parse().map_or(Ok(()), |image| policy.check(&image, registry, &node.mounts))
}
