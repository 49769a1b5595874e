//! Replacement of a container: a new one takes the place of an old one, and a rollback starts the old one again.
//!
//! `StopFirst`, the default: create the new one, stop the old one, start the new one, wait for a short window in which
//! it must stay up, remove the old one, rename the new one. The node is down for one stop and one start. `StartFirst`:
//! the new one is started before the old one is stopped, which happens at the end of the window. `Force`: as
//! `StopFirst`, without a window, if the old one is dead or cut off from its network and not worth keeping.
//!
//! A daemon that dies during a replacement leaves one of these states, told apart by the running containers and specs:
//!
//! | leftover | action of the next daemon |
//! | --- | --- |
//! | old one runs, new one created or exited | continues the replacement |
//! | old one stopped, new one created or exited | starts the new one; if it does not stay up, rolls back |
//! | old one stopped, new one runs | waits for the window, removes the old one |
//! | both run (`StartFirst`) | the same; with `StopFirst` it stops the old one first |
//! | new one alone under its first name | renames it |
//! | rolled back, new one not yet removed | tries the new one once more, because no failure is recorded |
//!
//! An engine that was unavailable during the window leaves the same states and causes the same actions: an exit
//! together with the engine is not a failure of the container.
//!
//! The old one is never removed before the new one has stayed up.

use futures_util::future::join;
use managed_app_runtimes::{Container, ContainerId, ContainerState, ErrorKind, RuntimeError};
use time::OffsetDateTime;
use tokio::sync::{SemaphorePermit, broadcast};
use tokio::time::{Duration, Instant, sleep, sleep_until};
use tracing::warn;

use super::operate::{created, next_name, with_labels};
use super::{Executor, Notice};
use crate::reconciler::{Failure, FailureKind, Outcome, Revision, Strategy, Target};
use crate::text::chain;

/// How long a start may wait for a host port of another node, in addition to that node's stop grace.
const PORT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Delay between two attempts to start with such a port.
const PORT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// A new container during its replacement window.
struct Rollout {
    next: ContainerId,
    old: Vec<ContainerId>,
    /// The startup inputs of the old one if it is started again.
    revision: Revision,
    strategy: Strategy,
    /// Notices since before the new one was started.
    notices: broadcast::Receiver<Notice>,
}

/// The result of a rollout.
enum RolloutResult {
    Healthy,
    /// It did not stay up, for this reason.
    Failed(String),
    /// It did not stay up, but the engine was unavailable meanwhile, which may be the cause.
    Unknown,
    /// The daemon ends.
    Interrupted,
}

