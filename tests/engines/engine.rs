//! One container engine, observed and changed through its command line: the view of an operator, independent of the
//! code of the daemon.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::docker::DockerRuntime;
use managed_app_runtimes::podman::PodmanRuntime;
use managed_app_runtimes::{ContainerRuntime, Limits};
use serde_json::Value;
use tokio::process::Command;

/// Limit of one command of an engine.
const COMMAND_LIMIT: Duration = Duration::from_secs(60);
/// Attempts to create a network.
const NETWORK_ATTEMPTS: usize = 5;

/// An engine of `scripts/engines`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Engine {
    Docker,
    Podman,
}

impl Engine {
    /// Its name for `MANAGED_APP_RUNTIME` and of its command.
    pub fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Podman => "podman",
        }
    }

    /// The address of its socket.
    pub fn endpoint(self) -> String {
        match self {
            Self::Docker => variable("MANAGED_APP_TEST_DOCKER"),
            Self::Podman => variable("MANAGED_APP_TEST_PODMAN"),
        }
    }

    /// The variable with its address for the daemon, and its value.
    pub fn address(self) -> (&'static str, String) {
        match self {
            Self::Docker => ("DOCKER_HOST", self.endpoint()),
            Self::Podman => ("CONTAINER_HOST", self.endpoint()),
        }
    }

    /// The client of the daemon for it.
    pub async fn runtime(self) -> Arc<dyn ContainerRuntime> {
        let endpoint = self.endpoint();
        match self {
            Self::Docker => {
                Arc::new(DockerRuntime::connect(Some(&endpoint), Limits::default()).expect("the address is good"))
            }
            Self::Podman => {
                Arc::new(PodmanRuntime::connect(&endpoint, Limits::default()).await.expect("Podman answers"))
            }
        }
    }

    /// Its command with the address set.
    pub fn command(self) -> std::process::Command {
        let mut command = std::process::Command::new(self.name());
        match self {
            Self::Docker => command.args(["--host", &self.endpoint()]),
            Self::Podman => command.args(["--remote", "--url", &self.endpoint()]),
        };
        // Settings of the caller for other engines.
        for name in ["DOCKER_CONTEXT", "DOCKER_CONFIG", "DOCKER_TLS_VERIFY", "DOCKER_CERT_PATH", "DOCKER_API_VERSION"] {
            command.env_remove(name);
        }
        command
    }

    /// Runs its command; the output, or the error output.
    pub async fn try_run(self, arguments: &[&str]) -> Result<String, String> {
        let mut command = Command::from(self.command());
        command.args(arguments).stdin(Stdio::null()).kill_on_drop(true);
        let done = tokio::time::timeout(COMMAND_LIMIT, command.output()).await;
        let output = done.unwrap_or_else(|_| panic!("`{} {arguments:?}` takes too long", self.name()));
        let output = output.unwrap_or_else(|error| panic!("the command `{}` cannot be run: {error}", self.name()));
        if output.status.success() {
            Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
        } else {
            Err(String::from_utf8_lossy(&output.stderr).trim_end().to_owned())
        }
    }

    /// Runs its command, which must succeed; the output.
    pub async fn run(self, arguments: &[&str]) -> String {
        self.try_run(arguments).await.unwrap_or_else(|error| panic!("{} {arguments:?} failed: {error}", self.name()))
    }

    /// Creates a network with its command. Podman fails when an interface of another network is removed while it lists
    /// them.
    pub async fn create_network(self, name: &str) {
        for _ in 0..NETWORK_ATTEMPTS {
            match self.try_run(&["network", "create", name]).await {
                Ok(_) => return,
                Err(error) if error.contains("no such network interface") => {}
                Err(error) => panic!("{} cannot create the network {name}: {error}", self.name()),
            }
        }
        panic!("{} cannot create the network {name} in {NETWORK_ATTEMPTS} attempts", self.name());
    }

    /// Removes the network `name` of a daemon with the same host ID; no container on it may run. Podman refuses this
    /// while stopped containers exist, so its file is removed.
    pub async fn remove_unused_network(self, name: &str) {
        match self {
            Self::Docker => {
                let filter = format!("label=stream.echo.managed-app.host={name}");
                self.run(&["network", "prune", "--force", "--filter", &filter]).await;
            }
            Self::Podman => {
                let file = format!("{}/{name}.json", variable("MANAGED_APP_TEST_PODMAN_NETWORKS"));
                std::fs::remove_file(file).expect("the network has a file");
            }
        }
        assert!(self.try_run(&["network", "inspect", name]).await.is_err(), "the network {name} is still there");
    }

    /// Changes a container externally; a daemon reverts it, possibly before the command ends. `stop` of Podman then
    /// fails, because it cannot clean up a container that runs again. The container was stopped nevertheless.
    pub async fn disturb(self, arguments: &[&str]) {
        if let Err(error) = self.try_run(arguments).await {
            let is_reverted = self == Self::Podman && error.contains("is running or paused, refusing to clean up");
            assert!(is_reverted, "{} {arguments:?} failed: {error}", self.name());
        }
    }

    /// A container by name or ID; `None` if it does not exist.
    pub async fn find(self, name: &str) -> Option<Container> {
        let text = self.try_run(&["container", "inspect", name]).await.ok()?;
        let mut found: Value = serde_json::from_str(&text).expect("the command prints JSON");
        Some(Container(found[0].take()))
    }

    /// A container by name or ID, which must exist.
    pub async fn container(self, name: &str) -> Container {
        self.find(name).await.unwrap_or_else(|| panic!("{} has no container {name}", self.name()))
    }

    /// Names of all containers, in any state, whose name contains `part`.
    pub async fn containers(self, part: &str) -> Vec<String> {
        let filter = format!("name={part}");
        let text = self.run(&["ps", "--all", "--filter", &filter, "--format", "{{.Names}}"]).await;
        let mut names: Vec<String> = text.lines().map(str::to_owned).collect();
        names.sort();
        names
    }
}

