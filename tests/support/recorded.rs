//! A wrapper of any backend that records each call and does not change it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use managed_app_runtimes::{
    Container, ContainerId, ContainerRuntime, ContainerSpec, EngineInfo, EngineKind, EventStream, ImageId,
    ImageReference, LogStream, Owner, ProgressFn, RegistryCredentials, Result, RuntimeError, labels,
};
use time::OffsetDateTime;

use super::Journal;

/// The wrapper.
#[derive(Debug)]
pub struct Recorded {
    inner: Arc<dyn ContainerRuntime>,
    journal: Journal,
}

impl Recorded {
    /// Wraps `inner`; `journal` receives the calls.
    pub fn new(inner: Arc<dyn ContainerRuntime>, journal: Journal) -> Self {
        Self { inner, journal }
    }

    async fn record<T>(&self, verb: &'static str, subject: String, call: impl Future<Output = Result<T>>) -> Result<T> {
        let entry = self.journal.begin(verb, subject);
        let result = call.await;
        entry.end(result.as_ref().map(drop).map_err(RuntimeError::kind));
        result
    }
}

#[async_trait]
impl ContainerRuntime for Recorded {
    fn kind(&self) -> EngineKind {
        self.inner.kind()
    }

    async fn info(&self) -> Result<EngineInfo> {
        self.record("info", String::new(), self.inner.info()).await
    }

    async fn list(&self, owner: &Owner) -> Result<Vec<Container>> {
        let containers = self.record("list", owner.app.clone(), self.inner.list(owner)).await?;
        self.journal.remember_all(&containers);
        Ok(containers)
    }

    async fn ensure_network(&self, name: &str, owner: &Owner) -> Result<()> {
        self.record("ensure_network", name.to_owned(), self.inner.ensure_network(name, owner)).await
    }

    async fn pull(
        &self,
        image: &ImageReference,
        credentials: Option<&RegistryCredentials>,
        progress: ProgressFn<'_>,
    ) -> Result<ImageId> {
        self.record("pull", image.to_string(), self.inner.pull(image, credentials, progress)).await
    }

    async fn image(&self, image: &ImageReference) -> Result<Option<ImageId>> {
        self.record("image", image.to_string(), self.inner.image(image)).await
    }

    async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId> {
        let node = spec.labels.get(labels::NODE).unwrap_or(&spec.name).clone();
        let id = self.record("create", node.clone(), self.inner.create(spec)).await?;
        self.journal.remember(&id, &node);
        Ok(id)
    }

    async fn start(&self, id: &ContainerId) -> Result<()> {
        self.record("start", self.journal.node_of(id), self.inner.start(id)).await
    }

    async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.record("stop", self.journal.node_of(id), self.inner.stop(id, grace)).await
    }

    async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.record("restart", self.journal.node_of(id), self.inner.restart(id, grace)).await
    }

    async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.record("rename", self.journal.node_of(id), self.inner.rename(id, name)).await
    }

    async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.record("remove", self.journal.node_of(id), self.inner.remove(id)).await
    }

    async fn logs(&self, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
        self.record("logs", self.journal.node_of(id), self.inner.logs(id, since)).await
    }

    async fn events(&self, owner: &Owner) -> Result<EventStream> {
        self.record("events", owner.app.clone(), self.inner.events(owner)).await
    }
}
