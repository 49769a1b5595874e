//! The trait over engines of workloads. Its docs are the contract. The conformance suite checks the life of a workload:
//! `apply`, `start`, `restart`, `stop`, `remove` and `close`.

use std::fmt;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::watch;

use super::{Instance, Instances, Revision, Strategy, Target};
use crate::{
    ContainerId, EventStream, ImageId, ImageReference, LogStream, ProgressFn, RegistryCredentials, Result, RuntimeError,
};

/// An engine of workloads. A workload has the name of its node; its containers are *instances*. It has one of them,
/// except while a target is applied to it and after such an attempt was interrupted.
///
/// Object-safe, held as `Arc<dyn WorkloadEngine>`. Each method is safe to repeat. Dropping a future stops the wait; the
/// engine may still complete a call, and the next [`apply`](Self::apply) continues from any state that this leaves.
/// Every method ends within a limit.
#[async_trait]
pub trait WorkloadEngine: Send + Sync + fmt::Debug {
    /// All instances of all workloads of the owner, as they were at some moment after this call.
    async fn observe(&self) -> Result<Vec<Instance>>;

    /// What is known of the instances: by [`observe`](Self::observe), and by the results of calls since. `None` before
    /// the first observation.
    fn subscribe(&self) -> watch::Receiver<Option<Instances>>;

    /// Makes an image available to workloads, as [`ContainerRuntime::pull`](crate::ContainerRuntime::pull) does.
    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId>;

    /// The id of an available image, or `None`. Never contacts a registry.
    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>>;

    /// Makes the workload consist of one running instance of `target`: creates it, replaces what there is, or continues
    /// an earlier attempt. An instance that runs as `target` says stays untouched.
    ///
    /// An instance is removed only after its replacement has stayed up; if that fails, it is started again and reads the
    /// revision of `target`. Never are two instances up at a time, except with [`Strategy::StartFirst`].
    async fn apply(&self, target: &Target, strategy: Strategy) -> Result<Applied>;

    /// Starts an instance that does not run, with these startup inputs; `None` if they are unknown.
    async fn start(&self, id: &ContainerId, revision: Option<&Revision>) -> Result<Started>;

    /// Restarts an instance, with these startup inputs.
    async fn restart(&self, id: &ContainerId, revision: &Revision) -> Result<Started>;

    /// Stops instances. Absent ones are `Ok`.
    async fn stop(&self, ids: &[ContainerId]) -> Result<()>;

    /// Stops instances and removes them when their output is shipped. Absent ones are `Ok`.
    async fn remove(&self, ids: &[ContainerId]) -> Result<()>;

    /// Output of an instance, as [`ContainerRuntime::logs`](crate::ContainerRuntime::logs).
    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream>;

    /// Events of the instances from now on, as [`ContainerRuntime::events`](crate::ContainerRuntime::events). At most
    /// one stream at a time.
    async fn events(&self) -> Result<EventStream>;

    /// The daemon ends: operations that run stop between two steps, and no further ones begin, except
    /// [`stop`](Self::stop) and [`remove`](Self::remove).
    fn close(&self);
}

/// The result of [`WorkloadEngine::apply`].
#[derive(Debug)]
pub enum Applied {
    /// The workload is this instance, and it runs.
    Done(Box<Instance>),
    /// The new instance did not start or did not stay up; the old one runs.
    RolledBack {
        /// Whether the new instance certainly is the cause: its process exited, or the engine refused it.
        is_cause_certain: bool,
        /// The reason, for people.
        text: String,
    },
    /// The image is not available (any more).
    ImageMissing,
    /// Interrupted by [`WorkloadEngine::close`].
    Interrupted,
}

/// The result of [`WorkloadEngine::start`] and [`WorkloadEngine::restart`].
#[derive(Debug)]
pub enum Started {
    /// It runs.
    Done,
    /// It can never be started again, for this reason, and was removed: another one can take its place.
    Discarded(RuntimeError),
    /// Interrupted by [`WorkloadEngine::close`].
    Interrupted,
}
