//! What operators see: `status`, `why` and `events` of the real program as processes, against the daemon in this process.

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

/// A site that can be asked, and where.
struct StatusHarness {
    harness: Harness,
    folder: TempDir,
}

/// What a command left.
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
        let places = ListenAddresses { socket, ..ListenAddresses::default() };
        let harness = plan.host(move |builder| builder.listen_at(places)).up().await;
        let asked = Self { harness, folder };
        asked.harness.eventually("the socket is there", |_| asked.socket().exists()).await;
        asked
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
        assert!(!ran.stdout.contains(password) && !ran.stderr.contains(password), "a secret shows: {}", ran.stdout);
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

    /// A connection that asks for events and reads none.
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
    let asked = StatusHarness::with(&["a", "b: second"]).await;
    let ran = asked.ask(&["status"]).await;
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""));
    has(&ran.stdout, &["running, 2 of 2 nodes up, all as wanted", "memory", "NODE", "RESTARTS", "LOG LAG"]);
    has(&ran.stdout, &["b: second  running", "node:1", "create, there is none"]);
    assert!(!ran.stdout.contains('\u{1b}'), "no colours when it is not a terminal");
    let report = asked.report().await;
    let node = &report.nodes[0];
    assert_eq!((node.name.as_str(), node.state.as_str(), node.image.as_deref()), ("a", "running", Some(IMAGE)));
    assert!(report.version == 1 && report.daemon.is_converged && report.daemon.expiries.contains_key("sign_in"));
    assert_eq!(node.last.as_ref().map(|last| last.outcome), Some(Outcome::Done));
}

