//! The environment of one test: a host with a fake cloud, an engine, images, and one tag in all names. Dropping it
//! removes everything with the tag from the engine.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};

use managed_app::host::lock_directory;
use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::commands::Node;
use managed_app_fakes::node_image::Options;
use managed_app_runtimes::{RegistryCredentials, names};
use secrecy::SecretString;
use tempfile::TempDir;

use crate::engine::{Container, Engine};
use crate::images::{self, Pushed};
use crate::support::{Builder, Host};
use crate::wait::{eventually, until};

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The container port of all test nodes.
pub const NODE_PORT: u16 = 7070;
/// Stop grace of the daemons here.
pub const GRACE: &str = "10s";

/// Fields are dropped in this order: the daemon must be gone before its containers are removed.
pub struct EngineHarness {
    pub host: Host,
    pub engine: Engine,
    /// A part of every name of this test.
    pub tag: String,
    /// A directory with a `shutdown` that records its arguments.
    bin: TempDir,
    sweeper: Sweeper,
}

impl EngineHarness {
    pub async fn new(engine: Engine) -> Self {
        Self::create(engine, str::to_owned, |builder| builder).await
    }

    /// With an app name from `app`, which gets the tag; the name must start with it.
    pub async fn with_app(engine: Engine, app: impl FnOnce(&str) -> String) -> Self {
        Self::create(engine, app, |builder| builder).await
    }

    /// With settings for the daemon.
    pub async fn with(engine: Engine, settings: impl FnOnce(Builder) -> Builder) -> Self {
        Self::create(engine, str::to_owned, settings).await
    }

