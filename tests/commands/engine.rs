//! The commands on the private engines of `scripts/engines`: Docker and Podman.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use managed_app_fakes::cloud::commands::Port;
use managed_app_fakes::node_image;
use tokio::time::{Instant, sleep};

use crate::harness::{Harness, unique};

/// Limit for the start of a container.
const UP_LIMIT: Duration = Duration::from_secs(60);
/// The architecture of this host as images name it.
const MACHINE: &str = if cfg!(target_arch = "aarch64") { "for arm64" } else { "for amd64" };
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// A private engine, used through its command line. Dropping it removes everything that the test created.
struct Engine {
    program: &'static str,
    endpoint: String,
    image: String,
    app: String,
}

impl Engine {
    async fn docker(harness: &mut Harness) -> Self {
        let engine = Self::new("docker", "MANAGED_APP_TEST_DOCKER", harness);
        harness.set("MANAGED_APP_RUNTIME", "docker");
        harness.set("DOCKER_HOST", &engine.endpoint);
        engine
    }

    async fn podman(harness: &mut Harness) -> Self {
        let engine = Self::new("podman", "MANAGED_APP_TEST_PODMAN", harness);
        harness.set("MANAGED_APP_RUNTIME", "podman");
        harness.set("CONTAINER_HOST", &engine.endpoint);
        engine
    }

    /// An engine with a local image of the test node that is in no registry.
    fn new(program: &'static str, variable: &str, harness: &Harness) -> Self {
        let missing = "start the private engines: scripts/engines up && eval \"$(scripts/engines env)\"";
        let endpoint = std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is missing; {missing}"));
        let image = format!("registry.invalid/{}:1", unique("commands"));
        let engine = Self { program, endpoint, image, app: harness.app().to_owned() };
        engine.load(harness, node_image::archive(&engine.image, &engine.image));
        engine
    }

    fn load(&self, harness: &Harness, archive: Vec<u8>) {
        let path = harness.folder().join("image.tar");
        std::fs::write(&path, archive).expect("a file");
        self.stdout_of(&["load", "--input", path.to_str().expect("a plain path")]);
        std::fs::remove_file(path).expect("it was there");
    }

    /// Replaces the image of the test node by one for another architecture. Engines accept it until it is run.
    fn load_foreign(&self, harness: &Harness) {
        let mut archive = node_image::archive(&self.image, &self.image);
        let field = |architecture: &str| format!("\"architecture\":\"{architecture}\"");
        let (ours, theirs) = (field(if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }), field("s390x"));
        let at = archive
            .windows(ours.len())
            .position(|window| window == ours.as_bytes())
            .expect("the archive has the field");
        archive[at..at + ours.len()].copy_from_slice(theirs.as_bytes());
        self.load(harness, archive);
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let address = if self.program == "docker" { "--host" } else { "--url" };
        let mut command = Command::new(self.program);
        command.arg(address).arg(&self.endpoint).args(arguments).stdin(Stdio::null());
        command.output().expect("the command of the engine is installed")
    }

    /// The output of the command of the engine.
    fn stdout_of(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{} {arguments:?}: {error}", self.program);
        String::from_utf8(output.stdout).expect("text").trim().to_owned()
    }

    fn filter(&self) -> String {
        format!("label=stream.echo.managed-app.app={}", self.app)
    }

    /// All containers and networks of the app, with the fields that a change affects.
    fn state(&self) -> String {
        let filter = self.filter();
        let containers = self.stdout_of(&["ps", "--all", "--no-trunc", "--quiet", "--filter", &filter]);
        let mut ids: Vec<&str> = containers.lines().collect();
        ids.sort_unstable();
        let form = "{{.ID}} {{.Name}} {{.Image}} {{.State.Status}} {{.State.StartedAt}} {{.HostConfig.PortBindings}}";
        let form = if self.program == "docker" { form } else { "{{.ID}} {{.Name}} {{.State.StartedAt}}" };
        let details = if ids.is_empty() {
            String::new()
        } else {
            self.stdout_of(&[&["inspect", "--format", form], &*ids].concat())
        };
        let networks = self.stdout_of(&["network", "ls", "--quiet", "--filter", &filter]);
        format!("{details}\n{networks}")
    }

    /// Waits until this number of containers of the app run.
    async fn wait_running(&self, count: usize) {
        let until = Instant::now() + UP_LIMIT;
        while self.stdout_of(&["ps", "--quiet", "--filter", &self.filter()]).lines().count() != count {
            assert!(Instant::now() < until, "the containers of the app do not start: {}", self.state());
            sleep(POLL_INTERVAL).await;
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        for (list, remove) in
            [(&["ps", "--all"][..], &["rm", "--force", "--volumes"][..]), (&["network", "ls"], &["network", "rm"])]
        {
            let filter = self.filter();
            let found = self.run(&[list, &["--quiet", "--filter", &filter]].concat());
            let found = String::from_utf8_lossy(&found.stdout).into_owned();
            for id in found.lines() {
                self.run(&[remove, &[id]].concat());
            }
        }
        self.run(&["rmi", &self.image]);
    }
}

