//! Putting a new container in the place of an old one, and the old one back when the new one does not stay up.
//!
//! Careful, the usual manner: make the new one, stop the old one, start the new one, see that it stays up for a short
//! window, remove the old one, rename the new one. The node is down for one stop and one start. Overlap: the new one is
//! started before the old one is stopped, which stops only when the window is over. At once: as careful, without a
//! window, where the old one is dead or cut off from its network and nothing is gained by keeping it.
//!
//! A daemon that dies on the way leaves one of these, told apart by what runs and what each container is made of:
//!
//! | left over | what the next daemon does |
//! | --- | --- |
//! | old one runs, new one made or ended | goes on with the replacement |
//! | old one stopped, new one made or ended | starts the new one; when it does not stay up, the old one comes back |
//! | old one stopped, new one runs | sees that it stays up, removes the old one |
//! | both run (overlap) | the same; in the careful manner it stops the old one first |
//! | new one alone under its first name | renames it |
//! | rolled back, new one not yet removed | tries the new one once more, as nobody remembers that it failed |
//!
//! An engine that was away in the window leaves one of the same, and what is done is the same: that a container ended with
//! its engine says nothing against it.
//!
//! In no case is the old one removed before the new one has stayed up.

use futures_util::future::join;
use managed_app_runtimes::{Container, ContainerId, ContainerState, ErrorKind, RuntimeError};
use time::OffsetDateTime;
use tokio::sync::{SemaphorePermit, broadcast};
use tokio::time::{Duration, Instant, sleep, sleep_until};
use tracing::warn;

use super::operate::{created, ignore_absent, next_name, with_labels};
use super::{Executor, Notice, failure};
use crate::reconciler::{Failure, FailureKind, Outcome, Revision, Strategy, Target};

/// How long a start may wait for a host port that another node lets go, beyond the time that node may take to stop.
const PORT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Pause between two attempts to start with such a port.
const PORT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// A new container that is being tried out in the place of old ones.
struct Rollout {
    next: ContainerId,
    old: Vec<ContainerId>,
    /// What the old one reads when it has to come back.
    revision: Revision,
    strategy: Strategy,
    /// What was said since before the new one was started.
    notices: broadcast::Receiver<Notice>,
}

/// What came of a trial.
enum RolloutResult {
    Healthy,
    /// It does not, for this reason.
    Failed(String),
    /// It does not, but the engine was away meanwhile, which may have ended it.
    Unknown,
    /// The daemon ends.
    Interrupted,
}

