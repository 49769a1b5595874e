//! Builds a [`Config`] from its sources. Reads files only with the function that the caller passes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use managed_app_runtimes::{AwslogsMode, Hardening};
use secrecy::SecretString;

use super::sources::{EnvFile, Sources};
use super::{ClientConfig, Config, ConfigErrors, Flags, NodeLogOptions, SystemdEnvironment, check};
use crate::reconciler::{AllowedBindMounts, AllowedRegistries, Policy};

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const STATE_DIRECTORY: &str = "/var/lib/echostream-managed-app";
const RUNTIME_DIRECTORY: &str = "/run/echostream-managed-app";
const STATUS_SOCKET: &str = "status.sock";
const MACHINE_ID: &str = "/etc/machine-id";
/// Bounds of the limits of a node: 16 MiB to 16 TiB, and the maximum of process IDs of Linux.
const MEMORY_MIN: u64 = 16 << 20;
const MEMORY_MAX: u64 = 16 << 40;
const PIDS_MAX: usize = 4_194_304;
const HOST_NAME: &str = "/proc/sys/kernel/hostname";

impl Config {
    /// Validates all settings and reports all problems at once.
    ///
    /// `environment` is usually [`super::process_environment`]. Reads the environment file and, for the host ID, the
    /// machine ID and the host name.
    pub fn load(flags: &Flags, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        Self::load_with(flags, environment, |path| std::fs::read_to_string(path))
    }

    /// Like [`Config::load`], but reads files with `read`.
    pub fn load_with(
        flags: &Flags,
        environment: impl Fn(&str) -> Option<String>,
        read: impl Fn(&Path) -> io::Result<String>,
    ) -> Result<Self, ConfigErrors> {
        let file = EnvFile::read(flags.env_file.as_deref(), &read);
        let mut sources = Sources::new(flags, &environment, file);
        let config = assemble(&mut sources, &read);
        match config {
            Some(config) if sources.problems.is_empty() => Ok(config),
            _ => Err(ConfigErrors(sources.problems)),
        }
    }
}

/// Reads every setting before it fails, so that all problems are reported.
fn assemble(sources: &mut Sources<'_>, read: &dyn Fn(&Path) -> io::Result<String>) -> Option<Config> {
    let app = sources.take("APP", check::name);
    let appsync_endpoint = appsync_endpoint(sources);
    let region = sources.take("AWS_DEFAULT_REGION", check::region);
    let client_id = sources.take("CLIENT_ID", check::client_id);
    let log_group = sources.take("LOG_GROUP_NAME", check::log_group);
    let password = sources.take("PASSWORD", check::name).map(SecretString::from);
    let tenant = sources.take("TENANT", check::name);
    let user_name = sources.take("USER_NAME", check::name);
    let user_pool_id = sources.take("USER_POOL_ID", check::user_pool_id);
    let logging_level = sources.take("LOGGING_LEVEL", check::logging_level);
    let runtime = sources.take("MANAGED_APP_RUNTIME", check::runtime);
    let node_logs = sources.take("MANAGED_APP_NODE_LOGS", check::node_logs);
    let node_log_options = node_log_options(sources);
    let daemon_logs = sources.take("MANAGED_APP_DAEMON_LOGS", check::switch);
    let on_exit = sources.take("MANAGED_APP_ON_EXIT", check::on_exit);
    let on_removed = sources.take("MANAGED_APP_ON_REMOVED", check::on_removed);
    let log_file = sources.take("MANAGED_APP_LOG_FILE", check::path_or_off);
    let state_directory = state_directory(sources);
    let host_id = host_id(sources, read);
    let parallel_operations = sources.take("MANAGED_APP_PARALLEL_OPERATIONS", |text| check::number(text, 1..=1024));
    let parallel_pulls = sources.take("MANAGED_APP_PARALLEL_PULLS", |text| check::number(text, 1..=64));
    let stop_grace = sources.take("MANAGED_APP_STOP_GRACE", |text| check::duration(text, SECOND..=10 * MINUTE));
    let replace = sources.take("MANAGED_APP_REPLACE", check::replace);
    let replace_window = replace_window(sources);
    let resync = sources.take("MANAGED_APP_RESYNC", |text| check::duration(text, 10 * SECOND..=24 * HOUR));
    let hardening = hardening(sources);
    let status_socket = status_socket(sources);
    let metrics = sources.take("MANAGED_APP_METRICS", check::address);
    let http = sources.take("MANAGED_APP_HTTP", check::loopback_address);
    let [docker_host, container_host, xdg_runtime_dir] = engine_addresses(sources);
    let policy = policy(sources, &state_directory, &[&docker_host, &container_host]);
    Some(Config {
        app: app?,
        tenant: tenant?,
        appsync_endpoint: appsync_endpoint?,
        region: region?,
        user_pool_id: user_pool_id?,
        client_id: client_id?,
        user_name: user_name?,
        password: password?,
        log_group: log_group?,
        logging_level: logging_level?,
        runtime: runtime?,
        node_logs,
        node_log_options: node_log_options?,
        daemon_logs: daemon_logs?,
        on_exit: on_exit?,
        on_removed: on_removed?,
        log_file: log_file?,
        state_directory,
        host_id: host_id?,
        parallel_operations: parallel_operations?,
        parallel_pulls: parallel_pulls?,
        stop_grace: stop_grace?,
        replace: replace?,
        replace_window: replace_window?,
        resync: resync?,
        policy: policy?,
        hardening,
        status_socket,
        metrics,
        http,
        docker_host,
        container_host,
        xdg_runtime_dir,
        no_color: sources.take("NO_COLOR", check::text).is_some(),
        systemd: systemd(sources),
    })
}

