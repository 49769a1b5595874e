//! Builds a [`Config`] from its sources. Reads files only with the function that the caller passes.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use managed_app_runtimes::{AwslogsMode, Hardening};

use super::kinds::{self, Parsed};
use super::settings::{self, Setting};
use super::sources::{EnvFile, Sources};
use super::{ClientConfig, Config, ConfigErrors, Flags, NodeLogOptions, SystemdEnvironment};
use crate::reconciler::Policy;

const MACHINE_ID: &str = "/etc/machine-id";
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

/// Checks every setting first, so that all problems are reported.
fn assemble(sources: &mut Sources<'_>, read: &dyn Fn(&Path) -> io::Result<String>) -> Option<Config> {
    sources.check(settings::SETTINGS);
    let host_id = host_id(sources, read);
    let [appsync_endpoint, _] =
        [&settings::APPSYNC_ENDPOINT, &settings::AWS_ENDPOINT_URL].map(|setting| endpoint(sources, setting));
    let state_directory = state_directory(sources);
    Some(Config {
        app: sources.get(&settings::APP)?,
        tenant: sources.get(&settings::TENANT)?,
        appsync_endpoint: appsync_endpoint?,
        region: sources.get(&settings::AWS_DEFAULT_REGION)?,
        user_pool_id: sources.get(&settings::USER_POOL_ID)?,
        client_id: sources.get(&settings::CLIENT_ID)?,
        user_name: sources.get(&settings::USER_NAME)?,
        password: sources.get(&settings::PASSWORD)?.into(),
        log_group: sources.get(&settings::LOG_GROUP_NAME)?,
        logging_level: sources.get(&settings::LOGGING_LEVEL)?,
        runtime: sources.get(&settings::RUNTIME)?,
        node_logs: sources.get(&settings::NODE_LOGS),
        node_log_options: node_log_options(sources)?,
        daemon_logs: sources.get(&settings::DAEMON_LOGS)?,
        on_exit: sources.get(&settings::ON_EXIT)?,
        on_removed: sources.get(&settings::ON_REMOVED)?,
        log_file: sources.get(&settings::LOG_FILE)?,
        policy: policy(sources, &state_directory)?,
        state_directory,
        host_id: host_id?,
        parallel_operations: sources.get(&settings::PARALLEL_OPERATIONS)?,
        parallel_pulls: sources.get(&settings::PARALLEL_PULLS)?,
        stop_grace: sources.get(&settings::STOP_GRACE)?,
        replace: sources.get(&settings::REPLACE)?,
        replace_window: sources.get(&settings::REPLACE_WINDOW)?,
        resync: sources.get(&settings::RESYNC)?,
        hardening: hardening(sources)?,
        status_socket: status_socket(sources),
        metrics: sources.get(&settings::METRICS),
        http: sources.get(&settings::HTTP),
        docker_host: sources.get(&settings::DOCKER_HOST),
        container_host: sources.get(&settings::CONTAINER_HOST),
        xdg_runtime_dir: sources.get(&settings::XDG_RUNTIME_DIR),
        no_color: sources.get(&settings::NO_COLOR).is_some(),
        systemd: systemd(sources),
    })
}

/// Plain http is allowed only to this host, or to `MANAGED_APP_FAKE_CLOUD`.
fn endpoint(sources: &mut Sources<'_>, setting: &'static Setting<Parsed<String>>) -> Option<String> {
    let url = sources.get(setting)?;
    let is_private = kinds::is_private(&url, sources.get(&settings::FAKE_CLOUD).as_deref());
    if !is_private {
        sources.invalid(setting);
    }
    is_private.then_some(url)
}

