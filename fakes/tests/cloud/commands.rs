//! Commands of users: each changes AppSync's responses and sends the right change message.

use aws_sdk_sqs::types::MessageSystemAttributeName;
use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::commands::{LogLevel, Mount, Node, Port};
use managed_app_fakes::cloud::{RemovalForm, Sent};
use serde_json::{Value, json};

use crate::client::{Client, take, take_body};

/// A cloud with two connected nodes, its client, and a client of its queue that has read everything so far.
async fn two_nodes() -> (FakeCloud, Client, aws_sdk_sqs::Client) {
    let cloud = FakeCloud::start().await;
    cloud.quietly(|world| {
        world.add_node("a", Node::default().image("example/a:1").sends("hl7"));
        world.add_node("b", Node::default().image("example/b:1"));
        world.connect("a", "b");
    });
    let client = Client::signed_in(&cloud).await;
    let sqs = client.queue().await;
    (cloud, client, sqs)
}

/// Runs a command and returns the `old` and `new` of its message.
async fn change_of(
    cloud: &FakeCloud,
    sqs: &aws_sdk_sqs::Client,
    command: impl FnOnce(&FakeCloud) -> Sent,
) -> (Value, Value) {
    let sent = command(cloud);
    assert!(sent.receivable_at.is_some());
    let mut body = take_body(sqs, &cloud.change_queue()).await;
    (body["old"].take(), body["new"].take())
}

#[tokio::test]
async fn messages_have_the_form_of_the_contract() {
    let (cloud, client, sqs) = two_nodes().await;
    let sent = cloud.connect("b", "a");
    let message = take(&sqs, &cloud.change_queue()).await;
    let attributes = message.message_attributes().expect("attributes");
    let text = |name: &str| attributes[name].string_value().expect("text").to_owned();
    assert_eq!(vec![text("trackingId")], sent.tracking_ids);
    assert!(serde_json::from_str::<Vec<String>>(&text("prevTrackingIds")).is_ok());
    let system = message.attributes().expect("system attributes");
    assert_eq!(system[&MessageSystemAttributeName::MessageGroupId], "App_Change_Router");
    let body: Value = serde_json::from_str(message.body().expect("a body")).expect("JSON");
    assert_eq!(body["tenant"], json!(client.env["TENANT"]));
    assert_eq!(body["lastModified"]["at"], body["datetime"]);
    assert!(body["lastModified"]["by"].is_string() && body["system"].is_boolean());
    assert_eq!((body.get("old"), &body["new"]["type"]), (None, &json!("Edge")));
}

#[tokio::test]
async fn node_is_added_and_removed() {
    let (cloud, client, sqs) = two_nodes().await;
    let (old, new) =
        change_of(&cloud, &sqs, |cloud| cloud.add_node("c", |node| node.of_type("a:type").tcp(1, 2))).await;
    assert_eq!((old, &new["type"], &new["name"]), (Value::Null, &json!("ManagedNode"), &json!("c")));
    assert_eq!(new["app"], json!(client.env["APP"]));
    assert_eq!(client.node("c").await["managedNodeType"]["imageUri"], "example/a:1");
    let (old, new) = change_of(&cloud, &sqs, |cloud| cloud.remove_node("c")).await;
    assert_eq!((&old["name"], new), (&json!("c"), Value::Null));
    assert_eq!(client.node("c").await, Value::Null);
}

#[tokio::test]
async fn removal_of_a_connected_node_reports_its_edges_first() {
    let (cloud, client, sqs) = two_nodes().await;
    cloud.set_removal_form(RemovalForm::NewRemoved);
    let (old, new) = change_of(&cloud, &sqs, |cloud| cloud.remove_node("b")).await;
    assert_eq!((&old["type"], &new["removed"], &new["target"]), (&json!("Edge"), &json!(true), &json!("b")));
    assert_eq!(take_body(&sqs, &cloud.change_queue()).await["new"]["name"], "b");
    assert_eq!(client.node("a").await["sendEdges"], json!([]));
    assert_eq!(cloud.pending_changes(), 0);
}

#[tokio::test]
async fn changes_of_a_node_show_both_sides() {
    let (cloud, client, sqs) = two_nodes().await;
    let (old, new) = change_of(&cloud, &sqs, |cloud| cloud.change_ports("a", vec![Port::tcp(81, 80)])).await;
    assert_eq!((&old["ports"], &new["ports"][0]["hostPort"]), (&json!([]), &json!(81)));
    let (_, new) = change_of(&cloud, &sqs, |cloud| cloud.change_mounts("a", vec![Mount::new("/etc", "/x")])).await;
    assert_eq!(new["mounts"][0]["source"], "/etc");
    let (_, new) = change_of(&cloud, &sqs, |cloud| cloud.set_node_config("a", "{}")).await;
    assert_eq!(new["config"], "{}");
    let (_, new) = change_of(&cloud, &sqs, |cloud| cloud.set_logging_level("a", LogLevel::Debug)).await;
    assert_eq!(new["loggingLevel"], "DEBUG");
    let (_, new) = change_of(&cloud, &sqs, |cloud| cloud.set_stopped("a", true)).await;
    assert_eq!(new["stopped"], true);
    let node = client.node("a").await;
    assert_eq!((&node["ports"][0]["hostPort"], &node["mounts"][0]["source"]), (&json!(81), &json!("/etc")));
    assert_eq!((&node["config"], &node["loggingLevel"]), (&json!("{}"), &json!("DEBUG")));
    assert_eq!(node["stopped"], true);
}

