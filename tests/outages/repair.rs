//! External changes to containers are reverted: through events on real engines, and at the next resync without events.

use std::time::{Duration, Instant};

use managed_app_runtimes::names;

use crate::engine::{Container, Engine};
use crate::engine_harness::EngineHarness;
use crate::harness::{Harness, Plan};
use crate::turns;

on_each_engine! {
    external_changes_to_containers_are_reverted_in_seconds
}

/// An idle machine needs less than a second; the resync, which would find it, comes after minutes.
const REPAIR_MAX: Duration = Duration::from_secs(20);
/// Pause between two checks.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

async fn external_changes_to_containers_are_reverted_in_seconds(engine: Engine) {
    let _turn = turns::shared().await;
    let mut engine_harness = EngineHarness::new(engine).await;
    let [_, other] = engine_harness.started_with(["a", "other"]).await;
    let (name, tag) = (engine_harness.container_name("a"), engine_harness.tag.clone());
    let mine = engine_harness.name("mine");
    let actions: [(&str, &[&str]); 6] = [
        ("removed", &["rm", "--force", &name]),
        ("stopped", &["stop", &name]),
        ("killed", &["kill", &name]),
        ("paused", &["pause", &name]),
        ("renamed", &["rename", &name, &mine]),
        ("disconnected", &["network", "disconnect", &tag, &name]),
    ];
    for (what, act) in actions {
        let before = engine_harness.container("a").await;
        engine.disturb(act).await;
        let acted = Instant::now();
        let is_whole = |now: &Container| is_right(now, &tag) && (what != "removed" || now.id() != before.id());
        while !engine.find(&name).await.is_some_and(|now| is_whole(&now)) {
            assert!(acted.elapsed() < REPAIR_MAX, "{what}: not reverted after {:?}", acted.elapsed());
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        println!("{}: a container that was {what} externally was reverted after {:?}", engine.name(), acted.elapsed());
        engine_harness.host.converged().await;
        engine_harness.running("a").await;
    }
    engine_harness.assert_untouched("other", &other).await;
}

fn is_right(container: &Container, network: &str) -> bool {
    container.is_running() && container.0["State"]["Paused"] != true && container.networks() == [network]
}

/// The resync of these daemons, in place of minutes.
const RESYNC: Duration = Duration::from_millis(500);

/// An external change to the container of this name.
type Act = fn(&Harness, &str);

#[tokio::test]
async fn without_events_the_next_resync_reverts_everything() {
    let actions: [(&str, Act); 5] = [
        ("removed", |harness, name| harness.memory.remove_externally(name).expect("it is there")),
        ("killed", |harness, name| harness.memory.kill(name).expect("it is there")),
        ("paused", |harness, name| harness.memory.pause(name).expect("it is there")),
        ("renamed", |harness, name| harness.memory.rename_externally(name, "mine").expect("it is there")),
        ("disconnected", |harness, name| {
            let network = names::network_name(&harness.owner().app);
            harness.memory.disconnect(name, &network).expect("it is there");
        }),
    ];
    let plan = Plan::new().await.nodes(&["a", "b"]);
    let plan = plan.host(|builder| builder.tune(|config| config.resync = RESYNC));
    let harness = plan.faulty(|faults| faults.swallow_events(true)).up().await;
    let network = names::network_name(&harness.owner().app);
    for (what, act) in actions {
        act(&harness, &names::container_name("a"));
        let is_right = || {
            harness
                .view("a")
                .is_some_and(|v| v.container.state.is_running() && v.container.networks == [network.as_str()])
        };
        harness.eventually(what, |_| is_right() && harness.nodes_with_containers() == ["a", "b"]).await;
        harness.converged().await;
    }
    assert_eq!(harness.view("b").map(|view| view.starts), Some(1));
}