fn engine_addresses(sources: &mut Sources<'_>) -> [Option<String>; 3] {
    ["DOCKER_HOST", "CONTAINER_HOST", "XDG_RUNTIME_DIR"].map(|variable| sources.take(variable, check::text))
}

fn replace_window(sources: &mut Sources<'_>) -> Option<Duration> {
    sources.take("MANAGED_APP_REPLACE_WINDOW", |text| check::duration(text, Duration::ZERO..=Duration::from_secs(600)))
}

/// Plain http is allowed only to this host, or to `MANAGED_APP_FAKE_CLOUD`.
fn appsync_endpoint(sources: &mut Sources<'_>) -> Option<String> {
    let fake = sources.take("MANAGED_APP_FAKE_CLOUD", check::text);
    sources.take("AWS_ENDPOINT_URL", |text| check::endpoint(text, fake.as_deref()));
    sources.take("APPSYNC_ENDPOINT", |text| check::endpoint(text, fake.as_deref()))
}

/// Files and sockets of the daemon are sensitive: nodes may mount them only if the setting names them.
fn policy(sources: &mut Sources<'_>, state_directory: &Path, engines: &[&Option<String>]) -> Option<Policy> {
    let registries = sources.take("MANAGED_APP_ALLOWED_REGISTRIES", AllowedRegistries::parse);
    let bind_mounts = sources.take("MANAGED_APP_ALLOWED_BIND_MOUNTS", AllowedBindMounts::parse);
    let files = [Some(state_directory), sources.env_file()].into_iter().flatten().filter_map(Path::to_str);
    let sockets = engines.iter().filter_map(|engine| engine.as_ref()?.strip_prefix("unix://"));
    Some(Policy { registries: registries?, bind_mounts: bind_mounts?.and_sensitive(files.chain(sockets)) })
}

fn hardening(sources: &mut Sources<'_>) -> Hardening {
    let memory = sources.take("MANAGED_APP_NODE_MEMORY_MAX", |text| check::bytes(text, MEMORY_MIN..=MEMORY_MAX));
    let pids = sources.take("MANAGED_APP_NODE_PIDS_MAX", |text| check::number(text, 1..=PIDS_MAX));
    Hardening {
        no_new_privileges: sources.take("MANAGED_APP_NODE_NO_NEW_PRIVILEGES", check::yes_or_no) == Some(true),
        dropped_capabilities: sources
            .take("MANAGED_APP_NODE_DROP_CAPABILITIES", check::capabilities)
            .unwrap_or_default(),
        pids_max: pids.and_then(|max| u32::try_from(max).ok()),
        memory_bytes_max: memory,
    }
}

