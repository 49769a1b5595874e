//! The operations on one node, each a short sequence of engine calls.
//!
//! The order of the calls allows the daemon to die between any two of them: the engine and the state file then lead the
//! next start to the same result. A revision is recorded before a stopped container is started, and after a running one
//! is restarted: a crash costs at most one extra restart, and never leaves a stale node that appears current.

use futures_util::future::{join, join_all};
use managed_app_runtimes::labels::{self, SpecRecord};
use managed_app_runtimes::{ContainerId, ContainerSpec, ErrorKind, ImageId, LogSettings, RuntimeError, names};
use time::OffsetDateTime;
use tokio::sync::SemaphorePermit;
use tracing::warn;

use super::{Executor, failure};
use crate::logs::stream_name;
use crate::reconciler::{Created, Operation, Outcome, Target};

impl Executor {
    /// Runs `operation`; never fails, only reports.
    pub async fn operate(&self, operation: Operation) -> Outcome {
        let done = match operation {
            Operation::Stop(ids) => self.stop_all(ids).await,
            Operation::Remove(ids) => {
                let permit = self.acquire_permit().await;
                self.remove_all(ids, permit).await
            }
            other => {
                let Some(permit) = self.acquire_permit().await else { return Outcome::Abandoned };
                self.change(other, permit).await
            }
        };
        done.unwrap_or_else(|error| Outcome::Failed(failure::of_runtime(&error)))
    }

    /// The permit of an operation; `None` if the daemon ends before, because other operations may hang with theirs.
    pub(super) async fn acquire_permit(&self) -> Option<SemaphorePermit<'_>> {
        // Both arms are cancel-safe.
        tokio::select! {
            biased;
            () = self.stopping.cancelled() => None,
            permit = self.operations.acquire() => Some(permit.expect("the semaphore is never closed")),
        }
    }

    async fn change(&self, operation: Operation, permit: SemaphorePermit<'_>) -> Result<Outcome, RuntimeError> {
        match operation {
            Operation::Create(target) => self.create(target).await,
            Operation::Start { id, revision } => {
                match &revision {
                    Some(revision) => self.state.record(&id, revision).await,
                    None => self.state.forget(std::slice::from_ref(&id)).await,
                }
                match self.containers.start(&id).await {
                    Err(error) if is_permanent(&error) => self.discard(id, error, permit).await,
                    started => started.map(|()| Outcome::Started { id, revision }),
                }
            }
            Operation::Restart { id, revision } => match self.containers.restart(&id, self.stop_grace).await {
                Err(error) if is_permanent(&error) => self.discard(id, error, permit).await,
                restarted => {
                    restarted?;
                    self.state.record(&id, &revision).await;
                    Ok(Outcome::Started { id, revision: Some(revision) })
                }
            },
            Operation::Replace { old, next, target, strategy } => {
                self.replace(old, next, target, strategy, permit).await
            }
            Operation::Confirm { next, old, revision, strategy } => {
                self.confirm(next, old, &revision, strategy, permit).await
            }
            Operation::Rename { id, name } => {
                self.runtime.rename(&id, &name).await?;
                Ok(Outcome::Renamed { id, name })
            }
            Operation::Remove(ids) => self.remove_all(ids, Some(permit)).await,
            Operation::Stop(ids) => self.stop_all(ids).await,
        }
    }

    /// Removes a container that can never be started again.
    async fn discard(
        &self,
        id: ContainerId,
        error: RuntimeError,
        permit: SemaphorePermit<'_>,
    ) -> Result<Outcome, RuntimeError> {
        let failure = failure::of_runtime(&error);
        warn!(container = %id, error = failure.text, "container cannot be started again; it is removed and recreated");
        self.remove_all(vec![id.clone()], Some(permit)).await?;
        Ok(Outcome::Discarded { id, failure })
    }

    async fn create(&self, target: Target) -> Result<Outcome, RuntimeError> {
        let (spec, record) = with_labels(&target.spec, target.spec.name.clone());
        let Some(id) = self.create_container(&spec).await? else { return Ok(Outcome::ImageMissing) };
        self.state.record(&id, &target.revision).await;
        if self.is_stopping() {
            return Ok(Outcome::Abandoned);
        }
        let (started, image_id) = join(self.containers.start(&id), self.image_of(&target.spec)).await;
        started?;
        Ok(created(id, spec.name, target, record, image_id))
    }

    /// Creates a container; `None` if its image does not exist. Creates the network again if somebody removed it.
    pub(super) async fn create_container(&self, spec: &ContainerSpec) -> Result<Option<ContainerId>, RuntimeError> {
        let spec = &self.with_log_endpoint(spec).await;
        match self.containers.create(spec).await {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            result => return result.map(Some),
        }
        if self.runtime.image(&spec.image).await?.is_none() {
            return Ok(None);
        }
        self.runtime.ensure_network(&spec.network, &self.owner).await?;
        self.containers.create(spec).await.map(Some)
    }

    /// dockerd does not know the endpoints that this daemon is configured with: AWS_ENDPOINT_URL, FIPS, dual stack.
    async fn with_log_endpoint(&self, spec: &ContainerSpec) -> ContainerSpec {
        let mut spec = spec.clone();
        if let LogSettings::Awslogs { region, endpoint, .. } = &mut spec.logs {
            *endpoint = self.aws.special_logs_endpoint(region).await;
        }
        spec
    }

    /// The image of the container that was just created from `spec`; empty if unknown. After a pull it is the image that
    /// was pulled; a list shows if somebody else has moved the tag since.
    pub(super) async fn image_of(&self, spec: &ContainerSpec) -> ImageId {
        if let Some(id) = self.last_pulled(&spec.image) {
            return id;
        }
        self.runtime.image(&spec.image).await.ok().flatten().unwrap_or(ImageId(String::new()))
    }

    pub(super) async fn stop_all(&self, ids: Vec<ContainerId>) -> Result<Outcome, RuntimeError> {
        for result in join_all(ids.iter().map(|id| self.containers.stop(id, self.stop_grace))).await {
            result?;
        }
        Ok(Outcome::Stopped(ids))
    }

    /// Stops containers and removes them.
    pub(super) async fn remove_all(
        &self,
        ids: Vec<ContainerId>,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<Outcome, RuntimeError> {
        self.stop_all(ids.clone()).await?;
        self.remove_stopped(ids, permit).await
    }

    /// Removes stopped containers when their output is shipped. The permit is released during the shipping. At the end
    /// of the daemon no permits are needed: all are removed at once.
    pub(super) async fn remove_stopped(
        &self,
        ids: Vec<ContainerId>,
        permit: Option<SemaphorePermit<'_>>,
    ) -> Result<Outcome, RuntimeError> {
        drop(permit);
        self.shipping.finish(&ids).await;
        let _permit = self.acquire_permit().await;
        for result in join_all(ids.iter().map(|id| self.containers.remove(id))).await {
            ignore_absent(result)?;
        }
        self.state.forget(&ids).await;
        Ok(Outcome::Removed(ids))
    }
}

