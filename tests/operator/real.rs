//! `status` and `why` of the real program, asked of a real daemon that keeps real containers: through what users of the
//! cloud change, what others do to a container, an engine and a cloud that are away, and a crash of the daemon.

use std::path::{Path, PathBuf};
use std::time::Duration;

use managed_app::status::{Action, NodeHistory, Outcome, Report};
use managed_app_fakes::cloud::{Fault, Service};
use managed_app_runtimes::conformance::{Disturbance, StallingProxy};
use tempfile::TempDir;

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::process::{self, Process};
use crate::wait::until;

on_each_engine! {
    status_and_why_tell_all_that_happened_through_outages_and_a_crash
}

/// A rig whose daemon is a process that meets its engine through a proxy, and can be asked.
struct StatusHarness {
    engine_harness: EngineHarness,
    proxy: StallingProxy,
    folder: TempDir,
}

impl StatusHarness {
    async fn new(engine: Engine) -> Self {
        let endpoint = engine.endpoint();
        let socket = endpoint.strip_prefix("unix://").expect("scripts/engines listens on a Unix socket");
        let proxy = StallingProxy::start(Path::new(socket)).expect("a proxy needs a temporary folder only");
        Self { engine_harness: EngineHarness::new(engine).await, proxy, folder: tempfile::tempdir().expect("a folder") }
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("status.sock")
    }

    async fn start(&self) -> Process {
        let (variable, _) = self.engine_harness.engine.address();
        let engine = format!("unix://{}", self.proxy.path().display());
        let socket = self.socket().display().to_string();
        let mut daemon =
            Process::start(&self.engine_harness, &[(variable, &engine), ("MANAGED_APP_STATUS_SOCKET", &socket)]);
        daemon.notified("READY=1").await;
        daemon
    }

    async fn ask(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let mut variables = process::variables(&self.engine_harness);
        variables.insert("MANAGED_APP_STATUS_SOCKET".to_owned(), self.socket().display().to_string());
        process::run(&variables, arguments).await
    }

    /// What a command that works prints.
    async fn output_of(&self, arguments: &[&str]) -> String {
        let (code, output) = self.ask(arguments).await;
        assert_eq!(code, Some(0), "{arguments:?}: {output}");
        output
    }

    async fn report(&self) -> Report {
        serde_json::from_str(&self.output_of(&["status", "--json"]).await).expect("JSON")
    }

    async fn history(&self, node: &str) -> Vec<Action> {
        let output = self.output_of(&["why", &self.engine_harness.name(node), "--json"]).await;
        serde_json::from_str::<NodeHistory>(&output).expect("JSON").actions
    }

    async fn until_status(&self, what: &str, is_so: impl Fn(&Report) -> bool) {
        until(what, async || is_so(&self.report().await)).await;
    }

    async fn converged(&self) {
        self.until_status("all is as wanted", |report| report.daemon.is_converged).await;
    }
}

async fn status_and_why_tell_all_that_happened_through_outages_and_a_crash(engine: Engine) {
    let asked = StatusHarness::new(engine).await;
    let engine_harness = &asked.engine_harness;
    let (first, second) = (engine_harness.push("node:1", "1").await, engine_harness.push("node:2", "2").await);
    for node in ["a", "b"] {
        engine_harness.add(node, |n| n.of_type("type").image(&first));
    }
    let mut daemon = asked.start().await;
    let [a, _] = engine_harness.containers(["a", "b"]).await;
    asked.converged().await;
    engine.disturb(&["kill", a.id()]).await;
    let a = engine_harness.restarted("a", &a).await;
    asked.converged().await;
    // The messages of the nodes, from before the start, are looked for again for 17 s: such a look might find the edge before
    // its own message comes.
    tokio::time::sleep(Duration::from_secs(18)).await;
    engine_harness.cloud().connect(&engine_harness.name("a"), &engine_harness.name("b"));
    let a = engine_harness.restarted("a", &a).await;
    asked.converged().await;
    engine_harness.cloud().set_image("type", &second);
    let a = engine_harness.replaced("a", &a).await;
    asked.converged().await;

    let history = asked.history("a").await;
    causes_are_named(&asked, &history, [&first, &second]);
    status_shows_nodes(&asked, &second).await;
    keep(&asked, "status", &["status"]).await;
    keep(&asked, "why", &["why", &engine_harness.name("a")]).await;
    outages_are_said(&asked, &daemon).await;

    daemon.kill().await;
    let (code, output) = asked.ask(&["status"]).await;
    assert!(code == Some(69) && output.contains("the daemon is not running"), "{output}");
    let (code, output) = asked.ask(&["why", &engine_harness.name("a")]).await;
    assert!(code == Some(69) && output.contains("this is what the last one left in"), "{output}");
    assert!(output.contains("edge a") || output.contains(&format!("edge to {}", engine_harness.name("b"))), "{output}");
    let _daemon = asked.start().await;
    asked.converged().await;
    assert_eq!(asked.history("a").await, history, "a new daemon knows all, and has done nothing to it");
    engine_harness.assert_untouched("a", &a).await;
}

