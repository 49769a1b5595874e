//! The output of nodes on its way to CloudWatch: through restarts, replacements, crashes, outages and a missing group.

use managed_app::status::{Amount, LogReport};
use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{ContainerRuntime, names};

use crate::site::{IMAGE, Plan, Site, image};

async fn site(nodes: &[&str]) -> Site {
    Plan::new().await.nodes(nodes).set("MANAGED_APP_NODE_LOGS", "agent").up().await
}

/// All that a node's group has, by time.
fn texts(site: &Site, node: &str) -> Vec<String> {
    let (cloud, region) = (&site.cloud, site.cloud.world().tenant.region.clone());
    let events = cloud.cloudwatch.events(&region, &cloud.node_log_group(node));
    events.into_iter().map(|event| event.message).collect()
}

fn print(site: &Site, node: &str, lines: &[&str]) {
    for line in lines {
        site.memory.print(&names::container_name(node), line).expect("the node runs");
    }
}

async fn arrives(site: &Site, node: &str, wanted: &[&str]) {
    let what = format!("{node} has {wanted:?} in CloudWatch, not {:?}", texts(site, node));
    site.eventually(&what, |host| {
        let region = host.cloud.world().tenant.region.clone();
        let events = host.cloud.cloudwatch.events(&region, &host.cloud.node_log_group(node));
        events.iter().map(|event| event.message.as_str()).eq(wanted.iter().copied())
    })
    .await;
}

#[tokio::test]
async fn lines_arrive_as_events_of_the_nodes_own_group() {
    let site = site(&["a", "b c:d"]).await;
    print(&site, "a", &["[INFO] one", "[ERROR] two", "Traceback", "  at x", "[INFO] three"]);
    print(&site, "b c:d", &["[INFO] other"]);
    arrives(&site, "a", &["[INFO] one", "[ERROR] two\nTraceback\n  at x", "[INFO] three"]).await;
    arrives(&site, "b c:d", &["[INFO] other"]).await;
    let streams = site.cloud.cloudwatch.streams(&site.cloud.world().tenant.region, &site.cloud.node_log_group("a"));
    let parts: Vec<usize> = streams[0].split('/').map(str::len).collect();
    assert_eq!((streams.len(), parts), (1, vec![4, 2, 2, 32]), "{streams:?}");
}

#[tokio::test]
async fn what_became_of_output_is_told_in_status_and_metrics() {
    let site = site(&["a"]).await;
    print(&site, "a", &["[INFO] one"]);
    arrives(&site, "a", &["[INFO] one"]).await;
    let shipped = r#"managed_app_log_lines_total{fate="shipped",node="a"} 1"#;
    let is_told = |host: &crate::support::Host| {
        let metrics = String::from_utf8(host.recorder().metrics_text()).expect("text");
        metrics.lines().any(|line| line == shipped)
    };
    site.eventually("the metrics tell", is_told).await;
    site.eventually("nothing is late", |h| h.recorder().report().nodes[0].log_lag_s == Some(0.0)).await;
    let all = Amount { lines: 1, bytes: 11 };
    let told = site.recorder().report().nodes[0].log;
    assert_eq!(told, Some(LogReport { read: all, shipped: all, ..LogReport::default() }));
}

#[tokio::test]
async fn the_last_lines_of_nodes_are_there_when_the_daemon_has_ended() {
    let mut site = site(&["a"]).await;
    print(&site, "a", &["[INFO] last"]);
    site.stop().await;
    assert_eq!(texts(&site, "a"), ["[INFO] last"]);
    site.start();
    site.converged().await;
    print(&site, "a", &["[INFO] first again"]);
    arrives(&site, "a", &["[INFO] last", "[INFO] first again"]).await;
}

#[tokio::test]
async fn nodes_that_run_on_without_the_daemon_are_shipped_so_far_and_then_from_there() {
    let mut site = Plan::new()
        .await
        .nodes(&["a"])
        .set("MANAGED_APP_NODE_LOGS", "agent")
        .set("MANAGED_APP_ON_EXIT", "leave")
        .up()
        .await;
    print(&site, "a", &["[INFO] before"]);
    arrives(&site, "a", &["[INFO] before"]).await;
    site.stop().await;
    print(&site, "a", &["[INFO] meanwhile"]);
    site.start();
    site.converged().await;
    print(&site, "a", &["[INFO] after"]);
    arrives(&site, "a", &["[INFO] before", "[INFO] meanwhile", "[INFO] after"]).await;
}

