//! `status`, `why` and `events` of the real program as processes, with the daemon in this process.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use managed_app::host::Signal;
use managed_app::status::{Event, ListenAddresses, NodeHistory, Outcome, Report};
use managed_app_fakes::cloud::commands::Port;
use managed_app_fakes::cloud::{Fault, Service};
use tempfile::TempDir;

use crate::harness::{Harness, IMAGE, Plan};

const BINARY: &str = env!("CARGO_BIN_EXE_echostream-managed-app");

/// A host with a status socket.
struct StatusHarness {
    harness: Harness,
    folder: TempDir,
}

/// The result of a command.
struct CommandOutput {
    code: i32,
    stdout: String,
    stderr: String,
}

impl StatusHarness {
    async fn with(nodes: &[&str]) -> Self {
        Self::up(Plan::new().await.nodes(nodes)).await
    }

    async fn up(plan: Plan) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = Some(folder.path().join("status.sock"));
        let addresses = ListenAddresses { socket, ..ListenAddresses::default() };
        let harness = plan.host(move |builder| builder.listen_at(addresses)).up().await;
        let subject = Self { harness, folder };
        subject.harness.eventually("the socket exists", |_| subject.socket().exists()).await;
        subject
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("status.sock")
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command.env_clear().arg("--status-socket").arg(self.socket()).args(arguments);
        command.arg("--state-directory").arg(self.harness.state_directory());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    async fn ask(&self, arguments: &[&str]) -> CommandOutput {
        let mut command = self.command(arguments);
        let output = tokio::task::spawn_blocking(move || command.output()).await.expect("no panic").expect("it runs");
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        let code = output.status.code().expect("an exit code");
        let ran = CommandOutput { code, stdout: text(output.stdout), stderr: text(output.stderr) };
        let password = &self.harness.cloud.env()["PASSWORD"];
        assert!(
            !ran.stdout.contains(password) && !ran.stderr.contains(password),
            "the output contains a secret: {}",
            ran.stdout
        );
        ran
    }

    async fn report(&self) -> Report {
        let ran = self.ask(&["status", "--json"]).await;
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
    }

    async fn history(&self, node: &str) -> NodeHistory {
        let ran = self.ask(&["why", node, "--json"]).await;
        serde_json::from_str(&ran.stdout).unwrap_or_else(|error| panic!("{error}: {}{}", ran.stdout, ran.stderr))
    }

    /// A connection that requests events and reads none.
    fn silent_follower(&self) -> UnixStream {
        let mut stream = UnixStream::connect(self.socket()).expect("a connection");
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nHost: daemon\r\n\r\n").expect("it takes a request");
        stream
    }

    async fn restarted(&self, node: &str, times: usize) {
        let is_done = |host: &crate::support::Host| host.journal.count("restart", node) >= times && host.is_converged();
        self.harness.eventually("it is restarted", is_done).await;
    }
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
}

