//! The step of `check` about bounds: which nodes this host would refuse, and which setting decides it.

use super::super::query::Problem;
use super::super::report::Report;
use crate::config::Config;
use crate::model::{App, Node};
use crate::reconciler::Policy;

/// A line for each node that is refused, or one for all. What cannot be read as an image is the images' own step.
pub(super) fn check(config: &Config, app: Option<&App>, report: &mut Report) {
    let Some(app) = app else { return report.skipped("bounds", "no app") };
    let mut is_good = true;
    for node in app.nodes.values() {
        if let Err(found) = refusal(&config.policy, node) {
            is_good = false;
            let remedy =
                "if that is meant, allow it to this host (docs/security.md); until then its container stays as it is";
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
