//! The environment of one test: its own owner, network and image, all removed afterwards.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use managed_app_runtimes::docker::DockerRuntime;
use managed_app_runtimes::{
    Container, ContainerId, ContainerRuntime, ContainerSpec, EnvValue, ErrorKind, ImageReference, Limits, LogSettings,
    Owner, PortBinding, Protocol, Result,
};
use tokio::sync::OnceCell;

/// Limit for anything that the engine does by itself.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs until the stop signal, and then ends at once with code 3.
pub(crate) const OBEDIENT: &str = "trap 'exit 3' TERM; while :; do sleep 0.05; done";
/// Runs until it is killed.
pub(crate) const STUBBORN: &str = "trap '' TERM; while :; do sleep 0.05; done";

pub(crate) struct Harness {
    pub(crate) runtime: DockerRuntime,
    pub(crate) owner: Owner,
    pub(crate) image: ImageReference,
}

impl Harness {
    /// A new harness with its network; `name` identifies it in the engine's lists.
    pub(crate) async fn new(name: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let app = format!("dkt-{name}-{}-{number}", std::process::id());
        let image: ImageReference = format!("harness.invalid/{app}:1").parse().expect("a reference");
        let runtime = runtime().await;
        let owner = Owner { app, tenant: "tenant".to_owned(), host: "host".to_owned() };
        import(&image.to_pull(), &[]);
        let harness = Self { runtime, owner, image };
        harness.runtime.ensure_network(&harness.owner.app, &harness.owner).await.expect("a network");
        harness
    }

    /// A container of the harness that runs `script`.
    pub(crate) fn spec(&self, name: &str, script: &str) -> ContainerSpec {
        ContainerSpec {
            name: format!("{}-{name}", self.owner.app),
            hostname: name.to_owned(),
            image: self.image.clone(),
            env: [("RUN".to_owned(), EnvValue::Plain(script.to_owned()))].into(),
            labels: self.owner.labels(),
            network: self.owner.app.clone(),
            aliases: [].into(),
            ports: Vec::new(),
            mounts: Vec::new(),
            logs: LogSettings::Engine { file_bytes_max: 10_000_000, files_max: 2 },
            stop_grace: Duration::from_secs(30),
            hardening: Default::default(),
        }
    }

    pub(crate) async fn started(&self, spec: &ContainerSpec) -> ContainerId {
        let id = self.runtime.create(spec).await.expect("a container");
        self.runtime.start(&id).await.expect("a start");
        id
    }

    pub(crate) async fn found(&self, id: &ContainerId) -> Option<Container> {
        let list = self.runtime.list(&self.owner).await.expect("a list");
        list.into_iter().find(|container| container.id == *id)
    }
}

impl Drop for Harness {
    fn drop(&mut self) {
        let name = format!("name={}", self.owner.app);
        sweep(&["ps", "-aq", "--filter", &name], &["rm", "-fv"]);
        sweep(&["volume", "ls", "-q", "--filter", &name], &["volume", "rm"]);
        sweep(&["network", "ls", "-q", "--filter", &name], &["network", "rm"]);
        let label = format!("label={SITE}={}", self.image.to_pull());
        sweep(&["images", "-q", "--filter", &label], &["rmi", "-f"]);
    }
}

/// Label of an image: the name of its import, which another image may have by now.
const SITE: &str = "harness";

/// Removes the listed objects. A failure does not fail the test, which is complete by now.
fn sweep(list: &[&str], remove: &[&str]) {
    let Ok(output) = Command::new("docker").args(list).output() else { return };
    let names = String::from_utf8_lossy(&output.stdout).into_owned();
    for name in names.lines() {
        let _ = Command::new("docker").args(remove).arg(name).output();
    }
}

/// A runtime on the engine under test; panics with a remedy when there is none.
async fn runtime() -> DockerRuntime {
    static ANSWERS: OnceCell<()> = OnceCell::const_new();
    let endpoint = std::env::var("DOCKER_HOST").ok();
    let runtime = DockerRuntime::connect(endpoint.as_deref(), Limits::default()).expect("a good DOCKER_HOST");
    ANSWERS
        .get_or_init(|| async {
            if let Err(error) = runtime.info().await {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                panic!("these tests need a Docker engine: start dockerd or set DOCKER_HOST ({error}: {cause})");
            }
        })
        .await;
    runtime
}

/// Creates an image of Debian's busybox-static that runs the script in the variable RUN.
pub(crate) fn import(name: &str, changes: &[&str]) {
    let mut command = Command::new("docker");
    command.args(["import", "--change", r#"CMD ["/bin/sh", "-c", "eval \"$RUN\""]"#]);
    let label = format!("LABEL {SITE}={name}");
    for change in changes.iter().copied().chain([label.as_str()]) {
        command.args(["--change", change]);
    }
    let mut child = command
        .args(["-", name])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("the docker command; install docker.io");
    child.stdin.take().expect("a pipe").write_all(&root_folder(name)).expect("docker import reads");
    assert!(child.wait().expect("docker import ends").success());
}

/// Contains `name`, so that no two harnesses share a layer.
fn root_folder(name: &str) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    let busybox = Path::new("/bin/busybox");
    archive.append_path_with_name(busybox, "bin/busybox").expect("/bin/busybox; install busybox-static");
    for name in ["sh", "sleep", "cat", "head", "tr"] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::Symlink);
        header.set_size(0);
        archive.append_link(&mut header, format!("bin/{name}"), "busybox").expect("memory");
    }
    let mut header = tar::Header::new_gnu();
    header.set_size(name.len().try_into().expect("a short name"));
    archive.append_data(&mut header, "name", name.as_bytes()).expect("memory");
    archive.into_inner().expect("memory")
}

/// Runs the engine's command line and returns its output; panics when it fails.
#[track_caller]
pub(crate) fn docker(arguments: &[&str]) -> String {
    let output = Command::new("docker").args(arguments).output().expect("the docker command; install docker.io");
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "docker {arguments:?}: {text}");
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

/// `docker inspect` as JSON.
#[track_caller]
pub(crate) fn inspect(id: &ContainerId) -> serde_json::Value {
    let mut all: Vec<serde_json::Value> = serde_json::from_str(&docker(&["inspect", &id.0])).expect("JSON");
    all.pop().expect("one container")
}

/// Waits until `check` holds.
pub(crate) async fn eventually(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !check().await {
        assert!(Instant::now() < end, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(30)).await;
    }
}

/// Waits for `future` within the limit.
pub(crate) async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.expect("it ends in time")
}

pub(crate) fn tcp(container_port: u16, host_port: u16) -> PortBinding {
    let host_address = std::net::Ipv4Addr::LOCALHOST.into();
    PortBinding { container_port, protocol: Protocol::Tcp, host_address, host_port }
}

/// The kind of a failure, `None` for success.
pub(crate) fn kind<T>(result: Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}
