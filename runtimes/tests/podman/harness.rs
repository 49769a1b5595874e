//! Shared helpers of these tests: the engine, unique names, specs, the `podman` command, and the cleanup.

use std::collections::BTreeMap;
use std::future::Future;
use std::os::unix::fs::symlink;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use managed_app_runtimes::podman::PodmanRuntime;
use managed_app_runtimes::{
    Container, ContainerId, ContainerRuntime, ContainerSpec, EnvValue, Limits, LogSettings, Owner,
};

/// Runs until it is stopped, and ends at once on SIGTERM.
pub(crate) const OBEDIENT: &str = "trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.1; done";
/// Ignores SIGTERM.
pub(crate) const STUBBORN: &str = "trap '' TERM; echo up; while :; do sleep 0.1; done";
/// Limit for anything that should take a second or two.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The environment of one test: an owner, a network, an image. Dropping it removes all of them.
pub(crate) struct Harness {
    pub(crate) engine: PodmanRuntime,
    pub(crate) owner: Owner,
    /// Suffix of every name; also the app, so also the network.
    pub(crate) app: String,
    endpoint: String,
}

impl Harness {
    /// A new harness with its network and image.
    pub(crate) async fn new() -> Self {
        let harness = Self::bare().await;
        harness.build_image();
        harness.engine.ensure_network(&harness.app, &harness.owner).await.expect("the network is made");
        harness
    }

    /// A new harness without network and image.
    pub(crate) async fn bare() -> Self {
        let endpoint = endpoint();
        let engine = PodmanRuntime::connect(&endpoint, Limits::default()).await.unwrap_or_else(|error| {
            let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
            panic!("no Podman answers at {endpoint}: {error}: {source}; start it with: podman system service --time=0 {endpoint}")
        });
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let app = format!("mapt{}x{number}", std::process::id());
        let owner = Owner { app: app.clone(), tenant: "tenant".to_owned(), host: "host".to_owned() };
        Self { engine, owner, app, endpoint }
    }

    /// Name of a container of this test.
    pub(crate) fn name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.app)
    }

    /// Reference of this test's image; it runs the script in the variable `RUN`.
    pub(crate) fn image(&self) -> String {
        format!("localhost/{}:run", self.app)
    }

    /// A spec with our labels that runs `script`.
    pub(crate) fn spec(&self, suffix: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: self.name(suffix),
            hostname: suffix.to_owned(),
            image: self.image().parse().expect("the reference is valid"),
            env: BTreeMap::from([("RUN".to_owned(), EnvValue::Plain(script.to_owned()))]),
            labels: self.owner.labels(),
            network: self.app.clone(),
            aliases: [].into(),
            ports: Vec::new(),
            mounts: Vec::new(),
            logs: LogSettings::Engine { file_bytes_max: 1_000_000, files_max: 2 },
            stop_grace: Duration::from_secs(30),
            hardening: Default::default(),
        }
    }

    /// Creates and starts `script`.
    pub(crate) async fn run(&self, suffix: &str, script: &str) -> ContainerId {
        let id = self.engine.create(&self.spec(suffix, script)).await.expect("the container is made");
        self.engine.start(&id).await.expect("the container starts");
        id
    }

    /// The listed container with `id`.
    pub(crate) async fn listed(&self, id: &ContainerId) -> Option<Container> {
        let all = self.engine.list(&self.owner).await.expect("the list answers");
        all.into_iter().find(|container| container.id == *id)
    }

    /// Runs the `podman` command against the same engine; returns its output without the last newline.
    pub(crate) fn podman(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().expect("the command podman is installed");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "podman {arguments:?} failed: {errors}");
        String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
    }

    /// Starts a container by the command, like another user; retries when Podman's name server interferes.
    pub(crate) async fn start_by_command(&self, id: &str) {
        let start = || async { self.command(&["start", id]).output().is_ok_and(|output| output.status.success()) };
        eventually("podman start", start).await;
    }

    /// One field of `podman inspect`, as a Go template.
    pub(crate) fn inspect(&self, id: &ContainerId, template: &str) -> String {
        self.podman(&["container", "inspect", "--format", template, &id.0])
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("podman");
        command.arg("--url").arg(&self.endpoint).args(arguments);
        command
    }

    fn build_image(&self) {
        let context = tempfile::tempdir().expect("a temporary folder");
        let bin = context.path().join("bin");
        std::fs::create_dir(&bin).expect("a folder");
        std::fs::copy("/bin/busybox", bin.join("busybox")).expect("a static /bin/busybox (package busybox-static)");
        for applet in ["sh", "sleep", "echo", "head", "tr", "printf", "cat"] {
            symlink("busybox", bin.join(applet)).expect("a link");
        }
        // A unique file makes a unique layer: concurrent tests do not remove each other's.
        std::fs::write(bin.join("id"), &self.app).expect("a file");
        let file = context.path().join("Containerfile");
        let text = format!(
            "FROM scratch\nCOPY bin /bin\nLABEL test={}\nCMD [\"/bin/sh\", \"-c\", \"eval \\\"$RUN\\\"\"]\n",
            self.app
        );
        std::fs::write(&file, text).expect("a file");
        let (file, context) = (file.display().to_string(), context.path().display().to_string());
        self.podman(&["build", "-q", "--layers=false", "-t", &self.image(), "-f", &file, &context]);
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let ids = |kind: &[&str], filter: &str| {
            let output = self.command(kind).args(["-q", "--filter", filter]).output();
            let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
            text.lines().map(str::to_owned).collect::<Vec<_>>()
        };
        for id in ids(&["ps", "-a"], &format!("name={}", self.app)) {
            let _ = self.command(&["rm", "-f", "-v", "-t", "0", &id]).output();
        }
        for volume in ids(&["volume", "ls"], &format!("name={}", self.app)) {
            let _ = self.command(&["volume", "rm", "-f", &volume]).output();
        }
        let _ = self.command(&["network", "rm", &self.app]).output();
        for image in ids(&["images", "--no-trunc"], &format!("label=test={}", self.app)) {
            let _ = self.command(&["rmi", "-f", &image]).output();
        }
    }
}

/// The engine under test.
pub(crate) fn endpoint() -> String {
    std::env::var("CONTAINER_HOST").unwrap_or_else(|_| "unix:///run/podman/podman.sock".to_owned())
}

/// Polls until `condition` holds, and fails with `what` after [`LIMIT`].
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut condition: impl FnMut() -> F) {
    let start = Instant::now();
    while !condition().await {
        assert!(start.elapsed() < LIMIT, "waited in vain for: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
