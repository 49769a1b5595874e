//! Images: registries, passwords, rejections that affect one node only, and moved tags.

use managed_app_fakes::cloud::{Fault, Service};
use managed_app_fakes::node_image::Options;

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::images::{password, private_registry, public_registry};

on_each_engine! {
    each_registry_is_asked_in_its_own_region
    a_wrong_registry_password_is_reported_and_isolated
    an_unknown_tag_beside_healthy_nodes_is_reported
    a_moved_tag_replaces_its_nodes_when_their_type_changes
    a_moved_tag_replaces_its_nodes_when_the_daemon_starts
    a_digest_stays_what_it_is_when_its_tag_moves
    without_a_registry_a_node_starts_from_the_copy_that_is_here
    a_type_with_an_invalid_image_is_reported
}

/// The status line while one of two nodes is up.
const IN_PART: &str = "1 of 2 nodes up, 1 failing";

async fn each_registry_is_asked_in_its_own_region(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let elsewhere = private_registry().replace("us-east-1", "eu-west-1");
    let path = format!("{}/node", engine_harness.tag);
    let home = engine_harness.push("node:1", "1").await;
    let gallery = format!("{}/{path}:1", public_registry());
    let gallery_id = engine_harness.push_as(&gallery, "public", Options::default()).await;
    engine_harness.add("home", |n| n.image(&home));
    engine_harness.add("far", |n| n.image(&format!("{elsewhere}/{path}:1")));
    engine_harness.add("public", |n| n.image(&gallery));
    engine_harness.host.start();
    engine_harness.host.converged().await;
    let [home, far, public] = engine_harness.containers(["home", "far", "public"]).await;
    assert_eq!(home.image_id(), far.image_id(), "one registry has both names");
    assert_eq!(public.image_id(), gallery_id);
    let tokens = &engine_harness.cloud().registry;
    assert_eq!((tokens.private_requests("us-east-1"), tokens.private_requests("eu-west-1")), (1, 1));
    assert_eq!(tokens.public_requests(), 1);
}

async fn a_wrong_registry_password_is_reported_and_isolated(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let private = engine_harness.push("node:1", "1").await;
    let public = format!("{}/{}/node:1", public_registry(), engine_harness.tag);
    engine_harness.push_as(&public, "public", Options::default()).await;
    engine_harness.cloud().registry.set_password("not-the-password");
    engine_harness.add("refused", |n| n.of_type("type").image(&private));
    engine_harness.add("fine", |n| n.image(&public));
    engine_harness.host.start();
    let refused = engine_harness.name("refused");
    let failure = failure_of(&engine_harness, &refused).await;
    assert!(failure.contains("refused the credentials"), "{failure}");
    assert!(!failure.contains("not-the-password"), "{failure}");
    engine_harness.running("fine").await;
    let is_told = |host: &crate::support::Host| host.status().is_some_and(|s| s.summary().contains(IN_PART));
    engine_harness.host.eventually("one line reports both", is_told).await;

    // Another image is pulled at once, with a new token.
    engine_harness.cloud().registry.set_password(&password());
    let next = engine_harness.push("node:2", "2").await;
    engine_harness.cloud().set_image("type", &next);
    engine_harness.running("refused").await;
    engine_harness.host.converged().await;
    assert_eq!(engine_harness.host.node(&refused).expect("it is known").failure, None);
}

async fn an_unknown_tag_beside_healthy_nodes_is_reported(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let missing = engine_harness.image("node:missing");
    engine_harness.add("missing", |n| n.of_type("other type").image(&missing));
    let [a] = engine_harness.started_beside(["a"]).await;
    let failure = failure_of(&engine_harness, &engine_harness.name("missing")).await;
    assert!(failure.contains(&missing) && failure.contains("does not exist"), "{failure}");

    // A running node keeps its container when its type gets an image that does not exist.
    engine_harness.cloud().set_image("type", &engine_harness.image("node:also-missing"));
    let failure = failure_of(&engine_harness, &engine_harness.name("a")).await;
    assert!(failure.contains("also-missing"), "{failure}");
    engine_harness.assert_untouched("a", &a).await;
}

async fn a_moved_tag_replaces_its_nodes_when_their_type_changes(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a, b] = engine_harness.started_with(["a", "b"]).await;
    let reference = engine_harness.image("node:1");
    let moved = engine_harness.push_as(&reference, "moved", Options::default()).await;
    assert_ne!(a.image_id(), moved);
    engine_harness.cloud().set_image("type", &reference);
    for (node, before) in [("a", &a), ("b", &b)] {
        assert_eq!(engine_harness.replaced(node, before).await.image_id(), moved);
    }
}

async fn a_moved_tag_replaces_its_nodes_when_the_daemon_starts(engine: Engine) {
    let mut engine_harness = EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    let [a] = engine_harness.started_with(["a"]).await;
    let moved = engine_harness.push_as(&engine_harness.image("node:1"), "moved", Options::default()).await;
    engine_harness.host.restart_daemon().await;
    assert_eq!(engine_harness.replaced("a", &a).await.image_id(), moved);
}

async fn a_digest_stays_what_it_is_when_its_tag_moves(engine: Engine) {
    let mut engine_harness = EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    let tag = engine_harness.image("node:1");
    let first = engine_harness.push_whole(&tag, "first", Options::default()).await;
    engine_harness.push_as(&tag, "second", Options::default()).await;
    engine_harness.add("a", |n| n.image(&first.by_digest));
    engine_harness.host.start();
    engine_harness.host.converged().await;
    let a = engine_harness.running("a").await;
    assert_eq!(a.image_id(), first.id);
    engine_harness.host.restart_daemon().await;
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("a", &a).await;
}

async fn without_a_registry_a_node_starts_from_the_copy_that_is_here(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a] = engine_harness.started_with(["a"]).await;
    engine_harness.host.stop().await;
    engine_harness.cloud().services.fail_until_released(Service::Ecr, Fault::Status(400));
    engine_harness.host.start();
    let again = engine_harness.running("a").await;
    assert_eq!(again.id(), a.id());
    assert_ne!(again.started_at(), a.started_at());
    let failure = failure_of(&engine_harness, &engine_harness.name("a")).await;
    assert!(failure.contains("ecr:GetAuthorizationToken"), "{failure}");
}

async fn a_type_with_an_invalid_image_is_reported(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    engine_harness.add("short", |n| n.of_type("other type").image("busybox"));
    let [a] = engine_harness.started_beside(["a"]).await;
    let failure = failure_of(&engine_harness, &engine_harness.name("short")).await;
    assert!(failure.contains("busybox"), "{failure}");
    engine_harness.assert_untouched("a", &a).await;
}

/// The failure of a node in the status.
async fn failure_of(engine_harness: &EngineHarness, name: &str) -> String {
    let failure = || engine_harness.host.node(name).and_then(|node| node.failure);
    engine_harness.host.eventually("a failure is reported", |_| failure().is_some()).await;
    failure().expect("it was there a moment ago")
}
