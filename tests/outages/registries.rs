//! Registries that throttle, stall, cut, refuse and run out of space.

use std::time::{Duration, Instant};

use managed_app_fakes::cloud::words::Node;
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::{ErrorKind, Limits};

use crate::site::{IMAGE, Plan, Site, image};
use crate::support::LIMIT;

const BUSY: &str = "busy.test";

fn of_busy(number: usize) -> String {
    format!("{BUSY}/node:{number}")
}

fn failure_of(site: &Site, node: &str) -> Option<String> {
    site.node(node).and_then(|node| node.failure)
}

#[tokio::test]
async fn a_registry_that_throttles_gets_one_cool_down_for_all_its_images() {
    let plan = Plan::new().await.node("first", Node::default().image(&of_busy(1)));
    let site = plan
        .with(|_, memory| {
            (1..=3).for_each(|number| drop(memory.publish_image(&image(&of_busy(number)), &[number as u8])));
            memory.throttle_registry(BUSY, 1);
        })
        .start();
    site.eventually("the registry asks for patience", |_| failure_of(&site, "first").is_some()).await;
    let throttled = Instant::now();
    for (node, number) in [("second", 2), ("third", 3)] {
        site.cloud.add_node(node, |n| n.image(&of_busy(number)));
    }
    site.cloud.add_node("elsewhere", |n| n.image(IMAGE));
    site.eventually("another registry is not concerned", |_| site.runs("elsewhere")).await;
    assert_eq!(site.journal.count("pull", &of_busy(2)) + site.journal.count("pull", &of_busy(3)), 0);
    site.eventually("all come", |_| ["first", "second", "third"].iter().all(|node| site.runs(node))).await;
    assert!(throttled.elapsed() > Duration::from_secs(5), "after {:?}", throttled.elapsed());
    let pulls = [1, 2, 3].map(|number| site.journal.count("pull", &of_busy(number)));
    assert_eq!(pulls, [2, 1, 1]);
}

#[tokio::test]
async fn a_pull_that_stalls_ends_is_said_and_comes_through_later() {
    const SILENCE: Duration = Duration::from_millis(300);
    let slow = image("registry.test/slow:1");
    let plan = Plan::new().await.nodes(&["a"]);
    let mut site = plan.up().await;
    let limits = Limits { pull_silence: SILENCE, ..Limits::default() };
    assert!(limits.pull_total > LIMIT, "the silence must be what ends it");
    site.stop().await;
    let engine = site.memory.handle(limits);
    engine.publish_image(&slow, b"slow");
    engine.stall_pulls(&slow, true);
    site.host.engine = std::sync::Arc::new(engine);
    site.start();
    site.converged().await;
    site.cloud.add_node("slow", |node| node.image("registry.test/slow:1"));
    site.eventually("it is said", |_| failure_of(&site, "slow").is_some()).await;
    site.cloud.add_node("b", |node| node.image(IMAGE));
    site.eventually("others come", |_| site.runs("b")).await;
    site.memory.stall_pulls(&slow, false);
    site.eventually("it comes", |_| site.runs("slow")).await;
    site.converged().await;
    assert_eq!(failure_of(&site, "slow"), None);
}

/// Cut connections and full disks are alike: the pull fails for now, what runs runs on, and it is tried again.
#[tokio::test]
async fn a_pull_that_is_cut_or_finds_the_disk_full_is_tried_again_and_stops_nothing() {
    let site = Site::with(&["a", "b"]).await;
    let next = "registry.test/next:1";
    let id = site.memory.publish_image(&image(next), b"next");
    for kind in [ErrorKind::Unreachable, ErrorKind::Other] {
        site.faults.on(Verb::Pull).named(next).times(1).fail(kind);
    }
    site.cloud.set_image("a:type", next);
    site.eventually("it is said", |_| failure_of(&site, "a").is_some()).await;
    assert!(site.runs("a"));
    let has_next = || site.view("a").is_some_and(|view| view.container.image_id == id);
    site.eventually("a has the next one", |host| has_next() && host.is_converged()).await;
    assert_eq!(site.journal.count("pull", next), 3);
    assert_eq!(site.view("b").map(|view| view.starts), Some(1));
}
