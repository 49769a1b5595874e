//! Restarts and crashes of an engine while the output of a node is shipped.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::engine::Engine;
use crate::numbers::{Counter, TURN};
use crate::wait::until;

on_each_engine! {
    no_kept_line_is_lost_or_doubled_by_an_engine_restart
}

const LINES: usize = 20_000;

async fn no_kept_line_is_lost_or_doubled_by_an_engine_restart(engine: Engine) {
    let _turn = TURN.lock().await;
    let counter = Counter::begin(engine, LINES, Duration::from_millis(1), ["16m", "4"]).await;
    let before = counter.engine_harness.container("counter").await;
    counter.reaches(20).await;
    counter.allow(50);
    restart(engine, "TERM").await;
    counter.reaches(60).await;
    restart(engine, "KILL").await;
    counter.allow(100);
    let last = format!("number {LINES}");
    until("the last number has arrived", async || shipped(&counter).last() == Some(&last)).await;
    let after = counter.engine_harness.running("counter").await;
    let kept = numbers(&engine.run(&["logs", after.id()]).await);
    let shipped = shipped(&counter);
    assert!(shipped.len() >= kept.len(), "{} of {} lines", shipped.len(), kept.len());
    // The log of a replaced container is not available any more.
    let skipped = if after.id() == before.id() { 0 } else { shipped.len() - kept.len() };
    assert!(shipped[skipped..] == kept[..], "{} lines arrived, and {} were kept", shipped.len(), kept.len());
}

/// The lines with numbers, in the order of their output.
fn numbers(text: &str) -> Vec<String> {
    let lines = text.lines().map(|line| line.strip_prefix("[INFO] ").unwrap_or(line));
    lines.filter(|line| line.starts_with("number ")).map(str::to_owned).collect()
}

/// The lines in CloudWatch.
fn shipped(counter: &Counter) -> Vec<String> {
    let cloud = counter.engine_harness.cloud();
    let (region, group) = (cloud.world().tenant.region.clone(), cloud.node_log_group(&counter.node));
    let events = cloud.cloudwatch.streams_with_events(&region, &group).into_iter().flat_map(|(_, events)| events);
    events.flat_map(|event| numbers(&event.message)).collect()
}

/// Ends an engine of `scripts/engines` and waits for its successor.
async fn restart(engine: Engine, signal: &str) {
    let endpoint = Engine::Docker.endpoint();
    let socket = endpoint.strip_prefix("unix://").expect("scripts/engines listens on a Unix socket");
    let home = Path::new(socket).parent().expect("a socket is in a directory");
    let mut command = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/scripts/engines"));
    command.args(["restart", engine.name(), signal]).env("MANAGED_APP_ENGINES", home).stdin(Stdio::null());
    assert!(command.status().await.expect("the script can be run").success(), "{} cannot be restarted", engine.name());
}
