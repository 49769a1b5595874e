//! The driver's hands in virtual time: the same sequences of engine calls and state writes as `src/driver/operate.rs` and
//! `pull.rs` (`replace.rs` has a file of its own), line by line, so that a crash between two steps leaves what the real one would. Keep the two alike.

use std::future::Future;
use std::time::Duration;

use futures_util::future::join_all;
use managed_app::model::NodeName;
use managed_app::reconciler::{Event, Failure, FailureKind, Made, Operation, Outcome, Pulled, Revision, Target};
use managed_app_runtimes::labels::{self, SpecRecord};
use managed_app_runtimes::{ContainerId, ContainerSpec, ErrorKind, ImageId, ImageReference, names};

use crate::calls::{CALL_LIMIT, STOP_LIMIT};
use crate::engine::Verb;
use crate::weather::Class;
use crate::world::{Shared, Sleep, World};

/// The hands of one daemon, at work on one thing.
#[derive(Clone)]
pub struct Hands {
    pub world: Shared,
    /// The node that calls are made for.
    pub node: Option<NodeName>,
}

pub type Done<T = Outcome> = Result<T, ErrorKind>;

impl Hands {
    pub fn with<T>(&self, ask: impl FnOnce(&mut World) -> T) -> T {
        ask(&mut self.world.borrow_mut())
    }

    pub fn sleep(&self, least_ms: usize, most_ms: usize) -> impl Future<Output = ()> + use<> {
        let delay = self.with(|world| world.prng.ms(least_ms, most_ms));
        Sleep::new(&self.world, delay)
    }

    pub async fn snapshot(self) -> Event {
        self.sleep(10, 2_000).await;
        if self.with(|world| world.weather.has(Class::Hangs) && world.prng.chance(10)) {
            Sleep::new(&self.world, Duration::from_secs(90)).await;
            return Event::Snapshot(Err(failure(ErrorKind::TimedOut)));
        }
        let answer = self.with(World::snapshot);
        self.sleep(10, 1_000).await;
        Event::Snapshot(answer)
    }

    pub async fn pull(self, image: ImageReference) -> Event {
        let outcome = match self.fetch(&image).await {
            Ok(id) => Pulled::Fresh(id),
            Err(failure) => match self.image(&image).await {
                Ok(Some(id)) => Pulled::Kept { id, failure },
                _ => Pulled::Failed(failure),
            },
        };
        Event::Pulled { image, outcome }
    }

    async fn fetch(&self, image: &ImageReference) -> Result<ImageId, Failure> {
        self.sleep(50, 20_000).await;
        let text = "the pull failed".to_owned();
        if self.with(|world| world.weather.has(Class::PullsFail) && world.prng.chance(40)) {
            if self.with(|world| world.prng.chance(30)) {
                Sleep::new(&self.world, Duration::from_secs(120)).await;
            }
            return Err(Failure { kind: FailureKind::Transient, text });
        }
        if self.with(|world| world.weather.has(Class::PullsRefused) && world.prng.chance(40)) {
            let kinds = [FailureKind::Throttled, FailureKind::Permanent];
            return Err(Failure { kind: self.with(|world| *world.prng.pick(&kinds)), text });
        }
        self.with(|world| {
            if world.engine.is_down {
                return Err(failure(ErrorKind::Unreachable));
            }
            let name = image.to_pull();
            let id = ImageId(world.cloud.content(&name));
            if world.engine.images.insert(name.clone(), id.clone()).as_ref() != Some(&id) {
                world.allow_content(&name);
            }
            Ok(id)
        })
    }

    pub async fn operate(self, operation: Operation) -> Outcome {
        let done = match operation {
            Operation::Stop(ids) => self.stop_all(ids).await,
            other => {
                // The wait for a permit.
                self.sleep(0, 200).await;
                if self.is_stopping() && !matches!(other, Operation::Remove(_)) {
                    return Outcome::Abandoned;
                }
                self.change(other).await
            }
        };
        done.unwrap_or_else(|kind| Outcome::Failed(failure(kind)))
    }

    pub fn is_stopping(&self) -> bool {
        self.with(|world| world.is_stopping)
    }

    async fn change(&self, operation: Operation) -> Done {
        match operation {
            Operation::Create(target) => self.create(target).await,
            Operation::Start { id, revision } => {
                match &revision {
                    Some(revision) => self.record(&id, revision).await,
                    None => self.forget(std::slice::from_ref(&id)).await,
                }
                self.start(&id).await?;
                Ok(Outcome::Started { id, revision })
            }
            Operation::Restart { id, revision } => {
                self.restart(&id).await?;
                self.record(&id, &revision).await;
                Ok(Outcome::Started { id, revision: Some(revision) })
            }
            Operation::Replace { old, next, target, manner } => self.replace(old, next, target, manner).await,
            Operation::Confirm { next, old, revision, manner } => self.confirm(next, old, revision, manner).await,
            Operation::Rename { id, name } => {
                self.rename(&id, &name).await?;
                Ok(Outcome::Renamed { id, name })
            }
            Operation::Remove(ids) => self.remove_all(ids).await,
            Operation::Stop(ids) => self.stop_all(ids).await,
        }
    }