#[tokio::test]
async fn types_change_for_all_their_nodes() {
    let (cloud, client, sqs) = two_nodes().await;
    let (old, new) = change_of(&cloud, &sqs, |cloud| cloud.set_image("a:type", "example/a:2")).await;
    assert_eq!((&new["type"], &new["name"]), (&json!("ManagedNodeType"), &json!("a:type")));
    assert_eq!((&old["imageUri"], &new["imageUri"]), (&json!("example/a:1"), &json!("example/a:2")));
    let (_, new) = change_of(&cloud, &sqs, |cloud| cloud.change_auditor("hl7", "def auditor(): pass")).await;
    assert_eq!((&new["type"], &new["auditor"]), (&json!("MessageType"), &json!("def auditor(): pass")));
    let node = client.node("a").await;
    assert_eq!(node["managedNodeType"]["imageUri"], "example/a:2");
    assert_eq!(node["sendMessageType"]["auditor"], "def auditor(): pass");
}

#[tokio::test]
async fn edges_are_made_moved_and_removed() {
    let (cloud, client, sqs) = two_nodes().await;
    let queue = client.node("a").await["sendEdges"][0]["queue"].clone();
    let (old, new) = change_of(&cloud, &sqs, |cloud| cloud.move_edge(("a", "b"), ("b", "a"))).await;
    assert_eq!((&old["source"], &new["source"], &new["target"]), (&json!("a"), &json!("b"), &json!("a")));
    assert_eq!(client.node("a").await["receiveEdges"], json!([{"queue": queue, "source": {"name": "b"}}]));
    let (old, new) = change_of(&cloud, &sqs, |cloud| cloud.disconnect("b", "a")).await;
    assert_eq!((&old["type"], &old["source"], new), (&json!("Edge"), &json!("b"), Value::Null));
    assert_eq!(client.node("a").await["receiveEdges"], json!([]));
}

#[tokio::test]
async fn app_and_tenant_change() {
    let (cloud, client, sqs) = two_nodes().await;
    let (_, new) = change_of(&cloud, &sqs, |cloud| cloud.set_app_config("{\"a\":1}")).await;
    assert_eq!((&new["type"], &new["config"]), (&json!("ManagedApp"), &json!("{\"a\":1}")));
    let (_, new) = change_of(&cloud, &sqs, |cloud| cloud.set_table_access(true)).await;
    assert_eq!(new["tableAccess"], true);
    let (_, new) = change_of(&cloud, &sqs, |cloud| cloud.set_tenant_config("{}")).await;
    assert_eq!((&new["type"], &new["config"]), (&json!("Tenant"), &json!("{}")));
    let (old, new) = change_of(&cloud, &sqs, |cloud| cloud.set_audit(true)).await;
    assert_eq!((&old["audit"], &new["audit"]), (&json!(false), &json!(true)));
    let app = client.app().await;
    assert_eq!((&app["config"], &app["tenant"]["config"]), (&json!("{\"a\":1}"), &json!("{}")));
}

#[tokio::test]
async fn removed_app_is_null() {
    let (cloud, client, sqs) = two_nodes().await;
    let (old, new) = change_of(&cloud, &sqs, FakeCloud::remove_app).await;
    assert_eq!((&old["type"], &old["name"], new), (&json!("ManagedApp"), &json!(client.env["APP"]), Value::Null));
    assert_eq!(client.app().await, Value::Null);
    assert_eq!(client.credentials(None).await.1["data"]["GetApp"], Value::Null);
}

#[tokio::test]
async fn state_and_messages_can_diverge() {
    let (cloud, client, sqs) = two_nodes().await;
    cloud.quietly(|world| world.disconnect("a", "b"));
    assert_eq!((cloud.pending_changes(), &client.node("a").await["sendEdges"]), (0, &json!([])));
    cloud.send_raw("{not JSON");
    assert_eq!(take(&sqs, &cloud.change_queue()).await.body(), Some("{not JSON"));
    cloud.send_change(None, Some(json!({"type": "Novelty"})));
    assert_eq!(take_body(&sqs, &cloud.change_queue()).await["new"], json!({"type": "Novelty"}));
}
