//! Nodes whose process ends again and again, and what an operator is told of it. The engine's own restart policy is at work:
//! Docker with growing pauses, Podman at once.

use std::time::Duration;

use managed_app::status::NodeReport;
use managed_app_fakes::node_image::Options;

use crate::engine::Engine;
use crate::rig::Rig;
use crate::wait::until;

on_each_engine! {
    a_node_that_exits_again_and_again_is_reported
    a_process_that_is_killed_again_and_again_shows_the_signal
    a_process_that_wants_too_much_memory_shows_what_the_engine_knows
}

/// What `status` says of the node.
fn report(rig: &Rig, node: &str) -> NodeReport {
    let name = rig.name(node);
    rig.host.recorder().report().nodes.into_iter().find(|found| found.name == name).expect("it is known")
}

/// What `events` has printed so far.
fn events(rig: &Rig) -> Vec<String> {
    let (lines, _) = rig.host.recorder().follow(Some(0));
    let text = |json: &str| serde_json::from_str::<managed_app::status::Event>(json).expect("an event").text;
    lines.iter().map(|line| text(&line.json)).collect()
}

/// A node of an image that behaves like this, beside one that is well; waits until it has ended so often.
async fn crashing(rig: &mut Rig, options: Options, count: u32) {
    let image = rig.image("bad:1");
    rig.push_as(&image, "bad", options).await;
    rig.add("bad", |n| n.of_type("bad").image(&image));
    rig.started_beside(["good"]).await;
    let bad = rig.name("bad");
    let is_looping =
        |host: &crate::support::Host| host.node(&bad).and_then(|n| n.crash_loop).is_some_and(|l| l.count >= count);
    rig.host.eventually("it is a crash loop", is_looping).await;
}

async fn a_node_that_exits_again_and_again_is_reported(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let options = Options { exit_after: Some(Duration::from_millis(150)), exit_code: 3, ..Options::default() };
    crashing(&mut rig, options, 5).await;
    let counted = rig.engine.container(&rig.container_name("bad")).await.0["RestartCount"].as_u64();
    assert!(counted.is_some_and(|count| count >= 3), "the engine's own policy starts it: {counted:?}");
    let bad = rig.name("bad");
    let is_counted = |host: &crate::support::Host| host.node(&bad).and_then(|node| node.engine_restarts) >= counted;
    rig.host.eventually("the count of the engine is known", is_counted).await;
    let bad = report(&rig, "bad");
    assert!(bad.all_restarts() >= 3, "{bad:?}");
    let exit = bad.last_exit.as_ref().expect("it has ended");
    assert_eq!((exit.code, exit.signal.as_deref(), exit.is_oom, exit.at.is_some()), (Some(3), None, false, true));
    let error = bad.error.as_deref().unwrap_or_default();
    assert!(error.starts_with("crash loop: exited 3 (error) ") && error.contains(" times in "), "{error}");
    let status = rig.host.status().expect("it is there");
    assert!(!status.is_converged && status.summary().contains("1 failing"), "{}", status.summary());
    assert!(report(&rig, "good").crash_loop.is_none());
    let events = events(&rig);
    let ours: Vec<&String> = events.iter().filter(|text| text.contains(&rig.name("bad"))).collect();
    assert!(!ours.iter().any(|text| text.contains("all is well")), "{ours:?}");
    assert!(ours.iter().filter(|text| text.contains("crash loop: exited 3 (error)")).count() >= 1, "{ours:?}");
    if engine == Engine::Docker {
        docker_keeps_to_its_rule(&rig).await;
    }
}

/// The pause that Docker does not tell is the one that its published rule gives.
async fn docker_keeps_to_its_rule(rig: &Rig) {
    let bad = rig.name("bad");
    let is_between = |host: &crate::support::Host| {
        let crash_loop = host.node(&bad).and_then(|node| node.crash_loop);
        crash_loop.and_then(|found| found.next_start).is_some_and(|next| next.pause >= Duration::from_secs(3))
    };
    rig.host.eventually("it waits for its next start", is_between).await;
    let told = report(rig, "bad");
    assert_eq!(told.state, "crashing");
    let foreseen = told.crash_loop.and_then(|found| found.next_start_at).expect("it is told").time();
    let before = rig.container("bad").await;
    let is_next = async || {
        let now = rig.container("bad").await;
        (now.started_at() != before.started_at()).then_some(now)
    };
    let next = crate::wait::eventually("it is started", is_next).await;
    let started = time::OffsetDateTime::parse(next.started_at(), &time::format_description::well_known::Rfc3339);
    let late = started.expect("a time") - foreseen;
    // Up to some time for the start itself, on a machine that has other things to do.
    assert!(late > time::Duration::milliseconds(-500) && late < time::Duration::seconds(3), "{late}");
}

/// Docker's policy does not act after `docker kill`, so there it is the daemon that starts it again.
async fn a_process_that_is_killed_again_and_again_shows_the_signal(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let [mut a] = rig.started_with(["a"]).await;
    for _ in 0..3 {
        engine.disturb(&["kill", a.id()]).await;
        a = rig.restarted("a", &a).await;
    }
    let name = rig.name("a");
    let is_looping = |host: &crate::support::Host| host.node(&name).is_some_and(|node| node.crash_loop.is_some());
    rig.host.eventually("it is a crash loop", is_looping).await;
    let error = report(&rig, "a").error.unwrap_or_default();
    assert!(error.starts_with("crash loop: exited 137 (SIGKILL) 3 times in "), "{error}");
}

/// Docker sees it; Podman does not where runc and cgroup v1 keep it from that.
async fn a_process_that_wants_too_much_memory_shows_what_the_engine_knows(engine: Engine) {
    let mut rig = Rig::with(engine, |builder| builder.set("MANAGED_APP_NODE_MEMORY_MAX", "16m")).await;
    crashing(&mut rig, Options { fill_memory_mb: Some(64), ..Options::default() }, 3).await;
    let name = rig.container_name("bad");
    let is_oom = async || rig.engine.container(&name).await.0["State"]["OOMKilled"] == true;
    if engine == Engine::Docker {
        until("Docker has seen it", is_oom).await;
    }
    let exit = report(&rig, "bad").last_exit.expect("it has ended");
    assert_eq!((exit.code, exit.signal.as_deref()), (Some(137), Some("SIGKILL")));
    assert_eq!(exit.is_oom, is_oom().await, "{exit:?}");
    let wanted = if exit.is_oom { "exited 137 (OOM killed) " } else { "exited 137 (SIGKILL) " };
    let error = report(&rig, "bad").error.unwrap_or_default();
    assert!(error.contains(wanted), "{error}");
}
