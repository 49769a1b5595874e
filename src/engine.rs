//! Which container engine is used: the one that was chosen, or the one that answers.

use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::docker::DockerRuntime;
use managed_app_runtimes::{ContainerRuntime, Limits};
use tokio::time::timeout;
use tracing::info;

use crate::config::{Config, RuntimeChoice};
use crate::driver::chain;

/// How long an engine may take to answer when there is a choice.
const ANSWER_LIMIT: Duration = Duration::from_secs(5);

/// No engine can be used. `Display` says what was tried and what to do.
#[derive(Debug, thiserror::Error)]
#[error("find a container engine: {0}")]
pub struct NoEngine(String);

/// The engine of the configuration. One that was named need not answer yet.
pub async fn connect(config: &Config) -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    match config.runtime {
        RuntimeChoice::Docker => docker(config),
        RuntimeChoice::Podman => Err(NoEngine("podman is not built in".to_owned())),
        RuntimeChoice::Memory => memory(),
        RuntimeChoice::Auto => auto(config).await,
    }
}

fn docker(config: &Config) -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    match DockerRuntime::connect(config.docker_host.as_deref(), Limits::default()) {
        Ok(runtime) => Ok(Arc::new(runtime)),
        Err(error) => Err(NoEngine(format!("{}; check DOCKER_HOST", chain(&error)))),
    }
}

#[cfg(feature = "demo")]
fn memory() -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    Ok(Arc::new(managed_app_fakes::InMemoryRuntime::new()))
}

#[cfg(not(feature = "demo"))]
fn memory() -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    Err(NoEngine("the engine in memory is only there in programs built with the feature `demo`".to_owned()))
}

async fn auto(config: &Config) -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    let candidate = docker(config)?;
    match timeout(ANSWER_LIMIT, candidate.info()).await {
        Ok(Ok(found)) => {
            info!(engine = %found.kind, endpoint = found.endpoint, "engine chosen because it answers");
            Ok(candidate)
        }
        Ok(Err(error)) => Err(NoEngine(format!("none answers ({}); is one running?", chain(&error)))),
        Err(_) => Err(NoEngine("none answers in time; is one running?".to_owned())),
    }
}