#[tokio::test]
async fn status_shows_each_node_and_the_daemon() {
    let subject = StatusHarness::with(&["a", "b: second"]).await;
    let ran = subject.ask(&["status"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    has(&ran.stdout, &["running, 2 of 2 nodes up, in the desired state", "memory", "NODE", "RESTARTS", "LOG LAG"]);
    has(&ran.stdout, &["b: second  running", "node:1", "create, it has no container"]);
    assert!(!ran.stdout.contains('\u{1b}'), "no colours when it is not a terminal");
    let report = subject.report().await;
    let node = &report.nodes[0];
    assert_eq!((node.name.as_str(), node.state.as_str(), node.image.as_deref()), ("a", "running", Some(IMAGE)));
    assert!(report.version == 1 && report.daemon.is_converged && report.daemon.expiries.contains_key("sign_in"));
    assert_eq!(node.last.as_ref().map(|last| last.outcome), Some(Outcome::Done));
}

#[tokio::test]
async fn why_shows_message_fields_steps_and_outcome_of_each_action() {
    let subject = StatusHarness::with(&["a", "b"]).await;
    subject.harness.cloud.connect("a", "b");
    subject.restarted("a", 1).await;
    subject.harness.cloud.set_node_config("a", r#"{"secret":"hunter2"}"#);
    subject.restarted("a", 2).await;
    subject.harness.cloud.change_ports("a", vec![Port::tcp(8080, 80)]);
    let has_port =
        |harness: &Harness| harness.view("a").and_then(|view| view.spec).is_some_and(|spec| spec.ports.len() == 1);
    subject.harness.eventually("it has the port", |host| host.is_converged() && has_port(&subject.harness)).await;
    let history = subject.history("a").await;
    let actions: Vec<(&str, &str)> = history.actions.iter().map(|a| (a.action.as_str(), a.because.as_str())).collect();
    let reads = "startup inputs changed";
    let (edge, config) = (format!("{reads}: edge to b"), format!("{reads}: node config"));
    let expected =
        [("create", "it has no container"), ("restart", &*edge), ("restart", &*config), ("replace", "changed: ports")];
    assert_eq!(actions, expected);
    let restart = &history.actions[1];
    assert_eq!(restart.causes[0].change, "edge a - b");
    assert!(restart.causes[0].message_id.is_some() && restart.causes[0].received_at.is_some());
    assert!(restart.latency_ms.is_some() && restart.downtime_ms.is_some() && restart.steps[0].step == "restart");
    let replace = &history.actions[3];
    assert_eq!(replace.differences[0].after.as_deref(), Some("0.0.0.0:8080->80/tcp"));
    let steps: Vec<&str> = replace.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["create", "stop", "start", "remove", "rename"]);
    let ran = subject.ask(&["why", "a"]).await;
    has(&ran.stdout, &["edge to b added: #", "node config added: #", "message ", "tracking id ", "after the message"]);
    let on_disk = std::fs::read_to_string(subject.harness.state_directory().join("state.json")).expect("a state file");
    assert!(!ran.stdout.contains("hunter2") && !on_disk.contains("hunter2"), "configurations are digests");
    let unknown = subject.ask(&["why", "nobody"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (64, ""), "{}", unknown.stderr);
}

#[tokio::test]
async fn why_works_after_a_restart_and_without_a_daemon() {
    let plan = Plan::new().await.nodes(&["a"]).set("MANAGED_APP_ON_EXIT", "leave");
    let mut subject = StatusHarness::up(plan).await;
    subject.harness.cloud.set_node_config("a", "{}");
    subject.restarted("a", 1).await;
    let before = subject.history("a").await.actions;
    subject.harness.stop().await;
    let offline = subject.ask(&["why", "a"]).await;
    assert_eq!(offline.code, 69, "{}", offline.stderr);
    has(&offline.stderr, &["the daemon is not running", "what the last one left"]);
    has(&offline.stdout, &["startup inputs changed: node config"]);
    let gone = subject.ask(&["status"]).await;
    assert_eq!((gone.code, gone.stdout.as_str()), (69, ""), "{}", gone.stderr);
    has(&gone.stderr, &["the daemon is not running", "systemctl start"]);
    subject.harness.start();
    subject.harness.converged().await;
    subject.harness.eventually("the socket exists", |_| subject.socket().exists()).await;
    assert_eq!(subject.history("a").await.actions, before, "there is no new action");
    subject.harness.cloud.set_node_config("a", r#"{"x":1}"#);
    subject.restarted("a", 2).await;
    let last = subject.history("a").await.actions.pop().expect("an action");
    assert_eq!((last.restarts, last.because.as_str()), (2, "startup inputs changed: node config"));
}

#[tokio::test]
async fn a_secret_that_changes_is_named_and_never_shown() {
    let mut subject = StatusHarness::with(&["a"]).await;
    subject.harness.cloud.set_password("another Passw0rd");
    subject.harness.set("PASSWORD", "another Passw0rd");
    subject.harness.signal(Signal::Hangup).await;
    let is_replaced = |host: &crate::support::Host| host.journal.count("create", "a") > 0 && host.is_converged();
    subject.harness.eventually("it is replaced", is_replaced).await;
    let last = subject.history("a").await.actions.pop().expect("an action");
    let field = &last.differences[0];
    assert_eq!((field.field.as_str(), &field.before, &field.after), ("env.PASSWORD", &None, &None));
    subject.harness.stop().await;
    let history = std::fs::read_to_string(subject.harness.state_directory().join("history.jsonl")).expect("a history");
    assert!(!history.contains("Passw0rd") && history.contains("env.PASSWORD"));
}

/// Kills its process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn events_are_printed_as_they_happen() {
    let subject = StatusHarness::with(&["a"]).await;
    let mut child = subject.command(&["events", "--json"]).spawn().expect("it runs");
    let lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let _running = Running(child);
    let events = tokio::task::spawn_blocking(move || {
        let mut events: Vec<Event> = Vec::new();
        for line in lines {
            let event: Event = serde_json::from_str(&line.expect("text")).expect("JSON");
            let is_last = event.kind == "end" && events.iter().any(|event| event.kind == "begin");
            events.push(event);
            if is_last {
                break;
            }
        }
        events
    });
    // The command may connect only after this change; then another change follows.
    let mut number = 0;
    let events = loop {
        number += 1;
        subject.harness.cloud.set_node_config("a", &format!(r#"{{"x":{number}}}"#));
        subject.restarted("a", number).await;
        if events.is_finished() {
            break events.await.expect("no panic");
        }
    };
    // Without messages and states in between.
    let kinds: Vec<&str> =
        events.iter().map(|event| event.kind.as_str()).filter(|kind| ["begin", "end"].contains(kind)).collect();
    let end = events.last().expect("an event");
    assert!(kinds.ends_with(&["begin", "end"]), "{kinds:?}");
    assert_eq!(end.action.as_ref().map(|action| action.outcome), Some(Outcome::Done));
    assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id));
}

#[tokio::test]
async fn status_shows_nodes_while_the_cloud_is_unavailable() {
    let mut subject = StatusHarness::with(&["a"]).await;
    subject.harness.cloud.services.fail_until_released(Service::AppSync, Fault::Status(500));
    subject.harness.restart_daemon().await;
    subject.harness.eventually("it is degraded", |h| h.status().is_some_and(|s| s.cloud_failure.is_some())).await;
    subject.harness.eventually("a runs", |host| host.node("a").is_some_and(|node| node.is_running)).await;
    subject.harness.eventually("the socket exists", |_| subject.socket().exists()).await;
    let ran = subject.ask(&["status"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    has(&ran.stdout, &["degraded, cloud: ", "1 of 1 nodes up"]);
    subject.harness.cloud.services.release(Service::AppSync);
}

#[tokio::test]
async fn a_name_with_control_characters_is_sanitised() {
    let subject = StatusHarness::with(&["x\u{202e}gpj.exe"]).await;
    for arguments in [vec!["status"], vec!["why", "x\u{202e}gpj.exe"]] {
        let ran = subject.ask(&arguments).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("x gpj.exe") && !ran.stdout.contains('\u{202e}'), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn followers_that_do_not_read_delay_nobody() {
    let subject = StatusHarness::with(&["a"]).await;
    let _idle: Vec<UnixStream> = (0..20).map(|_| subject.silent_follower()).collect();
    for number in 1..=30 {
        subject.harness.cloud.set_node_config("a", &format!(r#"{{"x":{number}}}"#));
    }
    subject.restarted("a", 1).await;
    assert_eq!(subject.report().await.nodes[0].state, "running");
}

#[tokio::test]
async fn connections_are_limited_and_released() {
    let subject = StatusHarness::with(&["a"]).await;
    let idle: Vec<UnixStream> = (0..64).map(|_| subject.silent_follower()).collect();
    // Connections are accepted in order: the next one exceeds the limit.
    let refused = subject.ask(&["status"]).await;
    assert_eq!(refused.code, 69, "{}{}", refused.stdout, refused.stderr);
    drop(idle);
    let until = std::time::Instant::now() + Duration::from_secs(40);
    loop {
        let ran = subject.ask(&["status"]).await;
        if ran.code == 0 {
            break;
        }
        assert!(std::time::Instant::now() < until, "{}", ran.stderr);
    }
}
