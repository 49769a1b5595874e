//! Every row of the contract's table of changes.

use managed_app::cli::Exit;
use managed_app_fakes::cloud::RemovalForm;
use managed_app_fakes::cloud::words::{Mount, Node, Port};
use managed_app_runtimes::conformance::free_port;
use serde_json::json;

use crate::engine::Engine;
use crate::rig::{NODE_PORT, Rig};
use crate::wait::until;

on_each_engine! {
    a_new_node_is_pulled_made_and_started
    a_removed_node_goes_with_its_anonymous_volume
    a_node_with_other_ports_is_made_anew_and_with_another_configuration_restarted
    another_image_of_a_type_replaces_every_node_of_it
    another_auditor_restarts_receivers_and_senders
    edge_change_restarts_both_ends
    tenant_and_app_changes_restart_all_nodes
    removal_of_the_app_stops_its_nodes_and_powers_the_host_off
    foreign_malformed_and_doubled_messages_touch_nothing
    a_burst_of_edges_costs_one_or_two_restarts
}

async fn a_new_node_is_pulled_made_and_started(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    rig.host.start();
    rig.host.converged().await;
    let reference = rig.image("node:1");
    let image_id = rig.push_as(&reference, "1", Default::default()).await;
    rig.add("a", |n| n.image(&reference));
    let made = rig.running("a").await;
    assert_eq!(made.image_id(), image_id);
    assert_eq!(rig.cloud().registry.private_requests("us-east-1"), 1, "the registry's own region gives the token");
}

async fn a_removed_node_goes_with_its_anonymous_volume(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let image = rig.push("node:1", "1").await;
    rig.add("a", |n| n.of_type("type").image(&image).mount(Mount::anonymous("/data")));
    rig.add("b", |n| n.of_type("type").mount(Mount::anonymous("/data")));
    rig.add("c", |n| n.of_type("type"));
    rig.host.start();
    let [a, b, c] = rig.containers(["a", "b", "c"]).await;
    let volumes = [&a, &b].map(|container| container.volume("/data"));

    for (node, form) in [("a", RemovalForm::OldOnly), ("b", RemovalForm::NewRemoved)] {
        rig.cloud().set_removal_form(form);
        rig.cloud().remove_node(&rig.name(node));
        rig.gone(node).await;
    }
    for volume in volumes {
        until("the volume is gone", async || engine.try_run(&["volume", "inspect", &volume]).await.is_err()).await;
    }
    rig.assert_untouched("c", &c).await;
}

async fn a_node_with_other_ports_is_made_anew_and_with_another_configuration_restarted(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a, b] = rig.started_with(["a", "b"]).await;
    rig.cloud().set_node_config(&rig.name("a"), r#"{"speed":2}"#);
    let a = rig.restarted("a", &a).await;
    rig.cloud().change_ports(&rig.name("a"), vec![Port::tcp(free_port(), NODE_PORT)]);
    rig.replaced("a", &a).await;
    rig.host.converged().await;
    rig.assert_untouched("b", &b).await;
}

async fn another_image_of_a_type_replaces_every_node_of_it(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let other = rig.push("other:1", "other").await;
    rig.add("c", |n| n.image(&other));
    let [a, b] = rig.started_with(["a", "b"]).await;
    let c = rig.container("c").await;
    let next = rig.image("node:2");
    let image_id = rig.push_as(&next, "2", Default::default()).await;
    rig.cloud().set_image("type", &next);
    for (node, before) in [("a", &a), ("b", &b)] {
        let now = rig.replaced(node, before).await;
        assert_eq!(now.image_id(), image_id);
    }
    rig.host.converged().await;
    rig.assert_untouched("c", &c).await;
    assert_eq!(engine.containers(&rig.tag).await, ["a", "b", "c"].map(|node| rig.container_name(node)));
}