/// systemd passes RUNTIME_DIRECTORY as a colon-separated list; the first entry is that of the daemon.
fn status_socket(sources: &mut Sources<'_>) -> Option<PathBuf> {
    if let Some(given) = sources.take("MANAGED_APP_STATUS_SOCKET", check::path_or_off) {
        return given;
    }
    let from_systemd = || check::path(sources.process_only("RUNTIME_DIRECTORY")?.split(':').next()?);
    let directory = from_systemd().unwrap_or_else(|| RUNTIME_DIRECTORY.into());
    Some(directory.join(STATUS_SOCKET))
}

impl ClientConfig {
    /// Like [`Config::load`], for commands that only connect to the daemon.
    pub fn load(flags: &Flags, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let file = EnvFile::read(flags.env_file.as_deref(), |path| std::fs::read_to_string(path));
        let mut sources = Sources::new(flags, &environment, file);
        let config = Self {
            status_socket: status_socket(&mut sources),
            state_directory: state_directory(&mut sources),
            no_color: sources.take("NO_COLOR", check::text).is_some(),
        };
        if sources.problems.is_empty() { Ok(config) } else { Err(ConfigErrors(sources.problems)) }
    }
}

fn node_log_options(sources: &mut Sources<'_>) -> Option<NodeLogOptions> {
    let blocks = sources.take("MANAGED_APP_AWSLOGS_MODE", check::awslogs_blocks);
    let buffer = sources.take("MANAGED_APP_AWSLOGS_BUFFER", |text| check::size(text, 64 << 10..=1 << 30));
    let bytes = sources.take("MANAGED_APP_NODE_LOG_SIZE", |text| check::size(text, 64 << 10..=100 << 30));
    let files = sources.take("MANAGED_APP_NODE_LOG_FILES", |text| check::number(text, 1..=1000));
    let awslogs = if blocks? { AwslogsMode::Blocking } else { AwslogsMode::NonBlocking { buffer_bytes_max: buffer? } };
    Some(NodeLogOptions { awslogs, file_bytes_max: bytes?, files_max: u32::try_from(files?).ok()? })
}

/// systemd passes STATE_DIRECTORY as a colon-separated list; the first entry is that of the daemon.
fn state_directory(sources: &mut Sources<'_>) -> PathBuf {
    let given = sources.take("MANAGED_APP_STATE_DIRECTORY", check::path);
    let from_systemd = || check::path(sources.process_only("STATE_DIRECTORY")?.split(':').next()?);
    given.or_else(from_systemd).unwrap_or_else(|| STATE_DIRECTORY.into())
}

/// The machine ID has priority, because it does not change with the host name.
fn host_id(sources: &mut Sources<'_>, read: &dyn Fn(&Path) -> io::Result<String>) -> Option<String> {
    let problems_before = sources.problems.len();
    if let Some(given) = sources.take("MANAGED_APP_HOST_ID", check::host_id) {
        return Some(given);
    }
    let line_of = |path| check::host_id(read(Path::new(path)).ok()?.trim());
    // systemd writes "uninitialized" into images that have not been booted yet.
    let found = line_of(MACHINE_ID).filter(|id| id != "uninitialized").or_else(|| line_of(HOST_NAME));
    if found.is_none() && sources.problems.len() == problems_before {
        sources.missing("MANAGED_APP_HOST_ID");
    }
    found
}

/// Invalid numbers count as absent: only systemd sets these variables.
fn systemd(sources: &Sources<'_>) -> SystemdEnvironment {
    let number = |variable| sources.process_only(variable).and_then(|text| text.parse().ok());
    SystemdEnvironment {
        notify_socket: sources.process_only("NOTIFY_SOCKET"),
        watchdog: number("WATCHDOG_USEC").filter(|usec| *usec > 0).map(Duration::from_micros),
        watchdog_pid: number("WATCHDOG_PID").and_then(|pid| u32::try_from(pid).ok()),
    }
}

#[cfg(test)]
mod tests;
