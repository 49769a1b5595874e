//! `fake-cloud` as authors of nodes use it: one process serves, other processes send commands, and a daemon follows
//! them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use std::io::{BufRead, BufReader};

const BINARY: &str = env!("CARGO_BIN_EXE_echostream-managed-app");
const SEED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/fake-cloud.toml");
const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

/// Kills its process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A running fake cloud and a directory. Nothing uses the environment of this process.
struct Harness {
    folder: tempfile::TempDir,
    at: String,
    _cloud: Running,
}

impl Harness {
    fn new(seed: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = command(folder.path());
        command.args(["fake-cloud", "serve", "--listen", "127.0.0.1:0", "--seed", seed]);
        let mut cloud = command.stdout(Stdio::piped()).spawn().expect("the binary starts");
        let mut line = String::new();
        let output = cloud.stdout.take().expect("it was piped");
        BufReader::new(output).read_line(&mut line).expect("it prints its address");
        let at = line.split("http://").nth(1).and_then(|rest| rest.split(". ").next()).expect("an address");
        Self { at: at.to_owned(), folder, _cloud: Running(cloud) }
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = command(self.folder.path());
        command.args(["fake-cloud", "--at", &self.at]).args(arguments).output().expect("the binary starts")
    }

    /// The output of a command that succeeds.
    fn output_of(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        String::from_utf8(output.stdout).expect("text")
    }