async fn another_auditor_restarts_receivers_and_senders(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let image = rig.push("node:1", "1").await;
    rig.add("receiver", |n: Node| n.of_type("type").image(&image).receives("hl7"));
    rig.add("sender", |n| n.of_type("type").sends("hl7"));
    rig.add("other", |n| n.of_type("type").receives("x12"));
    rig.host.start();
    rig.host.converged().await;
    let [receiver, sender, other] = rig.containers(["receiver", "sender", "other"]).await;
    rig.cloud().change_auditor("hl7", "def auditor(**kwargs): return {'more': 1}");
    rig.restarted("receiver", &receiver).await;
    rig.restarted("sender", &sender).await;
    rig.host.converged().await;
    rig.assert_untouched("other", &other).await;
}

async fn edge_change_restarts_both_ends(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a, b, c] = rig.started_with(["a", "b", "c"]).await;
    let [name_a, name_b, name_c] = ["a", "b", "c"].map(|node| rig.name(node));

    rig.cloud().connect(&name_a, &name_b);
    let (a, b) = (rig.restarted("a", &a).await, rig.restarted("b", &b).await);
    rig.host.converged().await;
    rig.assert_untouched("c", &c).await;

    rig.cloud().move_edge((&name_a, &name_b), (&name_a, &name_c));
    let (b, c) = (rig.restarted("b", &b).await, rig.restarted("c", &c).await);
    let a = rig.restarted("a", &a).await;
    rig.host.converged().await;

    rig.cloud().disconnect(&name_a, &name_c);
    rig.restarted("a", &a).await;
    rig.restarted("c", &c).await;
    rig.host.converged().await;
    rig.assert_untouched("b", &b).await;
}

async fn tenant_and_app_changes_restart_all_nodes(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a, b] = rig.started_with(["a", "b"]).await;
    rig.cloud().set_tenant_config(r#"{"colour":"blue"}"#);
    let (a, b) = (rig.restarted("a", &a).await, rig.restarted("b", &b).await);
    rig.host.converged().await;
    rig.cloud().set_app_config(r#"{"line":7}"#);
    rig.restarted("a", &a).await;
    rig.restarted("b", &b).await;
    rig.host.converged().await;
    assert_eq!(["a", "b"].map(|node| rig.host.journal.count("restart", &rig.name(node))), [2, 2]);
}

async fn removal_of_the_app_stops_its_nodes_and_powers_the_host_off(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    rig.started_with(["a", "b"]).await;
    rig.cloud().remove_app();
    assert_eq!(rig.host.ended().await, Exit::Done);
    assert_eq!(rig.shutdown_call().as_deref(), Some("now\n"));
    for node in ["a", "b"] {
        assert!(!rig.container(node).await.is_running(), "{node} runs on");
    }
}

async fn foreign_malformed_and_doubled_messages_touch_nothing(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a, b, probe] = rig.started_with(["a", "b", "probe"]).await;
    let name = rig.name("a");
    let node = |app: &str| json!({"type": "ManagedNode", "app": app, "name": name, "stopped": true});
    rig.cloud().send_raw("not JSON");
    rig.cloud().send_raw(r#"{"old": 1, "new": []}"#);
    rig.cloud().send_change(Some(node("another app")), None);
    rig.cloud().send_change(Some(json!({"type": "Dashboard", "name": "x"})), None);
    // It says that a node is gone which is there: what the cloud shows counts.
    rig.cloud().send_change(Some(node(&rig.tag)), None);
    rig.host.probe(&rig.name("probe")).await;
    rig.assert_untouched("a", &a).await;

    rig.cloud().double_next(1);
    rig.cloud().set_node_config(&name, r#"{"speed":3}"#);
    rig.restarted("a", &a).await;
    rig.host.probe(&rig.name("probe")).await;
    assert_eq!(rig.host.journal.count("restart", &name), 1, "a message that comes twice restarts once");
    rig.assert_untouched("b", &b).await;
    rig.restarted("probe", &probe).await;
    assert_eq!(rig.cloud().pending_changes(), 0, "messages of no use are deleted too");
}

async fn a_burst_of_edges_costs_one_or_two_restarts(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [a] = rig.started_with(["a"]).await;
    for number in 0..10 {
        rig.cloud().connect(&format!("elsewhere {number}"), &rig.name("a"));
    }
    rig.restarted("a", &a).await;
    rig.host.converged().await;
    let restarts = rig.host.journal.count("restart", &rig.name("a"));
    assert!((1..=2).contains(&restarts), "{restarts} restarts");
}
