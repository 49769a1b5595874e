//! The next step for one node, from desired and observed state. Pure and stateless: planning again after each step
//! reaches the desired state from any state, also one that a crash left.

use managed_app_runtimes::labels::{Difference, SpecRecord};
use managed_app_runtimes::{Container, ContainerId, ContainerState, ImageId, Origin, ProcessExit};
use time::OffsetDateTime;

use super::Revision;
use super::desired::Desired;
use super::effect::{Operation, Strategy};
use super::reason::{Reason, ReasonKind};

/// One container of a node, as planning needs it.
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
    /// Its origin.
    pub origin: Origin,
    /// Its networks.
    pub networks: Vec<String>,
    /// The record of its spec, if it has one.
    pub record: Option<SpecRecord>,
    /// Its startup inputs, if known.
    pub revision: Option<Revision>,
    /// When its process was started, by the engine's clock; `None` if not known.
    pub started_at: Option<OffsetDateTime>,
    /// Starts by the engine's restart policy, as the engine counts them; `None` if not known.
    pub restarts: Option<u64>,
    /// The last exit of its process, as the engine reports it.
    pub last_exit: Option<ProcessExit>,
}

impl Observed {
    /// Combines the engine's list, the known state of the same container and the state file.
    pub fn new(container: Container, known: Option<&Self>, revision: Option<Revision>) -> Self {
        Self {
            record: known.map_or_else(|| SpecRecord::from_labels(&container.labels), |known| known.record.clone()),
            id: container.id,
            name: container.name,
            image_id: container.image_id,
            state: container.state,
            origin: container.origin,
            networks: container.networks,
            revision,
            started_at: container.started_at,
            restarts: container.restarts,
            last_exit: container.last_exit,
        }
    }

    /// Whether it runs or is paused: it holds its host ports.
    pub fn is_up(&self) -> bool {
        self.state.is_running() || self.state == ContainerState::Paused
    }

    /// Whether it does not run and can be started.
    pub fn can_start(&self) -> bool {
        matches!(self.state, ContainerState::Exited { .. } | ContainerState::Created)
    }

    /// Whether it runs or may run: nothing is started beside it.
    pub fn may_run(&self) -> bool {
        !self.can_start() && !matches!(self.state, ContainerState::Dead | ContainerState::Removing)
    }
}

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
pub fn plan(desired: Option<&Desired>, image: ImageView<'_>, containers: &[Observed]) -> Plan {
    let Some(desired) = desired else {
        return match containers {
            [] => Plan::Settled,
            some => Plan::Do(Operation::Remove(ids(some.iter())), Reason::of(ReasonKind::NodeRemoved)),
        };
    };
    let (matching, outdated): (Vec<&Observed>, Vec<&Observed>) =
        containers.iter().partition(|container| spec_differences(desired, image, container).is_empty());
    if matches!(image, ImageView::Quarantined(_)) && outdated.iter().any(|old| old.is_up() || old.can_start()) {
        return roll_back(desired, &matching, outdated);
    }
    match by_preference(desired, matching).first() {
        Some(keeper) => converge(desired, keeper, containers),
        None => create_or_replace(desired, image, by_preference(desired, outdated)),
    }
}

/// Running containers first, then those with the matching name.
fn by_preference<'a>(desired: &Desired, mut containers: Vec<&'a Observed>) -> Vec<&'a Observed> {
    containers.sort_by_key(|container| {
        let has_name = container.name == desired.target.spec.name;
        std::cmp::Reverse((container.state == ContainerState::Running, has_name, container.state.is_running()))
    });
    containers
}

/// A container that runs without its network. No engine call of the daemon connects it again.
const CUT_OFF: &str = "not on the app's network";
/// A container that the engine cannot use any more, or is removing.
const DEAD: &str = "dead";

/// The differences between a container and the desired one.
fn spec_differences(desired: &Desired, image: ImageView<'_>, container: &Observed) -> Vec<Difference> {
    let spec = &desired.target.spec;
    if container.origin == Origin::Legacy {
        return vec![Difference::of("made by the Python program")];
    }
    let Some(record) = &container.record else { return vec![Difference::of("without a record of its spec")] };
    let mut reasons = record.differences(spec);
    if desired.kept_logs.as_ref().is_some_and(|kept| record.has_logs(kept)) {
        reasons.retain(|reason| reason.field != "logs");
    }
    let is_other = |id: &&ImageId| **id != container.image_id && !container.image_id.0.is_empty();
    if let Some(id) = image.id().filter(is_other)
        && !reasons.iter().any(|reason| reason.field == "image")
    {
        reasons.push(Difference::between("image content", Some(&container.image_id.0), Some(&id.0)));
    }
    if matches!(container.state, ContainerState::Dead | ContainerState::Removing) {
        reasons.push(Difference::of(DEAD));
    }
    let is_connected = container.networks.iter().any(|network| *network == spec.network);
    if !is_connected && container.state.is_running() {
        reasons.push(Difference::of(CUT_OFF));
    }
    reasons
}

