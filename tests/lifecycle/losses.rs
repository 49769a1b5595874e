//! Output that cannot all reach CloudWatch: it rotates away, or has times that CloudWatch does not take. It is counted,
//! and what comes after it arrives.

use std::collections::BTreeMap;
use std::time::Duration;

use managed_app::status::{Amount, LogReport};
use managed_app_runtimes::names;

use crate::harness::{Harness, Plan};

/// Lines that the engine in memory keeps of a container.
const KEPT: usize = 50_000;
/// Lines that the fake of CloudWatch keeps of a stream.
const STORED: usize = 1_000_000;
/// What a node may have in the daemon's memory: three batches, and what was read for the next one.
const MEMORY_BYTES_MAX: u64 = 4 * 1_048_576;

async fn harness(nodes: &[&str]) -> Harness {
    Plan::new().await.nodes(nodes).set("MANAGED_APP_NODE_LOGS", "agent").up().await
}

/// Prints lines with these numbers, long enough that an outage fills what may be in memory.
fn print(harness: &Harness, node: &str, numbers: std::ops::Range<usize>) {
    let text: String = numbers.map(line).collect();
    let name = names::container_name(node);
    harness.memory.write(&name, managed_app_runtimes::LogSource::Stdout, text.into_bytes()).expect("the node runs");
}

fn line(number: usize) -> String {
    format!("[INFO] number {number} {:>100}\n", "")
}

/// The numbers that are in CloudWatch, in the order of the streams, with how often each is.
fn numbers(harness: &Harness, node: &str) -> BTreeMap<usize, usize> {
    let (cloud, region) = (&harness.cloud, harness.cloud.world().tenant.region.clone());
    let mut all = BTreeMap::new();
    for event in cloud.cloudwatch.events(&region, &cloud.node_log_group(node)) {
        let number = event.message.strip_prefix("[INFO] number ").and_then(|rest| rest.split(' ').next());
        *all.entry(number.and_then(|number| number.parse().ok()).expect("a number")).or_default() += 1;
    }
    all
}

/// That these are the numbers up to `count`.
fn assert_each_once(numbers: &BTreeMap<usize, usize>, count: usize) {
    let twice = numbers.iter().find(|(_, times)| **times > 1);
    let missing = (0..count).find(|number| !numbers.contains_key(number));
    assert_eq!((twice, missing, numbers.len()), (None, None, count), "one that came twice, one that is missing");
}

fn reported(harness: &Harness, node: &str) -> LogReport {
    let report = harness.recorder().report();
    report.nodes.iter().find(|known| known.name == node).and_then(|known| known.log).unwrap_or_default()
}