/// Each action with its reason, its message, the fields that differed, and what came of it.
fn causes_are_named(asked: &StatusHarness, history: &[Action], images: [&str; 2]) {
    let reported: Vec<_> = history.iter().map(|action| (action.action.as_str(), action.outcome)).collect();
    let expected = ["create", "start", "restart", "replace"].map(|action| (action, Outcome::Done));
    assert_eq!(reported, expected, "{history:#?}");
    let [create, start, restart, replace] = history else { unreachable!("it was compared") };
    assert_eq!((create.because.as_str(), create.causes.len()), ("there is none", 0));
    assert!(start.because.contains("not running") && start.causes.is_empty(), "{start:#?}");
    let (edge, other) = (&restart.causes[0], asked.engine_harness.name("b"));
    assert!(edge.change.starts_with("edge ") && edge.change.contains(&other), "{edge:?}");
    assert_eq!(restart.differences[0].field, format!("edge to {other}"));
    for (action, kind) in [(restart, "edge"), (replace, "node_type")] {
        let cause = &action.causes[0];
        assert_eq!(cause.kind, kind);
        assert!(cause.message_id.is_some() && cause.tracking_id.is_some() && cause.received_at.is_some(), "{cause:?}");
        assert!(action.latency_ms.is_some() && action.downtime_ms.is_some(), "{action:#?}");
    }
    let image = replace.differences.iter().find(|difference| difference.field == "image").expect("its image");
    assert_eq!([&image.before, &image.after], [&Some(images[0].to_owned()), &Some(images[1].to_owned())]);
    let steps: Vec<_> = replace.steps.iter().map(|step| step.step.as_str()).collect();
    assert!(steps.starts_with(&["pull", "create", "stop", "start"]), "{steps:?}");
}

async fn status_shows_nodes(asked: &StatusHarness, image: &str) {
    let report = asked.report().await;
    let engine = report.daemon.engine.expect("it answers");
    assert_eq!(engine.kind, asked.engine_harness.engine.name());
    let [a, b] = &report.nodes[..] else { panic!("two nodes: {:?}", report.nodes) };
    for node in [a, b] {
        assert_eq!((node.state.as_str(), node.image.as_deref(), &node.error), ("running", Some(image), &None));
        assert_eq!(node.last.as_ref().map(|last| last.action.as_str()), Some("replace"));
        assert!(node.since.time() >= report.daemon.started_at.time() && node.since <= report.at, "{node:?}");
    }
    assert!(a.restarts > b.restarts && b.restarts >= 1, "a was also killed: {} and {}", a.restarts, b.restarts);
    let text = asked.output_of(&["status"]).await;
    for part in ["2 of 2 nodes up, all as wanted", &engine.version, "RESTARTS", "replace, changed: image"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Nodes and histories are shown all the while.
async fn outages_are_said(asked: &StatusHarness, daemon: &Process) {
    asked.proxy.take_away().await.expect("the socket was there");
    daemon.signal("HUP").await;
    asked.until_status("the engine is said to be away", |report| report.daemon.engine_failure.is_some()).await;
    let output = asked.output_of(&["status"]).await;
    assert!(output.contains("degraded, engine: ") && output.contains(&asked.engine_harness.name("a")), "{output}");
    assert_eq!(asked.history("a").await.len(), 4);
    keep(asked, "status-without-engine", &["status"]).await;
    asked.proxy.bring_back().await.expect("the socket's name is free");
    asked.until_status("it is back", |report| report.daemon.engine_failure.is_none()).await;

    asked.engine_harness.cloud().services.fail_until_released(Service::AppSync, Fault::Status(500));
    daemon.signal("HUP").await;
    asked.until_status("the cloud is said to be away", |report| report.daemon.cloud_failure.is_some()).await;
    let output = asked.output_of(&["status"]).await;
    assert!(output.contains("degraded, cloud: ") && output.contains("2 of 2 nodes up"), "{output}");
    assert_eq!(asked.history("a").await.len(), 4);
    asked.engine_harness.cloud().services.release(Service::AppSync);
    daemon.signal("HUP").await;
    asked.until_status("it is back", |report| report.daemon.cloud_failure.is_none()).await;
    asked.converged().await;
}

/// Keeps what a command prints where MANAGED_APP_TEST_PICTURES says, if it does.
async fn keep(asked: &StatusHarness, name: &str, arguments: &[&str]) {
    let Ok(folder) = std::env::var("MANAGED_APP_TEST_PICTURES") else { return };
    let output = asked.output_of(arguments).await.replace(&format!("{}-", asked.engine_harness.tag), "");
    let path = Path::new(&folder).join(format!("{name}-{}.txt", asked.engine_harness.engine.name()));
    std::fs::write(path, output).expect("a file");
}
