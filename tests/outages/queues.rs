//! The queue of changes is away for long, or deleted and made again under the same name.

use std::time::Duration;

use crate::site::{IMAGE, Plan, Site};

/// More failures than any client makes in the time of a test.
const ALWAYS: usize = 10_000;
/// The resync of these daemons, in place of minutes.
const RESYNC: Duration = Duration::from_millis(500);

#[tokio::test]
async fn while_the_queue_is_away_changes_come_with_each_resync_and_cost_nothing_later() {
    let plan = Plan::new().await.nodes(&["a", "b"]);
    let mut site = plan.host(|builder| builder.tune(|config| config.resync = RESYNC)).up().await;
    site.cloud.queues.fail_next(ALWAYS, 503, "ServiceUnavailable");
    let calls = site.cloud.queues.calls("ReceiveMessage");
    site.eventually("it is asked in vain", |host| host.cloud.queues.calls("ReceiveMessage") > calls + 3).await;
    for round in 0..3 {
        site.cloud.set_node_config("a", &format!(r#"{{"round":{round}}}"#));
        site.eventually("a restarts", |host| host.journal.starts("a") == round + 1).await;
    }
    site.cloud.add_node("c", |node| node.image(IMAGE));
    site.eventually("c comes", |_| site.runs("c")).await;
    site.journal.clear();
    assert!(site.cloud.pending_changes() > 0, "nobody could take them");
    site.cloud.queues.clear_faults();
    site.eventually("the old messages are taken", |host| host.cloud.pending_changes() == 0).await;
    site.probe("b").await;
    assert_eq!(site.journal.acts(), ["restart b"]);
}

#[tokio::test]
async fn a_queue_that_is_silent_for_long_loses_nothing() {
    let mut site = Site::with(&["a", "b"]).await;
    site.eventually("a poll waits", |host| host.cloud.queues.waiting() > 0).await;
    site.cloud.queues.stall();
    site.cloud.set_node_config("a", r#"{"x":1}"#);
    site.cloud.set_node_config("a", r#"{"x":2}"#);
    site.cloud.queues.release();
    site.eventually("a restarts", |host| host.journal.starts("a") > 0).await;
    site.probe("b").await;
    assert!(site.journal.starts("a") <= 2, "{:?}", site.journal.acts());
}

/// What was in the queue is lost with it: the app is read anew as soon as the loss shows.
#[tokio::test]
async fn a_queue_made_again_under_its_old_name_is_listened_to_again() {
    let mut site = Site::with(&["a", "b"]).await;
    site.eventually("a poll waits", |host| host.cloud.queues.waiting() > 0).await;
    let url = site.cloud.change_queue();
    let name = url.rsplit('/').next().expect("a URL ends with the queue's name").to_owned();
    site.cloud.queues.delete(&url);
    site.cloud.quietly(|world| world.connect("a", "b"));
    site.eventually("what was lost is found", |h| ["a", "b"].iter().all(|node| h.journal.starts(node) == 1)).await;
    assert_eq!(site.cloud.queues.create(&name), url);
    site.cloud.set_node_config("a", r#"{"x":1}"#);
    site.eventually("a restarts", |host| host.journal.starts("a") == 2).await;
    site.probe("b").await;
    assert_eq!((site.journal.starts("a"), site.journal.starts("b")), (2, 2));
}
