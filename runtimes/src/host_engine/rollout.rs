//! The protocol of [`apply`](crate::WorkloadEngine::apply) on a host, as a step machine without I/O: from the containers
//! of a node and a target to engine calls, one at a time.
//!
//! `StopFirst`: create the new container, stop the old one, start the new one, watch it for the replacement window, remove
//! the old one, rename the new one. The node is down for one stop and one start. `StartFirst`: the new one is started
//! before the old one is stopped, which happens at the end of the window. An old container that is dead or cut off from
//! its network is not worth keeping: there is no window. If the new container does not start or does not stay up, it is
//! stopped, the old one is started again and reads the current inputs, and the new one is removed. The old one is never
//! removed before the new one has stayed up.
//!
//! A daemon that dies on the way, or an engine that was unavailable, leaves one of these states, told apart by specs and
//! running containers. The next [`Rollout`] continues:
//!
//! | leftover | steps |
//! | --- | --- |
//! | old one runs, new one created or exited | stop old, start, watch, remove old, rename |
//! | old one stopped, new one created or exited | start, watch, remove old, rename; if it does not stay up, roll back |
//! | old one stopped, new one runs | watch, remove old, rename |
//! | both run (`StartFirst`) | the same; with `StopFirst`, stop the old one first |
//! | new one alone under a temporary name | rename |
//! | rolled back, new one not yet removed | try the new one once more, because no failure is recorded |
//!
//! A stop of a container that does not run is `Ok`, so old ones are always stopped: the knowledge of the state may be old.

use crate::workload::{Instance, Strategy, Target};
use crate::{ContainerId, ErrorKind, RuntimeError, chain, names};

/// One step of a rollout.
#[derive(Debug)]
pub(super) enum Step {
    /// Create the new container, under the other name if the first one is taken.
    Create {
        /// The name.
        name: String,
        /// The other name.
        or: Option<String>,
    },
    /// Record that this container is started with the revision of the target.
    Record(ContainerId),
    /// Stop these containers.
    Stop(Vec<ContainerId>),
    /// Start this container.
    Start(ContainerId),
    /// Watch whether this container, which was just started or found running, stays up.
    Watch(ContainerId),
    /// Ship the output of these containers and remove them; they were stopped before, unless the rollout is `StartFirst`.
    Remove(Vec<ContainerId>),
    /// Rename this container.
    Rename {
        /// The container.
        id: ContainerId,
        /// Its name.
        name: String,
    },
    /// As `Remove`, for the new container that failed: it may stay if that is not possible.
    Discard(ContainerId),
    /// The rollout has ended.
    End(End),
}

/// The result of a step.
#[derive(Debug)]
pub(super) enum StepResult {
    /// It is done.
    Done,
    /// The container is created; `None` if its image does not exist.
    Created(Option<ContainerId>),
    /// The container did not start.
    NotStarted {
        /// The error.
        error: RuntimeError,
        /// Whether the container waited in vain for a host port of another node.
        has_waited: bool,
    },
    /// The container did not stay up, for this reason.
    NotStayingUp(String),
}

/// The end of a rollout.
#[derive(Debug)]
pub(super) enum End {
    /// This container is the only one, and it runs.
    Done(ContainerId),
    /// The old container runs again, or still.
    RolledBack(Cause),
    /// The image does not exist.
    ImageMissing,
    /// A call failed.
    Failed(RuntimeError),
}

/// Why a rollout was rolled back.
#[derive(Debug)]
pub(super) struct Cause {
    /// Whether the new container certainly is the cause.
    pub(super) is_certain: bool,
    /// The reason, for people.
    pub(super) text: String,
}

/// One rollout.
#[derive(Debug)]
pub(super) struct Rollout {
    /// Name of the target.
    name: String,
    /// The new container, and whether it has the final name.
    next: Option<ContainerId>,
    is_named: bool,
    /// The old ones; the first one is started again on a rollback.
    old: Vec<ContainerId>,
    /// Whether the new one is started first.
    is_start_first: bool,
    /// Whether the new one must stay up before the old ones are removed.
    is_watched: bool,
    state: State,
}

/// The step that runs, by its purpose.
#[derive(Debug)]
enum State {
    Creating,
    Recording,
    StoppingOld { is_next_up: bool },
    Starting,
    Watching,
    RemovingOld,
    Renaming,
    StoppingNext(Cause),
    RecordingOld(Cause),
    RestartingOld(Cause),
    DiscardingNext(Result<Cause, RuntimeError>),
}

impl Rollout {
    /// A rollout of `target` to a node with these containers, and its first step. `random` makes a name unique.
    pub(super) fn begin(target: &Target, strategy: Strategy, instances: &[Instance], random: u32) -> (Self, Step) {
        let (mut matching, mut old): (Vec<&Instance>, Vec<&Instance>) =
            instances.iter().partition(|instance| target.differences(instance).is_empty());
        target.sort_by_preference(&mut matching);
        let next = matching.first().copied();
        old.extend(matching.iter().skip(1));
        target.sort_by_preference(&mut old);
        let is_unusable = |old: &&Instance| Target::is_unusable(&target.differences(old));
        let name = target.spec.name.clone();
        let mut rollout = Self {
            next: next.map(|next| next.id.clone()),
            is_named: next.map_or(old.is_empty(), |next| next.name == name),
            is_start_first: strategy == Strategy::StartFirst && is_one_running(&old),
            is_watched: next.is_some() || !old.first().is_some_and(is_unusable),
            old: old.iter().map(|old| old.id.clone()).collect(),
            state: State::Creating,
            name,
        };
        let step = match next {
            Some(next) if next.may_run() => rollout.stop_old(next.id.clone(), true),
            Some(next) => rollout.record(next.id.clone()),
            None => rollout.create(random),
        };
        (rollout, step)
    }

