//! The program as a process: notifications to systemd, signals, log file, exit codes, and the next start after a kill.

use std::time::{Duration, Instant};

use managed_app_fakes::node_image::Options;

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::process::{self, Process, is_log_line};
use crate::wait::until;

on_each_engine! {
    it_notifies_systemd_and_stops_all_nodes_on_sigterm
    sigint_ends_it_in_order_and_a_second_signal_at_once
    the_next_start_finishes_a_replacement_after_a_kill
    a_kill_in_the_middle_of_a_restart_leaves_no_stale_node
    removal_of_the_app_runs_shutdown_from_the_path
    exit_codes_show_the_kind_of_failure
}

/// The watchdog of systemd, with a short interval.
const WATCHDOG: Duration = Duration::from_secs(2);

async fn it_notifies_systemd_and_stops_all_nodes_on_sigterm(engine: Engine) {
    let engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    engine_harness.add("a", |n| n.of_type("type").image(&image));
    engine_harness.add("b", |n| n.of_type("type"));
    let watchdog = WATCHDOG.as_micros().to_string();
    let mut daemon = Process::start(&engine_harness, &[("WATCHDOG_USEC", &watchdog), ("LOGGING_LEVEL", "DEBUG")]);
    daemon.notified("READY=1").await;
    engine_harness.containers(["a", "b"]).await;
    daemon.notified("WATCHDOG=1").await;

    let moved = daemon.log_file().with_extension("1");
    std::fs::rename(daemon.log_file(), &moved).expect("there is a log file");
    daemon.signal("HUP").await;
    until("the log file is there again", async || !daemon.log().is_empty()).await;

    daemon.signal("TERM").await;
    daemon.notified("STOPPING=1").await;
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
    for node in ["a", "b"] {
        assert_eq!(engine_harness.container(node).await.0["State"]["ExitCode"], 0, "{node} ended on SIGTERM");
    }
    let logged = std::fs::read_to_string(moved).expect("it was moved there") + &daemon.log();
    let misshapen: Vec<&str> = logged.lines().filter(|line| !is_log_line(line)).collect();
    assert!(misshapen.is_empty() && !logged.is_empty(), "{misshapen:#?}");
    let secrets = [engine_harness.cloud().env()["PASSWORD"].clone(), crate::images::password()];
    assert!(!secrets.iter().any(|secret| logged.contains(secret)), "a secret is in the log");
}

async fn sigint_ends_it_in_order_and_a_second_signal_at_once(engine: Engine) {
    let engine_harness = EngineHarness::new(engine).await;
    let stubborn = engine_harness.image("stubborn:1");
    engine_harness.push_as(&stubborn, "stubborn", Options { ignore_sigterm: true, ..Options::default() }).await;
    engine_harness.add("deaf", |n| n.of_type("stubborn").image(&stubborn));
    let mut daemon = Process::start(&engine_harness, &[("MANAGED_APP_STOP_GRACE", "2s")]);
    daemon.notified("READY=1").await;
    daemon.signal("INT").await;
    assert_eq!(daemon.ended().await.code(), Some(0));
    assert_eq!(engine_harness.container("deaf").await.0["State"]["ExitCode"], 137, "it was killed after its grace");

    let mut daemon = Process::start(&engine_harness, &[("MANAGED_APP_STOP_GRACE", "40s")]);
    daemon.notified("READY=1").await;
    daemon.signal("TERM").await;
    daemon.notified("STOPPING=1").await;
    let second = Instant::now();
    daemon.signal("INT").await;
    assert_eq!(daemon.ended().await.code(), Some(0));
    assert!(second.elapsed() < Duration::from_secs(25), "it took {:?}", second.elapsed());
}