/// The output of `inspect` for a container. Both engines print nearly the same.
#[derive(Debug, Clone, PartialEq)]
pub struct Container(pub Value);

impl Container {
    pub fn id(&self) -> &str {
        self.0["Id"].as_str().expect("a container has an id")
    }

    /// The ID of its image with the prefix `sha256:`, which Podman omits.
    pub fn image_id(&self) -> String {
        let id = self.0["Image"].as_str().expect("a container has an image");
        format!("sha256:{}", id.trim_start_matches("sha256:"))
    }

    /// Last start of its process, as the engine prints it.
    pub fn started_at(&self) -> &str {
        self.0["State"]["StartedAt"].as_str().expect("a container has a time of its start")
    }

    pub fn is_running(&self) -> bool {
        self.0["State"]["Running"] == true
    }

    /// Whether this is the same run of the same container.
    pub fn is_same_run(&self, other: &Self) -> bool {
        self.id() == other.id() && self.started_at() == other.started_at() && self.is_running() && other.is_running()
    }

    /// The identity of a run of its process, for messages.
    pub fn run(&self) -> (&str, &str, bool) {
        (self.id(), self.started_at(), self.is_running())
    }

    pub fn label(&self, name: &str) -> Option<&str> {
        self.0["Config"]["Labels"][name].as_str()
    }

    /// The values of the variable `name` in its environment.
    pub fn env(&self, name: &str) -> Vec<&str> {
        let all = self.0["Config"]["Env"].as_array().map(Vec::as_slice).unwrap_or_default();
        let pairs = all.iter().filter_map(|pair| pair.as_str()?.split_once('='));
        pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).collect()
    }

    /// The mount at `target`.
    pub fn mount(&self, target: &str) -> &Value {
        let all = self.0["Mounts"].as_array().map(Vec::as_slice).unwrap_or_default();
        all.iter().find(|mount| mount["Destination"] == target).unwrap_or_else(|| panic!("nothing is at {target}"))
    }

    /// Name of the volume at `target`.
    pub fn volume(&self, target: &str) -> String {
        let mount = self.mount(target);
        assert_eq!(mount["Type"], "volume", "{mount}");
        mount["Name"].as_str().expect("a volume has a name").to_owned()
    }

    /// Names of its networks.
    pub fn networks(&self) -> Vec<&str> {
        let all = self.0["NetworkSettings"]["Networks"].as_object();
        all.into_iter().flat_map(|all| all.keys().map(String::as_str)).collect()
    }
}

/// A variable with the address of an engine.
///
/// # Panics
/// If it is not set: these tests must not pass without engines.
pub fn variable(name: &str) -> String {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    value.unwrap_or_else(|| {
        panic!("{name} is not set, so there is no engine to test with; run scripts/test, or: scripts/engines up && eval \"$(scripts/engines env)\"")
    })
}
