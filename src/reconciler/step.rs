//! The next step of one node in its situation: the plan, if the cloud is known, and the end of the daemon.

use std::time::Duration;

use managed_app_runtimes::{Instance, Origin};

use super::EndOfNodes;
use super::desired::Desired;
use super::effect::Operation;
use super::images::Images;
use super::node::{Intent, ManagedNode};
use super::plan::{ImageView, Plan, plan};
use super::reason::{Reason, ReasonKind};

/// The next step of `node`. Before any response of the cloud (`is_app_known`), existing containers are started
/// unchanged.
pub fn next_step(node: &ManagedNode, images: &Images, is_app_known: bool, now: Duration) -> Plan {
    match &node.intent {
        Intent::Unknown if !is_app_known => start_existing(node),
        Intent::Invalid(_) | Intent::Unknown => Plan::Settled,
        Intent::Remove => plan(None, ImageView::Missing, &node.containers),
        Intent::Run(desired) if node.containers.is_empty() && images.is_fetching(&desired.image) => Plan::Wait,
        Intent::Run(desired) => {
            plan(Some(desired), view(images.view(&desired.image), node, desired, now), &node.containers)
        }
    }
}

/// The step of `node` at the end of the daemon, if there is one.
pub fn stop_step(node: &ManagedNode, nodes: EndOfNodes) -> Option<(Operation, Reason)> {
    let running = node.running();
    if nodes == EndOfNodes::Remove && !node.containers.is_empty() {
        let all = node.containers.iter().map(|container| container.id.clone()).collect();
        return Some((Operation::Remove(all), Reason::of(ReasonKind::AppRemoved)));
    }
    (!running.is_empty()).then(|| (Operation::Stop(running), Reason::of(ReasonKind::DaemonEnds)))
}

/// The image for this node: quarantined if a new container of it did not stay up.
fn view<'a>(image: ImageView<'a>, node: &ManagedNode, desired: &Desired, now: Duration) -> ImageView<'a> {
    let is_quarantined = node
        .quarantine
        .as_ref()
        .is_some_and(|quarantine| quarantine.blocks(&desired.target.with_image(image.id()), now));
    match image {
        ImageView::Present(id) if is_quarantined => ImageView::Quarantined(id),
        other => other,
    }
}

/// Starts a labelled container unchanged, if none runs.
fn start_existing(node: &ManagedNode) -> Plan {
    if node.containers.iter().any(Instance::may_run) {
        return Plan::Settled;
    }
    match node.containers.iter().find(|c| c.origin == Origin::Labelled && c.can_start()) {
        Some(old) => {
            let operation = Operation::Start { id: old.id.clone(), revision: None };
            Plan::Do(operation, Reason::of(ReasonKind::CloudAway))
        }
        None => Plan::Settled,
    }
}
