//! Crash loops and their reports. The restart policy of the engine acts: Docker with increasing delays, Podman at once.

use std::time::Duration;

use managed_app::status::NodeReport;
use managed_app_fakes::node_image::Options;

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::wait::until;

on_each_engine! {
    a_repeatedly_exiting_node_is_reported
    a_repeatedly_killed_process_shows_the_signal
    an_oom_kill_is_shown_as_far_as_the_engine_reports_it
}

/// The report of `status` about the node.
fn report(engine_harness: &EngineHarness, node: &str) -> NodeReport {
    let name = engine_harness.name(node);
    engine_harness.host.recorder().report().nodes.into_iter().find(|found| found.name == name).expect("it is known")
}

/// The same, once the exit code is known: a list of Podman shows an exit without its code if the next run has begun, and
/// the event with the code may come after it.
async fn report_with_code(engine_harness: &EngineHarness, node: &str) -> NodeReport {
    let with_code = async || {
        let found = report(engine_harness, node);
        found.last_exit.as_ref().is_some_and(|exit| exit.code.is_some()).then_some(found)
    };
    crate::wait::eventually("the exit code is known", with_code).await
}

/// The output of `events` so far.
fn events(engine_harness: &EngineHarness) -> Vec<String> {
    let (lines, _) = engine_harness.host.recorder().follow(Some(0));
    let text = |json: &str| serde_json::from_str::<managed_app::status::Event>(json).expect("an event").text;
    lines.iter().map(|line| text(&line.json)).collect()
}

/// A node with an image of these options, beside a healthy node. Waits until its process has ended `count` times.
async fn crashing(engine_harness: &mut EngineHarness, options: Options, count: u32) {
    let image = engine_harness.image("bad:1");
    engine_harness.push_as(&image, "bad", options).await;
    engine_harness.add("bad", |n| n.of_type("bad").image(&image));
    engine_harness.started_beside(["good"]).await;
    let bad = engine_harness.name("bad");
    let is_looping =
        |host: &crate::support::Host| host.node(&bad).and_then(|n| n.crash_loop).is_some_and(|l| l.count >= count);
    engine_harness.host.eventually("it is a crash loop", is_looping).await;
}

async fn a_repeatedly_exiting_node_is_reported(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let options = Options { exit_after: Some(Duration::from_millis(150)), exit_code: 3, ..Options::default() };
    crashing(&mut engine_harness, options, 5).await;
    let counted =
        engine_harness.engine.container(&engine_harness.container_name("bad")).await.0["RestartCount"].as_u64();
    assert!(counted.is_some_and(|count| count >= 3), "the policy of the engine restarts it: {counted:?}");
    let bad = engine_harness.name("bad");
    let is_counted = |host: &crate::support::Host| host.node(&bad).and_then(|node| node.engine_restarts) >= counted;
    engine_harness.host.eventually("the count of the engine is known", is_counted).await;
    let bad = report_with_code(&engine_harness, "bad").await;
    assert!(bad.all_restarts() >= 3, "{bad:?}");
    let exit = bad.last_exit.as_ref().expect("it has ended");
    assert_eq!((exit.code, exit.signal.as_deref(), exit.is_oom, exit.at.is_some()), (Some(3), None, false, true));
    let error = bad.error.as_deref().unwrap_or_default();
    assert!(error.starts_with("crash loop: exited 3 (error) ") && error.contains(" times in "), "{error}");
    let status = engine_harness.host.status().expect("it is there");
    assert!(!status.is_converged && status.summary().contains("1 failing"), "{}", status.summary());
    assert!(report(&engine_harness, "good").crash_loop.is_none());
    let events = events(&engine_harness);
    let ours: Vec<&String> = events.iter().filter(|text| text.contains(&engine_harness.name("bad"))).collect();
    assert!(!ours.iter().any(|text| text.contains("recovered")), "{ours:?}");
    assert!(ours.iter().filter(|text| text.contains("crash loop: exited 3 (error)")).count() >= 1, "{ours:?}");
    if engine == Engine::Docker {
        docker_follows_its_backoff_rule(&engine_harness).await;
    }
}

/// Docker does not report its delay; it is the one of its published rule.
async fn docker_follows_its_backoff_rule(engine_harness: &EngineHarness) {
    let bad = engine_harness.name("bad");
    let is_between = |host: &crate::support::Host| {
        let crash_loop = host.node(&bad).and_then(|node| node.crash_loop);
        crash_loop.and_then(|found| found.next_start).is_some_and(|next| next.pause >= Duration::from_secs(3))
    };
    engine_harness.host.eventually("it waits for its next start", is_between).await;
    let reported = report(engine_harness, "bad");
    assert_eq!(reported.state, "crashing");
    let expected = reported.crash_loop.and_then(|found| found.next_start_at).expect("it is reported").time();
    let before = engine_harness.container("bad").await;
    let is_next = async || {
        let now = engine_harness.container("bad").await;
        (now.started_at() != before.started_at()).then_some(now)
    };
    let next = crate::wait::eventually("it is started", is_next).await;
    let started = time::OffsetDateTime::parse(next.started_at(), &time::format_description::well_known::Rfc3339);
    let late = started.expect("a time") - expected;
    // Includes the start itself on a busy machine.
    assert!(late > time::Duration::milliseconds(-500) && late < time::Duration::seconds(3), "{late}");
}

/// The policy of Docker does not act after `docker kill`, so on Docker the daemon starts the node.
async fn a_repeatedly_killed_process_shows_the_signal(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [mut a] = engine_harness.started_with(["a"]).await;
    for _ in 0..3 {
        engine.disturb(&["kill", a.id()]).await;
        a = engine_harness.restarted("a", &a).await;
    }
    let name = engine_harness.name("a");
    let is_looping = |host: &crate::support::Host| host.node(&name).is_some_and(|node| node.crash_loop.is_some());
    engine_harness.host.eventually("it is a crash loop", is_looping).await;
    let error = report_with_code(&engine_harness, "a").await.error.unwrap_or_default();
    assert!(error.starts_with("crash loop: exited 137 (SIGKILL) 3 times in "), "{error}");
}

/// Docker reports it; Podman does not with runc on cgroup v1.
async fn an_oom_kill_is_shown_as_far_as_the_engine_reports_it(engine: Engine) {
    let mut engine_harness =
        EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_NODE_MEMORY_MAX", "16m")).await;
    crashing(&mut engine_harness, Options { fill_memory_mb: Some(64), ..Options::default() }, 3).await;
    let name = engine_harness.container_name("bad");
    let is_oom = async || engine_harness.engine.container(&name).await.0["State"]["OOMKilled"] == true;
    if engine == Engine::Docker {
        until("Docker reports it", is_oom).await;
    }
    let bad = report_with_code(&engine_harness, "bad").await;
    let exit = bad.last_exit.expect("it has ended");
    assert_eq!((exit.code, exit.signal.as_deref()), (Some(137), Some("SIGKILL")));
    assert_eq!(exit.is_oom, is_oom().await, "{exit:?}");
    let wanted = if exit.is_oom { "exited 137 (OOM killed) " } else { "exited 137 (SIGKILL) " };
    let error = bad.error.unwrap_or_default();
    assert!(error.contains(wanted), "{error}");
}