#[tokio::test]
async fn why_tells_each_action_from_its_message_to_its_outcome_by_field() {
    let asked = StatusHarness::with(&["a", "b"]).await;
    asked.harness.cloud.connect("a", "b");
    asked.restarted("a", 1).await;
    asked.harness.cloud.set_node_config("a", r#"{"secret":"hunter2"}"#);
    asked.restarted("a", 2).await;
    asked.harness.cloud.change_ports("a", vec![Port::tcp(8080, 80)]);
    let has_port =
        |harness: &Harness| harness.view("a").and_then(|view| view.spec).is_some_and(|spec| spec.ports.len() == 1);
    asked.harness.eventually("it has the port", |host| host.is_converged() && has_port(&asked.harness)).await;
    let history = asked.history("a").await;
    let actions: Vec<(&str, &str)> = history.actions.iter().map(|a| (a.action.as_str(), a.because.as_str())).collect();
    let reads = "what it reads has changed";
    let (edge, config) = (format!("{reads}: edge to b"), format!("{reads}: node config"));
    let expected =
        [("create", "there is none"), ("restart", &*edge), ("restart", &*config), ("replace", "changed: ports")];
    assert_eq!(actions, expected);
    let restart = &history.actions[1];
    assert_eq!(restart.causes[0].change, "edge a - b");
    assert!(restart.causes[0].message_id.is_some() && restart.causes[0].received_at.is_some());
    assert!(restart.latency_ms.is_some() && restart.downtime_ms.is_some() && restart.steps[0].step == "restart");
    let replace = &history.actions[3];
    assert_eq!(replace.differences[0].after.as_deref(), Some("0.0.0.0:8080->80/tcp"));
    let steps: Vec<&str> = replace.steps.iter().map(|step| step.step.as_str()).collect();
    assert_eq!(steps, ["create", "stop", "start", "stop", "remove", "rename"]);
    let ran = asked.ask(&["why", "a"]).await;
    has(&ran.stdout, &["edge to b added: #", "node config added: #", "message ", "tracking id ", "after the message"]);
    let on_disk = std::fs::read_to_string(asked.harness.state_directory().join("state.json")).expect("a state file");
    assert!(!ran.stdout.contains("hunter2") && !on_disk.contains("hunter2"), "configurations are digests");
    let unknown = asked.ask(&["why", "nobody"]).await;
    assert_eq!((unknown.code, unknown.stdout.as_str()), (64, ""), "{}", unknown.stderr);
}

#[tokio::test]
async fn a_new_daemon_still_knows_why_and_without_one_the_disk_tells() {
    let plan = Plan::new().await.nodes(&["a"]).set("MANAGED_APP_ON_EXIT", "leave");
    let mut asked = StatusHarness::up(plan).await;
    asked.harness.cloud.set_node_config("a", "{}");
    asked.restarted("a", 1).await;
    let before = asked.history("a").await.actions;
    asked.harness.stop().await;
    let offline = asked.ask(&["why", "a"]).await;
    assert_eq!(offline.code, 69, "{}", offline.stderr);
    has(&offline.stderr, &["the daemon is not running", "what the last one left"]);
    has(&offline.stdout, &["what it reads has changed: node config"]);
    let gone = asked.ask(&["status"]).await;
    assert_eq!((gone.code, gone.stdout.as_str()), (69, ""), "{}", gone.stderr);
    has(&gone.stderr, &["the daemon is not running", "systemctl start"]);
    asked.harness.start();
    asked.harness.converged().await;
    asked.harness.eventually("the socket is there", |_| asked.socket().exists()).await;
    assert_eq!(asked.history("a").await.actions, before, "and nothing was done to it");
    asked.harness.cloud.set_node_config("a", r#"{"x":1}"#);
    asked.restarted("a", 2).await;
    let last = asked.history("a").await.actions.pop().expect("an action");
    assert_eq!((last.restarts, last.because.as_str()), (2, "what it reads has changed: node config"));
}

#[tokio::test]
async fn a_secret_that_changes_is_named_and_never_shown() {
    let mut asked = StatusHarness::with(&["a"]).await;
    asked.harness.cloud.set_password("another Passw0rd");
    asked.harness.set("PASSWORD", "another Passw0rd");
    asked.harness.signal(Signal::Hangup).await;
    let is_replaced = |host: &crate::support::Host| host.journal.count("create", "a") > 0 && host.is_converged();
    asked.harness.eventually("it is replaced", is_replaced).await;
    let last = asked.history("a").await.actions.pop().expect("an action");
    let field = &last.differences[0];
    assert_eq!((field.field.as_str(), &field.before, &field.after), ("env.PASSWORD", &None, &None));
    asked.harness.stop().await;
    let history = std::fs::read_to_string(asked.harness.state_directory().join("history.jsonl")).expect("a history");
    assert!(!history.contains("Passw0rd") && history.contains("env.PASSWORD"));
}

/// Ends its process with it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test]
async fn events_are_told_as_they_happen() {
    let asked = StatusHarness::with(&["a"]).await;
    let mut child = asked.command(&["events", "--json"]).spawn().expect("it runs");
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
    // It may follow only after this change: then another one is told.
    let mut number = 0;
    let events = loop {
        number += 1;
        asked.harness.cloud.set_node_config("a", &format!(r#"{{"x":{number}}}"#));
        asked.restarted("a", number).await;
        if events.is_finished() {
            break events.await.expect("no panic");
        }
    };
    // Messages and states come in between.
    let kinds: Vec<&str> =
        events.iter().map(|event| event.kind.as_str()).filter(|kind| ["begin", "end"].contains(kind)).collect();
    let end = events.last().expect("an event");
    assert!(kinds.ends_with(&["begin", "end"]), "{kinds:?}");
    assert_eq!(end.action.as_ref().map(|action| action.outcome), Some(Outcome::Done));
    assert!(events.windows(2).all(|pair| pair[0].id < pair[1].id));
}

#[tokio::test]
async fn a_cloud_that_is_away_is_said_and_the_nodes_are_shown() {
    let mut asked = StatusHarness::with(&["a"]).await;
    asked.harness.cloud.services.fail_until_released(Service::AppSync, Fault::Status(500));
    asked.harness.restart_daemon().await;
    asked.harness.eventually("it is degraded", |h| h.status().is_some_and(|s| s.cloud_failure.is_some())).await;
    asked.harness.eventually("a runs", |host| host.node("a").is_some_and(|node| node.is_running)).await;
    asked.harness.eventually("the socket is there", |_| asked.socket().exists()).await;
    let ran = asked.ask(&["status"]).await;
    assert_eq!(ran.code, 0, "{}", ran.stderr);
    has(&ran.stdout, &["degraded, cloud: ", "1 of 1 nodes up"]);
    asked.harness.cloud.services.release(Service::AppSync);
}

#[tokio::test]
async fn a_name_that_steers_terminals_is_shown_harmless() {
    let asked = StatusHarness::with(&["x\u{202e}gpj.exe"]).await;
    for arguments in [vec!["status"], vec!["why", "x\u{202e}gpj.exe"]] {
        let ran = asked.ask(&arguments).await;
        assert_eq!(ran.code, 0, "{}", ran.stderr);
        assert!(ran.stdout.contains("x gpj.exe") && !ran.stdout.contains('\u{202e}'), "{}", ran.stdout);
    }
}

#[tokio::test]
async fn readers_that_do_not_read_hold_up_nobody() {
    let asked = StatusHarness::with(&["a"]).await;
    let _idle: Vec<UnixStream> = (0..20).map(|_| asked.silent_follower()).collect();
    for number in 1..=30 {
        asked.harness.cloud.set_node_config("a", &format!(r#"{{"x":{number}}}"#));
    }
    asked.restarted("a", 1).await;
    assert_eq!(asked.report().await.nodes[0].state, "running");
}

#[tokio::test]
async fn connections_are_bounded_and_make_room_again() {
    let asked = StatusHarness::with(&["a"]).await;
    let idle: Vec<UnixStream> = (0..64).map(|_| asked.silent_follower()).collect();
    // Connections are taken in their order: the next one is one too many.
    let refused = asked.ask(&["status"]).await;
    assert_eq!(refused.code, 69, "{}{}", refused.stdout, refused.stderr);
    drop(idle);
    let until = std::time::Instant::now() + Duration::from_secs(40);
    loop {
        let ran = asked.ask(&["status"]).await;
        if ran.code == 0 {
            break;
        }
        assert!(std::time::Instant::now() < until, "{}", ran.stderr);
    }
}
