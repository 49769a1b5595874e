//! Each row of the contract's table of changes: what a user of the cloud does, and what the engine is asked for.

use managed_app_fakes::cloud::RemovalForm;
use managed_app_fakes::cloud::words::{LogLevel, Mount, Node, Port};
use serde_json::json;

use crate::site::{IMAGE, Plan, Site, image};

/// What a replacement asks of the engine.
fn replacement(node: &str) -> Vec<String> {
    ["create", "stop", "start", "stop", "remove", "rename"].map(|verb| format!("{verb} {node}")).to_vec()
}

async fn expect_replacements(site: &Site, first: &[&str], nodes: &[&str]) {
    let acts: Vec<String> =
        first.iter().map(|act| (*act).to_owned()).chain(nodes.iter().flat_map(|node| replacement(node))).collect();
    site.expect(&acts.iter().map(String::as_str).collect::<Vec<_>>()).await;
}

#[tokio::test]
async fn tenant_update_restarts_all_nodes() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.set_tenant_config(r#"{"zone":"north"}"#);
    site.expect_no_more_than(&["restart a", "restart b"], "a").await;
    site.cloud.set_audit(true);
    site.expect_no_more_than(&["restart a", "restart b"], "a").await;
    site.cloud.set_tenant_config(r#" {"zone" : "north"} "#);
    site.expect_no_more_than(&[], "a").await;
}

#[tokio::test]
async fn app_update_restarts_all_nodes() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.set_app_config(r#"{"line":7}"#);
    site.expect_no_more_than(&["restart a", "restart b"], "a").await;
    site.cloud.set_table_access(true);
    site.expect_no_more_than(&["restart a", "restart b"], "a").await;
}

#[tokio::test]
async fn app_created_does_nothing() {
    let mut site = Site::with(&["a", "b"]).await;
    let app = site.cloud.world().app.clone().expect("the app is there");
    site.cloud.send_change(None, Some(json!({"type": "ManagedApp", "name": app.name, "tenant": "acme"})));
    site.expect_no_more_than(&[], "a").await;
}

#[tokio::test]
async fn node_created_is_pulled_made_and_started() {
    let site = Site::with(&["a"]).await;
    let other = "registry.test/other:2";
    site.memory.publish_image(&image(other), b"other");
    site.cloud.add_node("b", |node| node.image(other).tcp(8080, 80).volume("data", "/data"));
    site.expect(&["pull registry.test/other:2", "create b", "start b"]).await;
    let view = site.view("b").expect("b is there");
    let spec = view.spec.expect("the daemon made it");
    assert!(view.container.state.is_running());
    assert_eq!((spec.ports[0].host_port, spec.mounts[0].target.as_str()), (8080, "/data"));
    assert_eq!(spec.env["NODE"].expose(), "b");
}

#[tokio::test]
async fn node_removed_goes_with_its_anonymous_volumes() {
    for form in [RemovalForm::OldOnly, RemovalForm::NewRemoved] {
        let node = Node::default().image(IMAGE).mount(Mount::anonymous("/tmp")).volume("kept", "/data");
        let site = Plan::new().await.nodes(&["a"]).node("b", node).up().await;
        assert_eq!(site.memory.volumes().len(), 2, "{form:?}");
        site.cloud.set_removal_form(form);
        site.cloud.remove_node("b");
        site.expect(&["stop b", "remove b"]).await;
        assert_eq!(site.nodes_with_containers(), ["a"], "{form:?}");
        assert_eq!(site.memory.volumes(), ["kept"], "{form:?}");
    }
}

#[tokio::test]
async fn node_removed_with_edges_restarts_the_other_ends() {
    let site = Site::with(&["a", "b", "c"]).await;
    site.cloud.quietly(|world| [world.connect("a", "b"), world.connect("b", "c")]);
    site.cloud.set_audit(true);
    site.expect(&["restart a", "restart b", "restart c"]).await;
    site.journal.clear();
    site.cloud.remove_node("b");
    site.eventually("b is gone", |_| site.nodes_with_containers() == ["a", "c"]).await;
    site.eventually("its neighbours restart", |host| ["a", "c"].iter().all(|n| host.journal.starts(n) > 0)).await;
    site.converged().await;
    assert_eq!(["a", "c"].map(|node| site.journal.starts(node)), [1, 1]);
}

#[tokio::test]
async fn new_ports_and_mounts_recreate_the_node() {
    let site = Site::with(&["a", "b"]).await;
    site.cloud.change_ports("a", vec![Port::tcp(8080, 80), Port::udp(53, 53).at("127.0.0.1")]);
    expect_replacements(&site, &[], &["a"]).await;
    site.journal.clear();
    site.cloud.change_mounts("a", vec![Mount::new("data", "/data"), Mount::new("/srv/data", "/host")]);
    expect_replacements(&site, &[], &["a"]).await;
    let spec = site.view("a").and_then(|view| view.spec).expect("the daemon made it");
    assert_eq!((spec.ports.len(), spec.mounts.len()), (2, 2));
}

#[tokio::test]
async fn new_node_config_restarts_and_a_description_does_nothing() {
    let mut site = Plan::new().await.node("a", Node::default().image(IMAGE).tcp(8080, 80)).nodes(&["b"]).up().await;
    site.cloud.set_node_config("a", r#"{"rate":3}"#);
    site.expect_no_more_than(&["restart a"], "b").await;
    site.cloud.set_stopped("a", true);
    site.expect_no_more_than(&["restart a"], "b").await;
    site.cloud.set_logging_level("a", LogLevel::Debug);
    site.expect_no_more_than(&["restart a"], "b").await;
    let described = Port { description: "for people".to_owned(), ..Port::tcp(8080, 80) };
    site.cloud.change_ports("a", vec![described]);
    site.expect_no_more_than(&[], "b").await;
    site.cloud.set_node_config("a", r#"{ "rate": 3 }"#);
    site.expect_no_more_than(&[], "b").await;
}

#[tokio::test]
async fn new_image_of_a_type_is_pulled_once_and_recreates_all_nodes_of_the_type() {
    let plan = Plan::new().await.nodes(&["c"]);
    let of_type = || Node::default().of_type("router").image(IMAGE);
    let site = plan.node("a", of_type()).node("b", of_type()).up().await;
    let next = "registry.test/node:2";
    let id = site.memory.publish_image(&image(next), b"second");
    site.cloud.set_image("router", next);
    expect_replacements(&site, &["pull registry.test/node:2"], &["a", "b"]).await;
    for node in ["a", "b"] {
        assert_eq!(site.container(node).await.image_id, id);
    }
}

#[tokio::test]
async fn new_auditor_restarts_receivers_and_senders() {
    let with = |edit: fn(Node) -> Node| edit(Node::default().image(IMAGE));
    let plan = Plan::new().await.node("receives", with(|node| node.receives("hl7")));
    let plan = plan.node("sends", with(|node| node.sends("hl7"))).node("other", with(|node| node.sends("text")));
    let mut site = plan.up().await;
    site.cloud.change_auditor("hl7", "def auditor(**_):\n    return {}\n");
    site.expect_no_more_than(&["restart receives", "restart sends"], "other").await;
}

#[tokio::test]
async fn edges_made_removed_and_moved_restart_all_their_ends() {
    let mut site = Site::with(&["a", "b", "c", "d", "e"]).await;
    site.cloud.connect("a", "b");
    site.expect_no_more_than(&["restart a", "restart b"], "e").await;
    site.cloud.move_edge(("a", "b"), ("c", "d"));
    site.expect_no_more_than(&["restart a", "restart b", "restart c", "restart d"], "e").await;
    site.cloud.move_edge(("c", "d"), ("c", "a"));
    site.expect_no_more_than(&["restart a", "restart c", "restart d"], "e").await;
    site.cloud.disconnect("c", "a");
    site.expect_no_more_than(&["restart a", "restart c"], "e").await;
    site.cloud.connect("a", "a node elsewhere");
    site.expect_no_more_than(&["restart a"], "e").await;
}

#[tokio::test]
async fn another_app_and_unknown_types_are_ignored() {
    let mut site = Site::with(&["a", "b"]).await;
    let fetched = |site: &Site| site.cloud.services.calls(managed_app_fakes::cloud::Service::AppSync, "GetApp");
    let before = fetched(&site);
    let cloud = &site.cloud;
    cloud.send_change(None, Some(json!({"type": "ManagedNode", "name": "a", "app": "another"})));
    cloud.send_change(Some(json!({"type": "ManagedApp", "name": "another"})), None);
    cloud.send_change(None, Some(json!({"type": "Weather", "name": "a"})));
    site.eventually("all are taken", |host| host.cloud.pending_changes() == 0).await;
    assert_eq!(fetched(&site), before, "nobody is asked because of them");
    site.expect_no_more_than(&[], "b").await;
}
