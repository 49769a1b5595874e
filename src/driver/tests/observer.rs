//! What the host engine knows of the containers: by lists, and by the results of calls.

use std::time::Duration;

use futures_util::future::join_all;
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::{Applied, ContainerId, ContainerState, Revision, Strategy, WorkloadEngine};

use super::harness::{Harness, WINDOW, target};

/// A host without containers that has listed them.
async fn observed() -> Harness {
    let harness = Harness::new();
    assert_eq!(*harness.host.subscribe().borrow(), None, "nothing is known before a list");
    harness.restarted().await
}

/// Node and state of each known container, by node.
fn known(harness: &Harness) -> Vec<(String, ContainerState)> {
    let known = harness.host.subscribe().borrow().clone().expect("a list");
    let mut known: Vec<_> = known.into_values().map(|instance| (instance.node, instance.state)).collect();
    known.sort_by(|one, other| one.0.cmp(&other.0));
    known
}

async fn started(harness: &Harness, node: &str) -> ContainerId {
    let applied = harness.host.apply(&target(node, "one", "1", vec![]), Strategy::StopFirst).await;
    let Ok(Applied::Done(instance)) = applied else { panic!("{applied:?}") };
    instance.id
}

#[tokio::test(start_paused = true)]
async fn the_results_of_calls_are_known_without_a_list() {
    let harness = observed().await;
    let id = started(&harness, "aa").await;
    let ids = std::slice::from_ref(&id);
    let is = |state| vec![("aa".to_owned(), state)];
    assert_eq!(known(&harness), is(ContainerState::Running));
    harness.host.stop(ids).await.expect("it is stopped");
    assert_eq!(known(&harness), is(ContainerState::Exited { code: None }));
    harness.host.restart(&id, &Revision::new("2", None)).await.expect("it is restarted");
    assert_eq!(known(&harness), is(ContainerState::Running));
    harness.host.remove(ids).await.expect("it is removed");
    assert_eq!((known(&harness), harness.memory.calls("list", "app")), (vec![], 0));
}

#[tokio::test(start_paused = true)]
async fn a_list_shows_what_others_have_changed() {
    let harness = observed().await;
    let id = started(&harness, "aa").await;
    harness.memory.kill("aa").expect("it runs");
    harness.host.observe().await.expect("a list");
    assert!(matches!(known(&harness)[..], [(_, ContainerState::Exited { .. })]));
    harness.memory.remove_externally("aa").expect("it exists");
    harness.host.observe().await.expect("a list");
    assert_eq!(known(&harness), []);
    harness.host.stop(&[id]).await.expect("it is gone");
}

/// The engine answers with the state before the calls.
#[tokio::test(start_paused = true)]
async fn a_late_list_does_not_revert_the_results_of_calls() {
    let harness = observed().await;
    let (gone, stopped) = (started(&harness, "gone").await, started(&harness, "stopped").await);
    started(&harness, "other").await;
    harness.faults.on(Verb::List).times(1).answer_late(Duration::from_secs(1));
    let calls = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        harness.host.remove(&[gone]).await.expect("it is removed");
        harness.host.stop(&[stopped]).await.expect("it is stopped");
        started(&harness, "new").await;
        harness.memory.kill("other").expect("it runs");
    };
    let (listed, ()) = tokio::join!(harness.host.observe(), calls);
    assert_eq!(listed.expect("a list").len(), 3, "it is old");
    let exited = ContainerState::Exited { code: None };
    let wanted = [("new", ContainerState::Running), ("other", ContainerState::Running), ("stopped", exited)];
    assert_eq!(known(&harness), wanted.map(|(node, state)| (node.to_owned(), state)));
    harness.host.observe().await.expect("a list");
    assert_eq!(known(&harness).iter().filter(|(_, state)| *state == ContainerState::Running).count(), 1);
}

#[tokio::test(start_paused = true)]
async fn of_two_lists_the_one_that_was_requested_later_counts() {
    let harness = observed().await;
    started(&harness, "aa").await;
    harness.faults.on(Verb::List).times(1).answer_late(Duration::from_secs(9));
    let later = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        harness.memory.remove_externally("aa").expect("it exists");
        harness.host.observe().await.expect("a list")
    };
    let (early, later) = tokio::join!(harness.host.observe(), later);
    assert_eq!((early.expect("a list").len(), later.len(), known(&harness).len()), (1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn replacements_that_wait_for_a_list_share_the_next_one() {
    let harness = observed().await;
    let nodes: Vec<String> = (10..30).map(|number| format!("node{number}")).collect();
    join_all(nodes.iter().map(|node| started(&harness, node))).await;
    harness.memory.clear_journal();
    harness.faults.on(Verb::List).delay(WINDOW / 4);
    let next = |node: &String| target(node, "two", "2", vec![]);
    let replace = async |target| harness.host.apply(&target, Strategy::StopFirst).await;
    let applied = join_all(nodes.iter().map(|node| replace(next(node)))).await;
    assert!(applied.iter().all(|applied| matches!(applied, Ok(Applied::Done(_)))));
    let lists = harness.memory.calls("list", "app");
    assert!((3..=6).contains(&lists), "{lists} lists for 20 replacements, of which each waits for two");
}
