//! The end of the daemon: by signals at any moment, and by the removal of the app.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use managed_app::exit::Exit;
use managed_app::host::Signal;
use managed_app_fakes::cloud::{Fault, MalformedResponse, Service};
use managed_app_fakes::faulty::Verb;
use managed_app_fakes::memory::{Behaviour, Latencies};
use tempfile::TempDir;

use crate::harness::{Harness, IMAGE, Plan, image};

/// "At once" on a busy machine, and less than the waits that must not occur: a poll (20 s), a grace (30 s), sequential
/// stops of all nodes (24 s).
const SOON: Duration = Duration::from_secs(15);

const MANY: [&str; 12] = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l"];

async fn ends_soon(harness: &mut Harness) -> Duration {
    let began = Instant::now();
    assert_eq!(harness.ended().await, Exit::Done);
    let took = began.elapsed();
    assert!(took < SOON, "it took {took:?}");
    took
}

/// A directory with a `shutdown` that records its arguments. Another process writes it: if this process had it open for
/// writing while another test forks, its execution would fail with "text file busy".
fn shutdown() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let script =
        r#"printf '#!/bin/sh\necho "$@" >> "${0%%/*}/arguments"\n' > "$1/shutdown" && chmod 755 "$1/shutdown""#;
    let written = std::process::Command::new("sh").args(["-c", script, "sh"]).arg(folder.path()).status();
    assert!(written.expect("sh is installed").success());
    let record = folder.path().join("arguments");
    (folder, record)
}

fn shutdown_arguments(record: &Path) -> Option<String> {
    std::fs::read_to_string(record).ok()
}

#[tokio::test]
async fn sigterm_and_sigint_stop_all_nodes_in_parallel() {
    for signal in [Signal::Terminate, Signal::Interrupt] {
        let mut harness = Harness::with(&MANY).await;
        harness.memory.set_latencies(Latencies { stop: Duration::from_secs(2), ..Latencies::default() });
        harness.eventually("a poll is pending", |host| host.cloud.queues.waiting() > 0).await;
        harness.signal(signal).await;
        ends_soon(&mut harness).await;
        assert!(MANY.iter().all(|node| !harness.runs(node)));
        assert_eq!(harness.nodes_with_containers(), MANY, "the containers are stopped, not removed");
    }
}

#[tokio::test]
async fn leave_leaves_all_nodes_running() {
    let mut harness = Plan::new().await.nodes(&["a", "b"]).set("MANAGED_APP_ON_EXIT", "leave").up().await;
    harness.signal(Signal::Terminate).await;
    ends_soon(&mut harness).await;
    assert!(harness.runs("a") && harness.runs("b"));
    assert_eq!(harness.journal.actions(), [""; 0]);
}

#[tokio::test]
async fn a_hand_over_leaves_all_nodes_running_with_any_settings() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let before = harness.journal.actions();
    harness.signal(Signal::HandOver).await;
    ends_soon(&mut harness).await;
    assert!(harness.runs("a") && harness.runs("b"));
    assert_eq!(harness.journal.actions(), before);

    // Also during the sign-in.
    harness.cloud.services.fail_until_released(Service::Cognito, Fault::Stall);
    let calls = harness.cloud.services.calls(Service::Cognito, "InitiateAuth");
    harness.start();
    harness.eventually("it signs in", |h| h.cloud.services.calls(Service::Cognito, "InitiateAuth") > calls).await;
    harness.signal(Signal::HandOver).await;
    ends_soon(&mut harness).await;
    assert!(harness.runs("a") && harness.runs("b"));
    assert_eq!(harness.journal.count("stop", "a"), 0);
}

#[tokio::test]
async fn a_second_signal_ends_at_once() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let _hung = harness.faults.on(Verb::Stop).hang();
    harness.signal(Signal::Terminate).await;
    harness.eventually("both are being stopped", |host| host.journal.count("stop", "b") > 0).await;
    harness.signal(Signal::Interrupt).await;
    ends_soon(&mut harness).await;
}

