//! One daemon per tenant, app and host: a second daemon, a takeover, and the lock after a crash.
//! `scripts/master-test` repeats this many times, also from containers.

use std::path::Path;

use managed_app_fakes::cloud::Service;
use managed_app_fakes::node_image::Options;
use tokio::process::Command;
use tokio::time::timeout;

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::process::{self, BINARY, Process};
use crate::support::LIMIT;
use crate::wait::until;

on_each_engine! {
    a_second_daemon_ends_with_75_and_touches_nothing
    of_two_that_start_at_once_one_acts_and_no_node_restarts
    takeover_ends_the_first_and_leaves_the_nodes
    a_start_during_the_end_of_the_first_waits_for_it
    a_daemon_killed_beside_its_child_leaves_no_lock
    daemons_of_two_apps_run_beside_each_other
}

/// Concurrent starts; `scripts/master-test` has many more.
const ROUNDS: usize = 4;
const LEAVE: (&str, &str) = ("MANAGED_APP_ON_EXIT", "leave");

async fn harness_with_node(engine: Engine) -> EngineHarness {
    let engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    engine_harness.add("a", |n| n.of_type("type").image(&image));
    engine_harness
}

async fn ready(engine_harness: &EngineHarness, more: &[(&str, &str)]) -> Process {
    let mut daemon = Process::start(engine_harness, more);
    daemon.notified("READY=1").await;
    daemon
}

fn sign_ins(engine_harness: &EngineHarness) -> usize {
    engine_harness.cloud().services.calls(Service::Cognito, "InitiateAuth")
}

fn takeover() -> Command {
    let mut command = Command::new(BINARY);
    command.args(["run", "--takeover"]);
    command
}

async fn a_second_daemon_ends_with_75_and_touches_nothing(engine: Engine) {
    let engine_harness = harness_with_node(engine).await;
    let first = ready(&engine_harness, &[]).await;
    let [a] = engine_harness.containers(["a"]).await;
    let folder = tempfile::tempdir().expect("a folder");
    let mut variables = process::variables(&engine_harness);
    for (name, file) in [
        ("MANAGED_APP_STATE_DIRECTORY", "state"),
        ("MANAGED_APP_LOG_FILE", "log"),
        ("MANAGED_APP_STATUS_SOCKET", "socket"),
    ] {
        variables.insert(name.to_owned(), folder.path().join(file).display().to_string());
    }
    variables.insert("MANAGED_APP_HOST_ID".to_owned(), "another-host-id".to_owned());
    let before = sign_ins(&engine_harness);
    let (code, output) = process::run(&variables, &[]).await;
    assert_eq!(code, Some(75), "{output}");
    assert!(output.contains(&format!("pid {}, host name", first.id())) && output.contains("--takeover"), "{output}");
    assert_eq!(std::fs::read_dir(folder.path()).expect("the folder").count(), 0, "it wrote something");
    assert_eq!(sign_ins(&engine_harness), before, "it signed in");

    // Read-only commands are not rejected.
    for command in ["plan", "check"] {
        let (code, output) = process::run(&variables, &[command]).await;
        assert_ne!(code, Some(75), "{output}");
        assert!(command == "plan" || output.contains(&format!("pid {}", first.id())), "{output}");
    }
    engine_harness.assert_untouched("a", &a).await;
}

async fn of_two_that_start_at_once_one_acts_and_no_node_restarts(engine: Engine) {
    let engine_harness = harness_with_node(engine).await;
    let mut daemon = ready(&engine_harness, &[LEAVE]).await;
    let [a] = engine_harness.containers(["a"]).await;
    until("the desired state is reached", async || daemon.log().contains("startup complete")).await;
    daemon.signal("TERM").await;
    daemon.ended().await;
    let other = tempfile::tempdir().expect("a folder");
    // With the state of the first daemon, because a node without state would be restarted once.
    copy(engine_harness.host.state_directory(), other.path());
    let elsewhere = other.path().display().to_string();
    for round in 0..ROUNDS {
        let mut one = Process::start(&engine_harness, &[LEAVE]);
        let mut two = Process::start(&engine_harness, &[LEAVE, ("MANAGED_APP_STATE_DIRECTORY", &elsewhere)]);
        let (code, first_lost) = tokio::select! {
            status = one.ended() => (status.code(), true),
            status = two.ended() => (status.code(), false),
        };
        let (loser, mut winner) = if first_lost { (one, two) } else { (two, one) };
        assert_eq!(code, Some(75), "round {round}: {}", loser.printed());
        assert!(loser.printed().contains(&format!("pid {}", winner.id())), "round {round}: {}", loser.printed());
        winner.notified("READY=1").await;
        winner.kill().await;
        engine_harness.assert_untouched("a", &a).await;
    }
    let mut last = ready(&engine_harness, &[LEAVE]).await;
    engine_harness.assert_untouched("a", &a).await;
    last.signal("TERM").await;
    assert_eq!(last.ended().await.code(), Some(0));
}

