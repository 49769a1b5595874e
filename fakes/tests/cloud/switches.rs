//! Fault injection: messages delayed, duplicated, dropped and reversed; services that fail or hang; corrupted and stale
//! responses.

use std::time::Duration;

use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::commands::Node;
use managed_app_fakes::cloud::{Fault, MalformedResponse, Service};
use serde_json::{Value, json};

use crate::client::{Client, GET_APP, take, take_body};

/// How long a client waits for a response that must not arrive.
const PATIENCE: Duration = Duration::from_millis(200);
/// Long enough that the first action is complete, even on a busy machine.
const LATE: Duration = Duration::from_secs(3);

async fn one_node() -> (FakeCloud, Client) {
    let cloud = FakeCloud::start().await;
    cloud.quietly(|world| world.add_node("a", Node::default().image("example/a:1")));
    let client = Client::signed_in(&cloud).await;
    (cloud, client)
}

#[tokio::test]
async fn messages_are_dropped_duplicated_delayed_and_reversed() {
    let (cloud, client) = one_node().await;
    let sqs = client.queue().await;
    let url = cloud.change_queue();
    cloud.drop_next(1);
    assert_eq!(cloud.set_node_config("a", "0").receivable_at, None);
    assert_eq!((cloud.pending_changes(), &client.node("a").await["config"]), (0, &json!("0")));

    cloud.double_next(1);
    cloud.set_node_config("a", "1");
    let (one, two) = (take(&sqs, &url).await, take(&sqs, &url).await);
    assert_eq!((one.body(), one.message_attributes()), (two.body(), two.message_attributes()));

    cloud.delay_next(1, LATE);
    assert_eq!(cloud.set_node_config("a", "2").receivable_at, None);
    assert_eq!(cloud.pending_changes(), 0);
    assert_eq!(take_body(&sqs, &url).await["new"]["config"], "2");

    cloud.reverse_next(2);
    assert_eq!(cloud.set_node_config("a", "3").receivable_at, None);
    assert!(cloud.set_node_config("a", "4").receivable_at.is_some());
    assert_eq!(take_body(&sqs, &url).await["new"]["config"], "4");
    assert_eq!(take_body(&sqs, &url).await["new"]["config"], "3");
}

#[tokio::test]
async fn a_replaced_queue_has_another_url_and_the_old_is_gone() {
    let (cloud, client) = one_node().await;
    let sqs = client.queue().await;
    let old = cloud.change_queue();
    cloud.replace_change_queue();
    let gone = sqs.receive_message().queue_url(&old).send().await.expect_err("the queue is gone");
    assert!(gone.into_service_error().is_queue_does_not_exist());
    cloud.set_audit(true);
    let url = client.app().await["nodes"][0]["receiveEdge"]["queue"].clone();
    assert_eq!(take_body(&sqs, url.as_str().expect("a URL")).await["new"]["type"], "Tenant");
}

#[tokio::test]
async fn services_fail_the_requested_number_of_times() {
    let (cloud, client) = one_node().await;
    cloud.services.fail_next(Service::AppSync, 2, Fault::Status(503));
    for expected in [503, 503, 200] {
        assert_eq!(client.graphql(GET_APP, json!({})).await.0, expected);
    }
    cloud.services.fail_next_of(Service::Cognito, "RespondToAuthChallenge", 1, Fault::Status(429));
    let (status, body) = client.sign_in().await;
    assert_eq!((status, &body["__type"]), (429, &json!("TooManyRequestsException")));
    assert_eq!(cloud.services.calls(Service::Cognito, "RespondToAuthChallenge"), 2, "the first half went through");
    assert_eq!(client.sign_in().await.0, 200);
    cloud.services.fail_until_released(Service::Cognito, Fault::Status(500));
    assert_eq!((client.sign_in().await.0, client.sign_in().await.0), (500, 500));
    cloud.services.release(Service::Cognito);
    assert_eq!(client.sign_in().await.0, 200);
    assert_eq!(cloud.services.calls(Service::AppSync, "POST"), 3);
}