/// Files and sockets of the daemon are sensitive: nodes may mount them only if the setting names them.
fn policy(sources: &Sources<'_>, state_directory: &Path) -> Option<Policy> {
    let registries = sources.get(&settings::ALLOWED_REGISTRIES)?;
    let bind_mounts = sources.get(&settings::ALLOWED_BIND_MOUNTS)?;
    let engines = [&settings::DOCKER_HOST, &settings::CONTAINER_HOST].map(|setting| sources.get(setting));
    let files = [Some(state_directory), sources.env_file()].into_iter().flatten().filter_map(Path::to_str);
    let sockets = engines.iter().filter_map(|engine| engine.as_ref()?.strip_prefix("unix://"));
    Some(Policy { registries, bind_mounts: bind_mounts.and_sensitive(files.chain(sockets)) })
}

fn hardening(sources: &Sources<'_>) -> Option<Hardening> {
    Some(Hardening {
        no_new_privileges: sources.get(&settings::NODE_NO_NEW_PRIVILEGES)?,
        dropped_capabilities: sources.get(&settings::NODE_DROP_CAPABILITIES).unwrap_or_default(),
        pids_max: sources.get(&settings::NODE_PIDS_MAX),
        memory_bytes_max: sources.get(&settings::NODE_MEMORY_MAX),
    })
}

fn node_log_options(sources: &Sources<'_>) -> Option<NodeLogOptions> {
    let awslogs = if sources.get(&settings::AWSLOGS_MODE)? {
        AwslogsMode::Blocking
    } else {
        AwslogsMode::NonBlocking { buffer_bytes_max: sources.get(&settings::AWSLOGS_BUFFER)? }
    };
    Some(NodeLogOptions {
        awslogs,
        file_bytes_max: sources.get(&settings::NODE_LOG_SIZE)?,
        files_max: sources.get(&settings::NODE_LOG_FILES)?,
    })
}

impl ClientConfig {
    /// Like [`Config::load`], for commands that only connect to the daemon.
    pub fn load(flags: &Flags, environment: impl Fn(&str) -> Option<String>) -> Result<Self, ConfigErrors> {
        let file = EnvFile::read(flags.env_file.as_deref(), |path| std::fs::read_to_string(path));
        let mut sources = Sources::new(flags, &environment, file);
        sources.check(&[&settings::STATUS_SOCKET, &settings::STATE_DIRECTORY, &settings::NO_COLOR]);
        let config = Self {
            status_socket: status_socket(&sources),
            state_directory: state_directory(&sources),
            no_color: sources.get(&settings::NO_COLOR).is_some(),
        };
        if sources.problems.is_empty() { Ok(config) } else { Err(ConfigErrors(sources.problems)) }
    }
}

fn status_socket(sources: &Sources<'_>) -> Option<PathBuf> {
    let by_systemd = || Some(systemd_directory(sources, "RUNTIME_DIRECTORY")?.join("status.sock"));
    let default = || by_systemd().unwrap_or_else(|| settings::DEFAULT_STATUS_SOCKET.into());
    sources.get(&settings::STATUS_SOCKET).unwrap_or_else(|| Some(default()))
}

fn state_directory(sources: &Sources<'_>) -> PathBuf {
    let by_systemd = || systemd_directory(sources, "STATE_DIRECTORY");
    let given = sources.get(&settings::STATE_DIRECTORY).or_else(by_systemd);
    given.unwrap_or_else(|| settings::DEFAULT_STATE_DIRECTORY.into())
}

/// systemd passes a colon-separated list; the first entry is that of the daemon.
fn systemd_directory(sources: &Sources<'_>, variable: &str) -> Option<PathBuf> {
    kinds::path(sources.process_only(variable)?.split(':').next()?)
}

/// The machine ID has priority, because it does not change with the host name.
fn host_id(sources: &mut Sources<'_>, read: &dyn Fn(&Path) -> io::Result<String>) -> Option<String> {
    if sources.find(&settings::HOST_ID).is_some() {
        return sources.get(&settings::HOST_ID);
    }
    let line_of = |path| settings::HOST_ID.parse(read(Path::new(path)).ok()?.trim());
    // systemd writes "uninitialized" into images that have not been booted yet.
    let found = line_of(MACHINE_ID).filter(|id| id != "uninitialized").or_else(|| line_of(HOST_NAME));
    if found.is_none() {
        sources.missing(&settings::HOST_ID);
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
