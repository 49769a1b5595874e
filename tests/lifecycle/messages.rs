//! Change messages that are malformed, doubled, late, reordered, lost, or come by the dozen.

use std::time::Duration;

use managed_app_fakes::memory::Latencies;
use serde_json::json;

use crate::site::{Plan, Site};

#[tokio::test]
async fn malformed_messages_are_dropped_and_hold_up_nothing() {
    let mut site = Site::with(&["a", "b"]).await;
    for body in ["{", "null", "[]", "\"text\"", "{}", r#"{"new":7}"#, r#"{"new":{"type":7}}"#, "\u{1f600}"] {
        site.cloud.send_raw(body);
    }
    site.cloud.send_change(None, Some(json!({"type": "Edge"})));
    site.cloud.send_change(Some(json!({"type": "Tenant"})), Some(json!({"type": "Edge"})));
    site.cloud.send_change(None, Some(json!({"type": "ManagedNode", "app": null, "name": ["a"]})));
    site.expect_no_more_than(&[], "a").await;
    site.eventually("they are deleted", |host| host.cloud.pending_changes() == 0).await;
}

#[tokio::test]
async fn a_doubled_message_restarts_once() {
    let mut site = Site::with(&["a", "b", "c"]).await;
    site.cloud.double_next(1);
    site.cloud.connect("a", "b");
    site.expect_no_more_than(&["restart a", "restart b"], "c").await;
    site.cloud.queues.redeliver_next(1);
    site.cloud.disconnect("a", "b");
    site.expect_no_more_than(&["restart a", "restart b"], "c").await;
}

#[tokio::test]
async fn a_message_that_comes_long_after_its_change_restarts_nothing() {
    let mut site = Site::with(&["a", "b", "c"]).await;
    site.cloud.delay_next(1, Duration::from_millis(300));
    site.cloud.connect("a", "b");
    site.cloud.quietly(|world| world.disconnect("a", "b"));
    site.cloud.set_node_config("c", r#"{"x":1}"#);
    site.expect(&["restart c"]).await;
    let taken = site.cloud.queues.calls("DeleteMessageBatch");
    site.eventually("the late one is taken", |h| h.cloud.queues.calls("DeleteMessageBatch") > taken).await;
    site.journal.clear();
    site.expect_no_more_than(&[], "c").await;
}

#[tokio::test]
async fn the_order_of_messages_does_not_matter() {
    let mut site = Site::with(&["a", "b", "c"]).await;
    site.cloud.reverse_next(3);
    site.cloud.connect("a", "b");
    site.cloud.connect("b", "c");
    site.cloud.disconnect("a", "b");
    site.eventually("b and c restart", |host| ["b", "c"].iter().all(|node| host.journal.starts(node) == 1)).await;
    site.expect_no_more_than(&["restart b", "restart c"], "a").await;
}

#[tokio::test]
async fn a_lost_message_is_made_up_for_by_the_next_resync() {
    let plan = Plan::new().await.nodes(&["a", "b"]);
    let site = plan.host(|builder| builder.tune(|config| config.resync = Duration::from_millis(500))).up().await;
    site.cloud.drop_next(1);
    site.cloud.connect("a", "b");
    site.expect(&["restart a", "restart b"]).await;
}

#[tokio::test]
async fn a_read_that_comes_too_early_is_repeated() {
    let mut site = Site::with(&["a", "b"]).await;
    site.cloud.stale_reads(1);
    site.cloud.connect("a", "b");
    site.expect(&["restart a", "restart b"]).await;
    site.journal.clear();
    site.cloud.stale_reads(1);
    site.cloud.remove_node("b");
    site.eventually("b is gone", |_| site.nodes_with_containers() == ["a"]).await;
    site.journal.clear();
    site.expect_no_more_than(&[], "a").await;
}

/// A restart that takes its time, as on a real engine, takes in all changes that come meanwhile.
#[tokio::test]
async fn a_burst_of_fifty_edges_costs_one_restart_more_than_needed_at_most() {
    let others: Vec<String> = (0..50).map(|number| format!("elsewhere {number}")).collect();
    let mut site = Site::with(&["hub", "probe"]).await;
    site.memory.set_latencies(Latencies { stop: Duration::from_millis(700), ..Latencies::default() });
    for other in &others {
        site.cloud.connect("hub", other);
    }
    site.eventually("it restarts", |host| host.journal.starts("hub") > 0).await;
    site.probe("probe").await;
    assert!(site.journal.starts("hub") <= 2, "{:?}", site.journal.acts());
    assert_eq!(site.journal.starts("probe"), 1);
}

#[tokio::test]
async fn fifty_messages_about_one_state_restart_once() {
    let mut site = Site::with(&["hub", "probe"]).await;
    let changes = site.cloud.quietly(|world| {
        (0..50).flat_map(|number| world.connect("hub", &format!("elsewhere {number}"))).collect::<Vec<_>>()
    });
    for change in changes {
        site.cloud.send_change(change.old, change.new);
    }
    site.expect_no_more_than(&["restart hub"], "probe").await;
}
