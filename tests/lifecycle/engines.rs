//! External changes to containers, and faults of the engine.

use std::time::{Duration, Instant};

use managed_app_fakes::cloud::commands::Node;
use managed_app_fakes::faulty::Verb;
use managed_app_fakes::memory::{Behaviour, Latencies};
use managed_app_runtimes::{ContainerState, ErrorKind, names};

use crate::harness::{Harness, IMAGE, Plan, image};
use crate::support::Host;

/// Limit of a repair on a busy machine: it takes a few milliseconds on an idle one, and the resync, which would find
/// every difference, comes after minutes.
const REPAIR: Duration = Duration::from_secs(20);

/// `act` is an external change; it is reverted soon, and no other node is affected.
async fn check_repair(what: &str, act: impl FnOnce(&Harness, &str)) {
    // A paused process cannot handle a signal, so its repair takes the stop grace.
    let harness = Plan::new().await.nodes(&["a", "b"]).set("MANAGED_APP_STOP_GRACE", "1s").up().await;
    let other = harness.view("b");
    let began = Instant::now();
    act(&harness, &names::container_name("a"));
    let is_right = |harness: &Harness| {
        let network = names::network_name(&harness.owner().app);
        harness.view("a").is_some_and(|v| v.container.state.is_running() && v.container.networks == [network])
    };
    harness.eventually(what, |_| is_right(&harness) && harness.nodes_with_containers() == ["a", "b"]).await;
    let took = began.elapsed();
    assert!(took < REPAIR, "{what} took {took:?}");
    harness.converged().await;
    assert_eq!(harness.view("b").map(|view| view.starts), other.map(|view| view.starts), "{what}");
    assert!(harness.journal.actions().len() <= 8, "{what}: {:?}", harness.journal.actions());
}

#[tokio::test]
async fn external_changes_to_containers_are_reverted_at_once() {
    let done = "the container is there";
    check_repair("removed", |harness, name| harness.memory.remove_externally(name).expect(done)).await;
    check_repair("killed", |harness, name| harness.memory.kill(name).expect(done)).await;
    check_repair("paused", |harness, name| harness.memory.pause(name).expect(done)).await;
    check_repair("renamed", |harness, name| harness.memory.rename_externally(name, "mine").expect(done)).await;
    check_repair("disconnected", |harness, name| {
        let network = names::network_name(&harness.owner().app);
        harness.memory.disconnect(name, &network).expect(done);
    })
    .await;
}

#[tokio::test]
async fn a_crash_is_left_to_the_restart_policy() {
    let harness = Harness::with(&["a"]).await;
    harness.memory.crash(&names::container_name("a"), 3).expect("it is there");
    harness.eventually("the engine starts it", |_| harness.view("a").is_some_and(|view| view.starts == 2)).await;
    harness.converged().await;
    assert_eq!(harness.journal.actions(), [""; 0]);
}

