//! The program as systemd runs it: a process with an environment, a log file and a notify socket. Dropping it kills it.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::engine_harness::{EngineHarness, GRACE};
use crate::support::LIMIT;

pub const BINARY: &str = env!("CARGO_BIN_EXE_echostream-managed-app");
/// The longest message to systemd.
const MESSAGE_BYTES_MAX: usize = 4096;

pub struct Process {
    child: Child,
    notify: UnixDatagram,
    folder: TempDir,
}

impl Process {
    /// Starts the daemon of a harness with additional settings.
    pub fn start(engine_harness: &EngineHarness, more: &[(&str, &str)]) -> Self {
        Self::start_by(Command::new(BINARY), engine_harness, more)
    }

    /// The same with a command that executes the daemon.
    pub fn start_by(mut command: Command, engine_harness: &EngineHarness, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("notify");
        let notify = UnixDatagram::bind(&socket).expect("the folder is ours");
        let mut variables = variables(engine_harness);
        let log = folder.path().join("daemon.log").display().to_string();
        let paths = [("NOTIFY_SOCKET", socket.display().to_string()), ("MANAGED_APP_LOG_FILE", log)];
        variables.extend(paths.map(|(name, value)| (name.to_owned(), value)));
        variables.extend(more.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
        set(&mut command, &variables);
        let file = |name: &str| std::fs::File::create(folder.path().join(name)).expect("the folder is ours");
        let (stdout, stderr) = (file("stdout"), file("stderr"));
        let child = command.stdout(stdout).stderr(stderr).spawn().expect("the program can be run");
        Self { child, notify, folder }
    }

    /// Waits for a line to systemd with the prefix `text`, such as `READY=1`.
    pub async fn notified(&mut self, text: &str) -> String {
        let listen = async {
            loop {
                let mut buffer = [0; MESSAGE_BYTES_MAX];
                let length = self.notify.recv(&mut buffer).await.expect("the socket is open");
                let message = String::from_utf8_lossy(&buffer[..length]).into_owned();
                if let Some(line) = message.lines().find(|line| line.starts_with(text)) {
                    return line.to_owned();
                }
            }
        };
        let received = timeout(LIMIT, listen).await;
        received.unwrap_or_else(|_| panic!("systemd did not receive {text} in time; the log is:\n{}", self.log()))
    }

    /// Sends a signal, named as `kill` names it.
    pub async fn signal(&self, name: &str) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args([&format!("-{name}"), &id]).status().await;
        assert!(sent.expect("kill is installed").success());
    }

    /// Waits for its end.
    pub async fn ended(&mut self) -> ExitStatus {
        let ended = timeout(LIMIT, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("it does not end in time; the log is:\n{}", self.log()));
        ended.expect("its end can be waited for")
    }

    /// Kills it, like a crash or the kernel.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Its log file.
    pub fn log_file(&self) -> PathBuf {
        self.folder.path().join("daemon.log")
    }

    /// Its process ID.
    pub fn id(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Its standard output and standard error so far.
    pub fn printed(&self) -> String {
        let read = |name: &str| std::fs::read_to_string(self.folder.path().join(name)).unwrap_or_default();
        read("stdout") + &read("stderr")
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_file()).unwrap_or_default()
    }
}

/// Runs the program with only these variables until it ends; its exit code and its output.
pub async fn run(variables: &BTreeMap<String, String>, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    set(&mut command, variables);
    command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
    let output = timeout(LIMIT, command.output()).await.expect("it ends in time").expect("the program can be run");
    let printed = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&printed).into_owned())
}

/// The whole environment of the daemon of a harness. PATH contains only the recording `shutdown`.
pub fn variables(engine_harness: &EngineHarness) -> BTreeMap<String, String> {
    let mut variables = engine_harness.cloud().env();
    let (variable, endpoint) = engine_harness.engine.address();
    let ours = [
        ("MANAGED_APP_RUNTIME", engine_harness.engine.name().to_owned()),
        (variable, endpoint),
        ("MANAGED_APP_NODE_LOGS", "engine".to_owned()),
        ("MANAGED_APP_LOG_FILE", "off".to_owned()),
        ("MANAGED_APP_STATUS_SOCKET", "off".to_owned()),
        ("MANAGED_APP_STATE_DIRECTORY", engine_harness.host.state_directory().display().to_string()),
        ("MANAGED_APP_HOST_ID", engine_harness.tag.clone()),
        ("MANAGED_APP_STOP_GRACE", GRACE.to_owned()),
        ("PATH", engine_harness.search_path().display().to_string()),
        // The tests must not use a role of their machine.
        ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
    ];
    variables.extend(ours.map(|(name, value)| (name.to_owned(), value)));
    variables
}

fn set(command: &mut Command, variables: &BTreeMap<String, String>) {
    command.env_clear().envs(variables).stdin(Stdio::null()).kill_on_drop(true);
}

/// Whether a line has the form `[LEVEL] 2026-11-22T19:17:00Z message`.
pub fn is_log_line(line: &str) -> bool {
    let Some((level, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once("] ")) else { return false };
    let Some((time, message)) = rest.split_once(' ') else { return false };
    let digits_as_zeros: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    ["CRITICAL", "DEBUG", "ERROR", "INFO", "WARNING"].contains(&level)
        && digits_as_zeros == "0000-00-00T00:00:00Z"
        && !message.is_empty()
}
