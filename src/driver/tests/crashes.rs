//! The daemon dies before each call of a replacement, of a rollback and of an overlap; the next one completes it.

use std::time::Duration;

use managed_app_fakes::faulty::Verb;
use managed_app_fakes::memory::Behaviour;
use managed_app_runtimes::{Revision, Strategy};

use super::harness::{Harness, image, target};

/// Longer than a replacement takes, and shorter than the limit of any call.
const LONG: Duration = Duration::from_secs(60);

/// Engine calls, each with the number of earlier calls of its kind.
const CALLS: [(Verb, usize); 11] = [
    (Verb::Create, 0),
    (Verb::Stop, 0),
    (Verb::Start, 0),
    (Verb::List, 0),
    (Verb::List, 1),
    (Verb::Stop, 1),
    (Verb::Start, 1),
    (Verb::Remove, 0),
    (Verb::Rename, 0),
    (Verb::Image, 0),
    (Verb::Stop, 2),
];

/// Replaces `one` by `two`, dies before the given call, and lets another daemon continue. False: there is no such call.
async fn crash_before(verb: Verb, skip: usize, strategy: Strategy, stays_up: bool) -> bool {
    let harness = Harness::with_old(vec![]).await;
    if !stays_up {
        let behaviour = Behaviour::CrashLoops { code: 1, after: Duration::from_millis(500) };
        harness.memory.set_behaviour_of_image(&image("two"), behaviour);
    }
    if skip > 0 {
        harness.faults.on(verb).times(skip).delay(Duration::ZERO);
    }
    let hung = harness.faults.on(verb).times(1).hang();
    let next = target("aa", "two", "2", vec![]);
    let has_crashed = tokio::time::timeout(LONG, harness.replace(next.clone(), strategy)).await.is_err();
    // The call is never made: its daemon is dead.
    drop(hung);
    let old_is_there = harness.view("aa").and_then(|view| view.spec).is_some_and(|spec| spec.image == image("one"));
    let new_runs = harness.running().iter().any(|(_, image)| image == "two");
    assert!(old_is_there || new_runs, "{verb:?} {skip}: the old one went too early");
    harness.faults.clear();
    let harness = harness.restarted().await;
    harness.settle(&next, strategy == Strategy::StartFirst).await;
    let wanted = if stays_up { "two" } else { "one" };
    assert_eq!(harness.running(), [("aa".to_owned(), wanted.to_owned())], "{verb:?} {skip} {strategy:?}");
    assert_eq!(harness.memory.containers().len(), 1, "{verb:?} {skip} {strategy:?}");
    let revisions = harness.revisions();
    let id = harness.view("aa").expect("the one that runs").container.id;
    assert_eq!(revisions.get(&id), Some(&Revision::new("2", None)), "{verb:?} {skip} {strategy:?}");
    has_crashed
}

async fn crash_before_each(strategy: Strategy, stays_up: bool) -> Vec<(Verb, usize)> {
    let mut died = Vec::new();
    for (verb, skip) in CALLS {
        if crash_before(verb, skip, strategy, stays_up).await {
            died.push((verb, skip));
        }
    }
    died
}

#[tokio::test(start_paused = true)]
async fn crash_in_a_replacement_is_recovered() {
    assert_eq!(crash_before_each(Strategy::StopFirst, true).await.len(), 8);
}

#[tokio::test(start_paused = true)]
async fn crash_in_a_rollback_is_recovered() {
    assert_eq!(crash_before_each(Strategy::StopFirst, false).await.len(), 9);
}

#[tokio::test(start_paused = true)]
async fn crash_in_an_overlap_is_recovered() {
    assert_eq!(crash_before_each(Strategy::StartFirst, true).await.len(), 8);
}