#[tokio::test]
async fn a_crash_loop_delays_no_other_node() {
    let crashes = Behaviour::CrashLoops { code: 1, after: Duration::from_millis(10) };
    let plan = Plan::new().await.nodes(&["a"]).node("bad", Node::default().image("registry.test/bad:1"));
    let mut harness = plan
        .with(|_, memory| {
            memory.publish_image(&image("registry.test/bad:1"), b"bad");
            memory.set_behaviour_of_image(&image("registry.test/bad:1"), crashes);
        })
        .start();
    harness.eventually("a runs", |_| harness.runs("a")).await;
    harness.cloud.set_audit(true);
    harness.eventually("both restart", |host| ["a", "bad"].iter().all(|n| host.journal.count("restart", n) == 1)).await;
    harness.cloud.set_node_config("a", r#"{"x":1}"#);
    harness.eventually("a restarts", |host| host.journal.count("restart", "a") == 2).await;
    harness.stop().await;
    assert!(!harness.runs("bad"));
}

#[tokio::test]
async fn a_repeatedly_killed_process_is_started_with_backoff() {
    let harness = Harness::with(&["a", "b"]).await;
    for round in 1..=4 {
        harness.memory.kill(&names::container_name("a")).expect("it is there");
        harness.cloud.set_node_config("b", &format!(r#"{{"round":{round}}}"#));
        harness.eventually("b restarts", |host| host.journal.count("restart", "b") == round).await;
        harness.eventually("a runs again", |host| host.journal.count("start", "a") == round && harness.runs("a")).await;
    }
    let is_reported =
        |host: &Host| host.node("a").and_then(|node| node.crash_loop).is_some_and(|found| found.count >= 3);
    harness.eventually("it is reported", is_reported).await;
    assert_eq!(harness.node("b").and_then(|node| node.failure), None);
}

#[tokio::test]
async fn a_crash_loop_is_reported_once_until_the_process_stays_up() {
    let harness = Harness::with(&["a", "b"]).await;
    let name = names::container_name("a");
    for round in 1..=4 {
        harness.memory.run_out_of_memory(&name).expect("it is there");
        let ends = move |host: &Host| host.node("a").and_then(|node| node.engine_restarts) == Some(round);
        harness.eventually("it ends", ends).await;
        let is_up = || harness.view("a").is_some_and(|view| view.container.state == ContainerState::Running);
        harness.eventually("it runs again", |_| is_up()).await;
    }
    assert!(!harness.is_converged(), "not converged during a crash loop");
    let report = harness.recorder().report();
    let a = &report.nodes[0];
    assert_eq!((a.restarts, a.engine_restarts, a.all_restarts()), (0, Some(4), 4));
    let error = a.error.as_deref().unwrap_or_default();
    assert!(error.starts_with("crash loop: exited 137 (OOM killed) 4 times in "), "{error}");
    assert_eq!(a.last_exit.as_ref().map(|exit| (exit.code, exit.is_oom)), Some((Some(137), true)));
    let metrics = String::from_utf8(harness.recorder().metrics_text()).expect("text");
    for line in [
        r#"managed_app_node_crash_loop{node="a"} 1"#,
        r#"managed_app_node_crash_loop{node="b"} 0"#,
        r#"managed_app_node_engine_restarts_total{node="a"} 4"#,
        r#"managed_app_node_last_exit_code{node="a"} 137"#,
        "managed_app_converged 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let (lines, _) = harness.recorder().follow(Some(0));
    let count = |text: &str| lines.iter().filter(|line| line.json.contains(text)).count();
    assert_eq!((count("a: crash loop: exited 137 (OOM killed) 3 times"), count("recovered")), (1, 0));
}

#[tokio::test]
async fn one_hung_node_delays_no_other() {
    let harness = Harness::with(&["a", "b", "c"]).await;
    let hung = harness.faults.on(Verb::Restart).named(names::container_name("a")).times(1).hang();
    harness.cloud.set_audit(true);
    harness.eventually("the others restart", |host| ["b", "c"].iter().all(|node| host.journal.starts(node) == 1)).await;
    harness.cloud.connect("b", "c");
    harness.eventually("and again", |host| ["b", "c"].iter().all(|node| host.journal.starts(node) == 2)).await;
    harness.cloud.add_node("d", |node| node.image(IMAGE));
    harness.eventually("a new node starts", |_| harness.runs("d")).await;
    harness.eventually("a hangs", |host| host.node("a").is_some_and(|node| node.busy == Some("restart"))).await;
    hung.release();
    harness.converged().await;
    assert_eq!(harness.journal.starts("a"), 1, "the changes meanwhile did not affect it");
}

#[tokio::test]
async fn a_hung_pull_delays_no_other_node() {
    let slow = "registry.test/slow:1";
    let plan = Plan::new().await.nodes(&["a", "b"]).node("slow", Node::default().image(slow));
    let harness = plan.with(|_, memory| memory.stall_pulls(&image(slow), true)).start();
    harness.eventually("the others run", |_| harness.runs("a") && harness.runs("b")).await;
    harness.cloud.connect("a", "b");
    harness
        .eventually("and they restart", |host| ["a", "b"].iter().all(|node| host.journal.count("restart", node) == 1))
        .await;
}

#[tokio::test]
async fn a_create_with_a_lost_response_leaves_no_orphan() {
    for verb in [Verb::Create, Verb::Start] {
        let plan = Plan::new().await.nodes(&["a", "b"]);
        let name = names::container_name("a");
        let harness =
            plan.faulty(|faults| faults.on(verb).named(name).times(1).lose_answer(ErrorKind::TimedOut)).start();
        harness.converged().await;
        assert_eq!(harness.nodes_with_containers(), ["a", "b"], "{verb:?}");
        assert_eq!(harness.view("a").map(|view| view.starts), Some(1), "{verb:?}");
    }
}

#[tokio::test]
async fn a_replacement_with_failed_or_lost_steps_converges() {
    for verb in [Verb::Create, Verb::Stop, Verb::Start, Verb::Remove, Verb::Rename] {
        for is_done in [false, true] {
            let harness = Harness::with(&["a", "b"]).await;
            let rule = harness.faults.on(verb).times(1);
            if is_done {
                rule.lose_answer(ErrorKind::TimedOut)
            } else {
                rule.fail(ErrorKind::Other)
            }
            let ports = vec![managed_app_fakes::cloud::commands::Port::tcp(8080, 80)];
            harness.cloud.change_ports("a", ports);
            let is_new =
                |harness: &Harness| harness.view("a").and_then(|view| view.spec).is_some_and(|s| !s.ports.is_empty());
            harness.eventually(&format!("{verb:?} {is_done}"), |host| is_new(&harness) && host.is_converged()).await;
            assert_eq!(harness.nodes_with_containers(), ["a", "b"], "{verb:?} {is_done}");
            assert!(harness.runs("a"), "{verb:?} {is_done}");
            assert_eq!(harness.view("b").map(|view| view.starts), Some(1), "{verb:?} {is_done}");
        }
    }
}

#[tokio::test]
async fn an_ended_event_stream_is_resumed_and_misses_nothing() {
    let harness = Harness::with(&["a", "b"]).await;
    harness.faults.swallow_events(true);
    harness.memory.remove_externally(&names::container_name("a")).expect("it is there");
    harness.faults.end_event_streams();
    harness.faults.swallow_events(false);
    harness.eventually("a is back", |_| harness.runs("a")).await;
    harness.memory.kill(&names::container_name("b")).expect("it is there");
    harness.eventually("b is back", |_| harness.runs("b")).await;
}

#[tokio::test]
async fn without_events_the_next_resync_finds_it() {
    let plan = Plan::new().await.nodes(&["a"]);
    let plan = plan.host(|builder| builder.tune(|config| config.resync = Duration::from_millis(500)));
    let harness = plan.faulty(|faults| faults.swallow_events(true)).up().await;
    harness.memory.remove_externally(&names::container_name("a")).expect("it is there");
    harness.eventually("a is back", |_| harness.runs("a")).await;
}

#[tokio::test]
async fn changes_before_the_first_event_stream_are_found() {
    let plan = Plan::new().await.nodes(&["a"]);
    let harness = plan.faulty(|faults| faults.on(Verb::Events).times(1).fail(ErrorKind::Unreachable)).start();
    harness.eventually("a runs", |_| harness.runs("a")).await;
    harness.memory.remove_externally(&names::container_name("a")).expect("it is there");
    harness.eventually("a is back", |_| harness.runs("a")).await;
}

#[tokio::test]
async fn an_engine_outage_restarts_nothing() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let starts = ["a", "b"].map(|node| harness.view(node).map(|view| view.starts));
    harness.memory.go_down();
    harness.cloud.add_node("c", |node| node.image(IMAGE));
    harness.eventually("it is reported", |host| host.status().is_some_and(|s| s.engine_failure.is_some())).await;
    harness.memory.come_back();
    harness.eventually("c runs", |_| harness.runs("c")).await;
    harness.converged().await;
    assert_eq!(["a", "b"].map(|node| harness.view(node).map(|view| view.starts)), starts);
    harness.memory.restart_engine();
    harness.probe("c").await;
    assert_eq!(["a", "b"].map(|node| harness.view(node).map(|view| view.starts)), starts);
}

#[tokio::test]
async fn the_start_waits_for_an_unavailable_engine() {
    let harness = Plan::new().await.nodes(&["a"]).with(|_, memory| memory.go_down()).start();
    harness.eventually("the engine is called", |host| host.journal.count("info", "") > 1).await;
    harness.memory.come_back();
    harness.converged().await;
    assert!(harness.runs("a"));
}

#[tokio::test]
async fn an_externally_removed_network_is_recreated() {
    let harness = Harness::with(&["a"]).await;
    let network = names::network_name(&harness.owner().app);
    harness.memory.remove_network(&network);
    harness.cloud.add_node("b", |node| node.image(IMAGE));
    harness.eventually("b runs", |_| harness.runs("b")).await;
    assert!(harness.memory.networks().contains(&network));
}

#[tokio::test]
async fn changes_during_a_slow_restart_cost_one_more() {
    let harness = Harness::with(&["a"]).await;
    harness.memory.set_latencies(Latencies { stop: Duration::from_millis(500), ..Latencies::default() });
    harness.cloud.set_node_config("a", r#"{"x":0}"#);
    harness.eventually("it restarts", |host| host.journal.count("restart", "a") == 1).await;
    for x in 1..10 {
        harness.cloud.set_node_config("a", &format!(r#"{{"x":{x}}}"#));
    }
    harness.converged().await;
    harness.eventually("the other changes are applied", |host| host.journal.starts("a") == 2).await;
    harness.converged().await;
    assert_eq!(harness.journal.actions(), ["restart a", "restart a"]);
}

#[tokio::test]
async fn a_network_removed_during_a_stop_returns_with_its_nodes() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let network = names::network_name(&harness.owner().app);
    let ids = ["a", "b"].map(|node| harness.view(node).expect("it is there").container.id);
    harness.stop().await;
    harness.memory.remove_network(&network);
    let began = Instant::now();
    harness.start();
    harness.eventually("both run", |_| harness.runs("a") && harness.runs("b")).await;
    assert!(began.elapsed() < REPAIR, "{:?}", began.elapsed());
    harness.converged().await;
    assert_eq!(["a", "b"].map(|node| harness.view(node).expect("it is there").container.id), ids);
    assert!(harness.memory.networks().contains(&network));
}

#[tokio::test]
async fn a_container_that_cannot_start_again_is_recreated() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let ids = ["a", "b"].map(|node| harness.view(node).expect("it is there").container.id);
    harness.stop().await;
    harness.faults.on(Verb::Start).named(names::container_name("a")).times(1).fail(ErrorKind::NotFound);
    let began = Instant::now();
    harness.start();
    harness.eventually("both run", |_| harness.runs("a") && harness.runs("b")).await;
    assert!(began.elapsed() < REPAIR, "{:?}", began.elapsed());
    harness.converged().await;
    let now = ["a", "b"].map(|node| harness.view(node).expect("it is there").container.id);
    assert!(now[0] != ids[0] && now[1] == ids[1], "{ids:?} -> {now:?}");
}

/// If the new container cannot start either, the next one is created after a delay.
#[tokio::test]
async fn containers_that_never_start_are_created_with_backoff() {
    let mut harness = Harness::with(&["a"]).await;
    harness.stop().await;
    harness.faults.on(Verb::Start).named(names::container_name("a")).fail(ErrorKind::NotFound);
    harness.start();
    harness.eventually("three were created", |host| host.journal.count("create", "a") >= 3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let created = harness.journal.count("create", "a");
    assert!(created <= 4, "{created} containers were created");
    assert!(harness.node("a").is_some_and(|node| node.failure.is_some()), "{:?}", harness.node("a"));
}
