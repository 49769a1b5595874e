//! The daemon's configuration: text in, one checked [`Config`] out. The only place that reads the environment.
//!
//! Sources, from weak to strong: defaults, the environment file, the environment, flags.

mod check;
mod envfile;
mod environment;
mod error;
#[cfg(feature = "fuzzing")]
pub(crate) mod fuzzing;
mod listing;
mod load;
mod settings;
mod sources;

pub(crate) use environment::home_by_passwd;
pub use environment::{adopt_library_variables, process_environment};
pub use error::{ConfigErrors, Origin, Problem};
pub use listing::{Listing, listing};
pub use settings::{Absent, SETTINGS, Setting};
pub use sources::Flags;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use managed_app_runtimes::{AwslogsMode, Hardening};
use secrecy::SecretString;

use crate::reconciler::Policy;

/// A URL of the cloud that may be used: https, or http to this host or to the fake cloud of `MANAGED_APP_FAKE_CLOUD`.
pub(crate) fn endpoint(text: &str) -> Option<String> {
    check::endpoint(text, process_environment("MANAGED_APP_FAKE_CLOUD").as_deref())
}

/// Whether this is an AWS region by its form, like us-east-1.
pub(crate) fn is_region(text: &str) -> bool {
    check::region(text).is_some()
}

/// The assignments of an EnvironmentFile of systemd, in their order; lines that are none are skipped.
pub(crate) fn assignments(text: &str) -> impl Iterator<Item = (String, String)> {
    envfile::parse(text).0.into_iter().map(|entry| (entry.name, entry.value))
}

/// Everything the daemon was told, checked once.
#[derive(Debug, Clone)]
pub struct Config {
    /// APP: name of the app.
    pub app: String,
    /// TENANT: name of the tenant.
    pub tenant: String,
    /// APPSYNC_ENDPOINT: URL of the control plane; https, or http to a loopback address.
    pub appsync_endpoint: String,
    /// AWS_DEFAULT_REGION: region of the daemon's own log group.
    pub region: String,
    /// USER_POOL_ID: `<region>_<id>`.
    pub user_pool_id: UserPoolId,
    /// CLIENT_ID: client of the user pool.
    pub client_id: String,
    /// USER_NAME.
    pub user_name: String,
    /// PASSWORD.
    pub password: SecretString,
    /// LOG_GROUP_NAME: the daemon's log group; nodes log to `<it>/node/<node>`.
    pub log_group: String,
    /// LOGGING_LEVEL.
    pub logging_level: LoggingLevel,
    /// MANAGED_APP_RUNTIME.
    pub runtime: RuntimeChoice,
    /// MANAGED_APP_NODE_LOGS; `None` takes what suits the engine (see [`crate::engine::node_logs`]).
    pub node_logs: Option<NodeLogs>,
    /// More about it.
    pub node_log_options: NodeLogOptions,
    /// MANAGED_APP_DAEMON_LOGS: whether the daemon's own log goes to its log group.
    pub daemon_logs: bool,
    /// MANAGED_APP_ON_EXIT.
    pub on_exit: OnExit,
    /// MANAGED_APP_ON_REMOVED.
    pub on_removed: OnRemoved,
    /// MANAGED_APP_LOG_FILE; `None` writes none.
    pub log_file: Option<PathBuf>,
    /// MANAGED_APP_STATE_DIRECTORY, else STATE_DIRECTORY, else a default.
    pub state_directory: PathBuf,
    /// MANAGED_APP_HOST_ID, else the machine id, else the host name.
    pub host_id: String,
    /// MANAGED_APP_PARALLEL_OPERATIONS: engine operations at a time, over all nodes.
    pub parallel_operations: usize,
    /// MANAGED_APP_PARALLEL_PULLS: pulls at a time.
    pub parallel_pulls: usize,
    /// MANAGED_APP_STOP_GRACE: how long a node may take to stop before it is killed.
    pub stop_grace: Duration,
    /// MANAGED_APP_REPLACE: whether two containers of a node may run for a moment.
    pub replace: Replace,
    /// MANAGED_APP_REPLACE_WINDOW: how long a new container must stay up before the old one is removed.
    pub replace_window: Duration,
    /// MANAGED_APP_RESYNC: how often everything is compared anew without being told; jittered.
    pub resync: Duration,
    /// MANAGED_APP_ALLOWED_REGISTRIES and MANAGED_APP_ALLOWED_BIND_MOUNTS: what nodes may be made of.
    pub policy: Policy,
    /// MANAGED_APP_NODE_...: what nodes may not do.
    pub hardening: Hardening,
    /// MANAGED_APP_STATUS_SOCKET, else `status.sock` in RUNTIME_DIRECTORY, else a default; `None` serves none.
    pub status_socket: Option<PathBuf>,
    /// MANAGED_APP_METRICS: where metrics are served.
    pub metrics: Option<SocketAddr>,
    /// MANAGED_APP_HTTP: where the status page is served, a loopback address.
    pub http: Option<SocketAddr>,
    /// DOCKER_HOST: address of Docker.
    pub docker_host: Option<String>,
    /// CONTAINER_HOST: address of Podman.
    pub container_host: Option<String>,
    /// XDG_RUNTIME_DIR: where a user's own Podman has its socket.
    pub xdg_runtime_dir: Option<String>,
    /// NO_COLOR: whether nothing is coloured, also on a terminal.
    pub no_color: bool,
    /// What systemd told this process.
    pub systemd: SystemdEnvironment,
}

