//! The daemon is killed between two steps of what it does to a node; the next one ends what was begun.

use managed_app_fakes::cloud::words::Port;
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::names;

use crate::site::{IMAGE, Site};

const VERBS: [(Verb, &str); 5] = [
    (Verb::Create, "create"),
    (Verb::Stop, "stop"),
    (Verb::Start, "start"),
    (Verb::Remove, "remove"),
    (Verb::Rename, "rename"),
];

/// The node whose container the daemon is working on when it is killed, before the engine hears of `verb`.
async fn check(verb: Verb, called: &str, act: impl FnOnce(&Site), node: &str) {
    let mut site = Site::with(&["a", "b"]).await;
    let before = site.view("b").map(|view| (view.container.id, view.starts));
    let hung = site.faults.on(verb).times(1).hang();
    act(&site);
    site.eventually(&format!("{called} is called"), |host| host.journal.count(called, node) > 0).await;
    site.kill().await;
    drop(hung);
    site.start();
    site.converged().await;
    let mut wanted: Vec<String> = site.cloud.world().nodes.keys().cloned().collect();
    wanted.sort();
    assert_eq!(site.nodes_with_containers(), wanted, "{verb:?}");
    for name in &wanted {
        let view = site.view(name).unwrap_or_else(|| panic!("{verb:?}: {name} has its name"));
        let ports = view.spec.map(|spec| spec.ports.len());
        assert_eq!(ports, Some(site.cloud.world().node(name).ports.len()), "{verb:?} {name}");
        assert!(view.container.state.is_running(), "{verb:?} {name}");
    }
    assert_eq!(site.view("b").map(|view| (view.container.id, view.starts)), before, "{verb:?}");
}

#[tokio::test]
async fn a_replacement_is_ended_wherever_the_daemon_was_killed() {
    for (verb, called) in VERBS {
        check(verb, called, |site| drop(site.cloud.change_ports("a", vec![Port::tcp(8080, 80)])), "a").await;
    }
}

#[tokio::test]
async fn a_creation_is_ended_wherever_the_daemon_was_killed() {
    for (verb, called) in [(Verb::Create, "create"), (Verb::Start, "start"), (Verb::Pull, "pull")] {
        let subject = if verb == Verb::Pull { IMAGE } else { "c" };
        check(verb, called, |site| drop(site.cloud.add_node("c", |node| node.image(IMAGE))), subject).await;
    }
}

#[tokio::test]
async fn a_removal_is_ended_wherever_the_daemon_was_killed() {
    for (verb, called) in [(Verb::Stop, "stop"), (Verb::Remove, "remove")] {
        check(verb, called, |site| drop(site.cloud.remove_node("a")), "a").await;
    }
}

#[tokio::test]
async fn a_restart_that_the_engine_never_heard_of_is_made_up_for() {
    let mut site = Site::with(&["a", "b"]).await;
    let hung = site.faults.on(Verb::Restart).named(names::container_name("a")).times(1).hang();
    site.cloud.connect("a", "elsewhere");
    site.eventually("it is called", |host| host.journal.count("restart", "a") > 0).await;
    site.kill().await;
    drop(hung);
    site.journal.clear();
    site.start();
    site.converged().await;
    assert_eq!((site.journal.count("restart", "a"), site.journal.count("restart", "b")), (1, 0));
    site.kill().await;
    site.journal.clear();
    site.start();
    site.converged().await;
    assert_eq!((site.journal.starts("a"), site.journal.starts("b")), (0, 0));
}
