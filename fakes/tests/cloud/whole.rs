//! The whole cloud at one address: `env` contains everything that a client of each service needs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use aws_credential_types::Credentials;
use aws_sdk_cloudwatchlogs::types::InputLogEvent;
use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::commands::Node;
use managed_app_fakes::cloud::{Fault, Service};

use crate::client::{Client, config, plain_http, take};

/// The configuration that the daemon's default chain would load, in one region.
async fn operator(env: &BTreeMap<String, String>) -> aws_config::SdkConfig {
    let [id, secret] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| env[name].clone());
    config(&env["AWS_ENDPOINT_URL"], Credentials::new(id, secret, None, None, "test")).await
}

#[tokio::test]
async fn env_contains_the_variables_of_the_contract() {
    let cloud = FakeCloud::builder().app("an app: 2").tenant("a tenant").pool_region("eu-west-1").start().await;
    let env = cloud.expect("a port").env();
    let required =
        "APP APPSYNC_ENDPOINT AWS_DEFAULT_REGION CLIENT_ID LOG_GROUP_NAME PASSWORD TENANT USER_NAME USER_POOL_ID";
    for name in required.split(' ') {
        assert!(!env[name].is_empty(), "{name}");
    }
    assert_eq!((env["APP"].as_str(), env["TENANT"].as_str()), ("an app: 2", "a tenant"));
    assert!(env["USER_POOL_ID"].starts_with("eu-west-1_"));
    assert_ne!(env["AWS_DEFAULT_REGION"], "eu-west-1");
}

#[tokio::test]
async fn operator_gets_registry_tokens_and_the_gate_counts() {
    let cloud = FakeCloud::start().await;
    let ecr = aws_sdk_ecr::Client::new(&operator(&cloud.env()).await);
    cloud.services.fail_next(Service::Ecr, 1, Fault::Status(500));
    assert!(ecr.get_authorization_token().send().await.is_err());
    let answer = ecr.get_authorization_token().send().await.expect("the operator may have a token");
    assert_eq!(answer.authorization_data().len(), 1);
    assert_eq!(cloud.services.calls(Service::Ecr, "GetAuthorizationToken"), 2);
    assert_eq!(cloud.registry.private_requests("us-east-2"), 1);
}

#[tokio::test]
async fn log_groups_of_the_daemon_and_of_nodes_exist() {
    let cloud = FakeCloud::start().await;
    let env = cloud.env();
    cloud.add_node("a", |node| node.image("example/a:1"));
    cloud.quietly(|world| world.add_node("b", Node::default().image("example/b:1")));
    let logs = aws_sdk_cloudwatchlogs::Client::new(&operator(&env).await);
    for group in [env["LOG_GROUP_NAME"].clone(), cloud.node_log_group("a"), cloud.node_log_group("b")] {
        let stream = logs.create_log_stream().log_group_name(&group).log_stream_name("s").send().await;
        assert!(stream.is_ok(), "no group {group}");
    }
    let now = time::OffsetDateTime::now_utc().unix_timestamp() * 1000;
    let event = InputLogEvent::builder().timestamp(now).message("[INFO] up").build().expect("all fields are set");
    let group = cloud.node_log_group("a");
    let put = logs.put_log_events().log_group_name(&group).log_stream_name("s").log_events(event).send().await;
    assert!(put.is_ok(), "{put:?}");
    assert_eq!(cloud.cloudwatch.events("us-east-2", &group)[0].message, "[INFO] up");
    assert_eq!(cloud.services.calls(Service::CloudWatch, "PutLogEvents"), 1);
}

#[tokio::test]
async fn audit_endpoint_of_the_snapshot_is_served() {
    let cloud = FakeCloud::start().await;
    let client = Client::signed_in(&cloud).await;
    let endpoint = client.app().await["auditRecordsEndpoint"].as_str().expect("a URL").to_owned();
    let answer = plain_http().post(format!("{endpoint}/a")).body("{}").send().await.expect("an answer");
    assert_ne!(answer.status(), 404, "an unsigned call is refused by the endpoint itself");
    assert!(!answer.status().is_success());
    assert_eq!((cloud.services.calls(Service::Audit, "POST"), cloud.audit.batches().len()), (1, 0));
}

/// The time that a command returns is the start for a measurement of latency.
#[tokio::test]
async fn a_command_wakes_a_waiting_poll_and_returns_its_time() {
    let cloud = FakeCloud::start().await;
    let sqs = Client::signed_in(&cloud).await.queue().await;
    let url = cloud.change_queue();
    let poll = tokio::spawn(async move {
        take(&sqs, &url).await;
        Instant::now()
    });
    while cloud.queues.waiting() == 0 {
        tokio::task::yield_now().await;
    }
    let receivable_at = cloud.set_audit(true).receivable_at.expect("nothing holds it back");
    let taken_at = poll.await.expect("the poll ends");
    assert!(taken_at.saturating_duration_since(receivable_at) < Duration::from_secs(15), "less than a poll lasts");
    assert_eq!(cloud.pending_changes(), 0);
}

#[tokio::test]
async fn two_hundred_nodes_fit_into_one_snapshot() {
    let cloud = FakeCloud::start().await;
    cloud.quietly(|world| {
        for number in 0..200 {
            let image = format!("example/{number}:1");
            world.add_node(&format!("node {number:03}"), Node::default().image(&image).receives("hl7").sends("hl7"));
        }
        for number in 1..200 {
            world.connect(&format!("node {:03}", number - 1), &format!("node {number:03}"));
        }
    });
    let client = Client::signed_in(&cloud).await;
    let app = client.app().await;
    assert_eq!(app["nodes"].as_array().map(Vec::len), Some(201));
    assert_eq!(app["nodes"][200]["receiveEdges"][0]["source"]["name"], "node 198");
}
