//! Executes a [`Rollout`]: each step is an engine call.

use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::{SemaphorePermit, broadcast};
use tokio::time::{Duration, Instant, sleep, sleep_until};
use tracing::warn;

use super::rollout::{End, Rollout, Step, StepResult};
use super::{HostEngine, Notice};
use crate::labels::{self, SpecRecord};
use crate::workload::{Applied, Instance, Strategy, Target};
use crate::{ContainerId, ContainerSpec, ContainerState, ErrorKind, ImageId, Result, RuntimeError, chain};

/// How long a start may wait for a host port of another node, in addition to that node's stop grace.
const PORT_WAIT_MAX: Duration = Duration::from_secs(10);
/// Delay between two attempts to start with such a port.
const PORT_RETRY_DELAY: Duration = Duration::from_millis(50);

/// Whether a new container stays up.
enum Watched {
    Healthy,
    /// It did not stay up, for this reason.
    Failed(String),
    /// It did not stay up, but the engine was unavailable meanwhile, which may be the cause.
    Unknown,
    /// The daemon ends.
    Interrupted,
}

impl HostEngine {
    /// No permit is held during the replacement window, and a rollback after it does not wait for one: the node is down.
    pub(super) async fn roll_out(
        &self,
        target: &Target,
        strategy: Strategy,
        permit: SemaphorePermit<'_>,
    ) -> Result<Applied> {
        let node = target.spec.labels.get(labels::NODE).map_or("", String::as_str);
        let instances = self.observer.of_node(node);
        let (mut rollout, mut step) = Rollout::begin(target, strategy, &instances, rand::random());
        let mut permit = Some(permit);
        let mut notices = self.notices.subscribe();
        let mut has_begun = false;
        loop {
            if self.closing.is_cancelled() && !has_begun {
                return Ok(Applied::Interrupted);
            }
            if !has_begun && matches!(step, Step::Stop(_) | Step::Start(_)) {
                has_begun = true;
                // Notices since before the new container is started.
                notices = notices.resubscribe();
            }
            let result = match step {
                Step::Create { name, or } => StepResult::Created(self.create(target, name, or).await?),
                Step::Record(id) => {
                    self.store.record(&id, &target.revision).await;
                    StepResult::Done
                }
                Step::Stop(ids) => {
                    self.stop_all(&ids).await?;
                    StepResult::Done
                }
                Step::Start(id) => self.start_step(&id, target, node, &mut permit).await,
                Step::Watch(id) => {
                    drop(permit.take());
                    match self.watch(&id, &mut notices).await? {
                        Watched::Interrupted => return Ok(Applied::Interrupted),
                        Watched::Unknown => return Err(away(target)),
                        Watched::Failed(reason) => {
                            warn!(container = %id, reason, "the new container did not stay up; rolling back");
                            StepResult::NotStayingUp(reason)
                        }
                        Watched::Healthy => {
                            permit = self.acquire_permit().await;
                            if permit.is_none() {
                                return Ok(Applied::Interrupted);
                            }
                            StepResult::Done
                        }
                    }
                }
                Step::Remove(ids) => {
                    // Most of them have been stopped before, and the last list shows whether they still are.
                    let running: Vec<_> = ids.iter().filter(|id| !self.observer.is_stopped(id)).cloned().collect();
                    self.stop_all(&running).await?;
                    self.remove_stopped(&ids, permit.take()).await?;
                    StepResult::Done
                }
                Step::Rename { id, name } => {
                    self.observer.rename(&id, &name).await?;
                    StepResult::Done
                }
                Step::Discard(id) => {
                    self.discard_failed(&id).await;
                    StepResult::Done
                }
                Step::End(end) => return self.ended(end, target),
            };
            step = rollout.next(result);
        }
    }

    fn ended(&self, end: End, target: &Target) -> Result<Applied> {
        match end {
            End::Done(id) => {
                let gone =
                    || RuntimeError::new(ErrorKind::NotFound, "find the new container", target.spec.name.clone());
                let instance = self.observer.get(&id).ok_or_else(gone)?;
                // One that was found running has read what it was started with.
                Ok(Applied::Done(Box::new(Instance { revision: self.store.revision(&id), ..instance })))
            }
            End::RolledBack(cause) => Ok(Applied::RolledBack { is_cause_certain: cause.is_certain, text: cause.text }),
            End::ImageMissing => Ok(Applied::ImageMissing),
            End::Failed(error) => Err(error),
        }
    }

    /// Creates a container; `None` if its image does not exist.
    async fn create(&self, target: &Target, name: String, or: Option<String>) -> Result<Option<ContainerId>> {
        let (mut spec, record) = with_record(&target.spec, name);
        let id = match (self.create_once(&spec, &record).await, or) {
            (Err(error), Some(other)) if error.kind() == ErrorKind::AlreadyExists => {
                spec.name = other;
                self.create_once(&spec, &record).await?
            }
            (created, _) => created?,
        };
        if let Some(id) = &id {
            // The tag may have another image later.
            self.observer.record_image(id, self.image_of(&spec).await);
        }
        Ok(id)
    }

