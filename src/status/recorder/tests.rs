//! Records from a message to its outcome, and events for followers.

use managed_app_runtimes::labels::Difference;
use managed_app_runtimes::{ContainerId, ErrorKind, Revision, RuntimeError};

use super::*;
use crate::reconciler::{Failure, ReasonKind};
use crate::status::model;

fn name(text: &str) -> NodeName {
    NodeName::new(text).expect("a valid name")
}

fn restart() -> Operation {
    Operation::Restart { id: ContainerId("c1".to_owned()), revision: Revision::new("1".repeat(32), None) }
}

fn reason(causes: Vec<Change>) -> Reason {
    let field = Difference::between("node config", Some("#1"), Some("#2"));
    Reason { causes, ..Reason::with_differences(ReasonKind::InputsChanged, vec![field]) }
}

fn started() -> Outcome {
    Outcome::Started { id: ContainerId("c1".to_owned()), revision: None }
}

#[tokio::test(start_paused = true)]
async fn action_is_recorded_from_message_to_outcome() {
    let recorder = Recorder::in_memory(DaemonInfo::default());
    let change = Change::Node(name("a"));
    recorder.received(&change, "m-1", Some("t-1"), Some(OffsetDateTime::now_utc()));
    tokio::time::advance(Duration::from_millis(70)).await;
    let begun = recorder.begin(&name("a"), &restart(), &reason(vec![change]));
    begun.watch(tokio::time::sleep(Duration::from_millis(30))).await;
    recorder.end(begun, &started());
    let action = recorder.history("a").expect("it is known").actions.pop().expect("one action");
    assert_eq!((action.action.as_str(), action.reason.as_str()), ("restart", "inputs_changed"));
    assert_eq!(action.because, "startup inputs changed: node config");
    assert_eq!((action.latency_ms, action.took_ms), (Some(100), Some(30)));
    assert_eq!((action.outcome, action.restarts, action.container.as_deref()), (model::Outcome::Done, 1, Some("c1")));
    let cause = &action.causes[0];
    assert_eq!((cause.change.as_str(), cause.message_id.as_deref()), ("node a", Some("m-1")));
    assert_eq!(cause.tracking_id.as_deref(), Some("t-1"));
    assert!(cause.received_at.is_some() && cause.sent_at.is_some());
    assert_eq!(recorder.history("b"), None);
}

#[tokio::test]
async fn unrelated_message_is_no_cause_of_an_action() {
    let recorder = Recorder::in_memory(DaemonInfo::default());
    recorder.received(&Change::Node(name("b")), "m-1", None, None);
    let begun = recorder.begin(&name("a"), &restart(), &reason(vec![]));
    recorder.end(begun, &started());
    let action = recorder.history("a").expect("it is known").actions.pop().expect("one action");
    assert!(action.causes.is_empty() && action.latency_ms.is_none());
}

#[tokio::test]
async fn failure_text_is_kept_until_the_action_succeeds() {
    let recorder = Recorder::in_memory(DaemonInfo::default());
    let failure = Failure { kind: FailureKind::Transient, text: "no answer".to_owned() };
    for outcome in [Outcome::Failed(failure.clone()), Outcome::Failed(failure), started()] {
        let begun = recorder.begin(&name("a"), &restart(), &reason(vec![]));
        let kept = recorder.history("a").expect("it is known").actions;
        assert_eq!(kept.last().map(|last| last.outcome), Some(model::Outcome::GoingOn));
        recorder.end(begun, &outcome);
    }
    let actions = recorder.history("a").expect("it is known").actions;
    assert_eq!(actions.iter().map(|a| (a.attempts, a.outcome)).collect::<Vec<_>>(), [(3, model::Outcome::Done)]);
    assert_eq!(actions[0].error, None);
}

#[tokio::test]
async fn slow_follower_loses_events_and_blocks_nothing() {
    let recorder = Recorder::in_memory(DaemonInfo::default());
    let (missed, mut receiver) = recorder.follow(None);
    assert!(missed.is_empty());
    for _ in 0..2 * FOLLOWING_MAX {
        recorder.set_stage("waiting");
    }
    let lagged = receiver.recv().await.expect_err("it was too slow");
    assert!(matches!(lagged, broadcast::error::RecvError::Lagged(_)), "{lagged}");
    assert!(receiver.recv().await.is_ok(), "it goes on with what is left");
    let newest = recorder.follow(Some(0)).0.last().expect("some are kept").id;
    let (missed, _) = recorder.follow(Some(newest - 3));
    assert_eq!(missed.iter().map(|line| line.id).collect::<Vec<_>>(), [newest - 2, newest - 1, newest]);
}

#[tokio::test]
async fn history_is_on_disk_and_a_write_failure_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let recorder = Recorder::open(DaemonInfo::default(), folder.path());
    let begun = recorder.begin(&name("a"), &restart(), &reason(vec![]));
    recorder.end(begun, &started());
    recorder.flush().await;
    let again = Recorder::open(DaemonInfo::default(), folder.path());
    assert_eq!(again.history("a").map(|history| history.actions), recorder.history("a").map(|h| h.actions));
    let broken = Recorder::open(DaemonInfo::default(), &folder.path().join("absent"));
    let begun = broken.begin(&name("a"), &restart(), &reason(vec![]));
    broken.end(begun, &started());
    assert!(broken.report().daemon.is_history_kept);
    broken.flush().await;
    assert!(!broken.report().daemon.is_history_kept);
    assert_eq!(broken.history("a").map(|history| history.actions.len()), Some(1), "it is known all the same");
}

#[tokio::test]
async fn metrics_count_changes_actions_and_errors() {
    let recorder = Recorder::in_memory(DaemonInfo::default());
    recorder.received(&Change::Tenant, "m", None, None);
    let begun = recorder.begin(&name("a"), &restart(), &reason(vec![Change::Tenant]));
    recorder.end(begun, &started());
    let error = RuntimeError::new(ErrorKind::TimedOut, "list", "x");
    recorder.metrics().engine_call("list", Duration::from_secs(1), Some(&error));
    let text = String::from_utf8(recorder.metrics_text()).expect("text");
    for line in [
        r#"managed_app_changes_total{kind="tenant"} 1"#,
        r#"managed_app_actions_total{action="restart",outcome="done",reason="inputs_changed"} 1"#,
        r#"managed_app_change_latency_seconds_count{action="restart"} 1"#,
        r#"managed_app_engine_errors_total{call="list",kind="timed_out"} 1"#,
        "managed_app_converged 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
    }
}