/// Whether a failed start can never succeed: the container is gone, or it refers to something that does not exist and
/// that the engine could not create.
fn is_permanent(error: &RuntimeError) -> bool {
    matches!(error.kind(), ErrorKind::Broken | ErrorKind::NotFound)
}

pub(super) fn ignore_absent(result: Result<(), RuntimeError>) -> Result<(), RuntimeError> {
    match result {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

pub(super) fn created(id: ContainerId, name: String, target: Target, record: SpecRecord, image_id: ImageId) -> Outcome {
    Outcome::Created(Box::new(Created { id, name, revision: target.revision, record, image_id }))
}

/// The spec for the engine: with `name`, the label that records it and its own log stream.
pub(super) fn with_labels(spec: &ContainerSpec, name: String) -> (ContainerSpec, SpecRecord) {
    let mut spec = ContainerSpec { name, ..spec.clone() };
    if let LogSettings::Awslogs { stream, .. } = &mut spec.logs {
        *stream = stream_name(OffsetDateTime::now_utc(), rand::random());
    }
    let record = SpecRecord::new(&spec, &hex::encode(rand::random::<[u8; 16]>()));
    spec.labels.insert(labels::SPEC.to_owned(), record.to_label());
    (spec, record)
}

/// The name of the container that will replace `name`. No node can have it: node names contain no control characters,
/// and only rewriting creates engine names with a hash at their end.
pub fn next_name(name: &str) -> String {
    names::container_name(&format!("{name}\u{1}next"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_container_has_a_name_that_no_node_can_have() {
        for node in ["web", "web.next", &"n".repeat(200)] {
            let name = names::container_name(node);
            let next = next_name(&name);
            assert!(next != name && names::container_name(&next) != next, "{next}");
        }
    }
}
