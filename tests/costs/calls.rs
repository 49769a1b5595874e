//! Engine calls of one restart, one replacement and one start of 20 nodes, by the whole daemon with log shipping. Each
//! row is a verb and the number of its calls. A call more than the table allows fails.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use managed_app_runtimes::names;
use tokio::time::{Instant, sleep};

use crate::harness::{Harness, Plan, image};
use crate::support::Journal;

/// Longer than each delay of a call that follows from an operation, and shorter than the second resync.
const QUIET: Duration = Duration::from_secs(3);
/// Interval of the checks for new calls.
const POLL_INTERVAL: Duration = Duration::from_millis(20);
const NODES: usize = 20;

type Row = (&'static str, RangeInclusive<usize>);

#[tokio::test]
async fn engine_calls_of_a_restart_are_bounded() {
    let harness = started(&["a"]).await;
    harness.cloud.connect("a", "a node of another app");
    harness.eventually("it is restarted", |host| host.journal.starts("a") == 1).await;
    check("restart of a node", &harness, &[("restart", 1..=1), ("logs", 1..=1)]).await;
}

#[tokio::test]
async fn engine_calls_of_a_replacement_are_bounded() {
    let harness = started(&["a"]).await;
    let next = "registry.test/node:2";
    harness.memory.publish_image(&image(next), next.as_bytes());
    harness.cloud.set_image(&harness.cloud.world().node("a").node_type.clone(), next);
    harness.eventually("it is replaced", |host| host.journal.count("rename", "a") > 0).await;
    let rows = [
        ("pull", 1..=1),
        ("create", 1..=1),
        ("stop", 1..=1),
        ("start", 1..=1),
        ("remove", 1..=1),
        ("rename", 1..=1),
        ("list", 2..=2),
        // One more if the old container is removed more than a second after its stop: its log is then opened again.
        ("logs", 2..=3),
    ];
    check("replacement of a node", &harness, &rows).await;
}

#[tokio::test]
async fn engine_calls_of_the_start_of_20_nodes_are_bounded() {
    let names: Vec<String> = (0..NODES).map(|number| format!("node {number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let harness = plan(&names).await.start();
    harness.converged().await;
    let rows = [
        ("info", 1..=1),
        ("events", 1..=1),
        ("ensure_network", 1..=1),
        ("pull", 1..=1),
        ("create", NODES..=NODES),
        ("start", NODES..=NODES),
        ("list", 1..=1),
        ("logs", NODES..=NODES),
    ];
    check("start of 20 nodes", &harness, &rows).await;
    assert!(names.iter().all(|node| harness.memory.print(&names::container_name(node), "[INFO] line").is_ok()));
    harness.eventually("each is followed", |host| host.cloud.cloudwatch.calls("CreateLogStream") == NODES).await;
}

async fn plan(nodes: &[&str]) -> Plan {
    Plan::new().await.nodes(nodes).set("MANAGED_APP_NODE_LOGS", "agent")
}

/// A host with these nodes, all up and followed; the journal is empty.
async fn started(nodes: &[&str]) -> Harness {
    let harness = plan(nodes).await.start();
    harness.converged().await;
    quiet(&harness.journal).await;
    harness.journal.clear();
    harness
}

/// Waits until no call was made for a while.
async fn quiet(journal: &Journal) {
    let (mut count, mut since) = (journal.calls().len(), Instant::now());
    while since.elapsed() < QUIET {
        sleep(POLL_INTERVAL).await;
        if std::mem::replace(&mut count, journal.calls().len()) != journal.calls().len() {
            since = Instant::now();
        }
    }
}

async fn check(what: &str, harness: &Harness, rows: &[Row]) {
    harness.converged().await;
    quiet(&harness.journal).await;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for call in harness.journal.calls() {
        *counts.entry(call.verb).or_default() += 1;
    }
    println!("{what}: {counts:?}, {} calls", counts.values().sum::<usize>());
    for (verb, allowed) in rows {
        let count = counts.remove(verb).unwrap_or_default();
        assert!(allowed.contains(&count), "{what}: {count} calls of {verb}, not {allowed:?}");
    }
    assert_eq!(counts, BTreeMap::new(), "{what}: other calls");
}
