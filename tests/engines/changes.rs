//! Every row of the table of changes of the contract.

use managed_app::cli::Exit;
use managed_app_fakes::cloud::RemovalForm;
use managed_app_fakes::cloud::commands::{Mount, Node, Port};
use managed_app_runtimes::conformance::free_port;
use serde_json::json;

use crate::engine::Engine;
use crate::engine_harness::{EngineHarness, NODE_PORT};
use crate::wait::until;

on_each_engine! {
    a_new_node_is_pulled_created_and_started
    a_removed_node_goes_with_its_anonymous_volume
    changed_ports_replace_and_changed_configuration_restarts
    another_image_of_a_type_replaces_every_node_of_it
    another_auditor_restarts_receivers_and_senders
    edge_change_restarts_both_ends
    tenant_and_app_changes_restart_all_nodes
    removal_of_the_app_stops_its_nodes_and_powers_the_host_off
    foreign_malformed_and_doubled_messages_touch_nothing
    a_burst_of_edges_costs_one_or_two_restarts
}

async fn a_new_node_is_pulled_created_and_started(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    engine_harness.host.start();
    engine_harness.host.converged().await;
    let reference = engine_harness.image("node:1");
    let image_id = engine_harness.push_as(&reference, "1", Default::default()).await;
    engine_harness.add("a", |n| n.image(&reference));
    let created = engine_harness.running("a").await;
    assert_eq!(created.image_id(), image_id);
    assert_eq!(
        engine_harness.cloud().registry.private_requests("us-east-1"),
        1,
        "the token comes from the region of the registry"
    );
}

async fn a_removed_node_goes_with_its_anonymous_volume(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    engine_harness.add("a", |n| n.of_type("type").image(&image).mount(Mount::anonymous("/data")));
    engine_harness.add("b", |n| n.of_type("type").mount(Mount::anonymous("/data")));
    engine_harness.add("c", |n| n.of_type("type"));
    engine_harness.host.start();
    let [a, b, c] = engine_harness.containers(["a", "b", "c"]).await;
    let volumes = [&a, &b].map(|container| container.volume("/data"));

    for (node, form) in [("a", RemovalForm::OldOnly), ("b", RemovalForm::NewRemoved)] {
        engine_harness.cloud().set_removal_form(form);
        engine_harness.cloud().remove_node(&engine_harness.name(node));
        engine_harness.gone(node).await;
    }
    for volume in volumes {
        until("the volume is gone", async || engine.try_run(&["volume", "inspect", &volume]).await.is_err()).await;
    }
    engine_harness.assert_untouched("c", &c).await;
}

async fn changed_ports_replace_and_changed_configuration_restarts(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a, b] = engine_harness.started_with(["a", "b"]).await;
    engine_harness.cloud().set_node_config(&engine_harness.name("a"), r#"{"speed":2}"#);
    let a = engine_harness.restarted("a", &a).await;
    engine_harness.cloud().change_ports(&engine_harness.name("a"), vec![Port::tcp(free_port(), NODE_PORT)]);
    engine_harness.replaced("a", &a).await;
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("b", &b).await;
}

async fn another_image_of_a_type_replaces_every_node_of_it(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let other = engine_harness.push("other:1", "other").await;
    engine_harness.add("c", |n| n.image(&other));
    let [a, b] = engine_harness.started_with(["a", "b"]).await;
    let c = engine_harness.container("c").await;
    let next = engine_harness.image("node:2");
    let image_id = engine_harness.push_as(&next, "2", Default::default()).await;
    engine_harness.cloud().set_image("type", &next);
    for (node, before) in [("a", &a), ("b", &b)] {
        let now = engine_harness.replaced(node, before).await;
        assert_eq!(now.image_id(), image_id);
    }
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("c", &c).await;
    assert_eq!(
        engine.containers(&engine_harness.tag).await,
        ["a", "b", "c"].map(|node| engine_harness.container_name(node))
    );
}

async fn another_auditor_restarts_receivers_and_senders(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    engine_harness.add("receiver", |n: Node| n.of_type("type").image(&image).receives("hl7"));
    engine_harness.add("sender", |n| n.of_type("type").sends("hl7"));
    engine_harness.add("other", |n| n.of_type("type").receives("x12"));
    engine_harness.host.start();
    engine_harness.host.converged().await;
    let [receiver, sender, other] = engine_harness.containers(["receiver", "sender", "other"]).await;
    engine_harness.cloud().change_auditor("hl7", "def auditor(**kwargs): return {'more': 1}");
    engine_harness.restarted("receiver", &receiver).await;
    engine_harness.restarted("sender", &sender).await;
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("other", &other).await;
}

