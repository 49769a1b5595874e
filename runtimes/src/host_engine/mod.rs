//! Workloads on one host, over any container engine.
//!
//! The order of the calls allows the daemon to die between any two of them: the engine and the recorded revisions then
//! lead the next [`WorkloadEngine::apply`] to the same result. A revision is recorded before a stopped container is
//! started, and after a running one is restarted: a crash costs at most one extra restart, and never leaves a stale
//! container that appears current.

mod apply;
mod observer;
mod rollout;

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use futures_util::{StreamExt, stream};
use time::OffsetDateTime;
use tokio::sync::{Semaphore, SemaphorePermit, broadcast, watch};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::workload::{Applied, Instance, Instances, Revision, Started, Strategy, Target, WorkloadEngine};
use crate::{
    Action, ContainerId, ContainerRuntime, ErrorKind, EventStream, ImageId, ImageReference, LogStream, Owner,
    ProgressFn, RegistryCredentials, Result, RuntimeError, chain,
};
use observer::Observer;
pub use rollout::next_name;

/// Notices that are buffered for those who watch a container; one that misses some lists the containers.
const NOTICES_MAX: usize = 256;
/// Images whose ID is known by their last pull.
const PULLED_MAX: usize = 1_000;

/// Stores the revisions that containers were started with. Its loss costs one restart of each container.
#[async_trait]
pub trait RevisionStore: Send + Sync + fmt::Debug {
    /// All known revisions.
    fn revisions(&self) -> HashMap<ContainerId, Revision>;

    /// The revision that a container was last started with, if known.
    fn revision(&self, id: &ContainerId) -> Option<Revision>;

    /// Records that a container is started with `revision`; stored when this returns, unless a warning was logged.
    async fn record(&self, id: &ContainerId, revision: &Revision);

    /// Drops containers that are removed, or whose revision is unknown.
    async fn forget(&self, ids: &[ContainerId]);

    /// Drops all containers but these, with the next change that is stored.
    fn retain(&self, ids: &HashSet<ContainerId>);
}

/// Ships the output of containers.
#[async_trait]
pub trait OutputShipper: Send + Sync + fmt::Debug {
    /// Waits, within a limit, until all output of these stopped containers is shipped; they will be removed.
    async fn finish(&self, ids: &[ContainerId]);
}

/// What a [`HostEngine`] is made of.
#[derive(Debug)]
pub struct HostEngineOptions {
    /// The container engine.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// The owner of the containers.
    pub owner: Owner,
    /// Where revisions are stored.
    pub store: Arc<dyn RevisionStore>,
    /// Ships output before a container is removed.
    pub shipper: Arc<dyn OutputShipper>,
    /// Time limit of a stop before the engine kills a container.
    pub stop_grace: Duration,
    /// How long a new container must stay up before the old one is removed; zero skips the check.
    pub replace_window: Duration,
    /// Operations at a time.
    pub operations_max: usize,
}

/// The engine of workloads on one host.
#[derive(Debug)]
pub struct HostEngine {
    runtime: Arc<dyn ContainerRuntime>,
    owner: Owner,
    store: Arc<dyn RevisionStore>,
    shipper: Arc<dyn OutputShipper>,
    stop_grace: Duration,
    replace_window: Duration,
    observer: Observer,
    operations: Semaphore,
    /// The local images by the last pull of each, except those that are being pulled.
    pulled: Mutex<HashMap<ImageReference, ImageId>>,
    notices: broadcast::Sender<Notice>,
    has_subscribed: AtomicBool,
    closing: CancellationToken,
}

/// A notice for those who watch a new container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// The engine reported that the process of this container exited.
    Died(ContainerId),
    /// The engine was or may have been unavailable: processes may have ended with it.
    EngineAway,
}

impl HostEngine {
    /// An engine that knows nothing yet. Makes no call.
    pub fn new(options: HostEngineOptions) -> Self {
        let HostEngineOptions { runtime, owner, store, shipper, stop_grace, replace_window, operations_max } = options;
        Self {
            observer: Observer::new(runtime.clone(), owner.clone(), store.clone()),
            operations: Semaphore::new(operations_max),
            pulled: Mutex::default(),
            notices: broadcast::Sender::new(NOTICES_MAX),
            has_subscribed: AtomicBool::new(false),
            closing: CancellationToken::new(),
            runtime,
            owner,
            store,
            shipper,
            stop_grace,
            replace_window,
        }
    }

    /// Notifies those who watch a new container. [`WorkloadEngine::events`] does it for each event.
    pub fn notify(&self, notice: Notice) {
        // It is not an error if nobody watches.
        let _ = self.notices.send(notice);
    }

