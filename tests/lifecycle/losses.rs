//! Output that cannot reach CloudWatch because it rotated away or has a rejected time. It is counted, and later output
//! arrives.

use std::collections::BTreeMap;
use std::time::Duration;

use managed_app::status::{Amount, LogReport};
use managed_app_runtimes::names;

use crate::harness::{Harness, Plan};

/// Lines that the engine in memory keeps of a container.
const KEPT: usize = 50_000;
/// Lines that the fake CloudWatch keeps of a stream.
const STORED: usize = 1_000_000;
/// Limit of the output of a node in the memory of the daemon: three batches, and the data for the next one.
const MEMORY_BYTES_MAX: u64 = 4 * 1_048_576;

async fn harness(nodes: &[&str]) -> Harness {
    Plan::new().await.nodes(nodes).set("MANAGED_APP_NODE_LOGS", "agent").up().await
}

/// Prints lines with these numbers, long enough to reach the memory limit in an outage.
fn print(harness: &Harness, node: &str, numbers: std::ops::Range<usize>) {
    let text: String = numbers.map(line).collect();
    let name = names::container_name(node);
    harness.memory.write(&name, managed_app_runtimes::LogSource::Stdout, text.into_bytes()).expect("the node runs");
}

fn line(number: usize) -> String {
    format!("[INFO] number {number} {:>100}\n", "")
}

/// The numbers in CloudWatch, in the order of the streams, with their counts.
fn numbers(harness: &Harness, node: &str) -> BTreeMap<usize, usize> {
    let (cloud, region) = (&harness.cloud, harness.cloud.world().tenant.region.clone());
    let mut all = BTreeMap::new();
    for event in cloud.cloudwatch.events(&region, &cloud.node_log_group(node)) {
        let number = event.message.strip_prefix("[INFO] number ").and_then(|rest| rest.split(' ').next());
        *all.entry(number.and_then(|number| number.parse().ok()).expect("a number")).or_default() += 1;
    }
    all
}

/// Asserts that these are the numbers below `count`, each once.
fn assert_each_once(numbers: &BTreeMap<usize, usize>, count: usize) {
    let twice = numbers.iter().find(|(_, times)| **times > 1);
    let missing = (0..count).find(|number| !numbers.contains_key(number));
    assert_eq!((twice, missing, numbers.len()), (None, None, count), "a duplicate, a missing one");
}

fn log_report(harness: &Harness, node: &str) -> LogReport {
    let report = harness.recorder().report();
    report.nodes.iter().find(|known| known.name == node).and_then(|known| known.log).unwrap_or_default()
}

