//! What others do to our containers, and what the engine does wrong.

use std::time::{Duration, Instant};

use managed_app_fakes::cloud::words::Node;
use managed_app_fakes::faulty::Verb;
use managed_app_fakes::memory::{Behaviour, Latencies};
use managed_app_runtimes::{ContainerState, ErrorKind, names};

use crate::site::{IMAGE, Plan, Site, image};
use crate::support::Host;

/// How long a repair may take on a machine that is busy: it takes a few milliseconds on an idle one, and the resync that
/// would find everything by itself comes after minutes.
const REPAIR: Duration = Duration::from_secs(20);

/// Somebody does `act`; everything is right again soon, and no other node was touched.
async fn check_repair(what: &str, act: impl FnOnce(&Site, &str)) {
    // A paused process cannot heed a stop, so its repair takes the grace.
    let site = Plan::new().await.nodes(&["a", "b"]).set("MANAGED_APP_STOP_GRACE", "1s").up().await;
    let other = site.view("b");
    let began = Instant::now();
    act(&site, &names::container_name("a"));
    let is_right = |site: &Site| {
        let network = names::network_name(&site.owner().app);
        site.view("a").is_some_and(|v| v.container.state.is_running() && v.container.networks == [network])
    };
    site.eventually(what, |_| is_right(&site) && site.nodes_with_containers() == ["a", "b"]).await;
    let took = began.elapsed();
    assert!(took < REPAIR, "{what} took {took:?}");
    site.converged().await;
    assert_eq!(site.view("b").map(|view| view.starts), other.map(|view| view.starts), "{what}");
    assert!(site.journal.acts().len() <= 8, "{what}: {:?}", site.journal.acts());
}

#[tokio::test]
async fn what_others_do_to_containers_is_put_right_at_once() {
    let done = "the container is there";
    check_repair("removed", |site, name| site.memory.remove_behind_back(name).expect(done)).await;
    check_repair("killed", |site, name| site.memory.kill(name).expect(done)).await;
    check_repair("paused", |site, name| site.memory.pause(name).expect(done)).await;
    check_repair("renamed", |site, name| site.memory.rename_behind_back(name, "mine").expect(done)).await;
    check_repair("disconnected", |site, name| {
        let network = names::network_name(&site.owner().app);
        site.memory.disconnect(name, &network).expect(done);
    })
    .await;
}

#[tokio::test]
async fn a_crash_is_left_to_the_restart_policy() {
    let site = Site::with(&["a"]).await;
    site.memory.crash(&names::container_name("a"), 3).expect("it is there");
    site.eventually("the engine starts it", |_| site.view("a").is_some_and(|view| view.starts == 2)).await;
    site.converged().await;
    assert_eq!(site.journal.acts(), [""; 0]);
}