#[tokio::test]
async fn restarts_and_replacements_leave_no_line_behind() {
    let mut site = site(&["a"]).await;
    print(&site, "a", &["[INFO] first run"]);
    site.probe("a").await;
    print(&site, "a", &["[INFO] second run"]);
    let next = "registry.test/node:2";
    site.memory.publish_image(&image(next), next.as_bytes());
    site.cloud.set_image(&site.cloud.world().node("a").node_type.clone(), next);
    site.converged().await;
    // The new container has the name of the node last of all.
    site.eventually("it is replaced", |host| host.journal.count("rename", "a") > 0).await;
    site.converged().await;
    print(&site, "a", &["[INFO] another container"]);
    arrives(&site, "a", &["[INFO] first run", "[INFO] second run", "[INFO] another container"]).await;
}

#[tokio::test]
async fn a_removed_node_is_heard_to_the_end() {
    let site = site(&["a", "b"]).await;
    print(&site, "a", &["[INFO] last words"]);
    site.cloud.remove_node("a");
    site.eventually("it is gone", |host| host.journal.count("remove", "a") > 0).await;
    arrives(&site, "a", &["[INFO] last words"]).await;
}

#[tokio::test]
async fn a_crash_of_the_daemon_loses_nothing() {
    let mut site = site(&["a"]).await;
    let lines: Vec<String> = (0..50).map(|number| format!("[INFO] {number}")).collect();
    for (round, part) in lines.chunks(10).enumerate() {
        print(&site, "a", &part.iter().map(String::as_str).collect::<Vec<_>>());
        if round % 2 == 0 {
            site.eventually("some have come", |host| host.cloud.cloudwatch.calls("PutLogEvents") > round / 2).await;
        }
        site.kill().await;
        site.start();
        site.converged().await;
    }
    site.eventually("all have come", |_| lines.iter().all(|line| texts(&site, "a").contains(line))).await;
    let largest = site.cloud.cloudwatch.batches().iter().map(|batch| batch.accepted).max().unwrap_or(0);
    let doubles = texts(&site, "a").len() - lines.len();
    assert!(doubles <= 5 * largest, "at most one batch comes twice for each crash: {doubles}, {largest}");
}

#[tokio::test]
async fn an_outage_of_cloudwatch_delays_and_loses_nothing() {
    let mut site = site(&["a"]).await;
    let faults = site.cloud.cloudwatch.faults().clone();
    faults.set_outage(true);
    print(&site, "a", &["[INFO] during"]);
    let calls = site.cloud.cloudwatch.calls("CreateLogStream");
    site.eventually("it is tried", |host| host.cloud.cloudwatch.calls("CreateLogStream") > calls + 1).await;
    site.kill().await;
    site.start();
    site.converged().await;
    faults.set_outage(false);
    faults.fail_next(3, 400, "ThrottlingException");
    print(&site, "a", &["[INFO] after"]);
    arrives(&site, "a", &["[INFO] during", "[INFO] after"]).await;
}

#[tokio::test]
async fn a_group_that_is_missing_holds_up_no_other_and_is_waited_for() {
    let site = site(&["a", "b"]).await;
    let (region, group) = (site.cloud.world().tenant.region.clone(), site.cloud.node_log_group("a"));
    site.cloud.cloudwatch.delete_group(&region, &group);
    for number in 0..20_000 {
        site.memory.print(&names::container_name("a"), &format!("[INFO] {number}")).expect("the node runs");
    }
    print(&site, "b", &["[INFO] not held up"]);
    arrives(&site, "b", &["[INFO] not held up"]).await;
    site.cloud.cloudwatch.create_group(&region, &group);
    site.eventually("all of it comes", |_| texts(&site, "a").len() == 20_000).await;
    let wanted = (0..20_000).map(|number| format!("[INFO] {number}"));
    assert!(texts(&site, "a").into_iter().eq(wanted), "in order, each once");
}

#[tokio::test]
async fn an_engine_that_was_away_is_read_on() {
    let site = site(&["a"]).await;
    print(&site, "a", &["[INFO] before"]);
    arrives(&site, "a", &["[INFO] before"]).await;
    site.memory.go_down();
    print(&site, "a", &["[INFO] while it is away"]);
    site.memory.come_back();
    print(&site, "a", &["[INFO] after"]);
    arrives(&site, "a", &["[INFO] before", "[INFO] while it is away", "[INFO] after"]).await;
}

#[tokio::test]
async fn cursors_that_make_no_sense_cost_lines_that_come_twice() {
    let mut site = site(&["a"]).await;
    print(&site, "a", &["[INFO] one"]);
    arrives(&site, "a", &["[INFO] one"]).await;
    site.kill().await;
    std::fs::write(site.state_directory().join("logs.json"), "{").expect("the folder is there");
    site.start();
    site.converged().await;
    arrives(&site, "a", &["[INFO] one", "[INFO] one"]).await;
    assert!(site.state_directory().join("logs.json.unreadable").exists());
}