impl Executor {
    /// Creates the next container beside the old one; a failure until then does not affect the old one. No permit is
    /// held during the replacement window.
    pub(super) async fn replace(
        &self,
        old: Vec<ContainerId>,
        next: Option<ContainerId>,
        target: Target,
        strategy: Strategy,
        permit: SemaphorePermit<'_>,
    ) -> Result<Outcome, RuntimeError> {
        let (mut spec, record) = with_labels(&target.spec, next_name(&target.spec.name));
        let next = match next {
            Some(next) => Some(next),
            None => match self.create_container(&spec).await {
                // A foreign or leftover container has this name: use any other one.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    spec.name = format!("{}-{:08x}", spec.name, rand::random::<u32>());
                    self.create_container(&spec).await?
                }
                result => result?,
            },
        };
        let Some(next) = next else { return Ok(Outcome::ImageMissing) };
        // The tag may have another image at the end of the window.
        let ((), image_id) = join(self.state.record(&next, &target.revision), self.image_of(&target.spec)).await;
        if self.is_stopping() {
            return Ok(Outcome::Abandoned);
        }
        let mut rollout = self.rollout(next, old, &target.revision, strategy);
        if strategy != Strategy::StartFirst {
            self.stop_all(rollout.old.clone()).await?;
        }
        // The holder of the port may need a permit to release it.
        let permit = Some(permit).filter(|_| strategy != Strategy::PortSwap);
        if let Err(error) = self.start_next(&rollout).await {
            let failure = start_failure(&error, strategy);
            return self.roll_back(&rollout, failure).await;
        }
        drop(permit);
        if let Some(outcome) = self.watch(&mut rollout).await? {
            return Ok(outcome);
        }
        let Some(permit) = self.acquire_permit().await else { return Ok(Outcome::Abandoned) };
        self.remove_old(rollout.old, permit).await?;
        self.runtime.rename(&rollout.next, &target.spec.name).await?;
        Ok(created(rollout.next, target.spec.name.clone(), target, record, image_id))
    }

    /// Continues a replacement whose new container runs already.
    pub(super) async fn confirm(
        &self,
        next: ContainerId,
        old: Vec<ContainerId>,
        revision: &Revision,
        strategy: Strategy,
        permit: SemaphorePermit<'_>,
    ) -> Result<Outcome, RuntimeError> {
        let mut rollout = self.rollout(next, old, revision, strategy);
        if strategy != Strategy::StartFirst {
            self.stop_all(rollout.old.clone()).await?;
        }
        drop(permit);
        if let Some(outcome) = self.watch(&mut rollout).await? {
            return Ok(outcome);
        }
        let Some(permit) = self.acquire_permit().await else { return Ok(Outcome::Abandoned) };
        self.remove_old(rollout.old, permit).await
    }

    /// Most of them have been stopped before, and the list at the end of the window shows whether they still are.
    async fn remove_old(&self, old: Vec<ContainerId>, permit: SemaphorePermit<'_>) -> Result<Outcome, RuntimeError> {
        self.stop_all(old.iter().filter(|id| !self.containers.is_stopped(id)).cloned().collect()).await?;
        self.remove_stopped(old, Some(permit)).await
    }

    fn rollout(&self, next: ContainerId, old: Vec<ContainerId>, revision: &Revision, strategy: Strategy) -> Rollout {
        Rollout { next, old, revision: revision.clone(), strategy, notices: self.notices.subscribe() }
    }

    async fn start_next(&self, rollout: &Rollout) -> Result<(), RuntimeError> {
        let port_wait =
            if rollout.strategy == Strategy::PortSwap { self.stop_grace + PORT_WAIT_MAX } else { Duration::ZERO };
        let until = Instant::now() + port_wait;
        loop {
            match self.containers.start(&rollout.next).await {
                Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < until && !self.is_stopping() => {
                    sleep(PORT_RETRY_DELAY).await;
                }
                result => return result,
            }
        }
    }

    /// Waits for the window and rolls back if the new container does not stay up. `None`: it stays up.
    async fn watch(&self, rollout: &mut Rollout) -> Result<Option<Outcome>, RuntimeError> {
        match self.result_of(rollout).await? {
            RolloutResult::Healthy => Ok(None),
            RolloutResult::Interrupted => Ok(Some(Outcome::Abandoned)),
            RolloutResult::Unknown => {
                let text = "the engine was unavailable during the replacement window".to_owned();
                Ok(Some(Outcome::Failed(Failure { kind: FailureKind::Transient, text })))
            }
            RolloutResult::Failed(reason) => {
                let text = format!("the new container did not stay up: {reason}; the old one runs");
                self.roll_back(rollout, Failure { kind: FailureKind::Permanent, text }).await.map(Some)
            }
        }
    }

    /// A container that exited and was restarted by the engine has another start time. Engine events only cause an
    /// earlier check.
    async fn result_of(&self, rollout: &mut Rollout) -> Result<RolloutResult, RuntimeError> {
        if self.replace_window.is_zero() || rollout.strategy == Strategy::Force {
            return Ok(RolloutResult::Healthy);
        }
        let end = Instant::now() + self.replace_window;
        let mut now = self.find(&rollout.next).await?;
        let started_at = now.as_ref().and_then(|container| container.started_at);
        let (mut is_over, mut was_away) = (false, false);
        loop {
            if let Some(reason) = unhealthy_reason(started_at, now.as_ref()) {
                // The engine may have been unavailable during the list.
                while let Ok(notice) = rollout.notices.try_recv() {
                    was_away |= notice == Notice::EngineAway;
                }
                return Ok(if was_away { RolloutResult::Unknown } else { RolloutResult::Failed(reason) });
            }
            if is_over {
                return Ok(RolloutResult::Healthy);
            }
            // All arms are cancel-safe.
            is_over = tokio::select! {
                biased;
                () = self.stopping.cancelled() => return Ok(RolloutResult::Interrupted),
                () = sleep_until(end) => true,
                notice = rollout.notice() => {
                    was_away |= notice == Some(Notice::EngineAway);
                    false
                }
            };
            now = self.find(&rollout.next).await?;
        }
    }

    async fn find(&self, id: &ContainerId) -> Result<Option<Container>, RuntimeError> {
        let found = self.containers.shared_list().await?;
        Ok(found.iter().find(|container| container.id == *id).cloned())
    }

    /// Stops the new container before the old one is started. The old one reads its current inputs. A node that is down
    /// does not wait for a permit.
    async fn roll_back(&self, rollout: &Rollout, failure: Failure) -> Result<Outcome, RuntimeError> {
        warn!(container = %rollout.next, error = failure.text, "rolling back to the old container");
        self.containers.stop(&rollout.next, self.stop_grace).await?;
        let mut gone = None;
        if let (Some(old), true) = (rollout.old.first(), rollout.strategy != Strategy::StartFirst) {
            self.state.record(old, &rollout.revision).await;
            match self.containers.start(old).await {
                // Neither can be started: remove the new one, so that another can be created.
                Err(error) if error.kind() == ErrorKind::NotFound => gone = Some(error),
                started => started?,
            }
        }
        // Its last output shows why it did not stay up.
        self.shipping.finish(std::slice::from_ref(&rollout.next)).await;
        match self.containers.remove(&rollout.next).await {
            Ok(()) => self.state.forget(std::slice::from_ref(&rollout.next)).await,
            Err(error) => {
                warn!(container = %rollout.next, error = chain(&error), "failed container cannot be removed");
            }
        }
        gone.map_or(Ok(Outcome::RolledBack(failure)), Err)
    }
}

