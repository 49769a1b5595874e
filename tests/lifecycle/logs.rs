//! Shipping of the output of nodes to CloudWatch, with restarts, replacements, crashes, outages and a missing group.

use managed_app::status::{Amount, LogReport};
use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{ContainerRuntime, names};

use crate::harness::{Harness, IMAGE, Plan, image};

async fn harness(nodes: &[&str]) -> Harness {
    Plan::new().await.nodes(nodes).set("MANAGED_APP_NODE_LOGS", "agent").up().await
}

/// All events of the log group of a node, by time.
fn texts(harness: &Harness, node: &str) -> Vec<String> {
    let (cloud, region) = (&harness.cloud, harness.cloud.world().tenant.region.clone());
    let events = cloud.cloudwatch.events(&region, &cloud.node_log_group(node));
    events.into_iter().map(|event| event.message).collect()
}

fn print(harness: &Harness, node: &str, lines: &[&str]) {
    for line in lines {
        harness.memory.print(&names::container_name(node), line).expect("the node runs");
    }
}

async fn arrives(harness: &Harness, node: &str, wanted: &[&str]) {
    let what = format!("{node} has {wanted:?} in CloudWatch, not {:?}", texts(harness, node));
    harness
        .eventually(&what, |host| {
            let region = host.cloud.world().tenant.region.clone();
            let events = host.cloud.cloudwatch.events(&region, &host.cloud.node_log_group(node));
            events.iter().map(|event| event.message.as_str()).eq(wanted.iter().copied())
        })
        .await;
}

#[tokio::test]
async fn lines_arrive_as_events_of_the_nodes_own_group() {
    let harness = harness(&["a", "b c:d"]).await;
    print(&harness, "a", &["[INFO] one", "[ERROR] two", "Traceback", "  at x", "[INFO] three"]);
    print(&harness, "b c:d", &["[INFO] other"]);
    arrives(&harness, "a", &["[INFO] one", "[ERROR] two\nTraceback\n  at x", "[INFO] three"]).await;
    arrives(&harness, "b c:d", &["[INFO] other"]).await;
    let streams =
        harness.cloud.cloudwatch.streams(&harness.cloud.world().tenant.region, &harness.cloud.node_log_group("a"));
    let parts: Vec<usize> = streams[0].split('/').map(str::len).collect();
    assert_eq!((streams.len(), parts), (1, vec![4, 2, 2, 32]), "{streams:?}");
}

#[tokio::test]
async fn status_and_metrics_show_the_fate_of_output() {
    let harness = harness(&["a"]).await;
    print(&harness, "a", &["[INFO] one"]);
    arrives(&harness, "a", &["[INFO] one"]).await;
    let shipped = r#"managed_app_log_lines_total{fate="shipped",node="a"} 1"#;
    let is_exported = |host: &crate::support::Host| {
        let metrics = String::from_utf8(host.recorder().metrics_text()).expect("text");
        metrics.lines().any(|line| line == shipped)
    };
    harness.eventually("the metrics have it", is_exported).await;
    harness.eventually("nothing is late", |h| h.recorder().report().nodes[0].log_lag_s == Some(0.0)).await;
    let all = Amount { lines: 1, bytes: 11 };
    let log = harness.recorder().report().nodes[0].log;
    assert_eq!(log, Some(LogReport { read: all, shipped: all, ..LogReport::default() }));
}

#[tokio::test]
async fn the_last_lines_of_nodes_are_there_when_the_daemon_has_ended() {
    let mut harness = harness(&["a"]).await;
    print(&harness, "a", &["[INFO] last"]);
    harness.stop().await;
    assert_eq!(texts(&harness, "a"), ["[INFO] last"]);
    harness.start();
    harness.converged().await;
    print(&harness, "a", &["[INFO] first again"]);
    arrives(&harness, "a", &["[INFO] last", "[INFO] first again"]).await;
}

#[tokio::test]
async fn shipping_continues_after_a_time_without_the_daemon() {
    let mut harness = Plan::new()
        .await
        .nodes(&["a"])
        .set("MANAGED_APP_NODE_LOGS", "agent")
        .set("MANAGED_APP_ON_EXIT", "leave")
        .up()
        .await;
    print(&harness, "a", &["[INFO] before"]);
    arrives(&harness, "a", &["[INFO] before"]).await;
    harness.stop().await;
    print(&harness, "a", &["[INFO] meanwhile"]);
    harness.start();
    harness.converged().await;
    print(&harness, "a", &["[INFO] after"]);
    arrives(&harness, "a", &["[INFO] before", "[INFO] meanwhile", "[INFO] after"]).await;
}