#[tokio::test]
async fn output_that_the_engine_keeps_is_not_shipped() {
    let mut site = Plan::new().await.nodes(&["a"]).up().await;
    print(&site, "a", &["[INFO] for nobody"]);
    site.stop().await;
    assert_eq!(site.cloud.cloudwatch.calls("PutLogEvents"), 0);
    let before = site.container("a").await.id;
    site.set("MANAGED_APP_NODE_LOGS", "agent");
    site.start();
    site.converged().await;
    arrives(&site, "a", &["[INFO] for nobody"]).await;
    assert_eq!(site.container("a").await.id, before, "the container is the same either way");
    assert!(site.memory.image(&image(IMAGE)).await.expect("an answer").is_some());
}

/// A host of a version that took awslogs wherever the engine has it, and of this one, which knows nothing of dockerd's keys.
async fn site_with_awslogs(nodes: &[&str]) -> Site {
    let plan = Plan::new().await.nodes(nodes).set("MANAGED_APP_NODE_LOGS", "awslogs");
    plan.set("MANAGED_APP_ON_EXIT", "leave").with(|_, memory| memory.set_awslogs(true)).up().await
}

async fn keeps_output(site: &Site, node: &str) -> bool {
    let record = SpecRecord::from_labels(&site.container(node).await.labels);
    record.expect("it has a record").keeps_output()
}

#[tokio::test]
async fn a_container_with_awslogs_is_kept_and_a_new_node_gets_agent() {
    let mut site = site_with_awslogs(&["old"]).await;
    let before = site.container("old").await;
    assert!(!keeps_output(&site, "old").await);
    site.stop().await;
    site.unset("MANAGED_APP_NODE_LOGS");
    site.start();
    site.converged().await;
    let after = site.container("old").await;
    assert_eq!((after.id, after.started_at), (before.id.clone(), before.started_at), "neither replaced nor restarted");
    site.cloud.add_node("new", |node| node.image(IMAGE));
    site.eventually("the new node is up", |host| host.node("new").is_some_and(|node| node.is_running)).await;
    site.converged().await;
    assert!(keeps_output(&site, "new").await && !keeps_output(&site, "old").await);
    // Each line is shipped once: that of the old node by the engine.
    print(&site, "old", &["[INFO] by the engine"]);
    print(&site, "new", &["[INFO] by the daemon"]);
    arrives(&site, "new", &["[INFO] by the daemon"]).await;
    assert_eq!(texts(&site, "old"), [""; 0]);

    // A container that is replaced for another reason goes with the default.
    let next = "registry.test/node:2";
    site.memory.publish_image(&image(next), next.as_bytes());
    site.cloud.set_image(&site.cloud.world().node("old").node_type.clone(), next);
    site.eventually("it is replaced", |host| host.journal.count("rename", "old") > 0).await;
    site.converged().await;
    assert!(keeps_output(&site, "old").await);
    print(&site, "old", &["[INFO] by the daemon now"]);
    arrives(&site, "old", &["[INFO] by the daemon now"]).await;
}

#[tokio::test]
async fn a_way_of_output_that_is_named_replaces_each_container_once() {
    let mut site = site_with_awslogs(&["a"]).await;
    let mut before = site.container("a").await.id;
    for (way, is_kept) in [("agent", true), ("awslogs", false)] {
        site.stop().await;
        site.set("MANAGED_APP_NODE_LOGS", way);
        site.start();
        site.converged().await;
        site.eventually("it is replaced", |host| host.journal.count("rename", "a") > 0).await;
        site.converged().await;
        let after = site.container("a").await.id;
        assert_ne!(after, before, "{way}");
        assert_eq!(keeps_output(&site, "a").await, is_kept);
        site.journal.clear();
        before = after;
    }
}

#[tokio::test]
async fn a_changed_option_of_awslogs_replaces_also_without_a_named_way() {
    let mut site = site_with_awslogs(&["a"]).await;
    let before = site.container("a").await.id;
    site.stop().await;
    site.unset("MANAGED_APP_NODE_LOGS");
    site.set("MANAGED_APP_AWSLOGS_MODE", "blocking");
    site.start();
    site.converged().await;
    site.eventually("it is replaced", |host| host.journal.count("rename", "a") > 0).await;
    site.converged().await;
    assert_ne!(site.container("a").await.id, before);
    assert!(keeps_output(&site, "a").await);
}
