//! Change messages that are malformed, duplicated, late, reordered, lost, or in bursts.

use std::time::Duration;

use managed_app_fakes::memory::Latencies;
use serde_json::json;

use crate::harness::{Harness, Plan};

#[tokio::test]
async fn malformed_messages_are_dropped_and_delay_nothing() {
    let mut harness = Harness::with(&["a", "b"]).await;
    for body in ["{", "null", "[]", "\"text\"", "{}", r#"{"new":7}"#, r#"{"new":{"type":7}}"#, "\u{1f600}"] {
        harness.cloud.send_raw(body);
    }
    harness.cloud.send_change(None, Some(json!({"type": "Edge"})));
    harness.cloud.send_change(Some(json!({"type": "Tenant"})), Some(json!({"type": "Edge"})));
    harness.cloud.send_change(None, Some(json!({"type": "ManagedNode", "app": null, "name": ["a"]})));
    harness.expect_no_more_than(&[], "a").await;
    harness.eventually("they are deleted", |host| host.cloud.pending_changes() == 0).await;
}

#[tokio::test]
async fn a_doubled_message_restarts_once() {
    let mut harness = Harness::with(&["a", "b", "c"]).await;
    harness.cloud.double_next(1);
    harness.cloud.connect("a", "b");
    harness.expect_no_more_than(&["restart a", "restart b"], "c").await;
    harness.cloud.queues.redeliver_next(1);
    harness.cloud.disconnect("a", "b");
    harness.expect_no_more_than(&["restart a", "restart b"], "c").await;
}

#[tokio::test]
async fn a_message_that_comes_long_after_its_change_restarts_nothing() {
    let mut harness = Harness::with(&["a", "b", "c"]).await;
    harness.cloud.delay_next(1, Duration::from_millis(300));
    harness.cloud.connect("a", "b");
    harness.cloud.quietly(|world| world.disconnect("a", "b"));
    harness.cloud.set_node_config("c", r#"{"x":1}"#);
    harness.expect(&["restart c"]).await;
    let before = harness.cloud.queues.calls("DeleteMessageBatch");
    harness.eventually("the late one is received", |h| h.cloud.queues.calls("DeleteMessageBatch") > before).await;
    harness.journal.clear();
    harness.expect_no_more_than(&[], "c").await;
}

#[tokio::test]
async fn the_order_of_messages_does_not_matter() {
    let mut harness = Harness::with(&["a", "b", "c"]).await;
    harness.cloud.reverse_next(3);
    harness.cloud.connect("a", "b");
    harness.cloud.connect("b", "c");
    harness.cloud.disconnect("a", "b");
    harness.eventually("b and c restart", |host| ["b", "c"].iter().all(|node| host.journal.starts(node) == 1)).await;
    harness.expect_no_more_than(&["restart b", "restart c"], "a").await;
}

#[tokio::test]
async fn the_next_resync_covers_a_lost_message() {
    let plan = Plan::new().await.nodes(&["a", "b"]);
    let harness = plan.host(|builder| builder.tune(|config| config.resync = Duration::from_millis(500))).up().await;
    harness.cloud.drop_next(1);
    harness.cloud.connect("a", "b");
    harness.expect(&["restart a", "restart b"]).await;
}

#[tokio::test]
async fn a_read_that_comes_too_early_is_repeated() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.cloud.stale_reads(1);
    harness.cloud.connect("a", "b");
    harness.expect(&["restart a", "restart b"]).await;
    harness.journal.clear();
    harness.cloud.stale_reads(1);
    harness.cloud.remove_node("b");
    harness.eventually("b is gone", |_| harness.nodes_with_containers() == ["a"]).await;
    harness.journal.clear();
    harness.expect_no_more_than(&[], "a").await;
}

/// One further restart covers all changes during a slow restart, as on a real engine.
#[tokio::test]
async fn a_burst_of_fifty_edges_costs_at_most_one_extra_restart() {
    let others: Vec<String> = (0..50).map(|number| format!("elsewhere {number}")).collect();
    let mut harness = Harness::with(&["hub", "probe"]).await;
    harness.memory.set_latencies(Latencies { stop: Duration::from_millis(700), ..Latencies::default() });
    for other in &others {
        harness.cloud.connect("hub", other);
    }
    harness.eventually("it restarts", |host| host.journal.starts("hub") > 0).await;
    harness.probe("probe").await;
    assert!(harness.journal.starts("hub") <= 2, "{:?}", harness.journal.actions());
    assert_eq!(harness.journal.starts("probe"), 1);
}

#[tokio::test]
async fn fifty_messages_about_one_state_restart_once() {
    let mut harness = Harness::with(&["hub", "probe"]).await;
    let changes = harness.cloud.quietly(|world| {
        (0..50).flat_map(|number| world.connect("hub", &format!("elsewhere {number}"))).collect::<Vec<_>>()
    });
    for change in changes {
        harness.cloud.send_change(change.old, change.new);
    }
    harness.expect_no_more_than(&["restart hub"], "probe").await;
}
