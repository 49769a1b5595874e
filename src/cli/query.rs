//! Requests of both `check` and `plan`: sign-in, the app, the engine. Each wait has a limit, and each failure has a
//! remedy. Prints nothing.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{ContainerRuntime, Engine, EngineInfo, Limits, RuntimeError};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cloud::{Account, Aws, CloudError, CloudErrorKind, ControlPlane, EchoStream};
use crate::config::Config;
use crate::engine::{self, NoEngine, NoEngineKind};
use crate::exit::Exit;
use crate::model::Snapshot;
use crate::text::chain;

/// The longest wait for a sign-in.
const SIGN_IN_LIMIT: Duration = Duration::from_secs(30);
/// The longest wait for the app.
const SNAPSHOT_LIMIT: Duration = Duration::from_secs(45);
/// The longest wait for one response of the engine.
const ENGINE_LIMIT: Duration = Duration::from_secs(10);

/// Remedy for missing or rejected AWS credentials of the host.
pub(super) const AWS_CREDENTIALS: &str =
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or correct ~/.aws/credentials or the role of the host";

/// A failure with its remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    /// What failed, and why.
    pub(super) found: String,
    /// What to do.
    pub(super) remedy: String,
    /// Exit code of the program.
    pub(super) exit: Exit,
}

impl Problem {
    pub(super) fn new(found: impl Into<String>, remedy: impl Into<String>, exit: Exit) -> Self {
        Self { found: found.into(), remedy: remedy.into(), exit }
    }

    /// The host has no AWS credentials. Replaces the SDK's error, which lists every source on many lines.
    pub(super) fn no_aws_credentials() -> Self {
        Self::wrong("this host has no AWS credentials", AWS_CREDENTIALS)
    }

    /// Unreachable, or no response in time.
    pub(super) fn unavailable(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(found, remedy, Exit::Unavailable)
    }

    /// Wrong configuration.
    pub(super) fn wrong(found: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self::new(found, remedy, Exit::Configuration)
    }
}

/// Awaits `work` for at most `limit`.
pub(super) async fn within<T>(
    limit: Duration,
    remedy: &str,
    work: impl Future<Output = Result<T, Problem>>,
) -> Result<T, Problem> {
    let timed_out = || Problem::unavailable(format!("no answer within {} s", limit.as_secs()), remedy);
    timeout(limit, work).await.unwrap_or_else(|_| Err(timed_out()))
}

/// A client that is signed in.
pub(super) async fn sign_in(config: &Config, aws: &Arc<Aws>) -> Result<Arc<EchoStream>, Problem> {
    const REACH: &str = "check the network, proxies (HTTPS_PROXY) and the region in USER_POOL_ID";
    // The sender may be dropped: the password does not change while a command runs.
    let (_, password) = watch::channel::<SecretString>(config.password.clone());
    within(SIGN_IN_LIMIT, REACH, async {
        let cloud = EchoStream::new(&Account::from(config), password, aws).await;
        let cloud = cloud.map_err(|error| Problem::wrong(chain(&error), "check APPSYNC_ENDPOINT and SSL_CERT_FILE"))?;
        cloud.sign_in().await.map_err(|error| cloud_problem(&error, REACH))?;
        Ok(Arc::new(cloud))
    })
    .await
}

/// Reads the app from the cloud.
pub(super) async fn snapshot(cloud: &EchoStream) -> Result<Snapshot, Problem> {
    const REACH: &str = "check APPSYNC_ENDPOINT, the network and proxies (HTTPS_PROXY)";
    within(SNAPSHOT_LIMIT, REACH, async { cloud.app().await.map_err(|error| cloud_problem(&error, REACH)) }).await
}

/// Maps a failure of the cloud to a remedy and an exit code.
pub(super) fn cloud_problem(error: &CloudError, reach: &str) -> Problem {
    let found = chain(error);
    match error.kind() {
        CloudErrorKind::Denied => {
            let remedy = "check USER_NAME, PASSWORD, CLIENT_ID and USER_POOL_ID";
            Problem::new(found, remedy, Exit::SignInRefused)
        }
        CloudErrorKind::Unreachable | CloudErrorKind::TimedOut => Problem::unavailable(found, reach),
        CloudErrorKind::Throttled => Problem::unavailable(found, "try again in a minute"),
        CloudErrorKind::InvalidResponse => Problem::wrong(found, "check that APPSYNC_ENDPOINT is EchoStream's API"),
        _ => Problem::unavailable(
            found,
            "try again; if it fails again, check APP and TENANT, or ask EchoStream's support",
        ),
    }
}

/// Connects to the configured engine.
pub(super) async fn engine(config: &Config) -> Result<(Arc<dyn Engine>, EngineInfo), Problem> {
    let limits = Limits { call: ENGINE_LIMIT, ..Limits::default() };
    let runtime = engine::connect(config, limits).await;
    let runtime = runtime.map_err(|error| Problem::new(error.tried(), error.remedy(), exit_of(&error)))?;
    let info = runtime.info().await.map_err(|error| engine_problem(runtime.as_ref(), &error))?;
    Ok((runtime, info))
}

/// A failed call of the engine.
pub(super) fn engine_problem(runtime: &dyn ContainerRuntime, error: &RuntimeError) -> Problem {
    Problem::unavailable(chain(error), engine::remedy(runtime.kind(), error.subject(), error))
}

/// The exit code when no engine can be used.
pub fn exit_of(error: &NoEngine) -> Exit {
    match error.kind() {
        NoEngineKind::Unreachable => Exit::Unavailable,
        NoEngineKind::Unusable => Exit::Configuration,
    }
}