/// The node that ignores SIGTERM delays the replacement, so that the kill is between the creation of the new container
/// and the end of the old one.
async fn the_next_start_finishes_a_replacement_after_a_kill(engine: Engine) {
    let engine_harness = EngineHarness::new(engine).await;
    let (stubborn, quiet) = (engine_harness.image("stubborn:1"), engine_harness.push("node:1", "1").await);
    engine_harness.push_as(&stubborn, "stubborn", Options { ignore_sigterm: true, ..Options::default() }).await;
    engine_harness.add("deaf", |n| n.of_type("stubborn").image(&stubborn));
    engine_harness.add("a", |n| n.of_type("type").image(&quiet));
    let grace = [("MANAGED_APP_STOP_GRACE", "3s")];
    let mut daemon = Process::start(&engine_harness, &grace);
    daemon.notified("READY=1").await;
    let [deaf, a] = engine_harness.containers(["deaf", "a"]).await;

    let next = engine_harness.image("node:2");
    let next_id = engine_harness.push_as(&next, "2", Options::default()).await;
    engine_harness.cloud().set_image("stubborn", &next);
    until("there are two containers of it", async || engine.containers(&engine_harness.name("deaf")).await.len() == 2)
        .await;
    daemon.kill().await;

    let mut daemon = Process::start(&engine_harness, &grace);
    daemon.notified("READY=1").await;
    let now = engine_harness.replaced("deaf", &deaf).await;
    assert_eq!(now.image_id(), next_id);
    engine_harness.assert_untouched("a", &a).await;
    until("each node has one container", async || engine.containers(&engine_harness.tag).await.len() == 2).await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code(), Some(0));
}

async fn a_kill_in_the_middle_of_a_restart_leaves_no_stale_node(engine: Engine) {
    let engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    for node in ["a", "b", "c"] {
        engine_harness.add(node, |n| n.of_type("type").image(&image));
    }
    let mut daemon = Process::start(&engine_harness, &[]);
    daemon.notified("READY=1").await;
    let [a, b, c] = engine_harness.containers(["a", "b", "c"]).await;
    engine_harness.cloud().connect(&engine_harness.name("a"), &engine_harness.name("b"));
    until("the change was received", async || engine_harness.cloud().pending_changes() == 0).await;
    daemon.kill().await;

    let mut daemon = Process::start(&engine_harness, &[]);
    daemon.notified("READY=1").await;
    let [a, b] = [engine_harness.restarted("a", &a).await, engine_harness.restarted("b", &b).await];
    engine_harness.assert_untouched("c", &c).await;

    // A kill of an idle daemon has no effect on nodes.
    until("the desired state is reached", async || daemon.log().contains("startup complete")).await;
    daemon.kill().await;
    let mut daemon = Process::start(&engine_harness, &[("MANAGED_APP_ON_EXIT", "leave")]);
    daemon.notified("READY=1").await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code(), Some(0));
    for (node, before) in [("a", &a), ("b", &b), ("c", &c)] {
        engine_harness.assert_untouched(node, before).await;
    }
}

async fn removal_of_the_app_runs_shutdown_from_the_path(engine: Engine) {
    let engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    engine_harness.add("a", |n| n.image(&image));
    let mut daemon = Process::start(&engine_harness, &[]);
    daemon.notified("READY=1").await;
    engine_harness.cloud().remove_app();
    assert_eq!(daemon.ended().await.code(), Some(0), "{}", daemon.log());
    assert_eq!(engine_harness.shutdown_call().as_deref(), Some("now\n"));
    assert!(!engine_harness.container("a").await.is_running());
}

async fn exit_codes_show_the_kind_of_failure(engine: Engine) {
    let engine_harness = EngineHarness::new(engine).await;
    let good = process::variables(&engine_harness);
    let with = |name: &str, value: &str| {
        let mut variables = good.clone();
        variables.insert(name.to_owned(), value.to_owned());
        variables
    };
    let (code, output) = process::run(&good, &["--no-such-flag"]).await;
    assert_eq!(code, Some(64), "{output}");

    let mut bad = with("USER_POOL_ID", "nonsense");
    bad.remove("TENANT");
    let (code, output) = process::run(&bad, &[]).await;
    assert_eq!(code, Some(78), "{output}");
    assert!(output.contains("USER_POOL_ID") && output.contains("TENANT"), "{output}");

    let (code, output) = process::run(&with("PASSWORD", "not-the-password-1"), &[]).await;
    assert_eq!(code, Some(77), "{output}");
    assert!(!output.contains("not-the-password-1"), "{output}");

    let mut away = with("MANAGED_APP_RUNTIME", "auto");
    for variable in ["DOCKER_HOST", "CONTAINER_HOST"] {
        away.insert(variable.to_owned(), "unix:///nonexistent/engine.sock".to_owned());
    }
    let (code, output) = process::run(&away, &[]).await;
    assert_eq!(code, Some(69), "{output}");

    if engine == Engine::Podman {
        let (code, output) = process::run(&with("MANAGED_APP_NODE_LOGS", "awslogs"), &[]).await;
        assert_eq!(code, Some(78), "{output}");
    }
}
