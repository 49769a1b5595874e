//! The Docker backend: [`DockerRuntime`] over bollard, for engines from API 1.41 (Docker 20.10) on.
//!
//! - `endpoint`: address of the engine. `client`: connection, deadlines, workarounds for bollard.
//! - `convert`: request bodies. `responses`: response bodies. `error`: kinds of failures. All three are pure.
//! - `containers`, `images`, `pull`, `logs`, `events`: the operations.
//!
//! Reads no environment. bollard writes request bodies, including secrets, to the `log` crate at debug level: records
//! of the target `bollard` must never be bridged to an output.

mod client;
mod containers;
mod convert;
mod endpoint;
mod error;
mod events;
mod images;
#[cfg(feature = "demo")]
mod load;
mod logs;
mod networks;
mod pull;
mod responses;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use time::OffsetDateTime;
use tokio::sync::Mutex;

use self::client::Client;
use self::endpoint::Endpoint;
#[cfg(feature = "fuzzing")]
pub(crate) use self::logs::fuzz_frame;
use crate::logfile::Watches;
use crate::{
    Backend, Container, ContainerId, ContainerRuntime, ContainerSpec, EngineHost, EngineInfo, EngineInspection,
    EngineKind, ErrorKind, EventStream, ImageId, ImageReference, ImageStore, Limits, LogStream, Owner, ProgressFn,
    RegistryCredentials, Remedies, Result, RuntimeError,
};

/// The backend.
pub const BACKEND: Backend = Backend {
    kind: EngineKind::Docker,
    endpoint_variable: "DOCKER_HOST",
    default_endpoints: |_| vec![format!("unix://{}", endpoint::DEFAULT_SOCKET)],
    connect: |endpoint, limits| {
        Box::pin(async move { Ok(Arc::new(DockerRuntime::connect(Some(&endpoint), limits)?) as _) })
    },
    remedies: Remedies {
        permission: "this user may not use the socket: run as root, or add the user to the group `docker`",
        start: |_| "systemctl start docker",
        restart: |_| "systemctl restart docker",
    },
    is_automatic: true,
    is_shared: true,
};

/// A Docker engine.
#[derive(Debug)]
pub struct DockerRuntime {
    client: Arc<Client>,
    /// Held while a network is searched and created: the engine accepts two with the same name.
    networks: Mutex<()>,
    log_files: Watches,
}

impl DockerRuntime {
    /// A runtime for the engine at `endpoint`, the value of `DOCKER_HOST`; `None` is `/var/run/docker.sock`.
    ///
    /// Sends no request: [`info`](ContainerRuntime::info) checks that the engine responds. Accepts `unix://` and, on
    /// this machine only, `tcp://` and `http://`; anything else is `Refused`.
    pub fn connect(endpoint: Option<&str>, limits: Limits) -> Result<Self> {
        let client = Client::new(Endpoint::parse(endpoint)?, limits)?;
        Ok(Self { client: Arc::new(client), networks: Mutex::new(()), log_files: Watches::default() })
    }
}

#[async_trait]
impl EngineInspection for DockerRuntime {
    async fn host(&self) -> Result<EngineHost> {
        containers::host(&self.client).await
    }
}

#[async_trait]
impl ImageStore for DockerRuntime {
    async fn image_architecture(&self, image: &ImageReference) -> Result<Option<String>> {
        images::architecture(&self.client, image).await
    }

    async fn remove_image(&self, id: &ImageId) -> Result<()> {
        images::remove_image(&self.client, id).await
    }
}

#[async_trait]
impl ContainerRuntime for DockerRuntime {
    fn kind(&self) -> EngineKind {
        EngineKind::Docker
    }

    async fn info(&self) -> Result<EngineInfo> {
        containers::info(&self.client).await
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Container>> {
        containers::list(&self.client, owner).await
    }

    async fn ensure_network(&self, name: &str, owner: &Owner) -> Result<()> {
        let ensure = async {
            let _alone = self.networks.lock().await;
            networks::ensure(&self.client, name, owner).await
        };
        client::within(self.client.limits.call, "create network", name, ensure).await
    }

    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId> {
        pull::pull(&self.client, image, credentials, progress).await?;
        let lost = || {
            RuntimeError::new(ErrorKind::Other, error::PULL, image.to_pull())
                .with_source("the image is missing after the pull")
        };
        images::local_id(&self.client, image).await?.ok_or_else(lost)
    }

    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>> {
        images::local_id(&self.client, image).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        containers::create(&self.client, spec).await
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        containers::start(&self.client, id, &self.networks).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        containers::stop(&self.client, id, grace).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        containers::restart(&self.client, id, grace, &self.networks).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        containers::rename(&self.client, id, name).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        containers::remove(&self.client, id).await
    }

    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
        logs::logs(&self.client, &self.log_files, containers::checked(id, "read the output of container")?, since).await
    }

    async fn events(&self, owner: &Owner) -> Result<EventStream> {
        // Subscribe first, so that changes during the list are reported.
        let raw = events::open(&self.client, owner).await?;
        let present = containers::present(&self.client, owner).await?;
        Ok(events::pick(raw, self.client.clone(), owner.clone(), &present))
    }
}