    /// The step after the one that ended with `result`.
    pub(super) fn next(&mut self, result: StepResult) -> Step {
        let state = std::mem::replace(&mut self.state, State::Creating);
        match (state, result) {
            (State::Creating, StepResult::Created(Some(id))) => {
                self.next = Some(id.clone());
                self.record(id)
            }
            (State::Creating, _) => Step::End(End::ImageMissing),
            (state, result) => {
                let Some(next) = self.next.clone() else { return Step::End(End::ImageMissing) };
                self.after(state, result, next)
            }
        }
    }

    /// The step after a step with the new container `next`.
    fn after(&mut self, state: State, result: StepResult, next: ContainerId) -> Step {
        match (state, result) {
            (State::Creating | State::Recording, _) => self.stop_old(next, false),
            (State::StoppingOld { is_next_up: false }, _) => self.start(next),
            (State::Starting, StepResult::NotStarted { error, .. }) if self.old.is_empty() => {
                Step::End(End::Failed(error))
            }
            (State::Starting, StepResult::NotStarted { error, has_waited }) => {
                self.roll_back(next, not_started(&error, has_waited))
            }
            (State::StoppingOld { is_next_up: true } | State::Starting, _) => self.watch(next),
            (State::Watching, StepResult::NotStayingUp(reason)) => {
                let text = format!("the new container did not stay up: {reason}; the old one runs");
                self.roll_back(next, Cause { is_certain: true, text })
            }
            (State::Watching, _) => self.remove_old(next),
            (State::RemovingOld, _) => self.rename(next),
            (State::Renaming, _) => Step::End(End::Done(next)),
            (State::StoppingNext(cause), _) => match self.old.first() {
                Some(old) if !self.is_start_first => {
                    self.state = State::RecordingOld(cause);
                    Step::Record(old.clone())
                }
                _ => self.discard(next, Ok(cause)),
            },
            (State::RecordingOld(cause), _) => {
                let old = self.old[0].clone();
                self.state = State::RestartingOld(cause);
                Step::Start(old)
            }
            // Neither can be started: without the new one, another one can be created.
            (State::RestartingOld(_), StepResult::NotStarted { error, .. }) if error.kind() == ErrorKind::NotFound => {
                self.discard(next, Err(error))
            }
            (State::RestartingOld(_), StepResult::NotStarted { error, .. }) => Step::End(End::Failed(error)),
            (State::RestartingOld(cause), _) => self.discard(next, Ok(cause)),
            (State::DiscardingNext(Ok(cause)), _) => Step::End(End::RolledBack(cause)),
            (State::DiscardingNext(Err(error)), _) => Step::End(End::Failed(error)),
        }
    }

    fn create(&mut self, random: u32) -> Step {
        self.state = State::Creating;
        if self.is_named {
            return Step::Create { name: self.name.clone(), or: None };
        }
        let name = next_name(&self.name);
        // A foreign or leftover container may have this name.
        let or = Some(format!("{name}-{random:08x}"));
        Step::Create { name, or }
    }

    fn record(&mut self, next: ContainerId) -> Step {
        self.state = State::Recording;
        Step::Record(next)
    }

    fn stop_old(&mut self, next: ContainerId, is_next_up: bool) -> Step {
        if self.old.is_empty() && is_next_up {
            return self.rename(next);
        }
        if self.old.is_empty() || self.is_start_first {
            return if is_next_up { self.watch(next) } else { self.start(next) };
        }
        self.state = State::StoppingOld { is_next_up };
        Step::Stop(self.old.clone())
    }

    fn start(&mut self, next: ContainerId) -> Step {
        self.state = State::Starting;
        Step::Start(next)
    }

    fn watch(&mut self, next: ContainerId) -> Step {
        if self.old.is_empty() || !self.is_watched {
            return self.remove_old(next);
        }
        self.state = State::Watching;
        Step::Watch(next)
    }

    fn remove_old(&mut self, next: ContainerId) -> Step {
        if self.old.is_empty() {
            return self.rename(next);
        }
        self.state = State::RemovingOld;
        Step::Remove(self.old.clone())
    }

    fn rename(&mut self, next: ContainerId) -> Step {
        if self.is_named {
            return Step::End(End::Done(next));
        }
        self.state = State::Renaming;
        Step::Rename { id: next, name: self.name.clone() }
    }

    /// The new one is stopped before the old one is started.
    fn roll_back(&mut self, next: ContainerId, cause: Cause) -> Step {
        self.state = State::StoppingNext(cause);
        Step::Stop(vec![next])
    }

    /// Its last output shows why it did not stay up.
    fn discard(&mut self, next: ContainerId, end: Result<Cause, RuntimeError>) -> Step {
        self.state = State::DiscardingNext(end);
        Step::Discard(next)
    }
}

/// Two at a time, never three.
fn is_one_running(old: &[&Instance]) -> bool {
    let mut up = old.iter().filter(|old| old.may_run());
    up.next().is_some_and(|old| old.state.is_running()) && up.next().is_none()
}

/// The new container is the cause if the engine refuses it or a port is taken, unless that port was to be released.
/// Anything else may be caused by the engine.
fn not_started(error: &RuntimeError, has_waited: bool) -> Cause {
    let is_certain = match error.kind() {
        ErrorKind::Conflict => !has_waited,
        kind => kind == ErrorKind::Refused,
    };
    Cause { is_certain, text: format!("the new container did not start: {}; the old one runs", chain(error)) }
}

/// The name of the container that will replace `name`. No node can have it: node names contain no control characters,
/// and only rewriting creates engine names with a hash at their end.
pub fn next_name(name: &str) -> String {
    names::container_name(&format!("{name}\u{1}next"))
}

#[cfg(test)]
pub(super) mod tests;
