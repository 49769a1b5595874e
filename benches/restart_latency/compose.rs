//! The same services with `docker compose`, if it is installed, as a manual setup.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::process::Command;

use crate::engine::{Engine, PREFIX};
use crate::harness::Images;

/// The plugin of the docker command, or the older program of that name.
const COMMANDS: [&[&str]; 2] = [&["docker", "compose"], &["docker-compose"]];

/// The available command, with its version.
pub fn version() -> Option<String> {
    let command = command()?;
    let output = std::process::Command::new(command[0]).args(&command[1..]).args(["version", "--short"]).output();
    Some(format!("{} {}", command.join(" "), String::from_utf8_lossy(&output.ok()?.stdout).trim()))
}

/// Whether a command is available.
pub fn is_installed() -> bool {
    command().is_some()
}

fn command() -> Option<&'static [&'static str]> {
    COMMANDS.into_iter().find(|command| {
        let mut asked = std::process::Command::new(command[0]);
        asked.args(&command[1..]).arg("version").stdout(Stdio::null()).stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    })
}

/// Starts `count` services and removes them; returns the duration of the start.
pub async fn up(engine: Engine, images: &Images, count: usize) -> Duration {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("compose.yaml");
    std::fs::write(&file, services(&images.0[0], count).to_string()).expect("the folder is ours");
    let began = Instant::now();
    run(engine, &file, &["up", "--detach"]).await;
    let time = began.elapsed();
    run(engine, &file, &["down", "--timeout", "1"]).await;
    time
}

/// JSON is YAML too.
fn services(image: &str, count: usize) -> Value {
    let service = |index: usize| {
        let environment = json!({
            "APPSYNC_ENDPOINT": "http://127.0.0.1:40123/graphql", "CLIENT_ID": "7fakeclientfakeclientfake",
            "PASSWORD": "Correct-Horse-7", "TENANT": "acme", "USER_NAME": "plant-7-line",
            "USER_POOL_ID": "us-west-2_FakePool7", "NODE": format!("n{index}"),
        });
        let logging = json!({ "driver": "json-file", "options": { "max-size": "10485760", "max-file": "5" } });
        json!({
            "image": image, "hostname": format!("n{index}"), "environment": environment, "logging": logging,
            "restart": "unless-stopped", "labels": { "record": "x".repeat(900) }, "stop_grace_period": "30s",
        })
    };
    let services: serde_json::Map<_, _> = (0..count).map(|index| (format!("n{index}"), service(index))).collect();
    json!({ "version": "2.4", "services": services })
}

async fn run(engine: Engine, file: &Path, arguments: &[&str]) {
    let words = command().expect("it was found before");
    let project = format!("{PREFIX}{}-compose", std::process::id());
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).args(["--project-name", &project, "--file"]).arg(file).args(arguments);
    // All services at the same time, as the daemon does; 64 is the default of the older program.
    command
        .env("DOCKER_HOST", engine.endpoint())
        .env("COMPOSE_PARALLEL_LIMIT", "64")
        .env("COMPOSE_HTTP_TIMEOUT", "120");
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await.expect("it can be run");
    assert!(output.status.success(), "{words:?} {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
}
