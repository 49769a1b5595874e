//! Registries that throttle, stall, cut connections and fail, and a full disk during a pull.

use std::time::{Duration, Instant};

use managed_app_fakes::cloud::commands::Node;
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::{ErrorKind, Limits};

use crate::harness::{Harness, IMAGE, Plan, image};
use crate::support::LIMIT;

const BUSY: &str = "busy.test";

fn of_busy(number: usize) -> String {
    format!("{BUSY}/node:{number}")
}

fn failure_of(harness: &Harness, node: &str) -> Option<String> {
    harness.node(node).and_then(|node| node.failure)
}

#[tokio::test]
async fn a_throttling_registry_gets_one_delay_for_all_its_images() {
    let plan = Plan::new().await.node("first", Node::default().image(&of_busy(1)));
    let harness = plan
        .with(|_, memory| {
            (1..=3).for_each(|number| drop(memory.publish_image(&image(&of_busy(number)), &[number as u8])));
            memory.throttle_registry(BUSY, 1);
        })
        .start();
    harness.eventually("the registry throttles", |_| failure_of(&harness, "first").is_some()).await;
    let throttled = Instant::now();
    for (node, number) in [("second", 2), ("third", 3)] {
        harness.cloud.add_node(node, |n| n.image(&of_busy(number)));
    }
    harness.cloud.add_node("elsewhere", |n| n.image(IMAGE));
    harness.eventually("another registry is not affected", |_| harness.runs("elsewhere")).await;
    assert_eq!(harness.journal.count("pull", &of_busy(2)) + harness.journal.count("pull", &of_busy(3)), 0);
    harness.eventually("all start", |_| ["first", "second", "third"].iter().all(|node| harness.runs(node))).await;
    assert!(throttled.elapsed() > Duration::from_secs(5), "after {:?}", throttled.elapsed());
    let pulls = [1, 2, 3].map(|number| harness.journal.count("pull", &of_busy(number)));
    assert_eq!(pulls, [2, 1, 1]);
}

#[tokio::test]
async fn a_stalled_pull_is_aborted_reported_and_retried() {
    const SILENCE: Duration = Duration::from_millis(300);
    let slow = image("registry.test/slow:1");
    let plan = Plan::new().await.nodes(&["a"]);
    let mut harness = plan.up().await;
    let limits = Limits { pull_silence: SILENCE, ..Limits::default() };
    assert!(limits.pull_total > LIMIT, "the silence limit must abort it");
    harness.stop().await;
    let engine = harness.memory.handle(limits);
    engine.publish_image(&slow, b"slow");
    engine.stall_pulls(&slow, true);
    harness.host.engine = std::sync::Arc::new(engine);
    harness.start();
    harness.converged().await;
    harness.cloud.add_node("slow", |node| node.image("registry.test/slow:1"));
    harness.eventually("it is reported", |_| failure_of(&harness, "slow").is_some()).await;
    harness.cloud.add_node("b", |node| node.image(IMAGE));
    harness.eventually("others start", |_| harness.runs("b")).await;
    harness.memory.stall_pulls(&slow, false);
    harness.eventually("it starts", |_| harness.runs("slow")).await;
    harness.converged().await;
    assert_eq!(failure_of(&harness, "slow"), None);
}

/// Cut connections and full disks have the same effect: the pull fails, nodes keep running, and the pull is retried.
#[tokio::test]
async fn a_failed_pull_is_retried_and_stops_nothing() {
    let harness = Harness::with(&["a", "b"]).await;
    let next = "registry.test/next:1";
    let id = harness.memory.publish_image(&image(next), b"next");
    for kind in [ErrorKind::Unreachable, ErrorKind::Other] {
        harness.faults.on(Verb::Pull).named(next).times(1).fail(kind);
    }
    harness.cloud.set_image("a:type", next);
    harness.eventually("it is reported", |_| failure_of(&harness, "a").is_some()).await;
    assert!(harness.runs("a"));
    let has_next = || harness.view("a").is_some_and(|view| view.container.image_id == id);
    harness.eventually("a has the next image", |host| has_next() && host.is_converged()).await;
    assert_eq!(harness.journal.count("pull", next), 3);
    assert_eq!(harness.view("b").map(|view| view.starts), Some(1));
}