fn copy(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).expect("a state directory") {
        let path = entry.expect("an entry").path();
        std::fs::copy(&path, to.join(path.file_name().expect("a file"))).expect("a file can be copied");
    }
}

async fn takeover_ends_the_first_and_leaves_the_nodes(engine: Engine) {
    let engine_harness = harness_with_node(engine).await;
    let mut first = ready(&engine_harness, &[]).await;
    let [a] = engine_harness.containers(["a"]).await;
    until("the desired state is reached", async || first.log().contains("startup complete")).await;
    let mut second = Process::start_by(takeover(), &engine_harness, &[]);
    assert_eq!(first.ended().await.code(), Some(0), "{}", first.log());
    second.notified("READY=1").await;
    assert!(first.log().contains("another daemon takes over"), "{}", first.log());
    engine_harness.assert_untouched("a", &a).await;

    // A hung daemon is not taken over and not killed.
    second.signal("STOP").await;
    let (code, output) = process::run(&process::variables(&engine_harness), &["run", "--takeover"]).await;
    assert_eq!(code, Some(75), "{output}");
    assert!(output.contains("does not answer") && output.contains(&format!("pid {}", second.id())), "{output}");
    second.signal("CONT").await;
    engine_harness.assert_untouched("a", &a).await;
}

async fn a_start_during_the_end_of_the_first_waits_for_it(engine: Engine) {
    let engine_harness = harness_with_node(engine).await;
    let stubborn = engine_harness.image("stubborn:1");
    engine_harness.push_as(&stubborn, "stubborn", Options { ignore_sigterm: true, ..Options::default() }).await;
    engine_harness.add("deaf", |n| n.of_type("stubborn").image(&stubborn));
    let mut first = ready(&engine_harness, &[("MANAGED_APP_STOP_GRACE", "4s")]).await;
    let [a] = engine_harness.containers(["a"]).await;
    until("the desired state is reached", async || first.log().contains("startup complete")).await;
    // As in an upgrade; the next daemon may start before the first handles the signal.
    first.signal("USR2").await;
    let mut second = ready(&engine_harness, &[("MANAGED_APP_STOP_GRACE", "4s")]).await;
    assert_eq!(first.ended().await.code(), Some(0));
    engine_harness.assert_untouched("a", &a).await;

    second.signal("TERM").await;
    let mut third = Process::start(&engine_harness, &[("MANAGED_APP_STOP_GRACE", "4s")]);
    third.notified("STATUS=waiting for the daemon before to end").await;
    assert_eq!(second.ended().await.code(), Some(0));
    third.notified("READY=1").await;
    engine_harness.restarted("a", &a).await;
}

/// `shutdown` is a child process of the daemon; this one does not end.
async fn a_daemon_killed_beside_its_child_leaves_no_lock(engine: Engine) {
    let engine_harness = harness_with_node(engine).await;
    let bin = tempfile::tempdir().expect("a folder");
    let write = r#"printf '#!/bin/sh\necho $$ > "${0%%/*}/pid"\nexec /bin/sleep 600\n' > "$1" && chmod 755 "$1""#;
    let written = Command::new("sh").args(["-c", write, "sh"]).arg(bin.path().join("shutdown")).status().await;
    assert!(written.expect("sh is installed").success());
    let path = bin.path().display().to_string();
    let mut daemon = ready(&engine_harness, &[("PATH", &path)]).await;
    engine_harness.cloud().remove_app();
    let child = async || std::fs::read_to_string(bin.path().join("pid")).is_ok_and(|pid| pid.ends_with('\n'));
    until("shutdown runs", child).await;
    daemon.kill().await;
    let pid = std::fs::read_to_string(bin.path().join("pid")).expect("it was written");
    assert!(Path::new("/proc").join(pid.trim()).exists(), "the child is alive");

    // The next daemon gets the lock and handles the removal of the app.
    let (code, output) = process::run(&process::variables(&engine_harness), &[]).await;
    let killed = Command::new("kill").args(["-KILL", pid.trim()]).status().await;
    assert!(killed.expect("kill is installed").success(), "the child has lived until now");
    assert_eq!(code, Some(0), "{output}");
    assert_eq!(engine_harness.shutdown_call().as_deref(), Some("now\n"), "{output}");
}

async fn daemons_of_two_apps_run_beside_each_other(engine: Engine) {
    let (one, two) = (harness_with_node(engine).await, harness_with_node(engine).await);
    let mut daemons = [ready(&one, &[]).await, ready(&two, &[]).await];
    for (daemon, engine_harness) in daemons.iter_mut().zip([&one, &two]) {
        engine_harness.containers(["a"]).await;
        daemon.signal("TERM").await;
        let ended = timeout(LIMIT, daemon.ended()).await.expect("it ends in time");
        assert_eq!(ended.code(), Some(0), "{}", daemon.log());
    }
}
