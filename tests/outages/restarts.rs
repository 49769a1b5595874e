//! Restarts and crashes of the engine while the daemon runs.

use std::process::Stdio;

use tokio::process::Command;

use crate::engine::{Container, Engine};
use crate::engine_harness::EngineHarness;
use crate::turns;
use crate::wait::until;

on_each_engine! {
    after_an_engine_restart_nodes_run_in_their_containers
    after_an_engine_crash_nodes_run_in_their_containers
}

on_engine! { window Docker
    an_engine_crash_in_the_window_causes_no_rollback
}

on_engine! { live_restore Docker
    with_live_restore_an_engine_restart_affects_no_node
    with_live_restore_an_engine_crash_affects_no_node
}

async fn after_an_engine_restart_nodes_run_in_their_containers(engine: Engine) {
    check_restart(engine, "TERM", engine == Engine::Podman).await;
}

/// Docker does not start containers that ended with its crash: they count as stopped by a user.
async fn after_an_engine_crash_nodes_run_in_their_containers(engine: Engine) {
    check_restart(engine, "KILL", engine == Engine::Podman).await;
}

async fn with_live_restore_an_engine_restart_affects_no_node(engine: Engine) {
    check_live_restore(engine, "TERM").await;
}

async fn with_live_restore_an_engine_crash_affects_no_node(engine: Engine) {
    check_live_restore(engine, "KILL").await;
}

/// Docker does not restart it.
async fn an_engine_crash_in_the_window_causes_no_rollback(engine: Engine) {
    let _turn = turns::alone().await;
    let mut engine_harness =
        EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_REPLACE_WINDOW", "6s")).await;
    let next = engine_harness.push("node:2", "2").await;
    let [before] = engine_harness.started_with(["a"]).await;
    engine_harness.host.journal.clear();
    engine_harness.cloud().set_image("type", &next);
    let own = engine_harness.container_name("a");
    until("the new container is in its window", async || {
        let names = engine.containers(&engine_harness.tag).await;
        let Some(next) = names.iter().find(|name| **name != own) else { return false };
        engine.find(next).await.is_some_and(|next| next.is_running())
    })
    .await;
    restart(engine, "KILL").await;
    let after = engine_harness.replaced("a", &before).await;
    engine_harness
        .host
        .eventually("the desired state is reached", |host| host.is_converged() && is_healthy(host))
        .await;
    assert_ne!(after.image_id(), before.image_id());
    assert_eq!(
        engine_harness.host.journal.count("create", &engine_harness.name("a")),
        1,
        "{:?}",
        engine_harness.host.journal.actions()
    );
}

async fn check_restart(engine: Engine, signal: &str, is_unnoticed: bool) {
    let _turn = turns::alone().await;
    run_through(engine, signal, is_unnoticed).await;
}

async fn check_live_restore(engine: Engine, signal: &str) {
    let _turn = turns::alone().await;
    let _setting = LiveRestore::switch_on();
    // The setting needs a restart of the engine.
    restart(engine, "TERM").await;
    run_through(engine, signal, true).await;
}

/// Two nodes run, the engine is restarted, and another node is added meanwhile.
async fn run_through(engine: Engine, signal: &str, is_unnoticed: bool) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let before = engine_harness.started_with(["a", "b"]).await;
    engine_harness.host.journal.clear();
    engine_harness.add("late", |n| n.of_type("type"));
    restart(engine, signal).await;
    engine_harness.running("late").await;
    for (node, before) in ["a", "b"].iter().zip(&before) {
        engine_harness.becomes(node, "runs in its container", |now| now.id() == before.id()).await;
    }
    engine_harness
        .host
        .eventually("the desired state is reached again", |host| host.is_converged() && is_healthy(host))
        .await;
    let names: Vec<String> = ["a", "b", "late"].iter().map(|node| engine_harness.container_name(node)).collect();
    until("there are no other containers", async || engine.containers(&engine_harness.tag).await == names).await;
    if is_unnoticed {
        assert_unnoticed(&engine_harness, &before).await;
    }
    // Events are received again.
    let late = engine_harness.container("late").await;
    engine.disturb(&["stop", late.id()]).await;
    engine_harness.restarted("late", &late).await;
}

async fn assert_unnoticed(engine_harness: &EngineHarness, before: &[Container]) {
    for (node, before) in ["a", "b"].iter().zip(before) {
        engine_harness.assert_untouched(node, before).await;
        let actions = ["start", "stop", "restart"]
            .map(|verb| engine_harness.host.journal.count(verb, &engine_harness.name(node)));
        assert_eq!(actions, [0, 0, 0], "{node}");
    }
}

fn is_healthy(host: &crate::support::Host) -> bool {
    host.status().is_some_and(|status| status.engine_failure.is_none())
}

/// Ends an engine of `scripts/engines` and waits for its successor.
async fn restart(engine: Engine, signal: &str) {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/engines");
    let mut command = Command::new(script);
    command.args(["restart", engine.name(), signal]).env("MANAGED_APP_ENGINES", home()).stdin(Stdio::null());
    let status = command.status().await.expect("the script can be run");
    assert!(status.success(), "{} cannot be restarted", engine.name());
}

/// The directory of `scripts/engines`, which contains the socket.
fn home() -> std::path::PathBuf {
    let endpoint = Engine::Docker.endpoint();
    let socket = endpoint.strip_prefix("unix://").expect("scripts/engines listens on a Unix socket");
    std::path::Path::new(socket).parent().expect("a socket is in a directory").to_owned()
}

/// The Docker setting that keeps containers running without dockerd. Dropping it disables the setting from the next
/// start of the engine on.
struct LiveRestore;

impl LiveRestore {
    fn switch_on() -> Self {
        Self::write(r#"{ "live-restore": true }"#).expect("scripts/engines has made the file");
        Self
    }

    fn write(settings: &str) -> std::io::Result<()> {
        std::fs::write(home().join("etc-docker/daemon.json"), settings)
    }
}

impl Drop for LiveRestore {
    fn drop(&mut self) {
        // A drop must not panic; the next restart would fail with the error.
        let _ = Self::write("{}");
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/engines");
        let mut command = std::process::Command::new(script);
        let _ = command.args(["restart", "docker"]).env("MANAGED_APP_ENGINES", home()).status();
    }
}