async fn edge_change_restarts_both_ends(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a, b, c] = engine_harness.started_with(["a", "b", "c"]).await;
    let [name_a, name_b, name_c] = ["a", "b", "c"].map(|node| engine_harness.name(node));

    engine_harness.cloud().connect(&name_a, &name_b);
    let (a, b) = (engine_harness.restarted("a", &a).await, engine_harness.restarted("b", &b).await);
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("c", &c).await;

    engine_harness.cloud().move_edge((&name_a, &name_b), (&name_a, &name_c));
    let (b, c) = (engine_harness.restarted("b", &b).await, engine_harness.restarted("c", &c).await);
    let a = engine_harness.restarted("a", &a).await;
    engine_harness.host.converged().await;

    engine_harness.cloud().disconnect(&name_a, &name_c);
    engine_harness.restarted("a", &a).await;
    engine_harness.restarted("c", &c).await;
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("b", &b).await;
}

async fn tenant_and_app_changes_restart_all_nodes(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a, b] = engine_harness.started_with(["a", "b"]).await;
    engine_harness.cloud().set_tenant_config(r#"{"colour":"blue"}"#);
    let (a, b) = (engine_harness.restarted("a", &a).await, engine_harness.restarted("b", &b).await);
    engine_harness.host.converged().await;
    engine_harness.cloud().set_app_config(r#"{"line":7}"#);
    engine_harness.restarted("a", &a).await;
    engine_harness.restarted("b", &b).await;
    engine_harness.host.converged().await;
    assert_eq!(["a", "b"].map(|node| engine_harness.host.journal.count("restart", &engine_harness.name(node))), [2, 2]);
}

async fn removal_of_the_app_stops_its_nodes_and_powers_the_host_off(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    engine_harness.started_with(["a", "b"]).await;
    engine_harness.cloud().remove_app();
    assert_eq!(engine_harness.host.ended().await, Exit::Done);
    assert_eq!(engine_harness.shutdown_call().as_deref(), Some("now\n"));
    for node in ["a", "b"] {
        assert!(!engine_harness.container(node).await.is_running(), "{node} runs on");
    }
}

async fn foreign_malformed_and_doubled_messages_touch_nothing(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a, b, probe] = engine_harness.started_with(["a", "b", "probe"]).await;
    let name = engine_harness.name("a");
    let node = |app: &str| json!({"type": "ManagedNode", "app": app, "name": name, "stopped": true});
    engine_harness.cloud().send_raw("not JSON");
    engine_harness.cloud().send_raw(r#"{"old": 1, "new": []}"#);
    engine_harness.cloud().send_change(Some(node("another app")), None);
    engine_harness.cloud().send_change(Some(json!({"type": "Dashboard", "name": "x"})), None);
    // It reports the removal of a node that exists: the snapshot decides.
    engine_harness.cloud().send_change(Some(node(&engine_harness.tag)), None);
    engine_harness.host.probe(&engine_harness.name("probe")).await;
    engine_harness.assert_untouched("a", &a).await;

    engine_harness.cloud().double_next(1);
    engine_harness.cloud().set_node_config(&name, r#"{"speed":3}"#);
    engine_harness.restarted("a", &a).await;
    engine_harness.host.probe(&engine_harness.name("probe")).await;
    assert_eq!(engine_harness.host.journal.count("restart", &name), 1, "a duplicate message restarts once");
    engine_harness.assert_untouched("b", &b).await;
    engine_harness.restarted("probe", &probe).await;
    assert_eq!(engine_harness.cloud().pending_changes(), 0, "ignored messages are deleted too");
}

async fn a_burst_of_edges_costs_one_or_two_restarts(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a] = engine_harness.started_with(["a"]).await;
    for number in 0..10 {
        engine_harness.cloud().connect(&format!("elsewhere {number}"), &engine_harness.name("a"));
    }
    engine_harness.restarted("a", &a).await;
    engine_harness.host.converged().await;
    let restarts = engine_harness.host.journal.count("restart", &engine_harness.name("a"));
    assert!((1..=2).contains(&restarts), "{restarts} restarts");
}