    /// Exit code and error output of a command that fails.
    fn error_of(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = self.run(arguments);
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn file(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::write(&path, content).expect("a file");
        path
    }

    /// The program as a host runs it, with the printed environment only.
    fn on_host(&self, command_name: &str) -> Command {
        self.on_host_with(command_name, &self.output_of(&["env"]))
    }

    /// As [`Harness::on_host`], with another environment.
    fn on_host_with(&self, command_name: &str, env: &str) -> Command {
        let env_file = self.file("fake.env", env);
        let mut command = command(self.folder.path());
        let folder = self.folder.path().display().to_string();
        command.arg(command_name).arg("--env-file").arg(env_file).args(["--runtime", "memory", "--host-id", "h"]);
        command.args(["--state-directory", &folder, "--log-file", &format!("{folder}/log")]);
        command
    }
}

fn command(folder: &Path) -> Command {
    let mut command = Command::new(BINARY);
    command.env_clear().env("HOME", folder).env("PATH", "/usr/bin:/bin").env("AWS_EC2_METADATA_DISABLED", "true");
    command.stdin(Stdio::null());
    command
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_so() {
        assert!(Instant::now() < end, "not within {} s: {what}", LIMIT.as_secs());
        std::thread::sleep(POLL_INTERVAL);
    }
}

#[test]
fn the_printed_environment_is_all_that_a_host_needs() {
    let harness = Harness::new(SEED);
    let output = harness.on_host("check").output().expect("the binary starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}{}", String::from_utf8_lossy(&output.stderr));
    for line in ["sign-in", "app", "changes", "log group"] {
        assert!(text.lines().any(|found| found.starts_with("ok") && found.contains(line)), "{line}: {text}");
    }
    assert!(harness.output_of(&["logs"]).contains("[INFO]"), "what check wrote to CloudWatch is shown");
}

#[test]
fn a_daemon_follows_commands_to_the_fake_cloud() {
    let harness = Harness::new(SEED);
    let mut command = harness.on_host("run");
    let _daemon = Running(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts"));
    let log = || std::fs::read_to_string(harness.folder.path().join("log")).unwrap_or_default();
    // The engine in memory has no images, so the daemon can only report the missing image.
    until("the daemon has read the nodes of the seed", || log().contains("localhost/inlet:1"));
    harness.output_of(&["add-node", "late: node", "--image", "localhost/late:1", "--port", "9:9/udp"]);
    until("the daemon has read the new node", || log().contains("localhost/late:1"));
    until("its message was deleted", || harness.output_of(&["show"]).contains("0 changes not received"));
}

#[test]
fn rotate_keys_replaces_the_host_keys_and_rejects_old_ones() {
    let harness = Harness::new(SEED);
    let check = |keys: Option<&str>| {
        let command = match keys {
            None => harness.on_host("check"),
            Some(keys) => {
                let mut command = harness.on_host_with("check", &without_keys(&harness.output_of(&["env"])));
                command.env("AWS_SHARED_CREDENTIALS_FILE", harness.file("credentials", keys));
                command
            }
        };
        let output = { command }.output().expect("the binary starts");
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    assert_eq!(check(None).0, Some(0));
    let first = harness.output_of(&["rotate-keys"]);
    let (code, text) = check(None);
    assert!(code != Some(0) && text.contains("security token included in the request is invalid"), "{text}");
    assert_eq!(check(Some(&first)).0, Some(0));
    let second = harness.output_of(&["rotate-keys", "--keep-old"]);
    assert_eq!((check(Some(&first)).0, check(Some(&second)).0), (Some(0), Some(0)));
    assert_eq!(harness.output_of(&["retire-keys", "--expired"]), "1\n");
    let (code, text) = check(Some(&first));
    assert!(code != Some(0) && text.contains("expired"), "{text}");
    assert_eq!(check(Some(&second)).0, Some(0));
    let calls = harness.output_of(&["calls"]);
    for answer in ["ok", "UnrecognizedClientException", "ExpiredTokenException"] {
        let is_there = |line: &str| line.contains("\tlogs\tus-east-1\t") && line.ends_with(&format!("\t{answer}"));
        assert!(calls.lines().any(is_there), "{answer}: {calls}");
    }
}

/// An environment without AWS keys.
fn without_keys(env: &str) -> String {
    let is_key = |line: &&str| line.starts_with("AWS_ACCESS_KEY_ID=") || line.starts_with("AWS_SECRET_ACCESS_KEY=");
    env.lines().filter(|line| !is_key(line)).map(|line| format!("{line}\n")).collect()
}

#[test]
fn commands_act_for_nodes_elsewhere_in_the_tenant() {
    let harness = Harness::new(SEED);
    harness.output_of(&["send", "outside", "inlet", "hello there"]);
    assert!(
        harness.output_of(&["show"]).contains("edge \"outside\" -> \"inlet\", text, 1 messages"),
        "{}",
        harness.output_of(&["show"])
    );
    assert_eq!(harness.output_of(&["receive", "outside", "inlet"]), "hello there\n");
    let (code, output) = harness.error_of(&["receive", "outside", "inlet"]);
    assert!(code == Some(64) && output.contains("no message"), "{output}");
    let env = harness.output_of(&["env", "--node", "inlet"]);
    let names: Vec<_> = env.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    let expected = "APPSYNC_ENDPOINT AWS_DEFAULT_REGION AWS_ENDPOINT_URL CLIENT_ID COGNITO_JWKS NAME NODE PASSWORD TENANT \
                    USER_NAME USER_POOL_ID";
    assert_eq!(names.join(" "), expected);
}

#[test]
fn a_failed_command_changes_nothing_and_gives_the_reason() {
    let harness = Harness::new(SEED);
    let before = harness.output_of(&["show"]);
    for (arguments, part) in [
        (&["add-node", "inlet", "--image", "x/y:1"][..], "there is a node \"inlet\" already"),
        (&["add-node", "new"], "the node needs an image"),
        (&["add-node", "new", "--type", "inlet type", "--image", "x/y:1"], "set-image"),
        (&["add-node", "new", "--image", "x/y:1", "--port", "80"], "8080:80"),
        (&["change-ports", "inlett", "1:1"], "there is: \"filter\", \"inlet\""),
        (&["set-image", "nothing", "x/y:1"], "no managed node type"),
        (&["set-node-config", "inlet", "1"], "JSON object"),
        (&["connect", "outside", "inlet"], "already"),
        (&["disconnect", "inlet", "outside"], "no edge"),
        (&["move-edge", "inlet", "filter", "outside", "inlet"], "already"),
        (&["change-auditor", "hl7", "x"], "no message type"),
        (&["env", "--node", "nobody"], "no node"),
    ] {
        let (code, output) = harness.error_of(arguments);
        assert!(code == Some(64) && output.contains(part), "{arguments:?}: {code:?} {output}");
    }
    assert_eq!(harness.output_of(&["show"]), before);
    for arguments in [
        &["change-ports", "inlet"][..],
        &["change-mounts", "inlet", "/data"],
        &["set-node-config", "inlet", "{}"],
        &["set-logging-level", "inlet", "ERROR"],
        &["set-stopped", "inlet", "true"],
        &["set-image", "inlet type", "x/y:2"],
        &["connect", "filter", "inlet"],
        &["move-edge", "filter", "inlet", "filter", "outside"],
        &["disconnect", "filter", "outside"],
        &["change-auditor", "text", "def auditor(*, message, **kwargs): return {}"],
        &["set-app-config", "{}"],
        &["set-table-access", "true"],
        &["set-tenant-config", "{}"],
        &["set-audit", "false"],
        &["audit-records"],
        &["remove-node", "inlet"],
        &["remove-app"],
    ] {
        harness.output_of(arguments);
    }
    let (code, output) = harness.error_of(&["add-node", "x", "--image", "x/y:1"]);
    assert!(code == Some(64) && output.contains("the app was removed"), "{output}");
}

#[test]
fn missing_servers_and_files_are_reported_with_a_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let fails = |arguments: &[&str]| {
        let output = command(folder.path()).arg("fake-cloud").args(arguments).output().expect("the binary starts");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let (code, output) = fails(&["--at", "127.0.0.1:9", "show"]);
    assert!(code == Some(69) && output.contains("fake-cloud serve"), "{output}");
    let seed = folder.path().join("seed.toml");
    std::fs::write(&seed, "app = 'a'\n[node.x]\n").expect("a file");
    let (code, output) = fails(&["serve", "--listen", "127.0.0.1:0", "--seed", seed.to_str().expect("a plain path")]);
    assert!(code == Some(64) && output.contains("seed.toml, line 2:") && output.contains("needs an image"), "{output}");
    let (code, output) = fails(&["serve", "--seed", "/nowhere.toml"]);
    assert!(code == Some(64) && output.contains("/nowhere.toml"), "{output}");
}
