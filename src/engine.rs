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
use managed_app_runtimes::{
    BACKENDS, Backend, Connecting, Engine, EngineInfo, EngineKind, ErrorKind, Limits, Owner, RuntimeError,
};
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

/// An engine that may exist.
#[derive(Debug, Clone)]
struct Candidate {
    backend: &'static Backend,
    endpoint: String,
}

impl Candidate {
    fn connect(&self, limits: Limits) -> Connecting {
        (self.backend.connect)(self.endpoint.clone(), limits)
    }
}

/// The backend of `kind`; `None` if it is not part of this program.
fn backend(kind: EngineKind) -> Option<&'static Backend> {
    #[cfg(feature = "demo")]
    if kind == EngineKind::Memory {
        return Some(&managed_app_fakes::memory::BACKEND);
    }
    BACKENDS.iter().find(|backend| backend.kind == kind)
}

/// Whether other processes reach the engine: then only one daemon of an app may use it.
pub fn is_shared(choice: RuntimeChoice) -> bool {
    match choice {
        RuntimeChoice::Only(kind) => backend(kind).is_some_and(|backend| backend.is_shared),
        RuntimeChoice::Auto => true,
    }
}

/// Connects to the configured engine. It need not respond yet if its client sends no request at first. Fails with all
/// attempts.
pub async fn connect(config: &Config, limits: Limits) -> Result<Arc<dyn Engine>, NoEngine> {
    let candidates = match config.runtime {
        RuntimeChoice::Only(kind) => match backend(kind) {
            Some(backend) => candidates_of(backend, config),
            None => return Err(NoEngine::not_built_in(kind)),
        },
        RuntimeChoice::Auto => automatic(config),
    };
    select(candidates, config, limits).await
}

/// As [`connect`], but waits for a configured engine that is unreachable, because it may be starting too.
pub async fn connect_patiently(config: &Config, limits: Limits) -> Result<Arc<dyn Engine>, NoEngine> {
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
    config.runtime != RuntimeChoice::Auto && error.kind() == NoEngineKind::Unreachable
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

/// The configured endpoint of a backend, or its default ones.
fn candidates_of(backend: &'static Backend, config: &Config) -> Vec<Candidate> {
    let configured = match backend.kind {
        EngineKind::Docker => config.docker_host.as_ref(),
        EngineKind::Podman => config.container_host.as_ref(),
        EngineKind::Memory => None,
    };
    let endpoints = match configured {
        Some(endpoint) => vec![endpoint.clone()],
        None => (backend.default_endpoints)(config.xdg_runtime_dir.as_deref()),
    };
    endpoints.into_iter().map(|endpoint| Candidate { backend, endpoint }).collect()
}

/// All engines that may be chosen without being configured, in order of preference.
fn automatic(config: &Config) -> Vec<Candidate> {
    let backends = BACKENDS.iter().filter(|backend| backend.is_automatic);
    let all: Vec<Candidate> = backends.flat_map(|backend| candidates_of(backend, config)).collect();
    // Debian's podman-docker links Docker's socket to Podman's: such an engine is used as Podman.
    let is_other_name = |one: &Candidate, other: &Candidate| {
        one.backend.kind != other.backend.kind && is_same_socket(&one.endpoint, &other.endpoint)
    };
    let is_repeated = |index: usize, one: &Candidate| all[index + 1..].iter().any(|later| is_other_name(one, later));
    let kept: Vec<bool> = all.iter().enumerate().map(|(index, one)| !is_repeated(index, one)).collect();
    all.into_iter().zip(kept).filter(|(_, is_kept)| *is_kept).map(|(candidate, _)| candidate).collect()
}

fn is_same_socket(one: &str, other: &str) -> bool {
    let canonical = |endpoint: &str| Path::new(endpoint.strip_prefix("unix://")?).canonicalize().ok();
    matches!((canonical(one), canonical(other)), (Some(one), Some(other)) if one == other)
}

/// Queries all candidates concurrently and selects the best.
async fn select(candidates: Vec<Candidate>, config: &Config, limits: Limits) -> Result<Arc<dyn Engine>, NoEngine> {
    let owner = Owner { app: config.app.clone(), tenant: config.tenant.clone(), host: config.host_id.clone() };
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
async fn reach(only: &Candidate, limits: Limits) -> Result<Arc<dyn Engine>, NoEngine> {
    let reached = within_limit(only, only.connect(limits)).await;
    let runtime = reached.map_err(|error| NoEngine::of(only.backend.kind, &only.endpoint, &error))?;
    info!(engine = %only.backend.kind, endpoint = only.endpoint, reason = "it is the only possible one", "engine chosen");
    Ok(runtime)
}

async fn query(candidate: &Candidate, owner: &Owner, limits: Limits) -> Result<FoundEngine, FailedAttempt> {
    let found = within_limit(candidate, inspect(candidate, owner, limits)).await;
    found.map_err(|error| FailedAttempt::new(candidate.backend.kind, &candidate.endpoint, &error))
}

async fn within_limit<T>(
    candidate: &Candidate,
    call: impl Future<Output = Result<T, RuntimeError>>,
) -> Result<T, RuntimeError> {
    let timed_out = |_| Err(RuntimeError::new(ErrorKind::TimedOut, "ask the engine at", candidate.endpoint.as_str()));
    timeout(RESPONSE_LIMIT, call).await.unwrap_or_else(timed_out)
}

async fn inspect(candidate: &Candidate, owner: &Owner, limits: Limits) -> Result<FoundEngine, RuntimeError> {
    let endpoint = candidate.endpoint.as_str();
    let runtime = candidate.connect(limits).await?;
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
