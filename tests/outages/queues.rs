//! The change queue is unavailable for long, or deleted and recreated with the same name.

use std::time::Duration;

use crate::harness::{Harness, IMAGE, Plan};

/// More failures than calls in the time of a test.
const ALWAYS: usize = 10_000;
/// The resync of these daemons, in place of minutes.
const RESYNC: Duration = Duration::from_millis(500);

#[tokio::test]
async fn without_the_queue_each_resync_applies_the_changes() {
    let plan = Plan::new().await.nodes(&["a", "b"]);
    let mut harness = plan.host(|builder| builder.tune(|config| config.resync = RESYNC)).up().await;
    harness.cloud.queues.fail_next(ALWAYS, 503, "ServiceUnavailable");
    let calls = harness.cloud.queues.calls("ReceiveMessage");
    harness.eventually("polls fail", |host| host.cloud.queues.calls("ReceiveMessage") > calls + 3).await;
    for round in 0..3 {
        harness.cloud.set_node_config("a", &format!(r#"{{"round":{round}}}"#));
        harness.eventually("a restarts", |host| host.journal.starts("a") == round + 1).await;
    }
    harness.cloud.add_node("c", |node| node.image(IMAGE));
    harness.eventually("c starts", |_| harness.runs("c")).await;
    harness.journal.clear();
    assert!(harness.cloud.pending_changes() > 0, "they could not be received");
    harness.cloud.queues.clear_faults();
    harness.eventually("the old messages are received", |host| host.cloud.pending_changes() == 0).await;
    harness.probe("b").await;
    assert_eq!(harness.journal.actions(), ["restart b"]);
}

#[tokio::test]
async fn a_queue_that_is_silent_for_long_loses_nothing() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.eventually("a poll is pending", |host| host.cloud.queues.waiting() > 0).await;
    harness.cloud.queues.stall();
    harness.cloud.set_node_config("a", r#"{"x":1}"#);
    harness.cloud.set_node_config("a", r#"{"x":2}"#);
    harness.cloud.queues.release();
    harness.eventually("a restarts", |host| host.journal.starts("a") > 0).await;
    harness.probe("b").await;
    assert!(harness.journal.starts("a") <= 2, "{:?}", harness.journal.actions());
}

/// The messages are lost with the queue: the daemon reads the app again as soon as it detects the loss.
#[tokio::test]
async fn a_recreated_queue_of_the_same_name_is_polled_again() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.eventually("a poll is pending", |host| host.cloud.queues.waiting() > 0).await;
    let url = harness.cloud.change_queue();
    let name = url.rsplit('/').next().expect("a URL ends with the queue's name").to_owned();
    harness.cloud.queues.delete(&url);
    harness.cloud.quietly(|world| world.connect("a", "b"));
    harness.eventually("the lost change is found", |h| ["a", "b"].iter().all(|node| h.journal.starts(node) == 1)).await;
    assert_eq!(harness.cloud.queues.create(&name), url);
    harness.cloud.set_node_config("a", r#"{"x":1}"#);
    harness.eventually("a restarts", |host| host.journal.starts("a") == 2).await;
    harness.probe("b").await;
    assert_eq!((harness.journal.starts("a"), harness.journal.starts("b")), (2, 2));
}