    async fn create(&self, target: Target) -> Done {
        let (spec, record) = dress(&target.spec, target.spec.name.clone());
        let Some(id) = self.make(&spec).await? else { return Ok(Outcome::ImageMissing) };
        self.record(&id, &target.revision).await;
        if self.is_stopping() {
            return Ok(Outcome::Abandoned);
        }
        self.start(&id).await?;
        Ok(self.made(id, spec.name, target, record).await)
    }

    pub async fn make(&self, spec: &ContainerSpec) -> Done<Option<ContainerId>> {
        match self.create_call(spec).await {
            Err(ErrorKind::NotFound) => {}
            result => return result,
        }
        if self.image(&spec.image).await?.is_none() {
            return Ok(None);
        }
        self.call(None, vec![Verb::Network(spec.network.clone())], CALL_LIMIT).await?;
        self.create_call(spec).await
    }

    pub async fn made(&self, id: ContainerId, name: String, target: Target, record: SpecRecord) -> Outcome {
        let image_id = match self.image(&target.spec.image).await {
            Ok(Some(image_id)) => image_id,
            _ => ImageId(String::new()),
        };
        Outcome::Made(Box::new(Made { id, name, revision: target.revision, record, image_id }))
    }

    pub async fn stop_all(&self, ids: Vec<ContainerId>) -> Done {
        for result in join_all(ids.iter().map(|id| self.stop(id))).await {
            ignore_absent(result)?;
        }
        Ok(Outcome::Stopped(ids))
    }

    pub async fn remove_all(&self, ids: Vec<ContainerId>) -> Done {
        self.stop_all(ids.clone()).await?;
        for result in join_all(ids.iter().map(|id| self.remove(id))).await {
            ignore_absent(result)?;
        }
        self.forget(&ids).await;
        Ok(Outcome::Removed(ids))
    }

    async fn create_call(&self, spec: &ContainerSpec) -> Done<Option<ContainerId>> {
        self.call(None, vec![Verb::Create(Box::new(spec.clone()))], CALL_LIMIT).await
    }

    pub async fn start(&self, id: &ContainerId) -> Done<()> {
        self.call(Some(id), vec![Verb::Start(id.clone())], CALL_LIMIT).await.map(drop)
    }

    pub async fn stop(&self, id: &ContainerId) -> Done<()> {
        self.call(Some(id), vec![Verb::End(id.clone())], STOP_LIMIT).await.map(drop)
    }

    async fn restart(&self, id: &ContainerId) -> Done<()> {
        let steps = vec![Verb::End(id.clone()), Verb::Start(id.clone())];
        self.call(Some(id), steps, STOP_LIMIT).await.map(drop)
    }

    pub async fn rename(&self, id: &ContainerId, name: &str) -> Done<()> {
        self.call(Some(id), vec![Verb::Rename(id.clone(), name.to_owned())], CALL_LIMIT).await.map(drop)
    }

    pub async fn remove(&self, id: &ContainerId) -> Done<()> {
        self.call(Some(id), vec![Verb::Remove(id.clone())], CALL_LIMIT).await.map(drop)
    }

    pub async fn record(&self, id: &ContainerId, revision: &Revision) {
        self.with(|world| world.disk.memory.insert(id.clone(), revision.clone()));
        self.write().await;
    }

    pub async fn forget(&self, ids: &[ContainerId]) {
        self.with(|world| world.disk.memory.retain(|id, _| !ids.contains(id)));
        self.write().await;
    }

    pub async fn retain(self, ids: std::collections::HashSet<ContainerId>) -> Event {
        self.with(|world| world.disk.memory.retain(|id, _| ids.contains(id)));
        self.write().await;
        Event::Saved
    }

    async fn write(&self) {
        self.sleep(1, 30).await;
        self.with(World::save);
    }
}

/// As in the driver.
pub fn next_name(name: &str) -> String {
    names::container_name(&format!("{name}\u{1}next"))
}

pub fn failure(kind: ErrorKind) -> Failure {
    let how = match kind {
        ErrorKind::Throttled => FailureKind::Throttled,
        ErrorKind::Refused | ErrorKind::Unauthorized => FailureKind::Permanent,
        _ => FailureKind::Transient,
    };
    Failure { kind: how, text: format!("{kind:?}") }
}

pub fn ignore_absent(result: Done<()>) -> Done<()> {
    match result {
        Err(ErrorKind::NotFound) => Ok(()),
        other => other,
    }
}

pub fn dress(spec: &ContainerSpec, name: String) -> (ContainerSpec, SpecRecord) {
    let mut spec = ContainerSpec { name, ..spec.clone() };
    let record = SpecRecord::new(&spec, "");
    spec.labels.insert(labels::SPEC.to_owned(), record.to_label());
    (spec, record)
}