#[tokio::test]
async fn a_node_that_ignores_sigterm_is_killed_after_its_grace() {
    let plan = Plan::new().await.nodes(&["a", "b"]).set("MANAGED_APP_STOP_GRACE", "1s");
    let mut harness =
        plan.with(|_, memory| memory.set_behaviour_of_image(&image(IMAGE), Behaviour::IgnoresStop)).up().await;
    harness.signal(Signal::Terminate).await;
    let took = ends_soon(&mut harness).await;
    assert!(took >= Duration::from_millis(900), "{took:?}");
    assert!(!harness.runs("a") && !harness.runs("b"));
}

#[tokio::test]
async fn a_signal_during_a_slow_pull_stops_what_runs() {
    let mut harness = Harness::with(&["a"]).await;
    harness.kill().await;
    harness.cloud.quietly(|world| {
        world.add_node("slow", managed_app_fakes::cloud::commands::Node::default().image("registry.test/slow:1"))
    });
    harness.memory.stall_pulls(&image("registry.test/slow:1"), true);
    harness.start();
    harness.eventually("the pull has started", |host| host.journal.count("pull", "registry.test/slow:1") > 0).await;
    harness.signal(Signal::Terminate).await;
    ends_soon(&mut harness).await;
    assert!(!harness.runs("a"));
}

