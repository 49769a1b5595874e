//! Runs a Python script of this folder against a fake cloud and collects the results of its checks. `checks.py` defines
//! the line protocol between them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use managed_app_fakes::FakeCloud;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

/// Limit of a script: far above the seconds that it needs, also on a busy machine.
const LIMIT: Duration = Duration::from_secs(600);

/// A check of a script and its result: `yes`, or status and code of a rejection.
pub type Finding = (String, String);

/// A command that runs the interpreter of the prepared environment, without the environment variables of this process.
pub fn python(script: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter: PathBuf = root.join("target/clients/bin/python");
    assert!(interpreter.exists(), "{} does not exist: run scripts/clients", interpreter.display());
    let mut command = Command::new(interpreter);
    command.arg(root.join("tests/clients").join(script));
    command.env_clear().env("HOME", "/nowhere").env("AWS_EC2_METADATA_DISABLED", "true");
    // Compiled files belong beside the packages, not beside the scripts.
    command.env("PYTHONPYCACHEPREFIX", root.join("target/clients/compiled"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    command
}

/// Runs a script with the environment of a daemon, and executes its requests on the cloud.
///
/// # Panics
/// If a check failed; the message contains the output of the script.
pub async fn run(script: &str, cloud: &FakeCloud, switch: impl AsyncFn(&str)) -> Vec<Finding> {
    let mut command = python(script);
    command.envs(cloud.env()).envs(published_schema());
    let run = tokio::time::timeout(LIMIT, follow(command, switch)).await;
    let (success, findings, output) = run.unwrap_or_else(|_| panic!("{script} did not end"));
    assert!(success, "{script}:\n{output}");
    findings
}

async fn follow(mut command: Command, switch: impl AsyncFn(&str)) -> (bool, Vec<Finding>, String) {
    let mut child = command.spawn().expect("the interpreter starts");
    let mut input = child.stdin.take().expect("it is piped");
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let (mut findings, mut output) = (Vec::new(), String::new());
    while let Some(line) = lines.next_line().await.expect("it writes text") {
        if let Some(what) = line.strip_prefix("do ") {
            switch(what).await;
            input.write_all(b"done\n").await.expect("it waits for this");
        } else if let Some((check, found)) = line.strip_prefix("ok ").and_then(|line| line.split_once(' ')) {
            findings.push((check.to_owned(), found.to_owned()));
        }
        output += &line;
        output += "\n";
    }
    (child.wait().await.expect("it ran").success(), findings, output)
}

/// The directory of EchoStream's published schema, if it exists beside the project.
pub fn published_schema() -> Option<(&'static str, PathBuf)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/reference");
    folder.join("schema.graphql").exists().then_some(("PUBLISHED_SCHEMA", folder))
}