/// What commands need that only ask a daemon of this host: none of the app's settings.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// As [`Config::status_socket`].
    pub status_socket: Option<PathBuf>,
    /// As [`Config::state_directory`].
    pub state_directory: PathBuf,
    /// As [`Config::no_color`].
    pub no_color: bool,
}

/// What systemd tells a service through its environment; empty elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemdEnvironment {
    /// NOTIFY_SOCKET: a path, or `@` and an abstract name.
    pub notify_socket: Option<String>,
    /// WATCHDOG_USEC: the service is killed when it was silent for so long.
    pub watchdog: Option<Duration>,
    /// WATCHDOG_PID: the process that is meant; `None` is any.
    pub watchdog_pid: Option<u32>,
}

/// An Amazon Cognito user pool id, split at its underscore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPoolId {
    /// Region of the pool, not always the daemon's.
    pub region: String,
    /// The part after the underscore, which the SRP hash uses.
    pub id: String,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum LoggingLevel {
    Debug,
    Info,
    Warning,
    Error,
    Critical,
}

/// Which container engine to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RuntimeChoice {
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// The in-memory engine, for the demo and for tests.
    Memory,
    /// Whichever answers.
    Auto,
}

/// How each way to keep the output of nodes is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLogOptions {
    /// MANAGED_APP_AWSLOGS_MODE with MANAGED_APP_AWSLOGS_BUFFER.
    pub awslogs: AwslogsMode,
    /// MANAGED_APP_NODE_LOG_SIZE: the size of one file of a node's log in the engine, bytes.
    pub file_bytes_max: u64,
    /// MANAGED_APP_NODE_LOG_FILES: the number of these files.
    pub files_max: u32,
}

/// How the output of nodes is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeLogs {
    /// The engine ships it with its `awslogs` driver.
    Awslogs,
    /// The engine keeps it, limited by size, and the daemon ships it.
    Agent,
    /// The engine keeps it, limited by size, and nobody ships it.
    Engine,
}

/// What happens to the nodes when the daemon is told to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// They are stopped.
    Stop,
    /// They go on.
    Leave,
}

/// How a new container takes the place of an old one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// The old one is stopped first.
    StopFirst,
    /// The new one is started first, where the node has neither host ports nor mounts.
    StartFirst,
}

/// What happens when the cloud says that the app is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRemoved {
    /// The host is powered off.
    Shutdown,
    /// The daemon removes the nodes and ends.
    Exit,
}
