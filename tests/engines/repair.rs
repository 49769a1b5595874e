//! Containers that somebody removes, stops, kills, pauses, renames or unplugs behind the daemon's back.

use std::time::{Duration, Instant};

use crate::engine::Engine;
use crate::rig::Rig;
use crate::wait::until;

on_each_engine! {
    a_removed_container_is_made_again
    a_stopped_container_is_started_again
    a_killed_process_runs_again
    a_paused_container_runs_again
    a_renamed_container_gets_its_name_back
    a_container_without_its_network_is_made_anew
    a_removed_network_is_made_again
    a_network_that_went_while_nodes_were_stopped_comes_back
}

async fn a_removed_container_is_made_again(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a, b] = rig.started_with(["a", "b"]).await;
    engine.disturb(&["rm", "--force", a.id()]).await;
    rig.replaced("a", &a).await;
    rig.host.converged().await;
    rig.assert_untouched("b", &b).await;
}

async fn a_stopped_container_is_started_again(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a, b] = rig.started_with(["a", "b"]).await;
    engine.disturb(&["stop", a.id()]).await;
    rig.restarted("a", &a).await;
    rig.host.converged().await;
    rig.assert_untouched("b", &b).await;
}

/// Whoever is first, the engine by its restart policy or the daemon: it runs again in the same container.
async fn a_killed_process_runs_again(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a] = rig.started_with(["a"]).await;
    engine.disturb(&["kill", a.id()]).await;
    rig.restarted("a", &a).await;
    rig.host.converged().await;
}

async fn a_paused_container_runs_again(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a] = rig.started_with(["a"]).await;
    engine.run(&["pause", a.id()]).await;
    rig.becomes("a", "is no longer paused", |now| now.id() == a.id() && now.0["State"]["Paused"] != true).await;
    rig.host.converged().await;
}

async fn a_renamed_container_gets_its_name_back(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a] = rig.started_with(["a"]).await;
    engine.run(&["rename", a.id(), &rig.name("another-name")]).await;
    until("it has its name back", async || engine.containers(&rig.tag).await == [rig.container_name("a")]).await;
    rig.assert_untouched("a", &a).await;
}

async fn a_container_without_its_network_is_made_anew(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a] = rig.started_with(["a"]).await;
    engine.run(&["network", "disconnect", &rig.tag, a.id()]).await;
    let now = rig.replaced("a", &a).await;
    assert_eq!(now.networks(), [rig.tag.as_str()]);
}

async fn a_removed_network_is_made_again(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a] = rig.started_with(["a"]).await;
    rig.cloud().remove_node(&rig.name("a"));
    rig.gone("a").await;
    rig.host.converged().await;
    engine.run(&["network", "rm", &rig.tag]).await;
    rig.add("b", |n| n.of_type("type").image(&rig.image("node:1")));
    let b = rig.running("b").await;
    assert_eq!(b.networks(), [rig.tag.as_str()]);
    assert_ne!(b.id(), a.id());
}

/// `docker network prune` does that. The nodes come back in their own containers, as fast as after any other end.
async fn a_network_that_went_while_nodes_were_stopped_comes_back(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let before = rig.started_with(["a", "b"]).await;
    rig.host.stop().await;
    engine.remove_unused_network(&rig.tag).await;
    let began = Instant::now();
    rig.host.start();
    for (node, before) in ["a", "b"].iter().zip(&before) {
        let now = rig.restarted(node, before).await;
        assert_eq!(now.networks(), [rig.tag.as_str()]);
    }
    let took = began.elapsed();
    println!("{}: two nodes whose network was removed are back after {} ms", engine.name(), took.as_millis());
    assert!(took < Duration::from_secs(10), "{took:?}");
    rig.host.converged().await;
    assert_eq!(engine.containers(&rig.tag).await.len(), 2);
}
