//! Selection of the container engine: the configured one, or the best one that responds. Changes nothing in any engine.

mod choice;
mod dockerd;
mod node_logs;
mod remedy;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use managed_app_runtimes::docker::DockerRuntime;
use managed_app_runtimes::podman::{self, PodmanRuntime};
use managed_app_runtimes::{ContainerRuntime, EngineInfo, EngineKind, ErrorKind, Limits, Owner, RuntimeError};
use tokio::time::{Instant, timeout};
use tracing::{info, warn};

pub use choice::{NoEngine, NoEngineKind};
pub use dockerd::DockerdCredentials;
pub use node_logs::{NodeLogsChoice, choose_node_logs};
pub use remedy::remedy;

use crate::config::{Config, RuntimeChoice};
use crate::text::chain;
use choice::{FailedAttempt, FoundEngine, select_engine};

/// Time limit of the response of an engine when several are possible.
const RESPONSE_LIMIT: Duration = Duration::from_secs(5);
/// How long a configured engine may take to become available when the daemon starts.
const START_WAIT: Duration = Duration::from_secs(30);
/// Delay between two attempts to reach it.
const START_RETRY_DELAY: Duration = Duration::from_secs(1);
/// Docker's address unless DOCKER_HOST is set.
const DOCKER_DEFAULT: &str = "unix:///var/run/docker.sock";

/// An engine that may exist.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Candidate {
    kind: EngineKind,
    endpoint: String,
}

/// Connects to the configured engine.
///
/// A configured Docker need not respond yet; Podman and `auto` must. Fails with all attempts.
pub async fn connect(config: &Config, limits: Limits) -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    match config.runtime {
        RuntimeChoice::Docker => {
            let endpoint = docker_endpoint(config);
            let runtime = DockerRuntime::connect(Some(endpoint), limits);
            runtime
                .map(|runtime| Arc::new(runtime) as _)
                .map_err(|error| NoEngine::of(EngineKind::Docker, endpoint, &error))
        }
        RuntimeChoice::Memory => memory(),
        RuntimeChoice::Podman | RuntimeChoice::Auto => select(config, limits).await,
    }
}

/// As [`connect`], but waits for a configured engine that is unreachable, because it may be starting too.
pub async fn connect_patiently(config: &Config, limits: Limits) -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    let until = Instant::now() + START_WAIT;
    loop {
        match connect(config, limits).await {
            Err(error) if is_worth_waiting(config, &error) && Instant::now() + START_RETRY_DELAY < until => {
                warn!(%error, "the engine does not respond yet");
                tokio::time::sleep(START_RETRY_DELAY).await;
            }
            other => return other,
        }
    }
}

fn is_worth_waiting(config: &Config, error: &NoEngine) -> bool {
    config.runtime == RuntimeChoice::Podman && error.kind() == NoEngineKind::Unreachable
}

/// The destination of the output of new containers: the configured one, or by what is known of dockerd's own AWS
/// credentials, which are examined only then. Fails with a remedy if the engine does not support the configured
/// destination. Ends within seconds.
pub async fn node_logs(config: &Config, info: &EngineInfo) -> Result<NodeLogsChoice, String> {
    let dockerd = match config.node_logs {
        None if info.has_awslogs => dockerd::credentials(dockerd::Host::this(), info).await,
        _ => DockerdCredentials::Unknown("not examined".to_owned()),
    };
    choose_node_logs(config.node_logs, info, &dockerd)
}

#[cfg(feature = "demo")]
fn memory() -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    Ok(Arc::new(managed_app_fakes::InMemoryRuntime::new()))
}

#[cfg(not(feature = "demo"))]
fn memory() -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    Err(NoEngine::not_built_in())
}

fn docker_endpoint(config: &Config) -> &str {
    config.docker_host.as_deref().unwrap_or(DOCKER_DEFAULT)
}