#[tokio::test]
async fn a_crash_loop_holds_up_no_other_node() {
    let crashes = Behaviour::CrashLoops { code: 1, after: Duration::from_millis(10) };
    let plan = Plan::new().await.nodes(&["a"]).node("bad", Node::default().image("registry.test/bad:1"));
    let mut site = plan
        .with(|_, memory| {
            memory.publish_image(&image("registry.test/bad:1"), b"bad");
            memory.set_behaviour_of_image(&image("registry.test/bad:1"), crashes);
        })
        .start();
    site.eventually("a runs", |_| site.runs("a")).await;
    site.cloud.set_audit(true);
    site.eventually("both restart", |host| ["a", "bad"].iter().all(|n| host.journal.count("restart", n) == 1)).await;
    site.cloud.set_node_config("a", r#"{"x":1}"#);
    site.eventually("a restarts", |host| host.journal.count("restart", "a") == 2).await;
    site.stop().await;
    assert!(!site.runs("bad"));
}

#[tokio::test]
async fn a_process_that_somebody_kills_again_and_again_is_started_after_growing_pauses_and_holds_up_no_other() {
    let site = Site::with(&["a", "b"]).await;
    for round in 1..=4 {
        site.memory.kill(&names::container_name("a")).expect("it is there");
        site.cloud.set_node_config("b", &format!(r#"{{"round":{round}}}"#));
        site.eventually("b restarts", |host| host.journal.count("restart", "b") == round).await;
        site.eventually("a runs again", |host| host.journal.count("start", "a") == round && site.runs("a")).await;
    }
    let is_said = |host: &Host| host.node("a").and_then(|node| node.crash_loop).is_some_and(|found| found.count >= 3);
    site.eventually("it is said", is_said).await;
    assert_eq!(site.node("b").and_then(|node| node.failure), None);
}

#[tokio::test]
async fn a_crash_loop_is_told_once_until_the_process_stays_up() {
    let site = Site::with(&["a", "b"]).await;
    let name = names::container_name("a");
    for round in 1..=4 {
        site.memory.run_out_of_memory(&name).expect("it is there");
        let ends = move |host: &Host| host.node("a").and_then(|node| node.engine_restarts) == Some(round);
        site.eventually("it ends", ends).await;
        let is_up = || site.view("a").is_some_and(|view| view.container.state == ContainerState::Running);
        site.eventually("it runs again", |_| is_up()).await;
    }
    assert!(!site.is_converged(), "not between two ends");
    let report = site.recorder().report();
    let a = &report.nodes[0];
    assert_eq!((a.restarts, a.engine_restarts, a.all_restarts()), (0, Some(4), 4));
    let told = a.error.as_deref().unwrap_or_default();
    assert!(told.starts_with("crash loop: exited 137 (OOM killed) 4 times in "), "{told}");
    assert_eq!(a.last_exit.as_ref().map(|exit| (exit.code, exit.is_oom)), Some((Some(137), true)));
    let metrics = String::from_utf8(site.recorder().metrics_text()).expect("text");
    for line in [
        r#"managed_app_node_crash_loop{node="a"} 1"#,
        r#"managed_app_node_crash_loop{node="b"} 0"#,
        r#"managed_app_node_engine_restarts_total{node="a"} 4"#,
        r#"managed_app_node_last_exit_code{node="a"} 137"#,
        "managed_app_converged 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in\n{metrics}");
    }
    let (lines, _) = site.recorder().follow(Some(0));
    let told = |text: &str| lines.iter().filter(|line| line.json.contains(text)).count();
    assert_eq!((told("a: crash loop: exited 137 (OOM killed) 3 times"), told("all is well")), (1, 0));
}

#[tokio::test]
async fn one_hung_node_delays_no_other() {
    let site = Site::with(&["a", "b", "c"]).await;
    let hung = site.faults.on(Verb::Restart).named(names::container_name("a")).times(1).hang();
    site.cloud.set_audit(true);
    site.eventually("the others restart", |host| ["b", "c"].iter().all(|node| host.journal.starts(node) == 1)).await;
    site.cloud.connect("b", "c");
    site.eventually("and again", |host| ["b", "c"].iter().all(|node| host.journal.starts(node) == 2)).await;
    site.cloud.add_node("d", |node| node.image(IMAGE));
    site.eventually("a new one comes", |_| site.runs("d")).await;
    site.eventually("a hangs", |host| host.node("a").is_some_and(|node| node.busy == Some("restart"))).await;
    hung.release();
    site.converged().await;
    assert_eq!(site.journal.starts("a"), 1, "what came meanwhile did not concern it");
}

#[tokio::test]
async fn a_hung_pull_delays_no_other_node() {
    let slow = "registry.test/slow:1";
    let plan = Plan::new().await.nodes(&["a", "b"]).node("slow", Node::default().image(slow));
    let site = plan.with(|_, memory| memory.stall_pulls(&image(slow), true)).start();
    site.eventually("the others run", |_| site.runs("a") && site.runs("b")).await;
    site.cloud.connect("a", "b");
    site.eventually("and follow", |host| ["a", "b"].iter().all(|node| host.journal.count("restart", node) == 1)).await;
}

#[tokio::test]
async fn a_create_whose_answer_is_lost_leaves_no_ghost() {
    for verb in [Verb::Create, Verb::Start] {
        let plan = Plan::new().await.nodes(&["a", "b"]);
        let name = names::container_name("a");
        let site = plan.faulty(|faults| faults.on(verb).named(name).times(1).lose_answer(ErrorKind::TimedOut)).start();
        site.converged().await;
        assert_eq!(site.nodes_with_containers(), ["a", "b"], "{verb:?}");
        assert_eq!(site.view("a").map(|view| view.starts), Some(1), "{verb:?}");
    }
}

#[tokio::test]
async fn a_replacement_whose_steps_fail_or_lose_their_answers_ends_well() {
    for verb in [Verb::Create, Verb::Stop, Verb::Start, Verb::Remove, Verb::Rename] {
        for is_done in [false, true] {
            let site = Site::with(&["a", "b"]).await;
            let rule = site.faults.on(verb).times(1);
            if is_done {
                rule.lose_answer(ErrorKind::TimedOut)
            } else {
                rule.fail(ErrorKind::Other)
            }
            let ports = vec![managed_app_fakes::cloud::words::Port::tcp(8080, 80)];
            site.cloud.change_ports("a", ports);
            let is_new = |site: &Site| site.view("a").and_then(|view| view.spec).is_some_and(|s| !s.ports.is_empty());
            site.eventually(&format!("{verb:?} {is_done}"), |host| is_new(&site) && host.is_converged()).await;
            assert_eq!(site.nodes_with_containers(), ["a", "b"], "{verb:?} {is_done}");
            assert!(site.runs("a"), "{verb:?} {is_done}");
            assert_eq!(site.view("b").map(|view| view.starts), Some(1), "{verb:?} {is_done}");
        }
    }
}

#[tokio::test]
async fn an_event_stream_that_ends_is_followed_anew_and_what_was_missed_is_found() {
    let site = Site::with(&["a", "b"]).await;
    site.faults.swallow_events(true);
    site.memory.remove_behind_back(&names::container_name("a")).expect("it is there");
    site.faults.end_event_streams();
    site.faults.swallow_events(false);
    site.eventually("a is back", |_| site.runs("a")).await;
    site.memory.kill(&names::container_name("b")).expect("it is there");
    site.eventually("b is back", |_| site.runs("b")).await;
}

#[tokio::test]
async fn without_events_the_next_resync_finds_it() {
    let plan = Plan::new().await.nodes(&["a"]);
    let plan = plan.host(|builder| builder.tune(|config| config.resync = Duration::from_millis(500)));
    let site = plan.faulty(|faults| faults.swallow_events(true)).up().await;
    site.memory.remove_behind_back(&names::container_name("a")).expect("it is there");
    site.eventually("a is back", |_| site.runs("a")).await;
}

#[tokio::test]
async fn what_happens_before_the_first_events_can_be_followed_is_found() {
    let plan = Plan::new().await.nodes(&["a"]);
    let site = plan.faulty(|faults| faults.on(Verb::Events).times(1).fail(ErrorKind::Unreachable)).start();
    site.eventually("a runs", |_| site.runs("a")).await;
    site.memory.remove_behind_back(&names::container_name("a")).expect("it is there");
    site.eventually("a is back", |_| site.runs("a")).await;
}

#[tokio::test]
async fn an_engine_that_goes_away_and_comes_back_is_followed_and_nothing_restarts() {
    let mut site = Site::with(&["a", "b"]).await;
    let starts = ["a", "b"].map(|node| site.view(node).map(|view| view.starts));
    site.memory.go_down();
    site.cloud.add_node("c", |node| node.image(IMAGE));
    site.eventually("it is said", |host| host.status().is_some_and(|s| s.engine_failure.is_some())).await;
    site.memory.come_back();
    site.eventually("c runs", |_| site.runs("c")).await;
    site.converged().await;
    assert_eq!(["a", "b"].map(|node| site.view(node).map(|view| view.starts)), starts);
    site.memory.restart_engine();
    site.probe("c").await;
    assert_eq!(["a", "b"].map(|node| site.view(node).map(|view| view.starts)), starts);
}

#[tokio::test]
async fn an_engine_that_is_away_at_the_start_is_waited_for() {
    let site = Plan::new().await.nodes(&["a"]).with(|_, memory| memory.go_down()).start();
    site.eventually("the engine is asked", |host| host.journal.count("info", "") > 1).await;
    site.memory.come_back();
    site.converged().await;
    assert!(site.runs("a"));
}

#[tokio::test]
async fn a_network_that_somebody_removed_is_made_again() {
    let site = Site::with(&["a"]).await;
    let network = names::network_name(&site.owner().app);
    site.memory.remove_network(&network);
    site.cloud.add_node("b", |node| node.image(IMAGE));
    site.eventually("b runs", |_| site.runs("b")).await;
    assert!(site.memory.networks().contains(&network));
}

#[tokio::test]
async fn changes_during_a_slow_restart_cost_one_more() {
    let site = Site::with(&["a"]).await;
    site.memory.set_latencies(Latencies { stop: Duration::from_millis(500), ..Latencies::default() });
    site.cloud.set_node_config("a", r#"{"x":0}"#);
    site.eventually("it restarts", |host| host.journal.count("restart", "a") == 1).await;
    for x in 1..10 {
        site.cloud.set_node_config("a", &format!(r#"{{"x":{x}}}"#));
    }
    site.converged().await;
    site.eventually("the rest is taken in", |host| host.journal.starts("a") == 2).await;
    site.converged().await;
    assert_eq!(site.journal.acts(), ["restart a", "restart a"]);
}

#[tokio::test]
async fn a_network_that_went_while_nodes_were_stopped_comes_with_them() {
    let mut site = Site::with(&["a", "b"]).await;
    let network = names::network_name(&site.owner().app);
    let ids = ["a", "b"].map(|node| site.view(node).expect("it is there").container.id);
    site.stop().await;
    site.memory.remove_network(&network);
    let began = Instant::now();
    site.start();
    site.eventually("both run", |_| site.runs("a") && site.runs("b")).await;
    assert!(began.elapsed() < REPAIR, "{:?}", began.elapsed());
    site.converged().await;
    assert_eq!(["a", "b"].map(|node| site.view(node).expect("it is there").container.id), ids);
    assert!(site.memory.networks().contains(&network));
}

#[tokio::test]
async fn a_container_that_cannot_be_started_again_is_made_anew() {
    let mut site = Site::with(&["a", "b"]).await;
    let ids = ["a", "b"].map(|node| site.view(node).expect("it is there").container.id);
    site.stop().await;
    site.faults.on(Verb::Start).named(names::container_name("a")).times(1).fail(ErrorKind::NotFound);
    let began = Instant::now();
    site.start();
    site.eventually("both run", |_| site.runs("a") && site.runs("b")).await;
    assert!(began.elapsed() < REPAIR, "{:?}", began.elapsed());
    site.converged().await;
    let now = ["a", "b"].map(|node| site.view(node).expect("it is there").container.id);
    assert!(now[0] != ids[0] && now[1] == ids[1], "{ids:?} -> {now:?}");
}

/// A new container that cannot be started either is no reason to make one after another.
#[tokio::test]
async fn containers_that_can_never_be_started_are_made_after_growing_pauses() {
    let mut site = Site::with(&["a"]).await;
    site.stop().await;
    site.faults.on(Verb::Start).named(names::container_name("a")).fail(ErrorKind::NotFound);
    site.start();
    site.eventually("three were made", |host| host.journal.count("create", "a") >= 3).await;
    tokio::time::sleep(Duration::from_secs(2)).await;
    let made = site.journal.count("create", "a");
    assert!(made <= 4, "{made} containers were made");
    assert!(site.node("a").is_some_and(|node| node.failure.is_some()), "{:?}", site.node("a"));
}