#[tokio::test]
async fn what_rotates_away_in_an_outage_is_counted_by_its_time_and_all_that_is_still_there_arrives() {
    let harness = harness(&["a"]).await;
    print(&harness, "a", 0..10);
    harness.eventually("they have come", |_| reported(&harness, "a").shipped.lines == 10).await;
    harness.cloud.cloudwatch.faults().set_outage(true);
    let all = 10 * KEPT;
    for begin in (10..all).step_by(KEPT / 5) {
        print(&harness, "a", begin..(begin + KEPT / 5).min(all));
        tokio::task::yield_now().await;
        let reported = reported(&harness, "a");
        let held = reported.read.bytes - reported.shipped.bytes;
        assert!(held <= MEMORY_BYTES_MAX, "{held} bytes are in memory");
    }
    harness.eventually("it is tried", |_| reported(&harness, "a").retried.lines > 0).await;
    harness.cloud.cloudwatch.faults().set_outage(false);
    harness.eventually("the last has come", |_| numbers(&harness, "a").contains_key(&(all - 1))).await;
    let count = numbers(&harness, "a").len() as u64;
    harness.eventually("the answers have come", |_| reported(&harness, "a").shipped.lines == count).await;
    let arrived = numbers(&harness, "a");
    assert!(arrived.values().all(|times| *times == 1), "each once");
    let arrived: Vec<usize> = arrived.into_keys().collect();
    assert!(arrived.iter().rev().take(KEPT).rev().copied().eq(all - KEPT..all), "all that the engine still had");
    let holes = arrived.windows(2).filter(|pair| pair[1] > pair[0] + 1).count() as u64;
    let reported = reported(&harness, "a");
    assert!(holes > 0 && arrived[0] == 0, "some has rotated away: {holes}");
    assert_eq!((reported.gaps, reported.lost, reported.rejected), (holes, Amount::default(), Amount::default()));
    assert!(reported.gap_s > 0.0, "{reported:?}");
    let metrics = String::from_utf8(harness.recorder().metrics_text()).expect("text");
    let gap = metrics.lines().find_map(|line| line.strip_prefix(r#"managed_app_log_gap_seconds_total{node="a"} "#));
    assert_eq!(gap.and_then(|gap| gap.parse().ok()), Some(reported.gap_s), "{metrics}");
}

#[tokio::test]
async fn a_node_that_floods_holds_up_no_other_and_loses_nothing() {
    let harness = harness(&["flood", "b"]).await;
    // One batch of some 7,000 lines is on its way at a time: 70,000 lines a second at most.
    harness.cloud.cloudwatch.faults().set_delay(Some(Duration::from_millis(100)));
    let (mut printed, mut spoken) = (0, 0);
    let (rounds, ahead) = (3, KEPT / 5 * 2);
    // Always so many lines ahead of what was shipped, for as long as it takes the other node to be heard some times.
    while spoken < rounds {
        print(&harness, "b", spoken..spoken + 1);
        spoken += 1;
        while reported(&harness, "b").shipped.lines < spoken as u64 {
            let shipped = reported(&harness, "flood").shipped.lines as usize;
            if printed < shipped + ahead {
                print(&harness, "flood", printed..shipped + ahead);
                printed = shipped + ahead;
                assert!(printed < STORED, "the other was not heard for {printed} lines");
            }
            harness
                .eventually("either goes on", |_| {
                    reported(&harness, "b").shipped.lines == spoken as u64
                        || reported(&harness, "flood").shipped.lines > shipped as u64
                })
                .await;
        }
        let waiting = printed - reported(&harness, "flood").shipped.lines as usize;
        assert!(waiting > 0, "it was heard while the flood went on, {printed} lines so far");
    }
    harness
        .eventually("all of the flood has come", |_| reported(&harness, "flood").shipped.lines == printed as u64)
        .await;
    assert!(printed > rounds * KEPT / 5, "it was a flood: {printed}");
    assert_each_once(&numbers(&harness, "flood"), printed);
    assert_each_once(&numbers(&harness, "b"), rounds);
    assert_eq!(reported(&harness, "flood").gaps, 0);
}

/// The signatures are right here, and only the events are not; with a clock that is off, AWS refuses the signatures too.
#[tokio::test]
async fn events_of_a_time_that_cloudwatch_does_not_take_are_counted_and_passed() {
    tokio::join!(check_rejection(time::Duration::days(15)), check_rejection(time::Duration::hours(-3)));
}

async fn check_rejection(offset: time::Duration) {
    let mut harness = harness(&["a"]).await;
    print(&harness, "a", 0..10);
    harness.eventually("they have come", |_| reported(&harness, "a").shipped.lines == 10).await;
    harness.cloud.cloudwatch.set_clock_offset(offset);
    for rejected in [20, 30] {
        print(&harness, "a", rejected - 10..rejected);
        let is_counted = |_: &crate::support::Host| reported(&harness, "a").rejected.lines == rejected as u64 - 10;
        harness.eventually("they are counted", is_counted).await;
    }
    harness.cloud.cloudwatch.set_clock_offset(time::Duration::ZERO);
    print(&harness, "a", 30..40);
    harness.eventually("it goes on", |_| reported(&harness, "a").shipped.lines == 20).await;
    assert_eq!((reported(&harness, "a").lost, reported(&harness, "a").gaps), (Amount::default(), 0));
    // The place after what was rejected is remembered: the next daemon does not send it again.
    harness.restart_daemon().await;
    harness.converged().await;
    print(&harness, "a", 40..41);
    harness.eventually("the next daemon goes on", |_| numbers(&harness, "a").contains_key(&40)).await;
    assert!(numbers(&harness, "a").into_iter().eq((0..10).chain(30..41).map(|number| (number, 1))), "{offset}");
}

#[tokio::test]
async fn with_a_clock_that_is_hours_off_from_the_start_output_waits_until_it_is_right() {
    tokio::join!(check_skew(time::Duration::hours(3)), check_skew(time::Duration::hours(-3)));
}

async fn check_skew(offset: time::Duration) {
    let plan = Plan::new().await.nodes(&["a"]).set("MANAGED_APP_NODE_LOGS", "agent");
    let harness = plan.with(|cloud, _| cloud.set_clock_offset(offset)).start();
    harness.eventually("the node runs", |_| harness.runs("a")).await;
    print(&harness, "a", 0..10);
    let is_tried = |host: &crate::support::Host| host.cloud.cloudwatch.calls("CreateLogStream") >= 3;
    harness.eventually("it is tried again", is_tried).await;
    assert_eq!(reported(&harness, "a").shipped, Amount::default());
    harness.cloud.set_clock_offset(time::Duration::ZERO);
    harness.eventually("all of it comes", |_| reported(&harness, "a").shipped.lines == 10).await;
    assert!(numbers(&harness, "a").into_iter().eq((0..10).map(|number| (number, 1))), "{offset}");
}

#[tokio::test]
async fn credentials_that_expire_in_the_middle_delay_and_lose_nothing() {
    let harness = harness(&["a"]).await;
    print(&harness, "a", 0..10);
    harness.eventually("they have come", |_| reported(&harness, "a").shipped.lines == 10).await;
    harness.cloud.cloudwatch.faults().fail_next(3, 400, "ExpiredTokenException");
    print(&harness, "a", 10..20);
    harness.eventually("the rest comes", |_| reported(&harness, "a").shipped.lines == 20).await;
    assert!(reported(&harness, "a").retried.lines > 0, "attempts failed");
    assert!(numbers(&harness, "a").into_iter().eq((0..20).map(|number| (number, 1))));
}

/// The place of what was read last lies in the future then, for the daemon that goes on with it.
#[tokio::test]
async fn a_clock_that_is_set_back_while_no_daemon_runs_hides_nothing() {
    let plan = Plan::new().await.nodes(&["a"]).set("MANAGED_APP_NODE_LOGS", "agent");
    let mut harness = plan.with(|_, engine| engine.set_clock_offset(time::Duration::hours(1))).up().await;
    print(&harness, "a", 0..10);
    harness.eventually("they have come", |_| reported(&harness, "a").shipped.lines == 10).await;
    harness.kill().await;
    harness.memory.set_clock_offset(time::Duration::ZERO);
    print(&harness, "a", 10..20);
    harness.start();
    harness.eventually("the next daemon goes on", |_| numbers(&harness, "a").contains_key(&19)).await;
    print(&harness, "a", 20..30);
    harness.eventually("all has come", |_| numbers(&harness, "a").contains_key(&29)).await;
    let arrived = numbers(&harness, "a");
    assert!(arrived.keys().copied().eq(0..30), "{arrived:?}");
    assert!(
        arrived.range(10..).all(|(_, times)| *times == 1),
        "a kill doubles what came before it at most: {arrived:?}"
    );
    assert_eq!(reported(&harness, "a").gaps, 0);
}