#[tokio::test]
async fn stalled_services_do_not_respond_and_others_do() {
    let (cloud, client) = one_node().await;
    cloud.services.fail_until_released(Service::AppSync, Fault::Stall);
    let waiting = tokio::time::timeout(PATIENCE, client.graphql(GET_APP, json!({}))).await;
    assert!(waiting.is_err(), "no answer must come");
    assert_eq!(client.sign_in().await.0, 200);
    cloud.services.release(Service::AppSync);
    assert_eq!(client.app().await["__typename"], "ManagedApp");
}

#[tokio::test]
async fn credentials_fail_and_stall_separately() {
    let (cloud, client) = one_node().await;
    cloud.services.fail_next(Service::Credentials, 1, Fault::Status(500));
    let (status, body) = client.credentials(None).await;
    assert_eq!((status, &body["errors"][0]["errorType"]), (200, &json!("Lambda:Unhandled")));
    cloud.services.fail_next(Service::Credentials, 1, Fault::Stall);
    assert!(tokio::time::timeout(PATIENCE, client.credentials(None)).await.is_err());
    assert_eq!(client.app().await["__typename"], "ManagedApp");
    assert!(client.credentials(None).await.1["data"]["GetApp"]["GetAwsCredentials"].is_object());
}

#[tokio::test]
async fn short_credentials_expire() {
    let (cloud, client) = one_node().await;
    cloud.set_credentials_lifetime(Some(Duration::ZERO));
    let sqs = client.queue().await;
    assert!(sqs.receive_message().queue_url(cloud.change_queue()).send().await.is_err());
    cloud.set_credentials_lifetime(None);
    let sqs = client.queue().await;
    assert!(sqs.receive_message().queue_url(cloud.change_queue()).send().await.is_ok());
}

#[tokio::test]
async fn corrupted_responses_end_after_their_number() {
    let (cloud, client) = one_node().await;
    let answer = |how: MalformedResponse| {
        cloud.malform_next(how, 1);
        client.graphql(GET_APP, json!({}))
    };
    let (_, body) = answer(MalformedResponse::AppNull).await;
    assert_eq!(body, json!({"data": {"GetApp": null}}));
    let (_, body) = answer(MalformedResponse::NodeNull).await;
    assert_eq!((&body["data"]["GetApp"]["nodes"][1], body.get("errors")), (&Value::Null, None));
    let (_, body) = answer(MalformedResponse::NodeFailed).await;
    assert_eq!(body["data"]["GetApp"]["nodes"][0]["__typename"], "AppChangeReceiverNode");
    assert_eq!(body["errors"][0]["path"], json!(["GetApp", "nodes", 1]));
    let (status, body) = answer(MalformedResponse::OnlyErrors).await;
    assert_eq!((status, &body["data"], body["errors"].as_array().map(Vec::len)), (200, &Value::Null, Some(1)));
    assert_eq!(client.node("a").await["name"], "a");
}

#[tokio::test]
async fn corruption_does_not_affect_credentials() {
    let (cloud, client) = one_node().await;
    cloud.malform_next(MalformedResponse::AppNull, 1);
    assert!(client.credentials(None).await.1["data"]["GetApp"]["GetAwsCredentials"].is_object());
    assert_eq!(client.app().await, Value::Null);
}

#[tokio::test]
async fn stale_reads_show_the_world_before_the_last_change() {
    let (cloud, client) = one_node().await;
    cloud.set_node_config("a", "1");
    cloud.set_node_config("a", "2");
    cloud.stale_reads(2);
    for expected in ["1", "1", "2"] {
        assert_eq!(client.node("a").await["config"], expected);
    }
}

#[tokio::test]
async fn slow_responses_show_the_state_at_the_request() {
    let (cloud, client) = one_node().await;
    cloud.set_appsync_delay(Some(PATIENCE));
    let asked = cloud.services.calls(Service::AppSync, "GetApp");
    let slow = tokio::spawn(async move { client.node("a").await });
    while cloud.services.calls(Service::AppSync, "GetApp") == asked {
        tokio::task::yield_now().await;
    }
    cloud.set_node_config("a", "new");
    assert_eq!(slow.await.expect("an answer")["config"], Value::Null);
}