    /// Creates the network again if somebody removed it.
    async fn create_once(&self, spec: &ContainerSpec, record: &Arc<SpecRecord>) -> Result<Option<ContainerId>> {
        match self.observer.create(spec, record.clone()).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => return result.map(Some),
        }
        if self.runtime.image(&spec.image).await?.is_none() {
            return Ok(None);
        }
        self.runtime.ensure_network(&spec.network, &self.owner).await?;
        self.observer.create(spec, record.clone()).await.map(Some)
    }

    /// The image of the container that was just created from `spec`; empty if unknown. After a pull it is the image that
    /// was pulled; a list shows if somebody else has moved the tag since.
    async fn image_of(&self, spec: &ContainerSpec) -> ImageId {
        if let Some(id) = self.pulled().get(&spec.image) {
            return id.clone();
        }
        self.runtime.image(&spec.image).await.ok().flatten().unwrap_or(ImageId(String::new()))
    }

    /// A host port of another node may be about to be released: nodes can exchange ports. That node may need the permit.
    async fn start_step(
        &self,
        id: &ContainerId,
        target: &Target,
        node: &str,
        permit: &mut Option<SemaphorePermit<'_>>,
    ) -> StepResult {
        let is_contested = self.observer.is_held_by_others(&target.spec.ports, node);
        let until = Instant::now() + self.stop_grace + PORT_WAIT_MAX;
        loop {
            match self.observer.start(id).await {
                Ok(()) => return StepResult::Done,
                Err(error) if error.kind() == ErrorKind::Conflict && is_contested => {
                    if Instant::now() >= until || self.closing.is_cancelled() {
                        return StepResult::NotStarted { error, has_waited: true };
                    }
                    drop(permit.take());
                    sleep(PORT_RETRY_DELAY).await;
                }
                Err(error) => return StepResult::NotStarted { error, has_waited: false },
            }
        }
    }

    /// Watches a container that was just started. One that exited and was restarted by the engine has another start time.
    /// Engine events only cause an earlier check.
    async fn watch(&self, id: &ContainerId, notices: &mut broadcast::Receiver<Notice>) -> Result<Watched> {
        if self.replace_window.is_zero() {
            return Ok(Watched::Healthy);
        }
        let end = Instant::now() + self.replace_window;
        let mut now = self.find(id).await?;
        let started_at = now.as_ref().and_then(|container| container.started_at);
        let (mut is_over, mut was_away) = (false, false);
        loop {
            if let Some(reason) = unhealthy_reason(started_at, now.as_ref()) {
                // The engine may have been unavailable during the list.
                while let Ok(notice) = notices.try_recv() {
                    was_away |= notice == Notice::EngineAway;
                }
                return Ok(if was_away { Watched::Unknown } else { Watched::Failed(reason) });
            }
            if is_over {
                return Ok(Watched::Healthy);
            }
            // All arms are cancel-safe.
            is_over = tokio::select! {
                biased;
                () = self.closing.cancelled() => return Ok(Watched::Interrupted),
                () = sleep_until(end) => true,
                notice = next_notice(notices, id) => {
                    was_away |= notice == Some(Notice::EngineAway);
                    false
                }
            };
            now = self.find(id).await?;
        }
    }

    async fn find(&self, id: &ContainerId) -> Result<Option<Instance>> {
        let found = self.observer.shared_list().await?;
        Ok(found.iter().find(|instance| instance.id == *id).cloned())
    }

    /// Removes the new container that failed. Its last output shows why. It may stay: the next attempt uses it.
    async fn discard_failed(&self, id: &ContainerId) {
        let ids = std::slice::from_ref(id);
        self.shipper.finish(ids).await;
        match self.observer.remove(id).await {
            Ok(()) => self.store.forget(ids).await,
            Err(error) => warn!(container = %id, error = chain(&error), "failed container cannot be removed"),
        }
    }
}

/// The next notice about this container or the engine; `None` if one was missed.
async fn next_notice(notices: &mut broadcast::Receiver<Notice>, id: &ContainerId) -> Option<Notice> {
    loop {
        match notices.recv().await {
            Ok(Notice::Died(other)) if other != *id => {}
            Ok(notice) => return Some(notice),
            Err(broadcast::error::RecvError::Lagged(_)) => return None,
            Err(broadcast::error::RecvError::Closed) => std::future::pending().await,
        }
    }
}

fn away(target: &Target) -> RuntimeError {
    RuntimeError::new(ErrorKind::Unreachable, "watch the new container", target.spec.name.clone())
        .with_source("the engine was unavailable during the replacement window")
}

/// Why a container that was started at `started_at` did not stay up, if so. An unknown state is not a failure.
fn unhealthy_reason(started_at: Option<OffsetDateTime>, now: Option<&Instance>) -> Option<String> {
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

/// The spec for the engine, with `name` and the label that records it. Each container has its own salt.
fn with_record(spec: &ContainerSpec, name: String) -> (ContainerSpec, Arc<SpecRecord>) {
    let mut spec = ContainerSpec { name, ..spec.clone() };
    let record = SpecRecord::new(&spec, &hex::encode(rand::random::<[u8; 16]>()));
    spec.labels.insert(labels::SPEC.to_owned(), record.to_label());
    (spec, Arc::new(record))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_container_has_its_own_salt() {
        let spec = crate::host_engine::rollout::tests::target("aa").spec;
        let label = || with_record(&spec, "aa".to_owned()).0.labels[labels::SPEC].clone();
        let (one, other) = (label(), label());
        assert_ne!(one, other);
        let record =
            |label: String| SpecRecord::from_labels(&[(labels::SPEC.to_owned(), label)].into()).expect("a record");
        assert_eq!(record(one).differences(&spec), record(other).differences(&spec));
    }
}