/// All engines that the configuration allows, in order of preference.
fn candidates(config: &Config) -> Vec<Candidate> {
    let podman = match &config.container_host {
        Some(endpoint) => vec![endpoint.clone()],
        None => podman::default_endpoints(config.xdg_runtime_dir.as_deref()),
    };
    let docker = docker_endpoint(config);
    // Debian's podman-docker links Docker's socket to Podman's: such an engine is used as Podman.
    let is_docker = config.runtime == RuntimeChoice::Auto && !podman.iter().any(|other| is_same_socket(docker, other));
    let docker = is_docker.then(|| Candidate { kind: EngineKind::Docker, endpoint: docker.to_owned() });
    let podman = podman.into_iter().map(|endpoint| Candidate { kind: EngineKind::Podman, endpoint });
    docker.into_iter().chain(podman).collect()
}

fn is_same_socket(one: &str, other: &str) -> bool {
    let canonical = |endpoint: &str| Path::new(endpoint.strip_prefix("unix://")?).canonicalize().ok();
    matches!((canonical(one), canonical(other)), (Some(one), Some(other)) if one == other)
}

/// Queries all candidates concurrently and selects the best.
async fn select(config: &Config, limits: Limits) -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    let owner = Owner { app: config.app.clone(), tenant: config.tenant.clone(), host: config.host_id.clone() };
    let candidates = candidates(config);
    if let [only] = candidates.as_slice() {
        return reach(only, limits).await;
    }
    let results = join_all(candidates.iter().map(|candidate| query(candidate, &owner, limits))).await;
    let (chosen, reason) = select_engine(results)?;
    let FoundEngine { runtime, info, containers } = chosen;
    info!(engine = %info.kind, version = info.version, endpoint = info.endpoint, containers, reason, "engine chosen");
    Ok(runtime)
}

/// The only candidate: a response is enough. The sign-in phase reads its version.
async fn reach(only: &Candidate, limits: Limits) -> Result<Arc<dyn ContainerRuntime>, NoEngine> {
    let reached = within_limit(only, connected(only, limits)).await;
    let runtime = reached.map_err(|error| NoEngine::of(only.kind, &only.endpoint, &error))?;
    info!(engine = %only.kind, endpoint = only.endpoint, reason = "it is the only possible one", "engine chosen");
    Ok(runtime)
}

async fn query(candidate: &Candidate, owner: &Owner, limits: Limits) -> Result<FoundEngine, FailedAttempt> {
    let found = within_limit(candidate, inspect(candidate, owner, limits)).await;
    found.map_err(|error| FailedAttempt::new(candidate.kind, &candidate.endpoint, &error))
}

async fn within_limit<T>(
    candidate: &Candidate,
    call: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    let timed_out = |_| Err(RuntimeError::new(ErrorKind::TimedOut, "ask the engine at", candidate.endpoint.as_str()));
    timeout(RESPONSE_LIMIT, call).await.unwrap_or_else(timed_out)
}

async fn connected(candidate: &Candidate, limits: Limits) -> Result<Arc<dyn ContainerRuntime>, RuntimeError> {
    let endpoint = candidate.endpoint.as_str();
    Ok(match candidate.kind {
        EngineKind::Docker => Arc::new(DockerRuntime::connect(Some(endpoint), limits)?),
        _ => Arc::new(PodmanRuntime::connect(endpoint, limits).await?),
    })
}

async fn inspect(candidate: &Candidate, owner: &Owner, limits: Limits) -> Result<FoundEngine, RuntimeError> {
    let endpoint = candidate.endpoint.as_str();
    let runtime = connected(candidate, limits).await?;
    let info = runtime.info().await?;
    // An engine that responds and cannot list may still be the only one.
    let containers = match runtime.list(owner).await {
        Ok(containers) => containers.len(),
        Err(error) => {
            warn!(endpoint, error = chain(&error), "containers cannot be listed while choosing an engine");
            0
        }
    };
    Ok(FoundEngine { runtime, info, containers })
}