impl Executor {
    /// Makes the next container beside the old one; the old one does not notice anything that fails until then. No
    /// permit is held while the new one is watched.
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
            None => match self.make(&spec).await {
                // A stranger or something left over is called so: any other name will do as well.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    spec.name = format!("{}-{:08x}", spec.name, rand::random::<u32>());
                    self.make(&spec).await?
                }
                result => result?,
            },
        };
        let Some(next) = next else { return Ok(Outcome::ImageMissing) };
        // Another image may have the tag when the window is over.
        let ((), image_id) = join(self.state.record(&next, &target.revision), self.image_of(&target.spec)).await;
        if self.is_stopping() {
            return Ok(Outcome::Abandoned);
        }
        let mut rollout = self.rollout(next, old, &target.revision, strategy);
        if strategy != Strategy::StartFirst {
            self.stop_all(rollout.old.clone()).await?;
        }
        // Whoever holds the port may need a turn to let go of it.
        let permit = Some(permit).filter(|_| strategy != Strategy::PortSwap);
        if let Err(error) = self.start_next(&rollout).await {
            let failure = of_start(&error, strategy);
            return self.roll_back(&rollout, failure).await;
        }
        drop(permit);
        if let Some(outcome) = self.watch(&mut rollout).await? {
            return Ok(outcome);
        }
        let Some(permit) = self.acquire_permit().await else { return Ok(Outcome::Abandoned) };
        self.remove_all(rollout.old, Some(permit)).await?;
        self.runtime.rename(&rollout.next, &target.spec.name).await?;
        Ok(created(rollout.next, target.spec.name.clone(), target, record, image_id))
    }

    /// Goes on with a replacement whose new container runs already.
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
        self.remove_all(rollout.old, Some(permit)).await
    }

    fn rollout(&self, next: ContainerId, old: Vec<ContainerId>, revision: &Revision, strategy: Strategy) -> Rollout {
        Rollout { next, old, revision: revision.clone(), strategy, notices: self.notices.subscribe() }
    }

    async fn start_next(&self, rollout: &Rollout) -> Result<(), RuntimeError> {
        let port_wait =
            if rollout.strategy == Strategy::PortSwap { self.stop_grace + PORT_WAIT_MAX } else { Duration::ZERO };
        let until = Instant::now() + port_wait;
        loop {
            match self.runtime.start(&rollout.next).await {
                Err(error) if error.kind() == ErrorKind::Conflict && Instant::now() < until && !self.is_stopping() => {
                    sleep(PORT_RETRY_DELAY).await;
                }
                result => return result,
            }
        }
    }

    /// Sees whether the new container stays up, and brings the old one back if not. `None`: it does.
    async fn watch(&self, rollout: &mut Rollout) -> Result<Option<Outcome>, RuntimeError> {
        match self.result_of(rollout).await? {
            RolloutResult::Healthy => Ok(None),
            RolloutResult::Interrupted => Ok(Some(Outcome::Abandoned)),
            RolloutResult::Unknown => {
                let text = "the engine was away while the new container was watched".to_owned();
                Ok(Some(Outcome::Failed(Failure { kind: FailureKind::Transient, text })))
            }
            RolloutResult::Failed(reason) => {
                let text = format!("the new container did not stay up: {reason}; the old one runs");
                self.roll_back(rollout, Failure { kind: FailureKind::Permanent, text }).await.map(Some)
            }
        }
    }

    /// A container that ended and was started again by the engine has another start time. Engine events only make
    /// this look earlier.
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
        let found = self.lister.list(self.runtime.as_ref(), &self.owner).await?;
        Ok(found.iter().find(|container| container.id == *id).cloned())
    }

    /// The new one is stopped before the old one is started. The old one reads what is current now. A node that is
    /// down does not wait for its permit.
    async fn roll_back(&self, rollout: &Rollout, failure: Failure) -> Result<Outcome, RuntimeError> {
        warn!(container = %rollout.next, error = failure.text, "the new container is given up for the old one");
        ignore_absent(self.runtime.stop(&rollout.next, self.stop_grace).await)?;
        let mut gone = None;
        if let (Some(old), true) = (rollout.old.first(), rollout.strategy != Strategy::StartFirst) {
            self.state.record(old, &rollout.revision).await;
            match self.runtime.start(old).await {
                // Neither can be started: the new one goes, so that a newer one can be made.
                Err(error) if error.kind() == ErrorKind::NotFound => gone = Some(error),
                started => started?,
            }
        }
        // Its last words say why it did not stay up.
        self.shipping.finish(std::slice::from_ref(&rollout.next)).await;
        match self.runtime.remove(&rollout.next).await {
            Ok(()) => self.state.forget(std::slice::from_ref(&rollout.next)).await,
            Err(error) => {
                warn!(container = %rollout.next, error = failure::chain(&error), "the failed container cannot be removed");
            }
        }
        gone.map_or(Ok(Outcome::RolledBack(failure)), Err)
    }
}

impl Rollout {
    /// What is said of the new container or of the engine; `None` when something was missed.
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

/// Why a container that was started at `started_at` does not count as staying up, if so. No answer about it is no
/// proof against it.
fn unhealthy_reason(started_at: Option<OffsetDateTime>, now: Option<&Container>) -> Option<String> {
    let Some(now) = now else { return Some("it was removed".to_owned()) };
    match &now.state {
        ContainerState::Running | ContainerState::Paused if now.started_at == started_at => None,
        ContainerState::Running | ContainerState::Paused => Some("it ended and was started again".to_owned()),
        ContainerState::Unknown(_) => None,
        ContainerState::Restarting => Some("it keeps ending".to_owned()),
        ContainerState::Exited { code: Some(code) } => Some(format!("it ended with code {code}")),
        ContainerState::Exited { code: None } => Some("it ended".to_owned()),
        ContainerState::Created | ContainerState::Removing | ContainerState::Dead => Some("it is not up".to_owned()),
    }
}

/// The failure of a start in the place of an old container: the new one's own where the engine will not have it or a
/// port is taken, but not where that port was to come free. Anything else may have been the engine's.
fn of_start(error: &RuntimeError, strategy: Strategy) -> Failure {
    let kind = match error.kind() {
        ErrorKind::Conflict if strategy != Strategy::PortSwap => FailureKind::Permanent,
        ErrorKind::Refused => FailureKind::Permanent,
        _ => FailureKind::Transient,
    };
    let text = format!("the new container did not start: {}; the old one runs", failure::chain(error));
    Failure { kind, text }
}