    /// The permit of an operation; `None` if the daemon ends before, because other operations may hang with theirs.
    async fn acquire_permit(&self) -> Option<SemaphorePermit<'_>> {
        // Both arms are cancel-safe.
        tokio::select! {
            biased;
            () = self.closing.cancelled() => None,
            permit = self.operations.acquire() => Some(permit.expect("the semaphore is never closed")),
        }
    }

    /// Removes a container that can never be started again.
    async fn discard(&self, id: &ContainerId, error: RuntimeError, permit: SemaphorePermit<'_>) -> Result<Started> {
        let text = chain(&error);
        warn!(container = %id, error = text, "container cannot be started again; it is removed and recreated");
        let ids = std::slice::from_ref(id);
        self.stop_all(ids).await?;
        self.remove_stopped(ids, Some(permit)).await?;
        Ok(Started::Discarded(error))
    }

    async fn stop_all(&self, ids: &[ContainerId]) -> Result<()> {
        join_all(ids.iter().map(|id| self.observer.stop(id, self.stop_grace))).await.into_iter().collect()
    }

    /// Removes stopped containers when their output is shipped. The permit is released during the shipping. At the end
    /// of the daemon no permits are needed: all are removed at once.
    async fn remove_stopped(&self, ids: &[ContainerId], permit: Option<SemaphorePermit<'_>>) -> Result<()> {
        drop(permit);
        self.shipper.finish(ids).await;
        let _permit = self.acquire_permit().await;
        for result in join_all(ids.iter().map(|id| self.observer.remove(id))).await {
            match result {
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                other => other?,
            }
        }
        self.store.forget(ids).await;
        Ok(())
    }

    fn pulled(&self) -> MutexGuard<'_, HashMap<ImageReference, ImageId>> {
        self.pulled.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl WorkloadEngine for HostEngine {
    async fn observe(&self) -> Result<Vec<Instance>> {
        self.observer.list().await
    }

    fn subscribe(&self) -> watch::Receiver<Option<Instances>> {
        self.observer.subscribe()
    }

    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId> {
        self.pulled().remove(image);
        let id = self.runtime.pull(image, credentials, progress).await?;
        remember(&mut self.pulled(), image.clone(), id.clone());
        Ok(id)
    }

    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>> {
        let found = self.runtime.image(image).await?;
        if let Some(id) = &found {
            remember(&mut self.pulled(), image.clone(), id.clone());
        }
        Ok(found)
    }

    async fn apply(&self, target: &Target, strategy: Strategy) -> Result<Applied> {
        let Some(permit) = self.acquire_permit().await else { return Ok(Applied::Interrupted) };
        self.roll_out(target, strategy, permit).await
    }

    async fn start(&self, id: &ContainerId, revision: Option<&Revision>) -> Result<Started> {
        let Some(permit) = self.acquire_permit().await else { return Ok(Started::Interrupted) };
        match revision {
            Some(revision) => self.store.record(id, revision).await,
            None => self.store.forget(std::slice::from_ref(id)).await,
        }
        match self.observer.start(id).await {
            Err(error) if is_permanent(&error) => self.discard(id, error, permit).await,
            started => started.map(|()| Started::Done),
        }
    }

    async fn restart(&self, id: &ContainerId, revision: &Revision) -> Result<Started> {
        let Some(permit) = self.acquire_permit().await else { return Ok(Started::Interrupted) };
        match self.observer.restart(id, self.stop_grace).await {
            Err(error) if is_permanent(&error) => self.discard(id, error, permit).await,
            restarted => {
                restarted?;
                self.store.record(id, revision).await;
                Ok(Started::Done)
            }
        }
    }

    async fn stop(&self, ids: &[ContainerId]) -> Result<()> {
        self.stop_all(ids).await
    }

    async fn remove(&self, ids: &[ContainerId]) -> Result<()> {
        let permit = self.acquire_permit().await;
        self.stop_all(ids).await?;
        self.remove_stopped(ids, permit).await
    }

    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
        self.runtime.logs(id, since).await
    }

    async fn events(&self) -> Result<EventStream> {
        if self.has_subscribed.swap(true, Ordering::Relaxed) {
            self.notify(Notice::EngineAway);
        }
        let events = self.runtime.events(&self.owner).await?;
        let (notices, at_end) = (self.notices.clone(), self.notices.clone());
        let noticed = events.inspect(move |event| {
            let _ = match event {
                Ok(event) if event.action == Action::Died => notices.send(Notice::Died(event.container.clone())),
                Ok(_) => return,
                Err(_) => notices.send(Notice::EngineAway),
            };
        });
        Ok(Box::pin(noticed.chain(stream::poll_fn(move |_| {
            let _ = at_end.send(Notice::EngineAway);
            Poll::Ready(None)
        }))))
    }

    fn close(&self) {
        self.closing.cancel();
    }
}

/// Whether a failed start can never succeed: the container is gone, or it refers to something that does not exist and
/// that the engine could not create.
fn is_permanent(error: &RuntimeError) -> bool {
    matches!(error.kind(), ErrorKind::Broken | ErrorKind::NotFound)
}

/// Tags change for years: at the limit all are forgotten, and the engine is asked for their images instead.
fn remember(pulled: &mut HashMap<ImageReference, ImageId>, image: ImageReference, id: ImageId) {
    if pulled.len() >= PULLED_MAX {
        pulled.clear();
    }
    pulled.insert(image, id);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_known_images_is_bounded() {
        let mut pulled = HashMap::new();
        for number in 0..3 * PULLED_MAX {
            let image: ImageReference = format!("registry.test/node:{number}").parse().expect("a reference");
            remember(&mut pulled, image.clone(), ImageId(number.to_string()));
            assert!(pulled.len() <= PULLED_MAX && pulled.contains_key(&image), "{number}");
        }
    }
}
