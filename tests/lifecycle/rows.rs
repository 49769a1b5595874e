//! Each row of the table of changes of the contract: an action of a user and the resulting engine calls.

use managed_app_fakes::cloud::RemovalForm;
use managed_app_fakes::cloud::commands::{LogLevel, Mount, Node, Port};
use serde_json::json;

use crate::harness::{Harness, IMAGE, Plan, image};

/// The engine calls of a replacement.
fn replacement(node: &str) -> Vec<String> {
    ["create", "stop", "start", "remove", "rename"].map(|verb| format!("{verb} {node}")).to_vec()
}

async fn expect_replacements(harness: &Harness, first: &[&str], nodes: &[&str]) {
    let actions: Vec<String> =
        first.iter().map(|act| (*act).to_owned()).chain(nodes.iter().flat_map(|node| replacement(node))).collect();
    harness.expect(&actions.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn tenant_update_restarts_all_nodes() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.cloud.set_tenant_config(r#"{"zone":"north"}"#);
    harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
    harness.cloud.set_audit(true);
    harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
    harness.cloud.set_tenant_config(r#" {"zone" : "north"} "#);
    harness.expect_no_more_than(&[], "a").await;
}

#[tokio::test]
async fn app_update_restarts_all_nodes() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.cloud.set_app_config(r#"{"line":7}"#);
    harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
    harness.cloud.set_table_access(true);
    harness.expect_no_more_than(&["restart a", "restart b"], "a").await;
}

#[tokio::test]
async fn app_created_does_nothing() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let app = harness.cloud.world().app.clone().expect("the app is there");
    harness.cloud.send_change(None, Some(json!({"type": "ManagedApp", "name": app.name, "tenant": "acme"})));
    harness.expect_no_more_than(&[], "a").await;
}

#[tokio::test]
async fn node_created_is_pulled_and_started() {
    let harness = Harness::with(&["a"]).await;
    let other = "registry.test/other:2";
    harness.memory.publish_image(&image(other), b"other");
    harness.cloud.add_node("b", |node| node.image(other).tcp(8080, 80).volume("data", "/data"));
    harness.expect(&["pull registry.test/other:2", "create b", "start b"]).await;
    let view = harness.view("b").expect("b is there");
    let spec = view.spec.expect("the daemon created it");
    assert!(view.container.state.is_running());
    assert_eq!((spec.ports[0].host_port, spec.mounts[0].target.as_str()), (8080, "/data"));
    assert_eq!(spec.env["NODE"].expose(), "b");
}

#[tokio::test]
async fn node_removed_goes_with_its_anonymous_volumes() {
    for form in [RemovalForm::OldOnly, RemovalForm::NewRemoved] {
        let node = Node::default().image(IMAGE).mount(Mount::anonymous("/tmp")).volume("kept", "/data");
        let harness = Plan::new().await.nodes(&["a"]).node("b", node).up().await;
        assert_eq!(harness.memory.volumes().len(), 2, "{form:?}");
        harness.cloud.set_removal_form(form);
        harness.cloud.remove_node("b");
        harness.expect(&["stop b", "remove b"]).await;
        assert_eq!(harness.nodes_with_containers(), ["a"], "{form:?}");
        assert_eq!(harness.memory.volumes(), ["kept"], "{form:?}");
    }
}

#[tokio::test]
async fn node_removed_with_edges_restarts_the_other_ends() {
    let harness = Harness::with(&["a", "b", "c"]).await;
    harness.cloud.quietly(|world| [world.connect("a", "b"), world.connect("b", "c")]);
    harness.cloud.set_audit(true);
    harness.expect(&["restart a", "restart b", "restart c"]).await;
    harness.journal.clear();
    harness.cloud.remove_node("b");
    harness.eventually("b is gone", |_| harness.nodes_with_containers() == ["a", "c"]).await;
    harness.eventually("its neighbours restart", |host| ["a", "c"].iter().all(|n| host.journal.starts(n) > 0)).await;
    harness.converged().await;
    assert_eq!(["a", "c"].map(|node| harness.journal.starts(node)), [1, 1]);
}

#[tokio::test]
async fn new_ports_and_mounts_recreate_the_node() {
    let harness = Harness::with(&["a", "b"]).await;
    harness.cloud.change_ports("a", vec![Port::tcp(8080, 80), Port::udp(53, 53).at("127.0.0.1")]);
    expect_replacements(&harness, &[], &["a"]).await;
    harness.journal.clear();
    harness.cloud.change_mounts("a", vec![Mount::new("data", "/data"), Mount::new("/srv/data", "/host")]);
    expect_replacements(&harness, &[], &["a"]).await;
    let spec = harness.view("a").and_then(|view| view.spec).expect("the daemon created it");
    assert_eq!((spec.ports.len(), spec.mounts.len()), (2, 2));
}

#[tokio::test]
async fn new_node_config_restarts_and_a_description_does_nothing() {
    let mut harness = Plan::new().await.node("a", Node::default().image(IMAGE).tcp(8080, 80)).nodes(&["b"]).up().await;
    harness.cloud.set_node_config("a", r#"{"rate":3}"#);
    harness.expect_no_more_than(&["restart a"], "b").await;
    harness.cloud.set_stopped("a", true);
    harness.expect_no_more_than(&["restart a"], "b").await;
    harness.cloud.set_logging_level("a", LogLevel::Debug);
    harness.expect_no_more_than(&["restart a"], "b").await;
    let described = Port { description: "for people".to_owned(), ..Port::tcp(8080, 80) };
    harness.cloud.change_ports("a", vec![described]);
    harness.expect_no_more_than(&[], "b").await;
    harness.cloud.set_node_config("a", r#"{ "rate": 3 }"#);
    harness.expect_no_more_than(&[], "b").await;
}

#[tokio::test]
async fn a_new_image_is_pulled_once_and_replaces_all_its_nodes() {
    let plan = Plan::new().await.nodes(&["c"]);
    let of_type = || Node::default().of_type("router").image(IMAGE);
    let harness = plan.node("a", of_type()).node("b", of_type()).up().await;
    let next = "registry.test/node:2";
    let id = harness.memory.publish_image(&image(next), b"second");
    harness.cloud.set_image("router", next);
    expect_replacements(&harness, &["pull registry.test/node:2"], &["a", "b"]).await;
    for node in ["a", "b"] {
        assert_eq!(harness.container(node).await.image_id, id);
    }
}

#[tokio::test]
async fn new_auditor_restarts_receivers_and_senders() {
    let with = |edit: fn(Node) -> Node| edit(Node::default().image(IMAGE));
    let plan = Plan::new().await.node("receives", with(|node| node.receives("hl7")));
    let plan = plan.node("sends", with(|node| node.sends("hl7"))).node("other", with(|node| node.sends("text")));
    let mut harness = plan.up().await;
    harness.cloud.change_auditor("hl7", "def auditor(**_):\n    return {}\n");
    harness.expect_no_more_than(&["restart receives", "restart sends"], "other").await;
}

#[tokio::test]
async fn edges_created_removed_and_moved_restart_their_ends() {
    let mut harness = Harness::with(&["a", "b", "c", "d", "e"]).await;
    harness.cloud.connect("a", "b");
    harness.expect_no_more_than(&["restart a", "restart b"], "e").await;
    harness.cloud.move_edge(("a", "b"), ("c", "d"));
    harness.expect_no_more_than(&["restart a", "restart b", "restart c", "restart d"], "e").await;
    harness.cloud.move_edge(("c", "d"), ("c", "a"));
    harness.expect_no_more_than(&["restart a", "restart c", "restart d"], "e").await;
    harness.cloud.disconnect("c", "a");
    harness.expect_no_more_than(&["restart a", "restart c"], "e").await;
    harness.cloud.connect("a", "a node elsewhere");
    harness.expect_no_more_than(&["restart a"], "e").await;
}

#[tokio::test]
async fn another_app_and_unknown_types_are_ignored() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let fetched =
        |harness: &Harness| harness.cloud.services.calls(managed_app_fakes::cloud::Service::AppSync, "GetApp");
    let before = fetched(&harness);
    let cloud = &harness.cloud;
    cloud.send_change(None, Some(json!({"type": "ManagedNode", "name": "a", "app": "another"})));
    cloud.send_change(Some(json!({"type": "ManagedApp", "name": "another"})), None);
    cloud.send_change(None, Some(json!({"type": "Weather", "name": "a"})));
    harness.eventually("all are received", |host| host.cloud.pending_changes() == 0).await;
    assert_eq!(fetched(&harness), before, "they cause no read of the app");
    harness.expect_no_more_than(&[], "b").await;
}
