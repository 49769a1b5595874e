//! The trait over container engines. Its docs are the contract. The conformance suite checks each sentence.

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::Stream;
use time::OffsetDateTime;

use crate::{
    Container, ContainerId, ContainerSpec, EngineEvent, EngineHost, EngineInfo, EngineKind, ImageId, ImageReference,
    LogChunk, Owner, PullProgress, RegistryCredentials, Result,
};

/// Container output, oldest first. An `Err` is the last item.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<LogChunk>> + Send>>;

/// Engine events. An `Err` is the last item.
pub type EventStream = Pin<Box<dyn Stream<Item = Result<EngineEvent>> + Send>>;

/// Called with the progress of a pull, at most a few times a second; must not block.
pub type ProgressFn<'a> = &'a (dyn Fn(PullProgress) + Send + Sync);

/// A container engine.
///
/// Object-safe, held as `Arc<dyn ContainerRuntime>`. No method leaves a background task behind. Dropping a future stops
/// the wait; the engine may still complete the call. Every method ends within a limit of [`Limits`], with
/// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut) if necessary. Use it only for the containers of one owner: no
/// method acts on the whole host.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + fmt::Debug {
    /// The kind of this engine. Sends no request to the engine.
    fn kind(&self) -> EngineKind;

    /// Requests version and features from the engine. This is the cheapest proof that the engine responds.
    async fn info(&self) -> Result<EngineInfo>;

    /// All containers of `owner`, in any state, and no others.
    ///
    /// A container belongs to the owner if its labels name the owner's app, tenant and host, or if the Python program
    /// created it (see [`Origin`](crate::Origin)). One container in an unexpected state never hides the others.
    async fn list(&self, owner: &Owner) -> Result<Vec<Container>>;

    /// Creates a bridge network named `name` with the owner's labels, if no network has that name.
    ///
    /// Two calls, also concurrent ones, leave one network.
    async fn ensure_network(&self, name: &str, owner: &Owner) -> Result<()>;

    /// Pulls `image` and returns the id of its content.
    ///
    /// Fails with `NotFound` for an unknown repository or tag, `Unauthorized` when the registry requires other
    /// credentials, `Throttled` when it throttles requests, `TimedOut` when no byte arrives for
    /// [`Limits::pull_silence`]. A failed pull keeps the image that was present.
    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId>;

    /// The id of a local image, or `None` when it is not present. Never contacts a registry.
    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>>;

    /// Creates a container and does not start it. The image and the network must exist (`NotFound`); a part of a
    /// network's id does not count as its name. Other containers on the network reach it by its name and its aliases
    /// from its first start.
    ///
    /// Fails with `AlreadyExists` when any container has the name, and then changes nothing.
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId>;

    /// Starts a container. A running container is `Ok` and stays unchanged; a paused container is unpaused and
    /// continues. `Conflict` when a host port is taken: the container is then not running, and can be started once the
    /// port is free.
    ///
    /// Others may have removed what a stopped container refers to. A removed network is created again with the labels
    /// of the container's owner, unless a network of its name exists, and the container is connected to it. The image
    /// is not needed, and a named volume exists, unless the engine removed the container together with one of them
    /// (`NotFound`). A missing host path is `Refused`, and the error names the path: the container can be started once
    /// the path exists again.
    async fn start(&self, id: &ContainerId) -> Result<()>;

    /// Stops a container: sends the stop signal, and kills after `grace`. A stopped container is `Ok`. A paused
    /// container is stopped too.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Stops with `grace` and starts again, as [`start`](Self::start) does. A stopped container is started, a paused
    /// one restarted. Id, name and anonymous volumes stay.
    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Gives the container another name. Its current name is `Ok`; a name that is taken is `AlreadyExists`.
    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()>;

    /// Removes a container with its anonymous volumes; kills it if it runs. An absent container is `Ok`. Named volumes
    /// stay.
    async fn remove(&self, id: &ContainerId) -> Result<()>;

    /// Output from `since` on (all retained output when `None`), then follows until the container ends.
    ///
    /// Lines come in the order in which they were written. `since` is inclusive to the precision of the engine, which
    /// may be coarse: callers de-duplicate by time.
    ///
    /// The stream may continue across a restart of the container by the engine itself. When the engine becomes
    /// unreachable, the stream ends, or continues where a backend reads the engine's own file. It fails when output may
    /// have been missed because the reader paused.
    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream>;

    /// Events of the owner's containers from now on. The subscription is active when this returns.
    ///
    /// The stream may end or become silent at any time, for example when the engine restarts; the caller then lists and
    /// subscribes again.
    async fn events(&self, owner: &Owner) -> Result<EventStream>;
}

/// Questions about an engine that running containers does not need.
#[async_trait]
pub trait EngineInspection: Send + Sync {
    /// Requests information about the engine's host. Podman takes 0.2 s for it: do not call it during startup.
    async fn host(&self) -> Result<EngineHost>;
}

/// The local images of an engine, apart from what [`ContainerRuntime`] needs of them.
#[async_trait]
pub trait ImageStore: Send + Sync {
    /// The architecture of a local image, as image configurations name it (`amd64`), or `None` when the image is not
    /// present or does not declare one. Never contacts a registry.
    async fn image_architecture(&self, image: &ImageReference) -> Result<Option<String>>;

    /// Removes a local image by id with its tags, unless a container uses it (`Conflict`). An absent image is `Ok`.
    async fn remove_image(&self, id: &ImageId) -> Result<()>;
}

/// All traits of a backend.
pub trait Engine: ContainerRuntime + EngineInspection + ImageStore {}

impl<E: ContainerRuntime + EngineInspection + ImageStore> Engine for E {}

/// How long a backend waits. One value for a whole backend, passed when the backend is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A call that should take milliseconds: list, create, start, rename, remove, inspect.
    pub call: Duration,
    /// Added to the stop grace of a `stop` or `restart`.
    pub stop_margin: Duration,
    /// The longest silence during a pull.
    pub pull_silence: Duration,
    /// The longest total duration of a pull.
    pub pull_total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            call: Duration::from_secs(60),
            stop_margin: Duration::from_secs(30),
            pull_silence: Duration::from_secs(120),
            pull_total: Duration::from_secs(3 * 3600),
        }
    }
}
