//! The engine of the demo: loads two versions of a node image, and removes everything at the end.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use managed_app_fakes::{InMemoryRuntime, Latencies, node_image};
use managed_app_runtimes::docker::DockerRuntime;
use managed_app_runtimes::podman::{PodmanRuntime, default_endpoints};
use managed_app_runtimes::{ContainerRuntime, Engine, ImageReference, Limits, Owner, names};

/// The image of the demo's nodes on a real engine: without a registry, because the program loads it.
const LOCAL_IMAGE: &str = "localhost/echostream-demo/node";
/// The image on the in-memory engine, which has a registry.
const REMOTE_IMAGE: &str = "registry.example.com/echostream-demo/node";

/// The engine of the demo.
pub enum DemoEngine {
    /// In memory, with the latencies of a real one.
    Memory(Arc<InMemoryRuntime>),
    /// A real Docker.
    Docker(Arc<DockerRuntime>),
    /// A real Podman.
    Podman(Arc<PodmanRuntime>),
}

impl DemoEngine {
    /// Connects to the engine and loads the images.
    pub async fn prepare(engine: &str, environment: impl Fn(&str) -> Option<String>) -> anyhow::Result<Self> {
        let engine = match engine {
            "memory" => Self::Memory(Arc::new(memory())),
            "docker" => Self::docker(environment("DOCKER_HOST")).await?,
            "podman" => Self::podman(environment("CONTAINER_HOST"), environment("XDG_RUNTIME_DIR")).await?,
            other => anyhow::bail!("use the engine {other:?}: choose --runtime memory, docker or podman"),
        };
        for version in [1, 2] {
            engine.load(version).await.context("load the node image")?;
        }
        Ok(engine)
    }

    async fn docker(endpoint: Option<String>) -> anyhow::Result<Self> {
        let runtime = DockerRuntime::connect(endpoint.as_deref(), Limits::default()).context("use DOCKER_HOST")?;
        runtime.info().await.context("reach Docker; is it running (systemctl start docker)?")?;
        Ok(Self::Docker(Arc::new(runtime)))
    }

    async fn podman(endpoint: Option<String>, user_dir: Option<String>) -> anyhow::Result<Self> {
        let candidates = endpoint.map_or_else(|| default_endpoints(user_dir.as_deref()), |endpoint| vec![endpoint]);
        for candidate in &candidates {
            if let Ok(runtime) = PodmanRuntime::connect(candidate, Limits::default()).await {
                return Ok(Self::Podman(Arc::new(runtime)));
            }
        }
        anyhow::bail!(
            "reach Podman at {}; is podman.socket active (systemctl start podman.socket)?",
            candidates.join(", ")
        )
    }

    /// The reference of a version of the nodes' image.
    pub fn image(&self, version: u32) -> ImageReference {
        let name = if matches!(self, Self::Memory(_)) { REMOTE_IMAGE } else { LOCAL_IMAGE };
        format!("{name}:{version}").parse().expect("it is a literal reference")
    }

    async fn load(&self, version: u32) -> anyhow::Result<()> {
        let reference = self.image(version);
        let archive = || node_image::archive(&reference.to_string(), &version.to_string());
        match self {
            Self::Memory(engine) => {
                engine.publish_image(&reference, version.to_string().as_bytes());
            }
            Self::Docker(engine) => engine.load_image(archive()).await?,
            Self::Podman(engine) => engine.load_image(archive()).await?,
        }
        Ok(())
    }

    /// The engine as the daemon uses it.
    pub fn runtime(&self) -> Arc<dyn Engine> {
        match self {
            Self::Memory(engine) => engine.clone(),
            Self::Docker(engine) => engine.clone(),
            Self::Podman(engine) => engine.clone(),
        }
    }

    /// Removes everything that the demo created on the engine. After a success, no containers are left.
    pub async fn clean_up(&self, owner: &Owner) -> anyhow::Result<()> {
        let runtime = self.runtime();
        for container in runtime.list(owner).await? {
            runtime.remove(&container.id).await?;
        }
        for version in [1, 2] {
            if let Some(id) = runtime.image(&self.image(version)).await? {
                runtime.remove_image(&id).await?;
            }
        }
        let network = names::network_name(&owner.app);
        match self {
            Self::Memory(_) => {}
            Self::Docker(engine) => engine.remove_network(&network).await?,
            Self::Podman(engine) => engine.remove_network(&network).await?,
        }
        Ok(())
    }
}

/// An in-memory engine with latencies like those of a real one.
fn memory() -> InMemoryRuntime {
    let engine = InMemoryRuntime::new();
    engine.set_latencies(Latencies {
        pull: Duration::from_millis(600),
        create: Duration::from_millis(40),
        start: Duration::from_millis(220),
        stop: Duration::from_millis(120),
    });
    engine
}