    async fn create(
        engine: Engine,
        app: impl FnOnce(&str) -> String,
        settings: impl FnOnce(Builder) -> Builder,
    ) -> Self {
        let tag = format!("et{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let cloud = FakeCloud::builder().app(&app(&tag)).start().await.expect("127.0.0.1 has free ports");
        cloud.registry.set_password(&images::password());
        let bin = recording_shutdown();
        let builder = Builder::new(cloud, engine.runtime().await)
            .set("MANAGED_APP_HOST_ID", &tag)
            .set("MANAGED_APP_STOP_GRACE", GRACE)
            .search_path(bin.path());
        let sweeper = Sweeper { engine, tag: tag.clone(), image_ids: Mutex::default() };
        Self { host: settings(builder).off(), engine, tag, bin, sweeper }
    }

    pub fn cloud(&self) -> &FakeCloud {
        &self.host.cloud
    }

    /// The name of a node of this test, which is also a valid container name.
    pub fn name(&self, node: &str) -> String {
        format!("{}-{node}", self.tag)
    }

    /// A reference into the private registry, such as `<registry>/<tag>/node:1` for `node:1`.
    pub fn image(&self, repository_and_tag: &str) -> String {
        format!("{}/{}/{repository_and_tag}", images::private_registry(), self.tag)
    }

    /// Pushes a default image of the test node to the private registry; returns its reference.
    pub async fn push(&self, repository_and_tag: &str, version: &str) -> String {
        let reference = self.image(repository_and_tag);
        self.push_as(&reference, version, Options::default()).await;
        reference
    }

    /// Pushes an image of the test node under any name; returns its ID.
    pub async fn push_as(&self, reference: &str, version: &str, options: Options) -> String {
        self.push_whole(reference, version, options).await.id
    }

    /// As [`EngineHarness::push_as`]; returns ID and digest. Every node listens on [`NODE_PORT`].
    pub async fn push_whole(&self, reference: &str, version: &str, options: Options) -> Pushed {
        let options = Options { listen: Some(NODE_PORT), ..options };
        let pushed = images::push(reference, &self.version(version), &options).await;
        self.sweeper.image_ids.lock().expect("no holder panics").push(pushed.id.clone());
        pushed
    }

    /// Pushes a default image and pulls it, for containers that the test creates itself; returns its reference.
    pub async fn push_and_pull(&self, repository_and_tag: &str) -> String {
        let reference = self.push(repository_and_tag, repository_and_tag).await;
        let image = reference.parse().expect("the reference is good");
        let credentials =
            RegistryCredentials { username: "AWS".to_owned(), password: SecretString::from(images::password()) };
        self.host.engine.pull(&image, Some(&credentials), &|_| ()).await.expect("the image can be pulled");
        reference
    }

    /// The version in the greeting of an image that was pushed as `version`.
    pub fn version(&self, version: &str) -> String {
        format!("{}.{version}", self.tag)
    }

    /// Adds a node with the name [`EngineHarness::name`] of `node`.
    pub fn add(&self, node: &str, describe: impl FnOnce(Node) -> Node) {
        self.cloud().add_node(&self.name(node), describe);
    }

    /// Adds nodes of one type, pushes its image, starts the daemon, and waits for the desired state. Returns their
    /// containers.
    pub async fn started_with<const COUNT: usize>(&mut self, nodes: [&str; COUNT]) -> [Container; COUNT] {
        let containers = self.started_beside(nodes).await;
        self.host.converged().await;
        containers
    }

    /// As [`EngineHarness::started_with`], beside nodes that fail: waits only until these nodes run.
    pub async fn started_beside<const COUNT: usize>(&mut self, nodes: [&str; COUNT]) -> [Container; COUNT] {
        let image = self.push("node:1", "1").await;
        for node in nodes {
            self.add(node, |n| n.of_type("type").image(&image));
        }
        self.host.start();
        self.containers(nodes).await
    }

    /// The containers of nodes, which must run.
    pub async fn containers<const COUNT: usize>(&self, nodes: [&str; COUNT]) -> [Container; COUNT] {
        let mut found = Vec::new();
        for node in nodes {
            found.push(self.running(node).await);
        }
        found.try_into().expect("as many as nodes")
    }

    /// The arguments of `shutdown`, if it was called.
    pub fn shutdown_call(&self) -> Option<String> {
        std::fs::read_to_string(self.bin.path().join("arguments")).ok()
    }

    /// The directory of the recording `shutdown`, without other programs.
    pub fn search_path(&self) -> PathBuf {
        self.bin.path().to_owned()
    }

    /// The name of the container of a node in the engine.
    pub fn container_name(&self, node: &str) -> String {
        names::container_name(&self.name(node))
    }

    /// The container of a node, which must exist.
    pub async fn container(&self, node: &str) -> Container {
        self.engine.container(&self.container_name(node)).await
    }

    /// Waits until the container of a node runs.
    pub async fn running(&self, node: &str) -> Container {
        self.becomes(node, "runs", |_| true).await
    }

    /// Waits until the container of a node runs and `is_so` holds.
    pub async fn becomes(&self, node: &str, what: &str, is_so: impl Fn(&Container) -> bool) -> Container {
        let name = self.container_name(node);
        eventually(&format!("{name} {what}"), async || {
            self.engine.find(&name).await.filter(|found| found.is_running() && is_so(found))
        })
        .await
    }

    /// Waits until a node runs again in the same container.
    pub async fn restarted(&self, node: &str, before: &Container) -> Container {
        let is_next = |now: &Container| now.id() == before.id() && now.started_at() != before.started_at();
        self.becomes(node, "is restarted", is_next).await
    }

    /// Waits until a node runs in another container and the old one is removed.
    pub async fn replaced(&self, node: &str, before: &Container) -> Container {
        let now = self.becomes(node, "is replaced", |now| now.id() != before.id()).await;
        until("the old container is gone", async || self.engine.find(before.id()).await.is_none()).await;
        now
    }

    /// Waits until a node has no container.
    pub async fn gone(&self, node: &str) {
        let name = self.container_name(node);
        until(&format!("{name} is gone"), async || self.engine.find(&name).await.is_none()).await;
    }

    /// Asserts that the container of a node is still in the same run.
    pub async fn assert_untouched(&self, node: &str, before: &Container) {
        let now = self.container(node).await;
        assert!(now.is_same_run(before), "{node} was touched: {:?} -> {:?}", before.run(), now.run());
    }
}

/// Removes everything of a test from its engine.
struct Sweeper {
    engine: Engine,
    tag: String,
    image_ids: Mutex<Vec<String>>,
}

impl Sweeper {
    /// Ignores errors: the object may not exist, and a drop must not panic.
    fn run(&self, arguments: &[&str]) -> Vec<String> {
        let output = self.engine.command().args(arguments).stdin(Stdio::null()).stderr(Stdio::null()).output();
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// Removes the objects that `list` prints with `remove`, if there are any.
    fn sweep(&self, list: &[&str], remove: &[&str]) {
        let found = self.run(list);
        if !found.is_empty() {
            self.run(&remove.iter().copied().chain(found.iter().map(String::as_str)).collect::<Vec<_>>());
        }
    }
}

impl Drop for Sweeper {
    fn drop(&mut self) {
        let filter = format!("name={}", self.tag);
        self.sweep(&["ps", "--all", "--quiet", "--filter", &filter], &["rm", "--force", "--volumes"]);
        self.sweep(&["network", "ls", "--quiet", "--filter", &filter], &["network", "rm"]);
        self.sweep(&["volume", "ls", "--quiet", "--filter", &filter], &["volume", "rm"]);
        let ids = self.image_ids.lock().map(|ids| ids.clone()).unwrap_or_default();
        if !ids.is_empty() {
            self.run(&["rmi", "--force"].into_iter().chain(ids.iter().map(String::as_str)).collect::<Vec<_>>());
        }
        // The daemon never removes its lock files; nobody uses this app again.
        for entry in std::fs::read_dir(lock_directory()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().starts_with(&format!("{}-", self.tag)) {
                let _ = std::fs::remove_file(entry.path());
            }
        }
    }
}

/// Another process writes the script: if this process had it open for writing while another test forks, its execution
/// would fail with "text file busy".
fn recording_shutdown() -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let write = r#"printf '#!/bin/sh\necho "$@" > "${0%%/*}/arguments"\n' > "$1" && chmod 755 "$1""#;
    let done = std::process::Command::new("sh").args(["-c", write, "sh"]).arg(folder.path().join("shutdown")).status();
    assert!(done.expect("sh is installed").success(), "the script cannot be written");
    folder
}