/// Runs the daemon until its nodes are up, then stops it and leaves them running.
async fn start_existing(harness: &Harness, engine: &Engine, count: usize) {
    let mut daemon = harness.start(&["run", "--on-exit", "leave"]);
    engine.wait_running(count).await;
    let pid = daemon.id().expect("it runs").to_string();
    let killed = Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there");
    assert!(killed.success());
    let ended = tokio::time::timeout(UP_LIMIT, daemon.wait()).await.expect("it ends in time").expect("it ran");
    assert_eq!(ended.code(), Some(0));
}

/// The plan before, between and after changes. Planning changes neither engine nor disk.
async fn follows_changes(harness: &Harness, engine: &Engine) {
    harness.cloud.add_node("a", |node| node.image(&engine.image));
    harness.cloud.add_node("b: second", |node| node.image(&engine.image));
    let before = engine.state();
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("pull image", &[&engine.image, "a local copy exists"]);
    ran.shows("create node \"a\"", &["it has no container"]);
    assert_eq!(engine.state(), before);
    assert!(!harness.state().exists());

    start_existing(harness, engine, 2).await;
    let (up, disk) = (engine.state(), harness.disk());
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("nothing node \"a\"", &["matches the desired state"]);
    ran.shows("no action for 2 nodes", &[]);

    harness.cloud.connect("a", "elsewhere");
    harness.cloud.change_ports("b: second", vec![Port::tcp(47_911, 80)]);
    harness.cloud.add_node("c", |node| node.image(&engine.image));
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("restart node \"a\"", &["startup inputs changed"]);
    ran.shows("replace node \"b: second\"", &["changed: ports"]);
    ran.shows("create node \"c\"", &[]);
    ran.shows("3 of 3 nodes need an action", &[]);

    harness.cloud.remove_node("a");
    let ran = harness.run(&["plan"]).await;
    ran.shows("remove node \"a\"", &["was removed"]);
    assert_eq!(engine.state(), up, "planning does not change the engine");
    assert_eq!(harness.disk(), disk, "planning does not change the disk");
}

#[tokio::test]
async fn plan_follows_changes_on_docker() {
    let mut harness = Harness::new().await;
    harness.set("MANAGED_APP_NODE_LOGS", "engine");
    let engine = Engine::docker(&mut harness).await;
    follows_changes(&harness, &engine).await;
}

#[tokio::test]
async fn plan_follows_changes_on_podman() {
    let mut harness = Harness::new().await;
    let engine = Engine::podman(&mut harness).await;
    follows_changes(&harness, &engine).await;
}

