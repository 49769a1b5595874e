//! Independent clients of the fake cloud: boto3, pycognito, gql, graphql-core and EchoStream's library for nodes.

use std::io::Write;
use std::time::Duration;

use managed_app_fakes::FakeCloud;
use managed_app_fakes::cloud::sqs::Outgoing;

use crate::{script, table};

/// The node of the app, and a node elsewhere with edges from and to it. The scripts use these names.
const NODE: &str = "inlet";
const OUTSIDE: &str = "outside";
/// Limit for the way of a message through a node.
const LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(10);

async fn cloud() -> FakeCloud {
    let cloud = FakeCloud::start().await;
    cloud.add_node(NODE, |node| node.image("example/inlet:1").receives("text").sends("text"));
    cloud.connect(OUTSIDE, NODE);
    cloud.connect(NODE, OUTSIDE);
    cloud.set_audit(true);
    cloud
}

async fn no_switch(what: &str) {
    panic!("this script may not request {what:?}");
}

/// URL of the queue of an edge.
fn queue(cloud: &FakeCloud, source: &str, target: &str) -> String {
    let world = cloud.world();
    let edge = world.edges.iter().find(|edge| edge.source == source && edge.target == target);
    edge.expect("the edge was made").queue.clone()
}

#[tokio::test]
async fn boto3_and_pycognito_get_what_aws_gives() {
    let cloud = cloud().await;
    table::compare("services.py", &script::run("services.py", &cloud, no_switch).await);
}

#[tokio::test]
async fn boto3_and_pycognito_are_refused_what_aws_refuses() {
    let cloud = cloud().await;
    let switch = async |what: &str| match what {
        "expire_access_tokens" => cloud.expire_tokens(),
        "expire_refresh_tokens" => cloud.expire_refresh_tokens(),
        "revoke_refresh_tokens" => cloud.revoke_refresh_tokens(),
        "disable_user" => cloud.set_user_enabled(false),
        "enable_user" => cloud.set_user_enabled(true),
        "revoke_credentials" => cloud.revoke_credentials(),
        "end_credentials_at_once" => cloud.set_credentials_lifetime(Some(Duration::ZERO)),
        _ => no_switch(what).await,
    };
    for script in table::REFUSALS {
        table::compare(script, &script::run(script, &cloud, &switch).await);
    }
}

#[tokio::test]
async fn gql_runs_the_operations_of_the_daemon() {
    let cloud = cloud().await;
    let findings = script::run("operations.py", &cloud, no_switch).await;
    if script::published_schema().is_some() {
        table::compare("operations.py", &findings);
    } else {
        // Not `println!`: the output of a passed test is captured.
        let notice = "the published schema is missing: operations were validated against the schema of the fake only\n";
        std::io::stderr().write_all(notice.as_bytes()).expect("standard error is open");
        table::contains("operations.py", &findings);
    }
}

#[tokio::test]
async fn an_app_node_of_echostream_runs_on_the_fake_cloud() {
    let cloud = cloud().await;
    let switch = async |what: &str| match what {
        "send_to_node" => {
            let (body, group) = ("hello".to_owned(), "g".to_owned());
            let attributes = [("trackingId".to_owned(), "t-1".to_owned())].into();
            let message = Outgoing { body, attributes, group, deduplication_id: "1".to_owned() };
            cloud.queues.send(&queue(&cloud, OUTSIDE, NODE), message);
        }
        "see_that_it_was_handled" => was_handled(&cloud).await,
        _ => no_switch(what).await,
    };
    table::compare("app_node.py", &script::run("app_node.py", &cloud, switch).await);
}

/// The message is deleted, audited and forwarded with its previous tracking ID.
async fn was_handled(cloud: &FakeCloud) {
    let forwarded = cloud.queues.take(&queue(cloud, NODE, OUTSIDE), LIMIT).await.expect("a message is forwarded");
    assert_eq!(forwarded.body, "handled hello");
    assert_eq!(forwarded.attributes["prevTrackingIds"], "[\"t-1\"]");
    let is_done = || cloud.queues.pending(&queue(cloud, OUTSIDE, NODE)) == 0 && !cloud.audit.of_node(NODE).is_empty();
    let wait = async {
        while !is_done() {
            tokio::time::sleep(POLL_INTERVAL).await;
        }
    };
    tokio::time::timeout(LIMIT, wait).await.expect("the node deletes the message and sends an audit record");
    let [record] = &cloud.audit.of_node(NODE)[..] else { panic!("{:?}", cloud.audit.of_node(NODE)) };
    assert_eq!((record.tracking_id.as_str(), record.source_node.as_str()), ("t-1", OUTSIDE));
}
