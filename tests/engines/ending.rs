//! The end of the daemon and of its nodes.

use std::time::{Duration, Instant};

use managed_app::cli::Exit;
use managed_app::host::Signal;
use managed_app_fakes::cloud::{Fault, Service};
use managed_app_fakes::node_image::Options;

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;

on_each_engine! {
    nodes_stop_in_parallel_and_are_killed_after_the_grace
    the_end_is_as_long_as_the_slowest_node_and_no_longer
    nodes_left_running_are_adopted
    an_end_during_a_restart_leaves_nothing_running
    an_end_during_the_start_stops_what_runs
}

/// The stop grace of the daemons here; the engine counts whole seconds.
const GRACE: Duration = Duration::from_secs(2);
/// Limit of an end beyond the stops, on a busy machine with busy engines: less than the duration of a poll.
const SLACK: Duration = Duration::from_secs(15);

async fn harness_with_short_grace(engine: Engine) -> EngineHarness {
    EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_STOP_GRACE", "2s")).await
}

async fn nodes_stop_in_parallel_and_are_killed_after_the_grace(engine: Engine) {
    let mut engine_harness = harness_with_short_grace(engine).await;
    let stubborn = engine_harness.image("stubborn:1");
    engine_harness.push_as(&stubborn, "stubborn", Options { ignore_sigterm: true, ..Options::default() }).await;
    for node in ["deaf-1", "deaf-2", "deaf-3"] {
        engine_harness.add(node, |n| n.of_type("stubborn").image(&stubborn));
    }
    engine_harness.started_with(["a", "b"]).await;
    let began = Instant::now();
    assert_eq!(engine_harness.host.stop().await, Exit::Done);
    let took = began.elapsed();
    assert!(took >= GRACE, "the nodes were killed after only {took:?}");
    assert!(took < GRACE + SLACK, "three nodes took {took:?}: in sequence?");
    for node in ["a", "b", "deaf-1", "deaf-2", "deaf-3"] {
        let stopped = engine_harness.container(node).await;
        assert!(!stopped.is_running(), "{node} still runs");
        let code = if node.starts_with("deaf") { 137 } else { 0 };
        assert_eq!(stopped.0["State"]["ExitCode"], code, "{node}");
    }
}

/// The daemon must not wait for its pending long poll of 20 s when the signal arrives.
async fn the_end_is_as_long_as_the_slowest_node_and_no_longer(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    engine_harness.started_with(["a", "b", "c", "d"]).await;
    engine_harness.host.eventually("it polls", |host| host.cloud.queues.waiting() > 0).await;
    let began = Instant::now();
    engine_harness.host.signal(Signal::Interrupt).await;
    assert_eq!(engine_harness.host.ended().await, Exit::Done);
    let (took, ended) = (began.elapsed(), Instant::now());
    println!("{}: the end of a daemon with 4 nodes takes {} ms", engine.name(), took.as_millis());
    assert!(took < SLACK, "{took:?}");
    let stops = engine_harness.host.journal.calls().into_iter().filter(|call| call.verb == "stop");
    let last = stops.map(|call| call.at).max().expect("nodes are stopped");
    assert!(ended - last < SLACK);
    for node in ["a", "b", "c", "d"] {
        assert_eq!(engine_harness.container(node).await.0["State"]["ExitCode"], 0, "{node} ended on SIGTERM");
    }
}

async fn nodes_left_running_are_adopted(engine: Engine) {
    let mut engine_harness = EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    let before = engine_harness.started_with(["a", "b"]).await;
    assert_eq!(engine_harness.host.stop().await, Exit::Done);
    for (node, before) in ["a", "b"].iter().zip(&before) {
        engine_harness.assert_untouched(node, before).await;
    }
    engine_harness.host.journal.clear();
    engine_harness.host.start();
    engine_harness.host.converged().await;
    for (node, before) in ["a", "b"].iter().zip(&before) {
        engine_harness.assert_untouched(node, before).await;
    }
    let actions = engine_harness.host.journal.actions();
    assert!(actions.iter().all(|act| act.starts_with("pull ")), "{actions:?}");
}

async fn an_end_during_a_restart_leaves_nothing_running(engine: Engine) {
    let mut engine_harness = harness_with_short_grace(engine).await;
    let stubborn = engine_harness.image("stubborn:1");
    engine_harness.push_as(&stubborn, "stubborn", Options { ignore_sigterm: true, ..Options::default() }).await;
    engine_harness.add("deaf", |n| n.of_type("stubborn").image(&stubborn));
    engine_harness.started_with(["a"]).await;
    let name = engine_harness.name("deaf");
    engine_harness.cloud().set_node_config(&name, "{}");
    engine_harness.host.eventually("the restart is pending", |host| host.journal.count("restart", &name) > 0).await;
    assert_eq!(engine_harness.host.stop().await, Exit::Done);
    for node in ["a", "deaf"] {
        assert!(!engine_harness.container(node).await.is_running(), "{node} still runs");
    }
}

/// The cloud does not respond, so the daemon does not know the desired nodes. It stops its running containers anyway.
async fn an_end_during_the_start_stops_what_runs(engine: Engine) {
    let mut engine_harness = EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    engine_harness.started_with(["a", "b"]).await;
    engine_harness.host.stop().await;
    engine_harness.host.set("MANAGED_APP_ON_EXIT", "stop");
    engine_harness.cloud().services.fail_until_released(Service::AppSync, Fault::Stall);
    let calls = |host: &crate::support::Host| host.cloud.services.calls(Service::AppSync, "POST");
    let before = calls(&engine_harness.host);
    engine_harness.host.start();
    engine_harness.host.eventually("it calls the cloud", |host| calls(host) > before).await;
    let began = Instant::now();
    assert_eq!(engine_harness.host.stop().await, Exit::Done);
    assert!(began.elapsed() < SLACK, "{:?}", began.elapsed());
    for node in ["a", "b"] {
        assert!(!engine_harness.container(node).await.is_running(), "{node} still runs");
    }
}
