//! The desired state after all faults.

use std::collections::HashMap;

use managed_app::model::{App, Node, NodeName};
use managed_app::reconciler::AppInputs;
use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{ContainerId, ContainerState, Revision};

use crate::engine::Kept;
use crate::invariants::reads;
use crate::world::World;

type Revisions = HashMap<ContainerId, Revision>;

impl World {
    /// A difference from the desired state, if any.
    ///
    /// `known` are the revisions that the daemon recorded.
    pub fn what_is_wrong(&self, known: &Revisions) -> Option<String> {
        let app = self.cloud.truth()?;
        let app_inputs = AppInputs::of(app);
        for node in app.nodes.values() {
            if let Some(wrong) = self.wrong_with(app, node, &app_inputs, known) {
                return Some(format!("node {}: {wrong}", node.name));
            }
        }
        let is_extra = |kept: &&Kept| kept.node.as_ref().is_some_and(|node| !app.nodes.contains_key(node));
        let extra = self.engine.containers.iter().find(is_extra)?;
        Some(format!("container {} without a node exists", extra.container.id))
    }

    /// Whether the node is desired and its definition is valid.
    pub fn can_run(&self, name: &NodeName) -> bool {
        let desired = |app: &App| self.settings.desired(app, app.nodes.get(name)?, &AppInputs::of(app)).ok();
        self.cloud.truth().is_some_and(|app| desired(app).is_some())
    }

    fn wrong_with(&self, app: &App, node: &Node, app_inputs: &AppInputs, known: &Revisions) -> Option<String> {
        // An invalid definition changes nothing.
        let desired = self.settings.desired(app, node, app_inputs).ok()?;
        let mut all = self.engine.containers.iter().filter(|kept| kept.node.as_ref() == Some(&node.name));
        let Some(kept) = all.next() else { return Some("it has no container".to_owned()) };
        if let Some(second) = all.next() {
            return Some(format!("it has two containers, {} and {}", kept.container.id, second.container.id));
        }
        let (container, spec) = (&kept.container, &desired.target.spec);
        if container.state != ContainerState::Running {
            return Some(format!("its container is {:?}", container.state));
        }
        if container.name != spec.name || !container.networks.contains(&spec.network) {
            return Some("its container has the wrong name or network".to_owned());
        }
        let Some(record) = SpecRecord::from_labels(&container.labels) else { return Some("no record".to_owned()) };
        let differences = record.differences(spec);
        if !differences.is_empty() {
            return Some(format!("its container differs in {differences:?}"));
        }
        let local = self.local_image(&desired.image);
        if local.is_some_and(|local| local != container.image_id) {
            return Some("its container has older content of the image".to_owned());
        }
        let then = self.cloud.version(kept.read);
        let is_current =
            then.is_some_and(|then| then.nodes.get(&node.name).is_some_and(|n| reads(then, n) == reads(app, node)));
        if !is_current {
            return Some("its process has read an older state".to_owned());
        }
        // It may have read a newer state than the recorded one, and is then restarted once more.
        let known = known.get(&container.id);
        (known != Some(&desired.target.revision)).then(|| "the revision that it read is not recorded".to_owned())
    }
}