#[tokio::test]
async fn restarts_and_replacements_leave_no_line_behind() {
    let mut harness = harness(&["a"]).await;
    print(&harness, "a", &["[INFO] first run"]);
    harness.probe("a").await;
    print(&harness, "a", &["[INFO] second run"]);
    let next = "registry.test/node:2";
    harness.memory.publish_image(&image(next), next.as_bytes());
    harness.cloud.set_image(&harness.cloud.world().node("a").node_type.clone(), next);
    harness.converged().await;
    // The rename is the last step of a replacement.
    harness.eventually("it is replaced", |host| host.journal.count("rename", "a") > 0).await;
    harness.converged().await;
    print(&harness, "a", &["[INFO] another container"]);
    arrives(&harness, "a", &["[INFO] first run", "[INFO] second run", "[INFO] another container"]).await;
}

#[tokio::test]
async fn the_output_of_a_removed_node_is_shipped_to_the_end() {
    let harness = harness(&["a", "b"]).await;
    print(&harness, "a", &["[INFO] last words"]);
    harness.cloud.remove_node("a");
    harness.eventually("it is gone", |host| host.journal.count("remove", "a") > 0).await;
    arrives(&harness, "a", &["[INFO] last words"]).await;
}

#[tokio::test]
async fn a_crash_of_the_daemon_loses_nothing() {
    let mut harness = harness(&["a"]).await;
    let lines: Vec<String> = (0..50).map(|number| format!("[INFO] {number}")).collect();
    for (round, part) in lines.chunks(10).enumerate() {
        print(&harness, "a", &part.iter().map(String::as_str).collect::<Vec<_>>());
        if round % 2 == 0 {
            harness
                .eventually("some have arrived", |host| host.cloud.cloudwatch.calls("PutLogEvents") > round / 2)
                .await;
        }
        harness.kill().await;
        harness.start();
        harness.converged().await;
    }
    harness.eventually("all have arrived", |_| lines.iter().all(|line| texts(&harness, "a").contains(line))).await;
    let largest = harness.cloud.cloudwatch.batches().iter().map(|batch| batch.accepted).max().unwrap_or(0);
    let doubles = texts(&harness, "a").len() - lines.len();
    assert!(doubles <= 5 * largest, "at most one batch per crash is duplicated: {doubles}, {largest}");
}

#[tokio::test]
async fn an_outage_of_cloudwatch_delays_and_loses_nothing() {
    let mut harness = harness(&["a"]).await;
    let faults = harness.cloud.cloudwatch.faults().clone();
    faults.set_outage(true);
    print(&harness, "a", &["[INFO] during"]);
    let calls = harness.cloud.cloudwatch.calls("CreateLogStream");
    harness.eventually("it is tried", |host| host.cloud.cloudwatch.calls("CreateLogStream") > calls + 1).await;
    harness.kill().await;
    harness.start();
    harness.converged().await;
    faults.set_outage(false);
    faults.fail_next(3, 400, "ThrottlingException");
    print(&harness, "a", &["[INFO] after"]);
    arrives(&harness, "a", &["[INFO] during", "[INFO] after"]).await;
}

#[tokio::test]
async fn a_missing_log_group_delays_no_other_and_is_retried() {
    let harness = harness(&["a", "b"]).await;
    let (region, group) = (harness.cloud.world().tenant.region.clone(), harness.cloud.node_log_group("a"));
    harness.cloud.cloudwatch.delete_group(&region, &group);
    for number in 0..20_000 {
        harness.memory.print(&names::container_name("a"), &format!("[INFO] {number}")).expect("the node runs");
    }
    print(&harness, "b", &["[INFO] not held up"]);
    arrives(&harness, "b", &["[INFO] not held up"]).await;
    harness.cloud.cloudwatch.create_group(&region, &group);
    harness.eventually("all of it arrives", |_| texts(&harness, "a").len() == 20_000).await;
    let wanted = (0..20_000).map(|number| format!("[INFO] {number}"));
    assert!(texts(&harness, "a").into_iter().eq(wanted), "in order, each once");
}

#[tokio::test]
async fn shipping_continues_after_an_engine_outage() {
    let harness = harness(&["a"]).await;
    print(&harness, "a", &["[INFO] before"]);
    arrives(&harness, "a", &["[INFO] before"]).await;
    harness.memory.go_down();
    print(&harness, "a", &["[INFO] while it is away"]);
    harness.memory.come_back();
    print(&harness, "a", &["[INFO] after"]);
    arrives(&harness, "a", &["[INFO] before", "[INFO] while it is away", "[INFO] after"]).await;
}

#[tokio::test]
async fn invalid_cursors_cause_duplicate_lines() {
    let mut harness = harness(&["a"]).await;
    print(&harness, "a", &["[INFO] one"]);
    arrives(&harness, "a", &["[INFO] one"]).await;
    harness.kill().await;
    std::fs::write(harness.state_directory().join("logs.json"), "{").expect("the folder is there");
    harness.start();
    harness.converged().await;
    arrives(&harness, "a", &["[INFO] one", "[INFO] one"]).await;
    assert!(harness.state_directory().join("logs.json.unreadable").exists());
}