#[tokio::test]
async fn a_signal_during_a_restart_stops_the_node_after_it() {
    let mut harness = Harness::with(&["a"]).await;
    harness.memory.set_latencies(Latencies { stop: Duration::from_millis(300), ..Latencies::default() });
    harness.cloud.set_node_config("a", r#"{"x":1}"#);
    harness.eventually("it restarts", |host| host.journal.count("restart", "a") > 0).await;
    harness.signal(Signal::Terminate).await;
    ends_soon(&mut harness).await;
    assert!(!harness.runs("a"));
}

#[tokio::test]
async fn a_signal_during_creation_leaves_nothing_running() {
    let plan = Plan::new().await.nodes(&MANY).set("MANAGED_APP_PARALLEL_OPERATIONS", "2");
    let latencies = Latencies { create: Duration::from_millis(100), ..Latencies::default() };
    let mut harness = plan.with(|_, memory| memory.set_latencies(latencies)).start();
    harness.eventually("some run", |_| MANY.iter().filter(|node| harness.runs(node)).count() >= 3).await;
    harness.signal(Signal::Terminate).await;
    ends_soon(&mut harness).await;
    assert!(MANY.iter().all(|node| !harness.runs(node)));
}

#[tokio::test]
async fn nodes_that_wait_for_their_turn_do_not_delay_the_end() {
    let mut harness = Plan::new().await.nodes(&["a", "b", "c"]).set("MANAGED_APP_PARALLEL_OPERATIONS", "1").up().await;
    let hung = harness.faults.on(Verb::Restart).times(1).hang();
    harness.cloud.set_audit(true);
    let restarts = |harness: &Harness| MANY.iter().map(|node| harness.journal.count("restart", node)).sum::<usize>();
    harness.eventually("one hangs", |_| restarts(&harness) == 1).await;
    harness.signal(Signal::Terminate).await;
    let stops = |harness: &Harness| MANY.iter().filter(|node| harness.journal.count("stop", node) > 0).count();
    harness.eventually("the two others are stopped", |_| stops(&harness) == 2).await;
    hung.release();
    ends_soon(&mut harness).await;
    assert!(!harness.runs("a") && !harness.runs("b") && !harness.runs("c"));
}

#[tokio::test]
async fn a_signal_during_sign_in_stops_what_runs() {
    let mut harness = Harness::with(&["a"]).await;
    harness.kill().await;
    harness.cloud.services.fail_until_released(Service::Cognito, Fault::Stall);
    let calls = harness.cloud.services.calls(Service::Cognito, "InitiateAuth");
    harness.start();
    harness.eventually("it signs in", |h| h.cloud.services.calls(Service::Cognito, "InitiateAuth") > calls).await;
    harness.signal(Signal::Terminate).await;
    ends_soon(&mut harness).await;
    assert!(!harness.runs("a"));
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_an_engine_that_hangs() {
    let mut harness = Plan::new().await.nodes(&["a"]).off();
    let _hung = harness.faults.on(Verb::Info).hang();
    harness.start();
    harness.eventually("the engine is called", |host| host.journal.count("info", "") > 0).await;
    harness.signal(Signal::Terminate).await;
    harness.signal(Signal::Terminate).await;
    ends_soon(&mut harness).await;
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_a_network_that_hangs() {
    let mut harness = Harness::with(&["a"]).await;
    harness.kill().await;
    let _hung = harness.faults.on(Verb::EnsureNetwork).times(1).hang();
    harness.journal.clear();
    harness.start();
    harness.eventually("the engine is called", |host| !host.journal.calls().is_empty()).await;
    harness
        .eventually("the network call hangs", |host| {
            host.journal.calls().iter().any(|call| call.verb == "ensure_network")
        })
        .await;
    harness.signal(Signal::Terminate).await;
    ends_soon(&mut harness).await;
    assert!(!harness.runs("a"));
}

#[tokio::test]
async fn a_removed_app_stops_the_nodes_and_shuts_the_host_down() {
    let (folder, record) = shutdown();
    let path = folder.path().to_owned();
    let mut harness = Plan::new().await.nodes(&["a", "b"]).host(|builder| builder.search_path(path)).up().await;
    let before = harness.cloud.services.calls(Service::AppSync, "GetApp");
    harness.cloud.remove_app();
    assert_eq!(harness.ended().await, Exit::Done);
    assert_eq!(shutdown_arguments(&record).as_deref(), Some("now\n"));
    assert!(harness.cloud.services.calls(Service::AppSync, "GetApp") >= before + 2, "one snapshot is not sufficient");
    assert!(!harness.runs("a") && !harness.runs("b"));
}

#[tokio::test]
async fn a_false_report_that_the_app_is_gone_changes_nothing() {
    let (folder, record) = shutdown();
    let path = folder.path().to_owned();
    let mut harness = Plan::new().await.nodes(&["a", "b"]).host(|builder| builder.search_path(path)).up().await;
    harness.cloud.malform_next(MalformedResponse::AppNull, 1);
    let app = harness.cloud.world().app.clone().expect("it is there");
    harness.cloud.send_change(Some(serde_json::json!({"type": "ManagedApp", "name": app.name})), None);
    let before = harness.cloud.services.calls(Service::AppSync, "GetApp");
    harness
        .eventually("the app is read again", |h| h.cloud.services.calls(Service::AppSync, "GetApp") > before + 1)
        .await;
    harness.probe("a").await;
    assert_eq!(harness.journal.actions(), ["restart a"]);
    assert_eq!(shutdown_arguments(&record), None);
    assert!(harness.is_up());
}

#[tokio::test]
async fn on_removed_exit_removes_nodes_and_leaves_the_host_on() {
    let (folder, record) = shutdown();
    let path = folder.path().to_owned();
    let plan = Plan::new().await.nodes(&["a", "b"]).set("MANAGED_APP_ON_REMOVED", "exit");
    let mut harness = plan.host(|builder| builder.search_path(path)).up().await;
    harness.cloud.remove_app();
    assert_eq!(harness.ended().await, Exit::Done);
    assert_eq!(harness.nodes_with_containers(), [""; 0]);
    assert_eq!(shutdown_arguments(&record), None);
}

#[tokio::test]
async fn an_app_that_is_gone_at_the_start_ends_the_daemon_too() {
    let (folder, record) = shutdown();
    let path = folder.path().to_owned();
    let mut harness = Harness::with(&["a"]).await;
    harness.kill().await;
    harness.cloud.quietly(managed_app_fakes::cloud::World::remove_app);
    harness.host.search_in(path);
    harness.start();
    assert_eq!(harness.ended().await, Exit::Done);
    assert_eq!(shutdown_arguments(&record).as_deref(), Some("now\n"));
    assert!(!harness.runs("a"));
}