#[tokio::test]
async fn strangers_are_never_named() {
    let mut harness = Harness::new().await;
    harness.set("MANAGED_APP_NODE_LOGS", "engine");
    let engine = Engine::docker(&mut harness).await;
    let stranger = unique("commands-stranger");
    engine.stdout_of(&["create", "--name", &stranger, &engine.image]);
    harness.cloud.add_node("a", |node| node.image(&engine.image));
    let (check, plan) = (harness.run(&["check"]).await, harness.run(&["plan"]).await);
    let still = engine.run(&["rm", &stranger]);
    assert!(still.status.success(), "the stranger is still there");
    for ran in [check, plan] {
        assert_eq!(ran.code, 0, "{}", ran.all());
        assert!(!ran.all().contains(&stranger), "{}", ran.all());
    }
}

#[tokio::test]
async fn check_on_docker_tries_the_groups_of_nodes() {
    let mut harness = Harness::new().await;
    let engine = Engine::docker(&mut harness).await;
    harness.cloud.add_node("a", |node| node.image(&engine.image));
    harness.cloud.add_node("b", |node| node.image(&engine.image));
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("ok engine", &["docker", MACHINE, &engine.endpoint]);
    ran.shows("ok disk space images:", &["MiB free at"]);
    ran.shows(
        "ok node output",
        &["docker keeps it", "the daemon ships it", "dockerd has no AWS credentials of its own"],
    );
    ran.shows("ok image", &[&engine.image, "a local copy exists"]);
    ran.shows("ok node log groups", &["all 2"]);

    let group = harness.cloud.node_log_group("b");
    harness.cloud.cloudwatch.delete_group(&harness.cloud.world().tenant.region, &group);
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed node log group", &[&group, "never by this program"]);
}

/// The registries of these images do not belong to AWS: only the local image shows the architecture.
#[tokio::test]
async fn check_reports_a_local_image_of_another_architecture() {
    for program in ["docker", "podman"] {
        let mut harness = Harness::new().await;
        let engine = match program {
            "docker" => Engine::docker(&mut harness).await,
            _ => Engine::podman(&mut harness).await,
        };
        harness.cloud.add_node("a", |node| node.image(&engine.image));
        let image = format!("ok image {}:", engine.image);
        harness.run(&["check"]).await.shows(&image, &[&format!("{MACHINE}; a local copy exists")]);
        engine.load_foreign(&harness);
        let ran = harness.run(&["check"]).await;
        assert_eq!(ran.code, 78, "{program}: {}", ran.all());
        ran.shows(&image.replace("ok", "failed"), &["it is for s390x, and this host is"]);
    }
}

#[tokio::test]
async fn check_on_podman_reports_missing_awslogs() {
    let mut harness = Harness::new().await;
    let engine = Engine::podman(&mut harness).await;
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("ok engine", &["podman", MACHINE, &engine.endpoint]);
    ran.shows("ok disk space images:", &["MiB free at"]);
    ran.shows("ok node output", &["podman keeps it"]);
    harness.set("MANAGED_APP_NODE_LOGS", "awslogs");
    let ran = harness.run(&["check"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("failed node output", &["podman has no awslogs", "MANAGED_APP_NODE_LOGS=agent"]);
}

#[tokio::test]
async fn auto_prefers_the_engine_that_holds_the_app() {
    let mut harness = Harness::new().await;
    harness.set("MANAGED_APP_NODE_LOGS", "engine");
    let docker = Engine::docker(&mut harness).await;
    let podman = Engine::podman(&mut harness).await;
    harness.set("MANAGED_APP_RUNTIME", "auto");
    let ran = harness.run(&["check"]).await;
    ran.shows("ok engine", &["docker", &docker.endpoint]);
    assert!(ran.stderr.contains("engine chosen") && ran.stderr.contains("preferred"), "{}", ran.all());

    harness.set("MANAGED_APP_RUNTIME", "podman");
    harness.cloud.add_node("a", |node| node.image(&podman.image));
    start_existing(&harness, &podman, 1).await;
    harness.set("MANAGED_APP_RUNTIME", "auto");
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    assert!(ran.stderr.contains("it already holds containers of this app"), "{}", ran.all());
    ran.shows("app", &["podman", &podman.endpoint]);
    ran.shows("nothing node \"a\"", &[]);
}
