//! A node of an author offline, as in docs/fake-cloud.md: `fake-cloud` and the daemon as processes, and a local image
//! of the node. The container reaches the fake cloud at its configured address.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::wait::until;

on_each_engine! {
    a_node_with_a_local_image_reaches_the_fake_cloud
}

const BINARY: &str = env!("CARGO_BIN_EXE_echostream-managed-app");
/// Sends one request to the control plane, then waits for its end. Process 1 gets only signals with a handler.
const ENTRYPOINT: &str = r#"ENTRYPOINT ["/busybox", "sh", "-c", "trap exit TERM; /busybox wget -O - $APPSYNC_ENDPOINT; while :; do /busybox sleep 1 & wait; done"]"#;

/// Kills its process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An image in one engine and in no registry; dropping it removes the image.
struct Image<'a>(&'a EngineHarness, String);

impl<'a> Image<'a> {
    fn make(engine_harness: &'a EngineHarness, folder: &Path) -> Self {
        let reference = format!("localhost/{}:1", engine_harness.tag);
        let (program, archive) = (folder.join("busybox"), folder.join("image.tar"));
        std::fs::copy("/bin/busybox", program).expect("busybox-static is installed");
        let tar = format!("tar -C {} -c busybox", folder.display());
        let docker = format!("docker --host {}", Engine::Docker.endpoint());
        shell(&format!("{tar} | {docker} import --change '{ENTRYPOINT}' - {reference}"));
        if engine_harness.engine == Engine::Podman {
            let archive = archive.display();
            let podman = format!("podman --remote --url {}", engine_harness.engine.endpoint());
            shell(&format!(
                "{docker} save --output {archive} {reference} && {docker} rmi {reference} && {podman} load --input {archive}"
            ));
        }
        Self(engine_harness, reference)
    }
}

impl Drop for Image<'_> {
    fn drop(&mut self) {
        // The harness removes its containers later, so the removal of the image is forced.
        let _ = self.0.engine.command().args(["rmi", "--force", &self.1]).output();
    }
}

fn shell(line: &str) {
    let output = Command::new("/bin/bash").args(["-euo", "pipefail", "-c", line]).output().expect("bash starts");
    assert!(output.status.success(), "{line}: {}", String::from_utf8_lossy(&output.stderr));
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin").env("AWS_EC2_METADATA_DISABLED", "true");
    command.stdin(Stdio::null());
    command
}

/// Sends a command to the fake cloud, which must succeed.
fn send_command(folder: &Path, at: &str, arguments: &[&str]) -> String {
    let output: Output = command(folder).args(["fake-cloud", "--at", at]).args(arguments).output().expect("it starts");
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).expect("text")
}

async fn a_node_with_a_local_image_reaches_the_fake_cloud(engine: Engine) {
    let engine_harness = EngineHarness::new(engine).await;
    let folder = tempfile::tempdir().expect("a folder");
    let folder = folder.path();
    let image = Image::make(&engine_harness, folder);
    let seed = folder.join("seed.toml");
    std::fs::write(&seed, format!("app = '{}'\n", engine_harness.tag)).expect("a file");
    let mut serve = command(folder);
    serve.args(["fake-cloud", "serve", "--listen", "0.0.0.0:0", "--seed"]).arg(&seed).stdout(Stdio::piped());
    let mut cloud = Running(serve.spawn().expect("it starts"));
    let mut line = String::new();
    BufReader::new(cloud.0.stdout.take().expect("it is piped")).read_line(&mut line).expect("it prints its address");
    let at = line.split("http://").nth(1).and_then(|rest| rest.split(". ").next()).expect("an address");
    send_command(folder, at, &["add-node", &engine_harness.name("tester"), "--image", &image.1]);
    let env_file = folder.join("fake.env");
    std::fs::write(&env_file, send_command(folder, at, &["env"])).expect("a file");

    let mut run = command(folder);
    let (variable, endpoint) = engine.address();
    let inside = |name: &str| folder.join(name).display().to_string();
    run.env(variable, endpoint).arg("--env-file").arg(&env_file).args(["--runtime", engine.name()]);
    run.args(["--host-id", &engine_harness.tag, "--state-directory", &inside("state"), "--log-file", &inside("log")]);
    run.args(["--status-socket", "off", "--stop-grace", "5s"]).stdout(Stdio::null()).stderr(Stdio::null());
    let mut daemon = Running(run.spawn().expect("it starts"));
    let node = engine_harness.running("tester").await;
    let mut log = String::new();
    until("the node reaches the fake cloud", async || {
        let output = engine.command().args(["logs", node.id()]).output().expect("the command of the engine runs");
        log = String::from_utf8_lossy(&output.stderr).into_owned();
        log.contains("server returned error: HTTP/1.1 4")
    })
    .await;
    let sent = Command::new("kill").args(["-TERM", &daemon.0.id().to_string()]).status().expect("kill is installed");
    assert!(sent.success());
    until("the daemon has ended", async || daemon.0.try_wait().expect("it ran").is_some()).await;
    assert!(!engine_harness.container("tester").await.is_running());
}