#[tokio::test]
async fn rotated_output_is_counted_and_the_rest_arrives() {
    let harness = harness(&["a"]).await;
    print(&harness, "a", 0..10);
    harness.eventually("they have arrived", |_| log_report(&harness, "a").shipped.lines == 10).await;
    harness.cloud.cloudwatch.faults().set_outage(true);
    let all = 10 * KEPT;
    for begin in (10..all).step_by(KEPT / 5) {
        print(&harness, "a", begin..(begin + KEPT / 5).min(all));
        tokio::task::yield_now().await;
        let reported = log_report(&harness, "a");
        let held = reported.read.bytes - reported.shipped.bytes;
        assert!(held <= MEMORY_BYTES_MAX, "{held} bytes are in memory");
    }
    harness.eventually("it is tried", |_| log_report(&harness, "a").retried.lines > 0).await;
    harness.cloud.cloudwatch.faults().set_outage(false);
    harness.eventually("the last has arrived", |_| numbers(&harness, "a").contains_key(&(all - 1))).await;
    let count = numbers(&harness, "a").len() as u64;
    harness.eventually("the responses have arrived", |_| log_report(&harness, "a").shipped.lines == count).await;
    let arrived = numbers(&harness, "a");
    assert!(arrived.values().all(|times| *times == 1), "each once");
    let arrived: Vec<usize> = arrived.into_keys().collect();
    assert!(arrived.iter().rev().take(KEPT).rev().copied().eq(all - KEPT..all), "all lines that the engine still had");
    let holes = arrived.windows(2).filter(|pair| pair[1] > pair[0] + 1).count() as u64;
    let reported = log_report(&harness, "a");
    assert!(holes > 0 && arrived[0] == 0, "some output rotated away: {holes}");
    assert_eq!((reported.gaps, reported.lost, reported.rejected), (holes, Amount::default(), Amount::default()));
    assert!(reported.gap_s > 0.0, "{reported:?}");
    let metrics = String::from_utf8(harness.recorder().metrics_text()).expect("text");
    let gap = metrics.lines().find_map(|line| line.strip_prefix(r#"managed_app_log_gap_seconds_total{node="a"} "#));
    assert_eq!(gap.and_then(|gap| gap.parse().ok()), Some(reported.gap_s), "{metrics}");
}

#[tokio::test]
async fn a_flooding_node_delays_no_other_and_loses_nothing() {
    let harness = harness(&["flood", "b"]).await;
    // One batch of about 7,000 lines is in flight at a time: at most 70,000 lines per second.
    harness.cloud.cloudwatch.faults().set_delay(Some(Duration::from_millis(100)));
    let (mut printed, mut other) = (0, 0);
    let (rounds, ahead) = (3, KEPT / 5 * 2);
    // Stays `ahead` lines ahead of the shipped ones until some lines of the other node have arrived.
    while other < rounds {
        print(&harness, "b", other..other + 1);
        other += 1;
        while log_report(&harness, "b").shipped.lines < other as u64 {
            let shipped = log_report(&harness, "flood").shipped.lines as usize;
            if printed < shipped + ahead {
                print(&harness, "flood", printed..shipped + ahead);
                printed = shipped + ahead;
                assert!(printed < STORED, "no line of the other arrived within {printed} lines");
            }
            harness
                .eventually("either advances", |_| {
                    log_report(&harness, "b").shipped.lines == other as u64
                        || log_report(&harness, "flood").shipped.lines > shipped as u64
                })
                .await;
        }
        let waiting = printed - log_report(&harness, "flood").shipped.lines as usize;
        assert!(waiting > 0, "the other advanced during the flood, {printed} lines so far");
    }
    harness
        .eventually("the whole flood has arrived", |_| log_report(&harness, "flood").shipped.lines == printed as u64)
        .await;
    assert!(printed > rounds * KEPT / 5, "it was a flood: {printed}");
    assert_each_once(&numbers(&harness, "flood"), printed);
    assert_each_once(&numbers(&harness, "b"), rounds);
    assert_eq!(log_report(&harness, "flood").gaps, 0);
}

/// Only the times of the events are wrong here; with a wrong clock, AWS rejects the signatures too.
#[tokio::test]
async fn events_with_a_rejected_time_are_counted_and_skipped() {
    tokio::join!(check_rejection(time::Duration::days(15)), check_rejection(time::Duration::hours(-3)));
}

async fn check_rejection(offset: time::Duration) {
    let mut harness = harness(&["a"]).await;
    print(&harness, "a", 0..10);
    harness.eventually("they have arrived", |_| log_report(&harness, "a").shipped.lines == 10).await;
    harness.cloud.cloudwatch.set_clock_offset(offset);
    for rejected in [20, 30] {
        print(&harness, "a", rejected - 10..rejected);
        let is_counted = |_: &crate::support::Host| log_report(&harness, "a").rejected.lines == rejected as u64 - 10;
        harness.eventually("they are counted", is_counted).await;
    }
    harness.cloud.cloudwatch.set_clock_offset(time::Duration::ZERO);
    print(&harness, "a", 30..40);
    harness.eventually("it continues", |_| log_report(&harness, "a").shipped.lines == 20).await;
    assert_eq!((log_report(&harness, "a").lost, log_report(&harness, "a").gaps), (Amount::default(), 0));
    // The position after the rejected events is saved: the next daemon does not send them again.
    harness.restart_daemon().await;
    harness.converged().await;
    print(&harness, "a", 40..41);
    harness.eventually("the next daemon continues", |_| numbers(&harness, "a").contains_key(&40)).await;
    assert!(numbers(&harness, "a").into_iter().eq((0..10).chain(30..41).map(|number| (number, 1))), "{offset}");
}

#[tokio::test]
async fn output_waits_while_the_clock_is_hours_off() {
    tokio::join!(check_skew(time::Duration::hours(3)), check_skew(time::Duration::hours(-3)));
}

async fn check_skew(offset: time::Duration) {
    let plan = Plan::new().await.nodes(&["a"]).set("MANAGED_APP_NODE_LOGS", "agent");
    let harness = plan.with(|cloud, _| cloud.set_clock_offset(offset)).start();
    harness.eventually("the node runs", |_| harness.runs("a")).await;
    print(&harness, "a", 0..10);
    let is_tried = |host: &crate::support::Host| host.cloud.cloudwatch.calls("CreateLogStream") >= 3;
    harness.eventually("it is retried", is_tried).await;
    assert_eq!(log_report(&harness, "a").shipped, Amount::default());
    harness.cloud.set_clock_offset(time::Duration::ZERO);
    harness.eventually("all of it arrives", |_| log_report(&harness, "a").shipped.lines == 10).await;
    assert!(numbers(&harness, "a").into_iter().eq((0..10).map(|number| (number, 1))), "{offset}");
}

#[tokio::test]
async fn credentials_that_expire_in_the_middle_delay_and_lose_nothing() {
    let harness = harness(&["a"]).await;
    print(&harness, "a", 0..10);
    harness.eventually("they have arrived", |_| log_report(&harness, "a").shipped.lines == 10).await;
    harness.cloud.cloudwatch.faults().fail_next(3, 400, "ExpiredTokenException");
    print(&harness, "a", 10..20);
    harness.eventually("the rest arrives", |_| log_report(&harness, "a").shipped.lines == 20).await;
    assert!(log_report(&harness, "a").retried.lines > 0, "attempts failed");
    assert!(numbers(&harness, "a").into_iter().eq((0..20).map(|number| (number, 1))));
}

/// The position of the last output is then in the future for the next daemon.
#[tokio::test]
async fn a_clock_that_is_set_back_while_no_daemon_runs_hides_nothing() {
    let plan = Plan::new().await.nodes(&["a"]).set("MANAGED_APP_NODE_LOGS", "agent");
    let mut harness = plan.with(|_, engine| engine.set_clock_offset(time::Duration::hours(1))).up().await;
    print(&harness, "a", 0..10);
    harness.eventually("they have arrived", |_| log_report(&harness, "a").shipped.lines == 10).await;
    harness.kill().await;
    harness.memory.set_clock_offset(time::Duration::ZERO);
    print(&harness, "a", 10..20);
    harness.start();
    harness.eventually("the next daemon continues", |_| numbers(&harness, "a").contains_key(&19)).await;
    print(&harness, "a", 20..30);
    harness.eventually("all has arrived", |_| numbers(&harness, "a").contains_key(&29)).await;
    let arrived = numbers(&harness, "a");
    assert!(arrived.keys().copied().eq(0..30), "{arrived:?}");
    assert!(arrived.range(10..).all(|(_, times)| *times == 1), "a kill duplicates only earlier lines: {arrived:?}");
    assert_eq!(log_report(&harness, "a").gaps, 0);
}
