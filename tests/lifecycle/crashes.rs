//! The daemon is killed between two steps of an operation on a node; the next daemon finishes it.

use managed_app_fakes::cloud::commands::Port;
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::names;

use crate::harness::{Harness, IMAGE};

const VERBS: [(Verb, &str); 5] = [
    (Verb::Create, "create"),
    (Verb::Stop, "stop"),
    (Verb::Start, "start"),
    (Verb::Remove, "remove"),
    (Verb::Rename, "rename"),
];

/// `act` causes an operation on `node`. The daemon is killed in it, before the engine receives `verb`.
async fn check(verb: Verb, called: &str, act: impl FnOnce(&Harness), node: &str) {
    let mut harness = Harness::with(&["a", "b"]).await;
    let before = harness.view("b").map(|view| (view.container.id, view.starts));
    let hung = harness.faults.on(verb).times(1).hang();
    act(&harness);
    harness.eventually(&format!("{called} is called"), |host| host.journal.count(called, node) > 0).await;
    harness.kill().await;
    drop(hung);
    harness.start();
    harness.converged().await;
    let mut wanted: Vec<String> = harness.cloud.world().nodes.keys().cloned().collect();
    wanted.sort();
    assert_eq!(harness.nodes_with_containers(), wanted, "{verb:?}");
    for name in &wanted {
        let view = harness.view(name).unwrap_or_else(|| panic!("{verb:?}: {name} has its name"));
        let ports = view.spec.map(|spec| spec.ports.len());
        assert_eq!(ports, Some(harness.cloud.world().node(name).ports.len()), "{verb:?} {name}");
        assert!(view.container.state.is_running(), "{verb:?} {name}");
    }
    assert_eq!(harness.view("b").map(|view| (view.container.id, view.starts)), before, "{verb:?}");
}

#[tokio::test]
async fn a_replacement_is_finished_after_a_kill_at_any_step() {
    for (verb, called) in VERBS {
        check(verb, called, |harness| drop(harness.cloud.change_ports("a", vec![Port::tcp(8080, 80)])), "a").await;
    }
}

#[tokio::test]
async fn a_creation_is_finished_after_a_kill_at_any_step() {
    for (verb, called) in [(Verb::Create, "create"), (Verb::Start, "start"), (Verb::Pull, "pull")] {
        let subject = if verb == Verb::Pull { IMAGE } else { "c" };
        check(verb, called, |harness| drop(harness.cloud.add_node("c", |node| node.image(IMAGE))), subject).await;
    }
}

#[tokio::test]
async fn a_removal_is_finished_after_a_kill_at_any_step() {
    for (verb, called) in [(Verb::Stop, "stop"), (Verb::Remove, "remove")] {
        check(verb, called, |harness| drop(harness.cloud.remove_node("a")), "a").await;
    }
}

#[tokio::test]
async fn a_restart_that_never_reached_the_engine_is_repeated() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let hung = harness.faults.on(Verb::Restart).named(names::container_name("a")).times(1).hang();
    harness.cloud.connect("a", "elsewhere");
    harness.eventually("it is called", |host| host.journal.count("restart", "a") > 0).await;
    harness.kill().await;
    drop(hung);
    harness.journal.clear();
    harness.start();
    harness.converged().await;
    assert_eq!((harness.journal.count("restart", "a"), harness.journal.count("restart", "b")), (1, 0));
    harness.kill().await;
    harness.journal.clear();
    harness.start();
    harness.converged().await;
    assert_eq!((harness.journal.starts("a"), harness.journal.starts("b")), (0, 0));
}