#[tokio::test]
async fn output_that_the_engine_keeps_is_not_shipped() {
    let mut harness = Plan::new().await.nodes(&["a"]).up().await;
    print(&harness, "a", &["[INFO] for nobody"]);
    harness.stop().await;
    assert_eq!(harness.cloud.cloudwatch.calls("PutLogEvents"), 0);
    let before = harness.container("a").await.id;
    harness.set("MANAGED_APP_NODE_LOGS", "agent");
    harness.start();
    harness.converged().await;
    arrives(&harness, "a", &["[INFO] for nobody"]).await;
    assert_eq!(harness.container("a").await.id, before, "both modes use the same container");
    assert!(harness.memory.image(&image(IMAGE)).await.expect("an answer").is_some());
}

/// A host of an older version, which used awslogs if the engine has it; this version does not know the keys of dockerd.
async fn harness_with_awslogs(nodes: &[&str]) -> Harness {
    let plan = Plan::new().await.nodes(nodes).set("MANAGED_APP_NODE_LOGS", "awslogs");
    plan.set("MANAGED_APP_ON_EXIT", "leave").with(|_, memory| memory.set_awslogs(true)).up().await
}

async fn keeps_output(harness: &Harness, node: &str) -> bool {
    let record = SpecRecord::from_labels(&harness.container(node).await.labels);
    record.expect("it has a record").keeps_output()
}

#[tokio::test]
async fn a_container_with_awslogs_is_kept_and_a_new_node_gets_agent() {
    let mut harness = harness_with_awslogs(&["old"]).await;
    let before = harness.container("old").await;
    assert!(!keeps_output(&harness, "old").await);
    harness.stop().await;
    harness.unset("MANAGED_APP_NODE_LOGS");
    harness.start();
    harness.converged().await;
    let after = harness.container("old").await;
    assert_eq!((after.id, after.started_at), (before.id.clone(), before.started_at), "neither replaced nor restarted");
    harness.cloud.add_node("new", |node| node.image(IMAGE));
    harness.eventually("the new node is up", |host| host.node("new").is_some_and(|node| node.is_running)).await;
    harness.converged().await;
    assert!(keeps_output(&harness, "new").await && !keeps_output(&harness, "old").await);
    // Each line is shipped once: the engine ships the line of the old node.
    print(&harness, "old", &["[INFO] by the engine"]);
    print(&harness, "new", &["[INFO] by the daemon"]);
    arrives(&harness, "new", &["[INFO] by the daemon"]).await;
    assert_eq!(texts(&harness, "old"), [""; 0]);

    // A container that is replaced for another reason gets the default mode.
    let next = "registry.test/node:2";
    harness.memory.publish_image(&image(next), next.as_bytes());
    harness.cloud.set_image(&harness.cloud.world().node("old").node_type.clone(), next);
    harness.eventually("it is replaced", |host| host.journal.count("rename", "old") > 0).await;
    harness.converged().await;
    assert!(keeps_output(&harness, "old").await);
    print(&harness, "old", &["[INFO] by the daemon now"]);
    arrives(&harness, "old", &["[INFO] by the daemon now"]).await;
}

#[tokio::test]
async fn an_explicit_log_mode_replaces_each_container_once() {
    let mut harness = harness_with_awslogs(&["a"]).await;
    let mut before = harness.container("a").await.id;
    for (mode, is_kept) in [("agent", true), ("awslogs", false)] {
        harness.stop().await;
        harness.set("MANAGED_APP_NODE_LOGS", mode);
        harness.start();
        harness.converged().await;
        harness.eventually("it is replaced", |host| host.journal.count("rename", "a") > 0).await;
        harness.converged().await;
        let after = harness.container("a").await.id;
        assert_ne!(after, before, "{mode}");
        assert_eq!(keeps_output(&harness, "a").await, is_kept);
        harness.journal.clear();
        before = after;
    }
}

#[tokio::test]
async fn a_changed_awslogs_option_replaces_in_the_default_mode() {
    let mut harness = harness_with_awslogs(&["a"]).await;
    let before = harness.container("a").await.id;
    harness.stop().await;
    harness.unset("MANAGED_APP_NODE_LOGS");
    harness.set("MANAGED_APP_AWSLOGS_MODE", "blocking");
    harness.start();
    harness.converged().await;
    harness.eventually("it is replaced", |host| host.journal.count("rename", "a") > 0).await;
    harness.converged().await;
    assert_ne!(harness.container("a").await.id, before);
    assert!(keeps_output(&harness, "a").await);
}
