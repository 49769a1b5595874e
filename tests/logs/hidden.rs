//! A daemon without access to the directory of its engine, as on a host that forbids it.

use std::path::{Path, PathBuf};

use serde_json::Value;
use tokio::process::Command;

use crate::engine::{Container, Engine};
use crate::engine_harness::EngineHarness;
use crate::process::{BINARY, Process};

/// The data directory of an engine, which contains the output of containers.
pub async fn folder(engine: Engine) -> PathBuf {
    let field = match engine {
        Engine::Docker => "{{.DockerRootDir}}",
        Engine::Podman => "{{.Store.GraphRoot}}",
    };
    PathBuf::from(engine.run(&["info", "--format", field]).await)
}

/// Starts the daemon of a harness in a mount namespace in which this directory is empty. Needs root.
pub fn start(hidden: &Path, engine_harness: &EngineHarness, more: &[(&str, &str)]) -> Process {
    let mut command = Command::new("/usr/bin/unshare");
    command.args(["--mount", "--propagation", "private", "/bin/sh", "-c"]);
    command.arg(r#"/usr/bin/mount -t tmpfs none "$0" && exec "$@""#).arg(hidden).arg(BINARY);
    Process::start_by(command, engine_harness, more)
}

/// The log file of this container.
pub fn log_path(container: &Container) -> PathBuf {
    let paths = [&container.0["LogPath"], &container.0["HostConfig"]["LogConfig"]["Path"]];
    let path = paths.into_iter().filter_map(Value::as_str).find(|path| !path.is_empty());
    PathBuf::from(path.expect("its output is kept in a file"))
}

/// Whether the log file exists, but not for this daemon.
pub fn is_hidden(container: &Container, daemon: &Process) -> bool {
    let path = log_path(container);
    path.exists() && !Path::new(&format!("/proc/{}/root{}", daemon.id(), path.display())).exists()
}