impl Rollout {
    /// The next notice about the new container or the engine; `None` if one was missed.
    async fn notice(&mut self) -> Option<Notice> {
        loop {
            match self.notices.recv().await {
                Ok(Notice::Died(id)) if id != self.next => {}
                Ok(notice) => return Some(notice),
                Err(broadcast::error::RecvError::Lagged(_)) => return None,
                Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
            }
        }
    }
}

/// Why a container that was started at `started_at` did not stay up, if so. An unknown state is not a failure.
fn unhealthy_reason(started_at: Option<OffsetDateTime>, now: Option<&Container>) -> Option<String> {
    let Some(now) = now else { return Some("it was removed".to_owned()) };
    match &now.state {
        ContainerState::Running | ContainerState::Paused if now.started_at == started_at => None,
        ContainerState::Running | ContainerState::Paused => Some("it exited and was restarted".to_owned()),
        ContainerState::Unknown(_) => None,
        ContainerState::Restarting => Some("it exits repeatedly".to_owned()),
        ContainerState::Exited { code: Some(code) } => Some(format!("it exited with code {code}")),
        ContainerState::Exited { code: None } => Some("it exited".to_owned()),
        ContainerState::Created | ContainerState::Removing | ContainerState::Dead => Some("it does not run".to_owned()),
    }
}

/// The failure of a start that replaces an old container. It is permanent if the engine refuses the container or a port
/// is taken, unless that port was to be released. Anything else may be caused by the engine.
fn start_failure(error: &RuntimeError, strategy: Strategy) -> Failure {
    let kind = match error.kind() {
        ErrorKind::Conflict if strategy != Strategy::PortSwap => FailureKind::Permanent,
        ErrorKind::Refused => FailureKind::Permanent,
        _ => FailureKind::Transient,
    };
    let text = format!("the new container did not start: {}; the old one runs", chain(error));
    Failure { kind, text }
}
