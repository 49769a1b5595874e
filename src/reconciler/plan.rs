//! The next step for one node: what is wanted, what is there, what follows. Pure, without memory; planning again after
//! each step leads to the goal from any state, also one that a crash left behind.

use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{Container, ContainerId, ContainerState, ImageId, Origin};

use super::Revision;
use super::desired::Desired;
use super::effect::Operation;

/// One container of a node, as far as planning needs it.
#[derive(Debug, Clone)]
pub struct Observed {
    /// Its id.
    pub id: ContainerId,
    /// Its name.
    pub name: String,
    /// Its image.
    pub image_id: ImageId,
    /// Its state.
    pub state: ContainerState,
    /// Whose it is.
    pub origin: Origin,
    /// Its networks.
    pub networks: Vec<String>,
    /// What it was made of, where it says so.
    pub record: Option<SpecRecord>,
    /// What it read when it started, where that is known.
    pub revision: Option<Revision>,
}

impl Observed {
    /// From what the engine lists and the state file remembers.
    pub fn new(container: Container, revision: Option<Revision>) -> Self {
        Self {
            record: SpecRecord::from_labels(&container.labels),
            id: container.id,
            name: container.name,
            image_id: container.image_id,
            state: container.state,
            origin: container.origin,
            networks: container.networks,
            revision,
        }
    }
}

/// What is known of the wanted image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageView<'a> {
    /// It is present.
    Present(&'a ImageId),
    /// It is being fetched for the first time.
    Pending,
    /// It cannot be had for now.
    Missing,
}

/// The next step.
#[derive(Debug, Clone)]
pub enum Plan {
    /// All is as wanted.
    Settled,
    /// Nothing can be done before the image is there.
    AwaitImage,
    /// This, for the reason.
    Do(Operation, String),
}

/// The next step towards `desired`; `None` means that the node shall not be.
pub fn plan(desired: Option<&Desired>, image: ImageView<'_>, containers: &[Observed]) -> Plan {
    let Some(desired) = desired else {
        return match containers {
            [] => Plan::Settled,
            some => Plan::Do(Operation::Remove(ids(some.iter())), "the node was removed".to_owned()),
        };
    };
    match keeper(desired, image, containers) {
        Some(keeper) => keep(desired, keeper, containers),
        None => make(desired, image, containers),
    }
}

/// The container that is what is wanted; a running one and one of the proper name are preferred.
fn keeper<'a>(desired: &Desired, image: ImageView<'_>, containers: &'a [Observed]) -> Option<&'a Observed> {
    containers
        .iter()
        .filter(|container| misfits(desired, image, container).is_empty())
        .max_by_key(|container| (container.state.is_running(), container.name == desired.target.spec.name))
}

/// In what way a container is not what is wanted; empty when it is.
fn misfits(desired: &Desired, image: ImageView<'_>, container: &Observed) -> Vec<String> {
    let spec = &desired.target.spec;
    if container.origin == Origin::Legacy {
        return vec!["made by the Python program".to_owned()];
    }
    let Some(record) = &container.record else { return vec!["without a record of its spec".to_owned()] };
    let mut reasons = record.differences(spec);
    let is_other = |id: &ImageId| *id != container.image_id && !container.image_id.0.is_empty();
    if matches!(image, ImageView::Present(id) if is_other(id)) && !reasons.iter().any(|r| r == "image") {
        reasons.push("image content".to_owned());
    }
    if matches!(container.state, ContainerState::Dead | ContainerState::Removing) {
        reasons.push("dead".to_owned());
    }
    let is_connected = container.networks.iter().any(|network| *network == spec.network);
    if !is_connected && container.state.is_running() {
        reasons.push("not on the app's network".to_owned());
    }
    reasons
}

/// There is a right container: bring it up, then clear away what is beside it.
fn keep(desired: &Desired, keeper: &Observed, containers: &[Observed]) -> Plan {
    let revision = desired.target.revision.clone();
    let id = keeper.id.clone();
    let others: Vec<&Observed> = containers.iter().filter(|other| other.id != keeper.id).collect();
    match &keeper.state {
        ContainerState::Running | ContainerState::Restarting | ContainerState::Unknown(_) => {}
        ContainerState::Paused => return Plan::Do(Operation::Restart { id, revision }, "it was paused".to_owned()),
        _ if others.iter().any(|other| other.state.is_running()) => {
            let old = ids(running_first(&others));
            let operation = Operation::Replace { old, next: Some(id), target: desired.target.clone() };
            return Plan::Do(operation, "a replacement was begun".to_owned());
        }
        _ => return Plan::Do(Operation::Start { id, revision: Some(revision) }, "it was not running".to_owned()),
    }
    if !others.is_empty() {
        return Plan::Do(Operation::Remove(ids(others.into_iter())), "left over from a replacement".to_owned());
    }
    if keeper.revision.as_ref() != Some(&revision) {
        let reason = if keeper.revision.is_some() { "what it reads has changed" } else { "what it read is unknown" };
        return Plan::Do(Operation::Restart { id, revision }, reason.to_owned());
    }
    if keeper.name != desired.target.spec.name {
        let name = desired.target.spec.name.clone();
        return Plan::Do(Operation::Rename { id, name }, "it has another name".to_owned());
    }
    Plan::Settled
}

/// There is no right container: make one, in the place of what is there.
fn make(desired: &Desired, image: ImageView<'_>, containers: &[Observed]) -> Plan {
    let target = desired.target.clone();
    let all: Vec<&Observed> = containers.iter().collect();
    match image {
        ImageView::Present(_) if all.is_empty() => Plan::Do(Operation::Create(target), "there is none".to_owned()),
        ImageView::Present(_) => {
            let reason = misfits(desired, image, running_first(&all).next().expect("there is at least one")).join(", ");
            let old = ids(running_first(&all));
            Plan::Do(Operation::Replace { old, next: None, target }, format!("changed: {reason}"))
        }
        ImageView::Pending => Plan::AwaitImage,
        ImageView::Missing => make_do(desired, containers),
    }
}

/// The wanted image cannot be had: an old container is better than none, and it follows what it reads.
fn make_do(desired: &Desired, containers: &[Observed]) -> Plan {
    let revision = desired.target.revision.clone();
    let can_start = |c: &&Observed| matches!(c.state, ContainerState::Exited { .. } | ContainerState::Created);
    if let Some(old) = containers.iter().find(|container| container.state.is_running()) {
        if old.origin == Origin::Legacy || old.revision.as_ref() == Some(&revision) {
            return Plan::AwaitImage;
        }
        let reason = "what it reads has changed, and its new image cannot be had".to_owned();
        return Plan::Do(Operation::Restart { id: old.id.clone(), revision }, reason);
    }
    match containers.iter().find(can_start) {
        Some(old) => {
            let reason = "its new image cannot be had".to_owned();
            Plan::Do(Operation::Start { id: old.id.clone(), revision: Some(revision) }, reason)
        }
        None => Plan::AwaitImage,
    }
}

fn running_first<'a>(containers: &[&'a Observed]) -> impl Iterator<Item = &'a Observed> {
    let (running, rest): (Vec<&Observed>, Vec<&Observed>) = containers.iter().partition(|c| c.state.is_running());
    running.into_iter().chain(rest)
}

fn ids<'a>(containers: impl Iterator<Item = &'a Observed>) -> Vec<ContainerId> {
    containers.map(|container| container.id.clone()).collect()
}
