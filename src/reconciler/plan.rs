//! The next step for one node, from desired and observed state. Pure and stateless: planning again after each step
//! reaches the desired state from any state, also one that a crash left.

use managed_app_runtimes::{ContainerId, ContainerState, ImageId, Instance, Origin, Revision, Strategy, Target};

use super::desired::Desired;
use super::effect::Operation;
use super::reason::{Reason, ReasonKind};

/// The state of the desired image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageView<'a> {
    /// It is present.
    Present(&'a ImageId),
    /// It is present, and a new container of it did not stay up: none is created while there is an old one.
    Quarantined(&'a ImageId),
    /// It is being pulled for the first time.
    Pending,
    /// It is unavailable for now.
    Missing,
}

impl<'a> ImageView<'a> {
    /// The content, if known.
    pub fn id(self) -> Option<&'a ImageId> {
        match self {
            Self::Present(id) | Self::Quarantined(id) => Some(id),
            Self::Pending | Self::Missing => None,
        }
    }
}

/// The next step.
#[derive(Debug, Clone)]
pub enum Plan {
    /// The desired state is reached.
    Settled,
    /// The desired state is not reached, and no step is possible for now.
    Wait,
    /// Run this operation for this reason.
    Do(Operation, Reason),
}

/// The next step towards `desired`; `None` means that the node must not exist.
pub fn plan(desired: Option<&Desired>, image: ImageView<'_>, containers: &[Instance]) -> Plan {
    let Some(desired) = desired else {
        return match containers {
            [] => Plan::Settled,
            some => Plan::Do(Operation::Remove(ids(some.iter())), Reason::of(ReasonKind::NodeRemoved)),
        };
    };
    let target = &desired.target.with_image(image.id());
    let strategy = if desired.can_overlap { Strategy::StartFirst } else { Strategy::StopFirst };
    let (matching, outdated): (Vec<&Instance>, Vec<&Instance>) =
        containers.iter().partition(|container| target.differences(container).is_empty());
    let (matching, outdated) = (by_preference(target, matching), by_preference(target, outdated));
    if matches!(image, ImageView::Quarantined(_)) && outdated.iter().any(|old| old.is_up() || old.can_start()) {
        return roll_back(target, &matching, &outdated);
    }
    match matching.first() {
        Some(keeper) => converge(target, strategy, keeper, containers.len() == 1),
        None => create_or_replace(target, strategy, image, &outdated),
    }
}

fn by_preference<'a>(target: &Target, mut instances: Vec<&'a Instance>) -> Vec<&'a Instance> {
    target.sort_by_preference(&mut instances);
    instances
}

/// A matching container exists. With others, the last replacement is not finished.
fn converge(target: &Target, strategy: Strategy, keeper: &Instance, is_alone: bool) -> Plan {
    let id = keeper.id.clone();
    let replace = |why| Plan::Do(Operation::Replace { target: target.clone(), strategy }, Reason::of(why));
    if keeper.state == ContainerState::Paused {
        let operation = Operation::Restart { id, revision: target.revision.clone() };
        return Plan::Do(operation, Reason::of(ReasonKind::Paused));
    }
    match (keeper.may_run(), is_alone) {
        (true, true) => {}
        (true, false) => return replace(ReasonKind::LeftOver),
        (false, false) => return replace(ReasonKind::Unfinished),
        (false, true) => {
            let operation = Operation::Start { id, revision: Some(target.revision.clone()) };
            return Plan::Do(operation, Reason::of(ReasonKind::NotRunning));
        }
    }
    if keeper.revision.as_ref() != Some(&target.revision) {
        let reason = restart_reason(keeper, &target.revision);
        return Plan::Do(Operation::Restart { id, revision: target.revision.clone() }, reason);
    }
    if keeper.name != target.spec.name {
        return replace(ReasonKind::Misnamed);
    }
    Plan::Settled
}

/// The reason to restart a container with another revision.
fn restart_reason(container: &Instance, wanted: &Revision) -> Reason {
    match &container.revision {
        Some(read) => Reason::with_differences(ReasonKind::InputsChanged, read.differences(wanted)),
        None => Reason::of(ReasonKind::InputsUnknown),
    }
}

/// No matching container exists: create one and replace the others.
fn create_or_replace(target: &Target, strategy: Strategy, image: ImageView<'_>, old: &[&Instance]) -> Plan {
    match (image, old.first()) {
        (ImageView::Pending, _) => Plan::Wait,
        (ImageView::Missing, _) => keep_previous(target, old, ReasonKind::ImageAway),
        (_, None) => Plan::Do(Operation::Create(target.clone()), Reason::of(ReasonKind::Absent)),
        (_, Some(first)) => {
            let reason = Reason::with_differences(ReasonKind::SpecChanged, target.differences(first));
            Plan::Do(Operation::Replace { target: target.clone(), strategy }, reason)
        }
    }
}

/// The new container did not stay up: remove what is left of it and keep the old one.
fn roll_back(target: &Target, matching: &[&Instance], outdated: &[&Instance]) -> Plan {
    match matching {
        [] => keep_previous(target, outdated, ReasonKind::NotStayingUp),
        some => {
            let reason = Reason::of(ReasonKind::NotStayingUp);
            Plan::Do(Operation::Remove(ids(some.iter().copied())), reason)
        }
    }
}

/// The desired container is unavailable: an old container keeps running and gets its current inputs.
fn keep_previous(target: &Target, old: &[&Instance], why: ReasonKind) -> Plan {
    let revision = target.revision.clone();
    let is_current = |old: &Instance| old.origin == Origin::Legacy || old.revision.as_ref() == Some(&revision);
    if let Some(first) = old.iter().find(|old| old.state.is_running()) {
        // Two may run because of somebody else: none is restarted beside one that is current.
        if is_current(first) || old.iter().any(|old| old.state == ContainerState::Running && is_current(old)) {
            return Plan::Wait;
        }
        let reason = Reason { because: Some(why), ..restart_reason(first, &revision) };
        return Plan::Do(Operation::Restart { id: first.id.clone(), revision }, reason);
    }
    match old.iter().find(|old| old.can_start()) {
        Some(first) if !old.iter().any(|old| old.may_run()) => {
            Plan::Do(Operation::Start { id: first.id.clone(), revision: Some(revision) }, Reason::of(why))
        }
        _ => Plan::Wait,
    }
}

fn ids<'a>(containers: impl Iterator<Item = &'a Instance>) -> Vec<ContainerId> {
    containers.map(|container| container.id.clone()).collect()
}
