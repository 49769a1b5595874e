//! Bounds of the history, successive attempts, and damage of the file.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::status::model::Stamp;

fn action(node: &str, verb: &str, because: &str) -> Action {
    Action {
        id: 0,
        node: node.to_owned(),
        action: verb.to_owned(),
        reason: "inputs_changed".to_owned(),
        because: because.to_owned(),
        differences: Vec::new(),
        causes: Vec::new(),
        began_at: Stamp::now(),
        attempts: 1,
        steps: Vec::new(),
        ended_at: None,
        outcome: Outcome::GoingOn,
        error: None,
        took_ms: None,
        latency_ms: None,
        downtime_ms: None,
        container: None,
        image: None,
        revision: None,
        restarts: 0,
    }
}

fn run_action(history: &mut History, action: Action, outcome: Outcome) -> Action {
    let begun = history.begin(action);
    history.end(&begun.node, begun.id, |action| action.outcome = outcome).expect("it is kept")
}

#[test]
fn busy_node_does_not_displace_actions_of_others() {
    let mut history = History::default();
    run_action(&mut history, action("quiet", "create", "it has no container"), Outcome::Done);
    for number in 0..2 * PER_NODE_MAX {
        run_action(&mut history, action("busy", "restart", &number.to_string()), Outcome::Done);
    }
    assert_eq!((history.of_node("busy").count(), history.of_node("quiet").count()), (PER_NODE_MAX, 1));
    assert_eq!(history.last("busy").map(|last| last.restarts), Some(2 * PER_NODE_MAX as u64), "the count goes on");
}

#[test]
fn total_limit_drops_the_oldest_actions() {
    let mut history = History::default();
    for number in 0..TOTAL_MAX + 10 {
        run_action(&mut history, action(&format!("node {number}"), "create", "it has no container"), Outcome::Done);
    }
    assert_eq!(history.all().len(), TOTAL_MAX);
    assert!(!history.knows("node 9") && history.knows("node 10"));
    assert_eq!(history.recent(1)[0].node, format!("node {}", TOTAL_MAX + 9));
}

#[test]
fn successive_attempts_for_one_reason_are_one_action() {
    let mut history = History::default();
    for outcome in [Outcome::Failed, Outcome::Failed, Outcome::Done] {
        run_action(&mut history, action("a", "restart", "x"), outcome);
    }
    run_action(&mut history, action("a", "restart", "x"), Outcome::Done);
    let attempts: Vec<u32> = history.of_node("a").map(|action| action.attempts).collect();
    assert_eq!(attempts, [3, 1], "what has worked is over");
}

#[test]
fn new_daemon_loads_finished_and_interrupted_actions() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut file, history) = HistoryFile::open(folder.path());
    let mut history = history.expect("no file holds nothing");
    let done = run_action(&mut history, action("a", "create", "it has no container"), Outcome::Done);
    let begun = history.begin(action("a", "restart", "x"));
    file.append(&[done.clone(), begun.clone()], Vec::new).expect("it can be written");
    let path = folder.path().join("history.jsonl");
    assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
    let (_, history) = HistoryFile::open(folder.path());
    let kept: Vec<Action> = history.expect("it can be read").of_node("a").cloned().collect();
    assert_eq!(kept, [done, Action { outcome: Outcome::CutOff, ..begun }]);
}

#[test]
fn history_file_of_today_is_written_with_the_same_bytes() {
    let text = include_str!("fixtures/history.jsonl");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    std::fs::write(&path, text).expect("a file");
    let (mut file, history) = HistoryFile::open(folder.path());
    let actions: Vec<Action> = history.expect("it can be read").all().into_iter().cloned().collect();
    file.append(&actions, Vec::new).expect("it can be written");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), text.repeat(2));
    let many = vec![actions[0].clone(); 4 * TOTAL_MAX];
    file.append(&many, || actions).expect("it can be rewritten");
    assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
}

#[test]
fn torn_and_invalid_history_lines_are_skipped() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("history.jsonl");
    let (mut file, _) = HistoryFile::open(folder.path());
    let one = Action { id: 1, outcome: Outcome::Done, ..action("a", "create", "x") };
    file.append(std::slice::from_ref(&one), Vec::new).expect("it can be written");
    let text = std::fs::read_to_string(&path).expect("a file");
    let odd = text.replace("\"outcome\":\"done\"", "\"outcome\":\"a word of the future\",\"more\":[1]");
    let odd = odd.replace("\"id\":1", "\"id\":2");
    std::fs::write(&path, format!("{text}nonsense\n{odd}{}", &text[..text.len() / 2])).expect("a file");
    let three = Action { id: 3, ..one.clone() };
    let (mut file, history) = HistoryFile::open(folder.path());
    assert_eq!(history.expect("it can be read").all().len(), 2);
    file.append(std::slice::from_ref(&three), Vec::new).expect("it can be written");
    let (_, history) = HistoryFile::open(folder.path());
    let history = history.expect("it can be read");
    let ids: Vec<(u64, Outcome)> = history.all().iter().map(|action| (action.id, action.outcome)).collect();
    assert_eq!(ids, [(1, Outcome::Done), (2, Outcome::Unknown), (3, Outcome::Done)]);
}

#[test]
fn history_file_that_is_too_long_is_rewritten() {
    let folder = tempfile::tempdir().expect("a folder");
    let (mut file, _) = HistoryFile::open(folder.path());
    let kept = vec![Action { id: 7, outcome: Outcome::Done, ..action("a", "create", "x") }];
    let many = vec![kept[0].clone(); TOTAL_MAX];
    for _ in 0..5 {
        file.append(&many, || kept.clone()).expect("it can be written");
    }
    let text = std::fs::read_to_string(folder.path().join("history.jsonl")).expect("a file");
    assert_eq!(text.lines().count(), 1, "the fifth was one too many");
}
