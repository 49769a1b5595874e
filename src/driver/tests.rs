//! Replacements on the engine in memory: downtime, window, rollback, and a crash before each call.

mod crashes;
pub(super) mod harness;
mod observer;

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use managed_app_fakes::faulty::Verb;
use managed_app_fakes::memory::{Behaviour, Latencies};
use managed_app_runtimes::{
    ContainerState, ErrorKind, Notice, PortBinding, Protocol, Revision, Strategy, Target, WorkloadEngine, next_name,
};
use tokio::time::Instant;

use crate::reconciler::*;
use harness::{Harness, WINDOW, image, target};

const ANY: IpAddr = IpAddr::V4(Ipv4Addr::UNSPECIFIED);

fn port(host_port: u16) -> PortBinding {
    PortBinding { container_port: 80, protocol: Protocol::Tcp, host_address: ANY, host_port }
}

fn next() -> Target {
    target("aa", "two", "2", vec![])
}

/// Containers of the image `two` have this behaviour from now on.
fn behave(harness: &Harness, behaviour: Behaviour) {
    harness.memory.set_behaviour_of_image(&image("two"), behaviour);
}

fn crashes(after: Duration) -> Behaviour {
    Behaviour::CrashLoops { code: 3, after }
}

#[tokio::test(start_paused = true)]
async fn the_node_is_down_for_one_stop_and_one_start() {
    let harness = Harness::with_old(vec![]).await;
    let began = Instant::now();
    assert!(matches!(harness.replace(next(), Strategy::StopFirst).await, Outcome::Created(_)));
    let calls = "create NEXT, image IMAGE, stop aa, start NEXT, list app, list app, remove aa, rename NEXT"
        .replace("NEXT", &next_name("aa"))
        .replace("IMAGE", &image("two").to_string());
    assert_eq!(harness.calls().join(", "), calls);
    assert!(began.elapsed() >= WINDOW);
    assert_eq!(harness.running(), [("aa".to_owned(), "two".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn zero_window_skips_the_check() {
    let harness = Harness::with_old(vec![]).await.with_window(Duration::ZERO).await;
    let began = Instant::now();
    assert!(matches!(harness.replace(next(), Strategy::StopFirst).await, Outcome::Created(_)));
    assert_eq!((began.elapsed(), harness.memory.calls("list", "app")), (Duration::ZERO, 0));
}

#[tokio::test(start_paused = true)]
async fn a_container_cut_off_from_its_network_has_no_window() {
    let harness = Harness::with_old(vec![]).await;
    harness.memory.disconnect("aa", "app").expect("it is connected");
    harness.host.observe().await.expect("a list");
    harness.memory.clear_journal();
    let began = Instant::now();
    let next = target("aa", "one", "1", vec![]);
    assert!(matches!(harness.replace(next, Strategy::StopFirst).await, Outcome::Created(_)));
    assert_eq!((began.elapsed(), harness.memory.calls("list", "app")), (Duration::ZERO, 0));
    assert_eq!(harness.view("aa").map(|view| view.starts), Some(1), "it is another one");
}

#[tokio::test(start_paused = true)]
async fn new_container_that_does_not_stay_up_is_rolled_back() {
    let dies = |code, ms| Behaviour::Exits { code, after: Duration::from_millis(ms) };
    let table = [
        (dies(3, 0), "it exited with code 3"),
        (dies(0, 1_500), "it exited with code 0"),
        (crashes(Duration::ZERO), "it exits repeatedly"),
        (crashes(Duration::from_millis(1_700)), "it exited and was restarted"),
    ];
    for (behaviour, reason) in table {
        let harness = Harness::with_old(vec![]).await;
        behave(&harness, behaviour);
        let outcome = harness.replace(next(), Strategy::StopFirst).await;
        let Outcome::RolledBack(failure) = outcome else { panic!("{outcome:?}") };
        let text = format!("the new container did not stay up: {reason}; the old one runs");
        assert_eq!((failure.kind, failure.text), (FailureKind::Permanent, text));
        assert_eq!(harness.running(), [("aa".to_owned(), "one".to_owned())]);
        assert_eq!(harness.memory.containers().len(), 1);
        let id = harness.view("aa").expect("the old one").container.id;
        assert_eq!(harness.revisions(), [(id, Revision::new("2", None))].into(), "it has read what is current");
    }
}

#[tokio::test(start_paused = true)]
async fn exit_after_the_window_is_left_to_the_engine() {
    let harness = Harness::with_old(vec![]).await;
    behave(&harness, crashes(WINDOW * 2));
    assert!(matches!(harness.replace(next(), Strategy::StopFirst).await, Outcome::Created(_)));
}

#[tokio::test(start_paused = true)]
async fn new_container_that_does_not_start_is_rolled_back() {
    let blames = [
        (ErrorKind::Refused, FailureKind::Permanent),
        (ErrorKind::Other, FailureKind::Transient),
        (ErrorKind::Unreachable, FailureKind::Transient),
    ];
    for (error, blame) in blames {
        let harness = Harness::with_old(vec![]).await;
        harness.faults.on(Verb::Start).named(next_name("aa")).fail(error);
        let outcome = harness.replace(next(), Strategy::StopFirst).await;
        let Outcome::RolledBack(failure) = outcome else { panic!("{outcome:?}") };
        assert_eq!(failure.kind, blame);
        assert_eq!(harness.running(), [("aa".to_owned(), "one".to_owned())]);
    }
}

#[tokio::test(start_paused = true)]
async fn port_of_a_foreign_container_is_the_reported_reason() {
    let harness = Harness::with_old(vec![port(1)]).await;
    harness.memory.occupy_port(ANY, Protocol::Tcp, 8080);
    let outcome = harness.replace(target("aa", "two", "2", vec![port(8080)]), Strategy::StopFirst).await;
    let Outcome::RolledBack(failure) = outcome else { panic!("{outcome:?}") };
    assert!(failure.kind == FailureKind::Permanent && failure.text.contains("8080"), "{failure:?}");
    assert_eq!(harness.running(), [("aa".to_owned(), "one".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn new_container_is_kept_if_the_old_one_cannot_start() {
    let harness = Harness::with_old(vec![]).await;
    harness.faults.on(Verb::Start).times(2).fail(ErrorKind::Refused);
    assert!(matches!(harness.replace(next(), Strategy::StopFirst).await, Outcome::Failed(_)));
    assert_eq!(harness.memory.containers().len(), 2);
    harness.settle(&next(), false).await;
    assert_eq!(harness.running(), [("aa".to_owned(), "two".to_owned())]);
}

/// An object that both refer to is gone: another container can be created once the new one is removed.
#[tokio::test(start_paused = true)]
async fn new_container_is_removed_if_neither_can_start() {
    let harness = Harness::with_old(vec![]).await;
    harness.faults.on(Verb::Start).times(2).fail(ErrorKind::NotFound);
    assert!(matches!(harness.replace(next(), Strategy::StopFirst).await, Outcome::Failed(_)));
    assert_eq!(harness.memory.containers().len(), 1);
    assert!(harness.view("aa").is_some(), "the old one is gone");
}

#[tokio::test(start_paused = true)]
async fn failure_before_the_stop_does_not_affect_the_old_container() {
    for verb in [Verb::Create, Verb::Stop] {
        let harness = Harness::with_old(vec![]).await;
        harness.faults.on(verb).fail(ErrorKind::Other);
        assert!(matches!(harness.replace(next(), Strategy::StopFirst).await, Outcome::Failed(_)));
        assert_eq!(
            harness.view("aa").map(|view| (view.starts, view.container.state)),
            Some((1, ContainerState::Running))
        );
    }
}

#[tokio::test(start_paused = true)]
async fn window_holds_no_permit() {
    let harness = Harness::with_old(vec![]).await.with_permits(1).await;
    harness.create(target("bb", "one", "1", vec![])).await;
    let id = harness.view("bb").expect("bb").container.id;
    let began = Instant::now();
    let other = async {
        tokio::time::sleep(WINDOW / 2).await;
        let outcome = harness.executor.operate(Operation::Restart { id, revision: Revision::new("2", None) }).await;
        (outcome, began.elapsed())
    };
    let (replaced, (restarted, after)) = tokio::join!(harness.replace(next(), Strategy::StopFirst), other);
    assert!(matches!((replaced, restarted), (Outcome::Created(_), Outcome::Started { .. })));
    assert!(after < WINDOW, "{after:?}");
}

#[tokio::test(start_paused = true)]
async fn exit_event_ends_the_window_early() {
    let harness = Harness::with_old(vec![]).await.with_window(Duration::from_secs(600)).await;
    behave(&harness, crashes(Duration::from_secs(1)));
    let began = Instant::now();
    let word = async {
        tokio::time::sleep(Duration::from_millis(1_010)).await;
        let next = harness.view(&next_name("aa")).expect("it is being watched").container.id;
        harness.host.notify(Notice::Died(next));
    };
    let (outcome, ()) = tokio::join!(harness.replace(next(), Strategy::StopFirst), word);
    assert!(matches!(outcome, Outcome::RolledBack(_)), "{outcome:?}");
    assert!(began.elapsed() < Duration::from_secs(2));
}

#[tokio::test(start_paused = true)]
async fn exit_together_with_the_engine_is_transient() {
    let harness = Harness::with_old(vec![]).await;
    behave(&harness, Behaviour::Exits { code: 137, after: WINDOW / 4 });
    let restart = async {
        tokio::time::sleep(WINDOW / 8).await;
        harness.host.notify(Notice::EngineAway);
        tokio::time::sleep(WINDOW / 4).await;
        behave(&harness, Behaviour::Runs);
    };
    let (outcome, ()) = tokio::join!(harness.replace(next(), Strategy::StopFirst), restart);
    let Outcome::Failed(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::Transient);
    assert_eq!(harness.memory.containers().len(), 2);
    harness.settle(&next(), false).await;
    assert_eq!(harness.running(), [("aa".to_owned(), "two".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn stopped_daemon_leaves_the_rollout_to_the_next_one() {
    let harness = Harness::with_old(vec![]).await;
    let stop = async {
        tokio::time::sleep(WINDOW / 2).await;
        harness.host.close();
    };
    let began = Instant::now();
    let (outcome, ()) = tokio::join!(harness.replace(next(), Strategy::StopFirst), stop);
    assert!(matches!(outcome, Outcome::Abandoned), "{outcome:?}");
    assert!(began.elapsed() < WINDOW);
    assert_eq!(harness.memory.containers().len(), 2);
    let harness = harness.restarted().await;
    let later = Target { revision: Revision::new("3", None), ..next() };
    let Outcome::Created(created) = harness.replace(later, Strategy::StopFirst).await else { panic!("it is there") };
    assert_eq!(created.revision, Some(Revision::new("2", None)), "what it has read");
    let only = harness.view("aa").expect("the new one");
    assert_eq!((only.starts, harness.memory.containers().len()), (1, 1), "it was not started again");
}

#[tokio::test(start_paused = true)]
async fn two_nodes_swap_ports_with_a_single_permit() {
    let harness = Harness::with_old(vec![port(1)]).await.with_permits(1).await;
    harness.create(target("bb", "one", "1", vec![port(2)])).await;
    harness.memory.set_latencies(Latencies { stop: Duration::from_secs(3), ..Latencies::default() });
    let began = Instant::now();
    let (a, b) = tokio::join!(
        harness.replace(target("aa", "two", "2", vec![port(2)]), Strategy::StopFirst),
        harness.replace(target("bb", "two", "2", vec![port(1)]), Strategy::StopFirst),
    );
    assert!(matches!((&a, &b), (Outcome::Created(_), Outcome::Created(_))), "{a:?} {b:?}");
    assert!(began.elapsed() < Duration::from_secs(15), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn port_that_another_node_keeps_is_a_transient_failure() {
    let harness = Harness::with_old(vec![port(1)]).await;
    harness.create(target("bb", "one", "1", vec![port(2)])).await;
    let outcome = harness.replace(target("aa", "two", "2", vec![port(2)]), Strategy::StopFirst).await;
    let Outcome::RolledBack(failure) = outcome else { panic!("{outcome:?}") };
    assert_eq!(failure.kind, FailureKind::Transient);
    assert_eq!(harness.running().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn in_overlap_the_node_is_never_down() {
    let harness = Harness::with_old(vec![]).await;
    assert!(matches!(harness.replace(next(), Strategy::StartFirst).await, Outcome::Created(_)));
    let calls = "create NEXT, image IMAGE, start NEXT, list app, list app, stop aa, remove aa, rename NEXT"
        .replace("NEXT", &next_name("aa"))
        .replace("IMAGE", &image("two").to_string());
    assert_eq!(harness.calls().join(", "), calls);
    assert_eq!(harness.running(), [("aa".to_owned(), "two".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn failed_overlap_does_not_affect_the_old_container() {
    let harness = Harness::with_old(vec![]).await;
    behave(&harness, crashes(Duration::ZERO));
    let outcome = harness.replace(next(), Strategy::StartFirst).await;
    assert!(matches!(outcome, Outcome::RolledBack(_)), "{outcome:?}");
    assert_eq!(harness.view("aa").map(|view| view.starts), Some(1));
    assert_eq!((harness.memory.containers().len(), harness.memory.calls("stop", "aa")), (1, 0));
    assert_eq!(harness.revisions().into_values().collect::<Vec<_>>(), [Revision::new("1", None)]);
}

#[tokio::test(start_paused = true)]
async fn image_pulled_in_the_window_is_not_recorded_for_the_container() {
    let harness = Harness::with_old(vec![]).await;
    let pull = async {
        tokio::time::sleep(WINDOW / 2).await;
        harness.memory.load_image(&image("two"), b"newer");
    };
    let (outcome, ()) = tokio::join!(harness.replace(next(), Strategy::StopFirst), pull);
    let Outcome::Created(created) = outcome else { panic!("{outcome:?}") };
    assert_eq!(created.image_id, harness.view("aa").expect("the new one").container.image_id);
}

#[tokio::test(start_paused = true)]
async fn taken_name_does_not_prevent_a_replacement() {
    let harness = Harness::with_old(vec![]).await;
    harness.memory.add_stranger(&next_name("aa"), Default::default(), &["bridge"]).expect("the name is free");
    assert!(matches!(harness.replace(next(), Strategy::StopFirst).await, Outcome::Created(_)));
    assert!(harness.view(&next_name("aa")).is_some_and(|stranger| stranger.starts == 1));
    assert_eq!(harness.view("aa").and_then(|view| Some(view.spec?.image)), Some(image("two")));
}
