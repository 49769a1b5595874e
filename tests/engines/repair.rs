//! External removals, stops, kills, pauses, renames and disconnections of containers.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::wait::until;

on_each_engine! {
    a_removed_container_is_recreated
    a_stopped_container_is_started_again
    a_killed_process_runs_again
    a_paused_container_runs_again
    a_renamed_container_gets_its_name_back
    a_container_without_its_network_is_replaced
    a_removed_network_is_recreated
    a_network_removed_while_nodes_are_stopped_is_recreated
}

async fn a_removed_container_is_recreated(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a, b] = engine_harness.started_with(["a", "b"]).await;
    engine.disturb(&["rm", "--force", a.id()]).await;
    engine_harness.replaced("a", &a).await;
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("b", &b).await;
}

async fn a_stopped_container_is_started_again(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a, b] = engine_harness.started_with(["a", "b"]).await;
    engine.disturb(&["stop", a.id()]).await;
    engine_harness.restarted("a", &a).await;
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("b", &b).await;
}

/// The restart policy of the engine or the daemon starts it, whichever is first, in the same container.
async fn a_killed_process_runs_again(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a] = engine_harness.started_with(["a"]).await;
    engine.disturb(&["kill", a.id()]).await;
    engine_harness.restarted("a", &a).await;
    engine_harness.host.converged().await;
}

async fn a_paused_container_runs_again(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a] = engine_harness.started_with(["a"]).await;
    engine.run(&["pause", a.id()]).await;
    engine_harness
        .becomes("a", "is no longer paused", |now| now.id() == a.id() && now.0["State"]["Paused"] != true)
        .await;
    engine_harness.host.converged().await;
}

async fn a_renamed_container_gets_its_name_back(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a] = engine_harness.started_with(["a"]).await;
    engine.run(&["rename", a.id(), &engine_harness.name("another-name")]).await;
    until("it has its name back", async || {
        engine.containers(&engine_harness.tag).await == [engine_harness.container_name("a")]
    })
    .await;
    engine_harness.assert_untouched("a", &a).await;
}

async fn a_container_without_its_network_is_replaced(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a] = engine_harness.started_with(["a"]).await;
    engine.run(&["network", "disconnect", &engine_harness.tag, a.id()]).await;
    let now = engine_harness.replaced("a", &a).await;
    assert_eq!(now.networks(), [engine_harness.tag.as_str()]);
}

async fn a_removed_network_is_recreated(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a] = engine_harness.started_with(["a"]).await;
    engine_harness.cloud().remove_node(&engine_harness.name("a"));
    engine_harness.gone("a").await;
    engine_harness.host.converged().await;
    engine.run(&["network", "rm", &engine_harness.tag]).await;
    engine_harness.add("b", |n| n.of_type("type").image(&engine_harness.image("node:1")));
    let b = engine_harness.running("b").await;
    assert_eq!(b.networks(), [engine_harness.tag.as_str()]);
    assert_ne!(b.id(), a.id());
}

/// `docker network prune` does that. The nodes start again in their containers, as fast as after any other stop.
async fn a_network_removed_while_nodes_are_stopped_is_recreated(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let before = engine_harness.started_with(["a", "b"]).await;
    engine_harness.host.stop().await;
    engine.remove_unused_network(&engine_harness.tag).await;
    let began = Instant::now();
    engine_harness.host.start();
    for (node, before) in ["a", "b"].iter().zip(&before) {
        let now = engine_harness.restarted(node, before).await;
        assert_eq!(now.networks(), [engine_harness.tag.as_str()]);
    }
    let took = began.elapsed();
    println!("{}: two nodes whose network was removed are back after {} ms", engine.name(), took.as_millis());
    assert!(took < Duration::from_secs(10), "{took:?}");
    engine_harness.host.converged().await;
    assert_eq!(engine.containers(&engine_harness.tag).await.len(), 2);
}
