//! Putting a new container in the place of an old one: as in `src/driver/replace.rs`, step by step. Keep the two alike.

use std::time::Duration;

use managed_app::reconciler::{Failure, FailureKind, Manner, Outcome, Revision, Target};
use managed_app_runtimes::{ContainerId, ContainerState, ErrorKind};

use crate::hands::{Done, Hands, dress, failure, ignore_absent, next_name};
use crate::world::{Sleep, World};

/// How long a new container has to stay up.
const WINDOW: Duration = Duration::from_secs(5);

/// A new container that is being tried out in the place of old ones.
struct Trial {
    next: ContainerId,
    old: Vec<ContainerId>,
    revision: Revision,
    manner: Manner,
}

/// What was seen of a container: its state, and how often it was started.
type Look = Option<(ContainerState, usize)>;

impl Hands {
    pub async fn replace(
        &self,
        old: Vec<ContainerId>,
        next: Option<ContainerId>,
        target: Target,
        manner: Manner,
    ) -> Done {
        let (mut spec, record) = dress(&target.spec, next_name(&target.spec.name));
        let made = match next {
            Some(next) => Some(next),
            None => match self.make(&spec).await {
                Err(ErrorKind::AlreadyExists) => {
                    let number = self.with(World::fresh);
                    spec.name = format!("{}-{number:08x}", spec.name);
                    self.make(&spec).await?
                }
                result => result?,
            },
        };
        let Some(next) = made else { return Ok(Outcome::ImageMissing) };
        self.record(&next, &target.revision).await;
        if self.is_stopping() {
            return Ok(Outcome::Abandoned);
        }
        let trial = Trial { next, old, revision: target.revision.clone(), manner };
        if manner != Manner::Overlap {
            self.stop_all(trial.old.clone()).await?;
        }
        if let Err(kind) = self.start(&trial.next).await {
            return self.roll_back(&trial, of_start(kind)).await;
        }
        if let Some(outcome) = self.watch(&trial).await? {
            return Ok(outcome);
        }
        if self.is_stopping() {
            return Ok(Outcome::Abandoned);
        }
        self.remove_all(trial.old).await?;
        self.rename(&trial.next, &target.spec.name).await?;
        let name = target.spec.name.clone();
        Ok(self.made(trial.next, name, target, record).await)
    }

    pub async fn confirm(&self, next: ContainerId, old: Vec<ContainerId>, revision: Revision, manner: Manner) -> Done {
        let trial = Trial { next, old, revision, manner };
        if manner != Manner::Overlap {
            self.stop_all(trial.old.clone()).await?;
        }
        if let Some(outcome) = self.watch(&trial).await? {
            return Ok(outcome);
        }
        if self.is_stopping() {
            return Ok(Outcome::Abandoned);
        }
        self.remove_all(trial.old).await
    }

    /// Sees whether the new container stays up, and brings the old one back if not. `None`: it does. An end of the
    /// daemon is seen at the end of the window.
    async fn watch(&self, trial: &Trial) -> Done<Option<Outcome>> {
        let first = self.look_at(&trial.next).await?;
        let mut has_fallen = has_fallen(&first, &first);
        if !has_fallen {
            Sleep::new(&self.world, WINDOW).await;
            if self.is_stopping() {
                return Ok(Some(Outcome::Abandoned));
            }
            has_fallen = crate::replace::has_fallen(&first, &self.look_at(&trial.next).await?);
        }
        if !has_fallen {
            return Ok(None);
        }
        let text = "the new container did not stay up".to_owned();
        self.roll_back(trial, Failure { kind: FailureKind::Permanent, text }).await.map(Some)
    }

    async fn look_at(&self, id: &ContainerId) -> Done<Look> {
        let listed = self.look().await?;
        let found = listed.iter().find(|container| container.id == *id).map(|container| container.state.clone());
        Ok(found.map(|state| (state, self.with(|world| world.engine.get(id).map_or(0, |kept| kept.starts)))))
    }

    async fn roll_back(&self, trial: &Trial, failure: Failure) -> Done {
        ignore_absent(self.stop(&trial.next).await)?;
        if let (Some(old), true) = (trial.old.first(), trial.manner != Manner::Overlap) {
            self.record(old, &trial.revision).await;
            self.start(old).await?;
        }
        if self.remove(&trial.next).await.is_ok() {
            self.forget(std::slice::from_ref(&trial.next)).await;
        }
        Ok(Outcome::RolledBack(failure))
    }
}

fn has_fallen(first: &Look, now: &Look) -> bool {
    match now {
        None => true,
        Some((ContainerState::Unknown(_), _)) => false,
        Some((ContainerState::Running | ContainerState::Paused, starts)) => {
            first.as_ref().is_none_or(|(_, before)| before != starts)
        }
        Some(_) => true,
    }
}

fn of_start(kind: ErrorKind) -> Failure {
    let blame = matches!(kind, ErrorKind::Conflict | ErrorKind::Refused);
    let how = if blame { FailureKind::Permanent } else { FailureKind::Transient };
    Failure { kind: how, ..failure(kind) }
}
