//! The configuration of the daemon: validates text from all sources and builds one [`Config`]. The only module that reads
//! the environment.
//!
//! Sources in ascending priority: defaults, the environment file, the environment, flags.

pub(crate) mod envfile;
mod environment;
mod error;
mod kinds;
mod listing;
mod load;
mod settings;
mod sources;

pub(crate) use environment::home_by_passwd;
pub use environment::{adopt_library_variables, process_environment};
pub use error::{ConfigErrors, Origin, Problem};
pub use listing::{Listing, listing};
pub use settings::{Absent, GROUPS, SETTINGS, Setting};
pub use sources::Flags;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use managed_app_runtimes::{AwslogsMode, EngineKind, Hardening};
use secrecy::SecretString;

use crate::reconciler::Policy;

/// Checks a URL of the cloud: https, or http to this host or to the fake cloud of `MANAGED_APP_FAKE_CLOUD`.
pub(crate) fn endpoint(text: &str) -> Option<String> {
    let fake = process_environment(settings::FAKE_CLOUD.variable);
    kinds::url(text).filter(|url| kinds::is_private(url, fake.as_deref()))
}

/// Whether `text` has the form of an AWS region, like us-east-1.
pub(crate) fn is_region(text: &str) -> bool {
    kinds::region(text).is_some()
}

/// The assignments of an EnvironmentFile of systemd, in order; skips invalid lines.
pub(crate) fn assignments(text: &str) -> impl Iterator<Item = (String, String)> {
    envfile::parse(text).0.into_iter().map(|entry| (entry.name, entry.value))
}

/// The validated settings of the daemon.
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
    /// LOG_GROUP_NAME: log group of the daemon; that of a node is `<LOG_GROUP_NAME>/node/<node>`.
    pub log_group: String,
    /// LOGGING_LEVEL.
    pub logging_level: LoggingLevel,
    /// MANAGED_APP_RUNTIME.
    pub runtime: RuntimeChoice,
    /// MANAGED_APP_NODE_LOGS; `None` selects a mode for the engine (see [`crate::engine::node_logs`]).
    pub node_logs: Option<NodeLogs>,
    /// Options of the log modes.
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
    /// MANAGED_APP_PARALLEL_OPERATIONS: maximum of concurrent engine operations, over all nodes.
    pub parallel_operations: usize,
    /// MANAGED_APP_PARALLEL_PULLS: maximum of concurrent pulls.
    pub parallel_pulls: usize,
    /// MANAGED_APP_STOP_GRACE: time that a node has to stop before the engine kills it.
    pub stop_grace: Duration,
    /// MANAGED_APP_REPLACE: whether two containers of a node may run at the same time during a replacement.
    pub replace: Replace,
    /// MANAGED_APP_REPLACE_WINDOW: time that a new container must run before the old one is removed.
    pub replace_window: Duration,
    /// MANAGED_APP_RESYNC: interval of the full comparison without a change message; jittered.
    pub resync: Duration,
    /// MANAGED_APP_ALLOWED_REGISTRIES and MANAGED_APP_ALLOWED_BIND_MOUNTS: images and mounts that nodes may use.
    pub policy: Policy,
    /// MANAGED_APP_NODE_...: restrictions and limits of nodes.
    pub hardening: Hardening,
    /// MANAGED_APP_STATUS_SOCKET, else `status.sock` in RUNTIME_DIRECTORY, else a default; `None` serves none.
    pub status_socket: Option<PathBuf>,
    /// MANAGED_APP_METRICS: listen address of the metrics.
    pub metrics: Option<SocketAddr>,
    /// MANAGED_APP_HTTP: listen address of the status page, a loopback address.
    pub http: Option<SocketAddr>,
    /// DOCKER_HOST: address of Docker.
    pub docker_host: Option<String>,
    /// CONTAINER_HOST: address of Podman.
    pub container_host: Option<String>,
    /// XDG_RUNTIME_DIR: directory of the socket of rootless Podman.
    pub xdg_runtime_dir: Option<String>,
    /// NO_COLOR: disables colours on a terminal.
    pub no_color: bool,
    /// Variables that systemd sets.
    pub systemd: SystemdEnvironment,
}

/// Settings of commands that only connect to the daemon on this host.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// As [`Config::status_socket`].
    pub status_socket: Option<PathBuf>,
    /// As [`Config::state_directory`].
    pub state_directory: PathBuf,
    /// As [`Config::no_color`].
    pub no_color: bool,
}

/// Variables that systemd sets for a service; empty elsewhere.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SystemdEnvironment {
    /// NOTIFY_SOCKET: a path, or `@` and an abstract name.
    pub notify_socket: Option<String>,
    /// WATCHDOG_USEC: systemd kills the service after this time without a keep-alive.
    pub watchdog: Option<Duration>,
    /// WATCHDOG_PID: the process that the watchdog expects; `None` is any.
    pub watchdog_pid: Option<u32>,
}

/// An Amazon Cognito user pool id, split at its underscore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserPoolId {
    /// Region of the pool; may differ from that of the daemon.
    pub region: String,
    /// The part after the underscore, which the SRP hash uses.
    pub id: String,
}

/// Log level.
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
    /// This engine. The one in memory is for the demo and for tests.
    Only(EngineKind),
    /// The engine that has containers of the app, else one that responds.
    Auto,
}

/// Options of the log modes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NodeLogOptions {
    /// MANAGED_APP_AWSLOGS_MODE with MANAGED_APP_AWSLOGS_BUFFER.
    pub awslogs: AwslogsMode,
    /// MANAGED_APP_NODE_LOG_SIZE: maximum size of one log file of a node in the engine, bytes.
    pub file_bytes_max: u64,
    /// MANAGED_APP_NODE_LOG_FILES: number of these files.
    pub files_max: u32,
}

/// Log mode: how the output of nodes is kept and shipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeLogs {
    /// The engine ships it with its `awslogs` driver.
    Awslogs,
    /// The engine keeps it, limited by size, and the daemon ships it.
    Agent,
    /// The engine keeps it, limited by size, and it is not shipped.
    Engine,
}

/// The effect of the end of the daemon on its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnExit {
    /// They are stopped.
    Stop,
    /// They keep running.
    Leave,
}

/// Order of a replacement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Replace {
    /// The old container is stopped first.
    StopFirst,
    /// The new container is started first, if the node has no host ports and no mounts.
    StartFirst,
}

/// The effect of the removal of the app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnRemoved {
    /// The host is powered off.
    Shutdown,
    /// The daemon removes the nodes and ends.
    Exit,
}
