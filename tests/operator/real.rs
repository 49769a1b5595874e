//! `status` and `why` of the real program with a real daemon and real containers: changes by users, external changes,
//! outages of the engine and the cloud, and a crash of the daemon.

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
    status_and_why_report_outages_and_a_crash
}

/// A daemon process with a status socket and a proxy to its engine.
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

    /// The output of a command that succeeds.
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
        self.until_status("the desired state is reached", |report| report.daemon.is_converged).await;
    }
}

async fn status_and_why_report_outages_and_a_crash(engine: Engine) {
    let subject = StatusHarness::new(engine).await;
    let engine_harness = &subject.engine_harness;
    let (first, second) = (engine_harness.push("node:1", "1").await, engine_harness.push("node:2", "2").await);
    for node in ["a", "b"] {
        engine_harness.add(node, |n| n.of_type("type").image(&first));
    }
    let mut daemon = subject.start().await;
    let [a, _] = engine_harness.containers(["a", "b"]).await;
    subject.converged().await;
    engine.disturb(&["kill", a.id()]).await;
    let a = engine_harness.restarted("a", &a).await;
    subject.converged().await;
    // The daemon rereads the app for 17 s after the messages about the nodes. Such a read could find the edge before
    // its message.
    tokio::time::sleep(Duration::from_secs(18)).await;
    engine_harness.cloud().connect(&engine_harness.name("a"), &engine_harness.name("b"));
    let a = engine_harness.restarted("a", &a).await;
    subject.converged().await;
    engine_harness.cloud().set_image("type", &second);
    let a = engine_harness.replaced("a", &a).await;
    subject.converged().await;

    let history = subject.history("a").await;
    causes_are_named(&subject, &history, [&first, &second]);
    status_shows_nodes(&subject, &second).await;
    save(&subject, "status", &["status"]).await;
    save(&subject, "why", &["why", &engine_harness.name("a")]).await;
    outages_are_reported(&subject, &daemon).await;

    daemon.kill().await;
    let (code, output) = subject.ask(&["status"]).await;
    assert!(code == Some(69) && output.contains("the daemon is not running"), "{output}");
    let (code, output) = subject.ask(&["why", &engine_harness.name("a")]).await;
    assert!(code == Some(69) && output.contains("this is what the last one left in"), "{output}");
    assert!(output.contains("edge a") || output.contains(&format!("edge to {}", engine_harness.name("b"))), "{output}");
    let _daemon = subject.start().await;
    subject.converged().await;
    assert_eq!(subject.history("a").await, history, "a new daemon has the history and adds no action");
    engine_harness.assert_untouched("a", &a).await;
}

/// Each action has its reason, its message, the changed fields and its outcome.
fn causes_are_named(subject: &StatusHarness, history: &[Action], images: [&str; 2]) {
    let actions: Vec<_> = history.iter().map(|action| (action.action.as_str(), action.outcome)).collect();
    let expected = ["create", "start", "restart", "replace"].map(|action| (action, Outcome::Done));
    assert_eq!(actions, expected, "{history:#?}");
    let [create, start, restart, replace] = history else { unreachable!("it was compared") };
    assert_eq!((create.because.as_str(), create.causes.len()), ("it has no container", 0));
    assert!(start.because.contains("not running") && start.causes.is_empty(), "{start:#?}");
    let (edge, other) = (&restart.causes[0], subject.engine_harness.name("b"));
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

async fn status_shows_nodes(subject: &StatusHarness, image: &str) {
    let report = subject.report().await;
    let engine = report.daemon.engine.expect("it answers");
    assert_eq!(engine.kind, subject.engine_harness.engine.name());
    let [a, b] = &report.nodes[..] else { panic!("two nodes: {:?}", report.nodes) };
    for node in [a, b] {
        assert_eq!((node.state.as_str(), node.image.as_deref(), &node.error), ("running", Some(image), &None));
        assert_eq!(node.last.as_ref().map(|last| last.action.as_str()), Some("replace"));
        assert!(node.since.time() >= report.daemon.started_at.time() && node.since <= report.at, "{node:?}");
    }
    assert!(a.restarts > b.restarts && b.restarts >= 1, "a was also killed: {} and {}", a.restarts, b.restarts);
    let text = subject.output_of(&["status"]).await;
    for part in ["2 of 2 nodes up, in the desired state", &engine.version, "RESTARTS", "replace, changed: image"] {
        assert!(text.contains(part), "{part}: {text}");
    }
}

/// Nodes and histories are shown during outages.
async fn outages_are_reported(subject: &StatusHarness, daemon: &Process) {
    subject.proxy.take_away().await.expect("the socket was there");
    daemon.signal("HUP").await;
    subject.until_status("the outage of the engine is reported", |report| report.daemon.engine_failure.is_some()).await;
    let output = subject.output_of(&["status"]).await;
    assert!(output.contains("degraded, engine: ") && output.contains(&subject.engine_harness.name("a")), "{output}");
    assert_eq!(subject.history("a").await.len(), 4);
    save(subject, "status-without-engine", &["status"]).await;
    subject.proxy.bring_back().await.expect("the socket's name is free");
    subject.until_status("the outage is over", |report| report.daemon.engine_failure.is_none()).await;

    subject.engine_harness.cloud().services.fail_until_released(Service::AppSync, Fault::Status(500));
    daemon.signal("HUP").await;
    subject.until_status("the outage of the cloud is reported", |report| report.daemon.cloud_failure.is_some()).await;
    let output = subject.output_of(&["status"]).await;
    assert!(output.contains("degraded, cloud: ") && output.contains("2 of 2 nodes up"), "{output}");
    assert_eq!(subject.history("a").await.len(), 4);
    subject.engine_harness.cloud().services.release(Service::AppSync);
    daemon.signal("HUP").await;
    subject.until_status("the outage is over", |report| report.daemon.cloud_failure.is_none()).await;
    subject.converged().await;
}

/// Saves the output of a command to the directory in MANAGED_APP_TEST_PICTURES, if it is set.
async fn save(subject: &StatusHarness, name: &str, arguments: &[&str]) {
    let Ok(folder) = std::env::var("MANAGED_APP_TEST_PICTURES") else { return };
    let output = subject.output_of(arguments).await.replace(&format!("{}-", subject.engine_harness.tag), "");
    let path = Path::new(&folder).join(format!("{name}-{}.txt", subject.engine_harness.engine.name()));
    std::fs::write(path, output).expect("a file");
}