/// A matching container exists: start it, then remove the others. Old ones are removed only after it has stayed up: the
/// next daemon continues a rollout that was interrupted.
fn converge(desired: &Desired, keeper: &Observed, containers: &[Observed]) -> Plan {
    let revision = desired.target.revision.clone();
    let id = keeper.id.clone();
    let others = by_preference(desired, containers.iter().filter(|other| other.id != keeper.id).collect());
    let (old, strategy) = (ids(others.iter().copied()), strategy(desired, &others));
    match &keeper.state {
        ContainerState::Paused => return Plan::Do(Operation::Restart { id, revision }, Reason::of(ReasonKind::Paused)),
        ContainerState::Running | ContainerState::Restarting | ContainerState::Unknown(_) if others.is_empty() => {}
        ContainerState::Running | ContainerState::Restarting | ContainerState::Unknown(_) => {
            let operation = Operation::Confirm { next: id, old, revision, strategy };
            return Plan::Do(operation, Reason::of(ReasonKind::LeftOver));
        }
        _ if others.is_empty() => {
            let reason = Reason::of(ReasonKind::NotRunning);
            return Plan::Do(Operation::Start { id, revision: Some(revision) }, reason);
        }
        _ => {
            let operation = Operation::Replace { old, next: Some(id), target: desired.target.clone(), strategy };
            return Plan::Do(operation, Reason::of(ReasonKind::Unfinished));
        }
    }
    if keeper.revision.as_ref() != Some(&revision) {
        let reason = restart_reason(keeper, &revision);
        return Plan::Do(Operation::Restart { id, revision }, reason);
    }
    if keeper.name != desired.target.spec.name {
        let name = desired.target.spec.name.clone();
        return Plan::Do(Operation::Rename { id, name }, Reason::of(ReasonKind::Misnamed));
    }
    Plan::Settled
}

/// The reason to restart a container with another revision.
fn restart_reason(container: &Observed, wanted: &Revision) -> Reason {
    match &container.revision {
        Some(read) => Reason::with_differences(ReasonKind::InputsChanged, read.differences(wanted)),
        None => Reason::of(ReasonKind::InputsUnknown),
    }
}

/// No matching container exists: create one and replace the others.
fn create_or_replace(desired: &Desired, image: ImageView<'_>, old: Vec<&Observed>) -> Plan {
    let target = desired.target.clone();
    match (image, old.first()) {
        (ImageView::Pending, _) => Plan::Wait,
        (ImageView::Missing, _) => keep_previous(desired, &old, ReasonKind::ImageAway),
        (_, None) => Plan::Do(Operation::Create(target), Reason::of(ReasonKind::Absent)),
        (_, Some(first)) => {
            let reasons = spec_differences(desired, image, first);
            let is_unusable = matches!(&reasons[..], [only] if only.field == CUT_OFF || only.field == DEAD);
            let strategy = if is_unusable { Strategy::Force } else { strategy(desired, &old) };
            let (old, reason) = (ids(old.iter().copied()), Reason::with_differences(ReasonKind::SpecChanged, reasons));
            Plan::Do(Operation::Replace { old, next: None, target, strategy }, reason)
        }
    }
}

/// Two at a time, never three, and only if configured, if they share nothing of the host, and if the old one runs.
fn strategy(desired: &Desired, old: &[&Observed]) -> Strategy {
    let mut up = old.iter().filter(|old| old.may_run());
    let is_overlap_useful = up.next().is_some_and(|old| old.state.is_running()) && up.next().is_none();
    if desired.can_overlap && is_overlap_useful { Strategy::StartFirst } else { Strategy::StopFirst }
}

/// The new container did not stay up: remove what is left of it and keep the old one.
fn roll_back(desired: &Desired, matching: &[&Observed], outdated: Vec<&Observed>) -> Plan {
    match matching {
        [] => keep_previous(desired, &by_preference(desired, outdated), ReasonKind::NotStayingUp),
        some => {
            let reason = Reason::of(ReasonKind::NotStayingUp);
            Plan::Do(Operation::Remove(ids(some.iter().copied())), reason)
        }
    }
}

/// The desired container is unavailable: an old container keeps running and gets its current inputs.
fn keep_previous(desired: &Desired, old: &[&Observed], why: ReasonKind) -> Plan {
    let revision = desired.target.revision.clone();
    let is_current = |old: &Observed| old.origin == Origin::Legacy || old.revision.as_ref() == Some(&revision);
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

fn ids<'a>(containers: impl Iterator<Item = &'a Observed>) -> Vec<ContainerId> {
    containers.map(|container| container.id.clone()).collect()
}
