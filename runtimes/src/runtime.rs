//! The trait over container engines. Its docs are the contract that the conformance suite checks, sentence by sentence.

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
/// Object-safe, held as `Arc<dyn ContainerRuntime>`. No method leaves a background task behind; dropping a future gives
/// up waiting, and the engine may still carry the call out. Every method ends within a limit of [`Limits`], with
/// [`ErrorKind::TimedOut`](crate::ErrorKind::TimedOut) if need be. Not for anything but the containers of one owner:
/// there is no host-wide verb here.
#[async_trait]
pub trait ContainerRuntime: Send + Sync + fmt::Debug {
    /// Which engine this is. Does not ask the engine.
    fn kind(&self) -> EngineKind;

    /// Asks the engine for its version and features; the cheapest proof that it answers.
    async fn info(&self) -> Result<EngineInfo>;

    /// Asks the engine about its host. Podman takes 0.2 s for that, so it is nothing for a start.
    async fn host(&self) -> Result<EngineHost>;

    /// All containers of `owner`, in any state, and no others.
    ///
    /// A container counts when its labels name the owner's app, tenant and host, or when the Python program made it (see
    /// [`Origin`](crate::Origin)). One container in a strange state never hides the others.
    async fn list(&self, owner: &Owner) -> Result<Vec<Container>>;

    /// Makes a bridge network called `name` with the owner's labels, if there is none of that name.
    ///
    /// Called twice, also at the same time, it leaves one network.
    async fn ensure_network(&self, name: &str, owner: &Owner) -> Result<()>;

    /// Fetches `image` and returns the id of its content.
    ///
    /// Fails with `NotFound` for an unknown repository or tag, `Unauthorized` when the registry wants other credentials,
    /// `Throttled` when it asks for patience, `TimedOut` when no byte arrives for [`Limits::pull_silence`]. A failed pull
    /// leaves the image that was there.
    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId>;

    /// The id of a local image, or `None` when it is not present. Never asks a registry.
    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>>;

    /// The architecture that a local image is for, as image configurations name it (`amd64`), or `None` when the image is
    /// not present or does not say. Never asks a registry.
    async fn image_architecture(&self, image: &ImageReference) -> Result<Option<String>>;

    /// Removes a local image by id with its tags, unless a container uses it (`Conflict`). An absent image is `Ok`.
    async fn remove_image(&self, id: &ImageId) -> Result<()>;

    /// Makes a container, does not start it. The image and the network must be there (`NotFound`); a part of a network's id
    /// does not count as its name. Others on the network reach it by its name and its aliases from its first start.
    ///
    /// Fails with `AlreadyExists` when the name is taken, by whomever, and then changes nothing.
    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId>;

    /// Starts a container. A running one is `Ok` and stays as it is; a paused one is thawed and goes on. `Conflict` when
    /// a host port is taken: it is then not running, and can be started once the port is free.
    ///
    /// Others may have removed what a stopped container refers to. A network is made again, with the labels of the
    /// container's owner, unless there is one of its name, and the container is connected to it. Its image is not needed,
    /// and a named volume is there, unless the engine removed the container along with them (`NotFound`). A missing path of
    /// the host is `Refused`, and the error names it: the container can be started once it is there again.
    async fn start(&self, id: &ContainerId) -> Result<()>;

    /// Stops a container: the stop signal, and after `grace` a kill. A stopped one is `Ok`. A paused one is stopped too.
    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Stops with `grace` and starts again, as [`start`](Self::start) does; a stopped container is started, a paused one
    /// restarted. Id, name and anonymous volumes stay.
    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()>;

    /// Gives the container another name. Its own present name is `Ok`; a name that is taken is `AlreadyExists`.
    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()>;

    /// Removes a container with its anonymous volumes, killing it if it runs. An absent one is `Ok`. Named volumes stay.
    async fn remove(&self, id: &ContainerId) -> Result<()>;

    /// Output from `since` on (all that is kept when `None`), then follows until the container ends.
    ///
    /// Lines come in the order they were written. `since` is inclusive to the engine's precision, which may be coarse:
    /// callers de-duplicate by time.
    ///
    /// A container that the engine starts again by itself may be followed on. When the engine goes away the stream ends,
    /// or goes on where a backend reads the engine's own file. It fails when output may have been missed because nobody
    /// read for a while.
    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream>;

    /// Events of the owner's containers from now on. Connected when this returns.
    ///
    /// The stream may end or fall silent at any time, for example when the engine restarts; the caller lists and
    /// subscribes again.
    async fn events(&self, owner: &Owner) -> Result<EventStream>;
}

/// How long a backend waits. One value for a whole backend, given when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// A call that should take milliseconds: list, create, start, rename, remove, inspect.
    pub call: Duration,
    /// Added to the stop grace of a `stop` or `restart`.
    pub stop_margin: Duration,
    /// The longest silence in the middle of a pull.
    pub pull_silence: Duration,
    /// The longest pull altogether.
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
