//! One host of a test: a fake cloud, a directory for state and logs, an environment, and runs of the binary in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use managed_app_fakes::FakeCloud;
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// Limit of a command; above all limits of the command itself.
const RUN_LIMIT: Duration = Duration::from_secs(90);
/// The program.
pub const BINARY: &str = env!("CARGO_BIN_EXE_echostream-managed-app");

pub struct Harness {
    pub cloud: FakeCloud,
    folder: tempfile::TempDir,
    env: BTreeMap<String, String>,
}

/// The result of a run.
pub struct CommandOutput {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// A unique name.
pub fn unique(prefix: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("{prefix}-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))
}

impl Harness {
    /// A host with the engine in memory.
    pub async fn new() -> Self {
        let cloud = FakeCloud::builder().app(&unique("commands app")).log_group("echostream/acme/plant-7");
        let cloud = cloud.start().await.expect("127.0.0.1 has free ports");
        let folder = tempfile::tempdir().expect("a folder");
        let mut harness = Self { env: cloud.env(), cloud, folder };
        harness.set("MANAGED_APP_RUNTIME", "memory");
        harness.set("MANAGED_APP_HOST_ID", "commands-host");
        harness.set("HOME", &harness.folder.path().display().to_string());
        harness.set("PATH", "/usr/sbin:/usr/bin:/sbin:/bin");
        // The tests must not use a role of their machine.
        harness.set("AWS_EC2_METADATA_DISABLED", "true");
        harness.set("MANAGED_APP_STATE_DIRECTORY", &harness.state().display().to_string());
        let log = harness.folder.path().join("daemon.log");
        harness.set("MANAGED_APP_LOG_FILE", &log.display().to_string());
        harness.set("MANAGED_APP_STATUS_SOCKET", &harness.socket().display().to_string());
        harness
    }

    pub fn set(&mut self, variable: &str, value: &str) {
        self.env.insert(variable.to_owned(), value.to_owned());
    }

    pub fn unset(&mut self, variable: &str) {
        self.env.remove(variable);
    }

    /// The whole environment.
    pub fn variables(&self) -> &BTreeMap<String, String> {
        &self.env
    }

    pub fn app(&self) -> &str {
        &self.env["APP"]
    }

    /// No output may contain it.
    pub fn password(&self) -> &str {
        self.env.get("PASSWORD").map_or("no output contains this", String::as_str)
    }

    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The state directory; it does not exist yet.
    pub fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The status socket of a daemon.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("run/status.sock")
    }

    /// The daemon's log file so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.env["MANAGED_APP_LOG_FILE"]).unwrap_or_default()
    }

    /// All files of the host with their content, to detect changes.
    pub fn disk(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(self.folder.path(), &mut files);
        files
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.env_clear().envs(&self.env).args(arguments).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the binary to its end.
    pub async fn run(&self, arguments: &[&str]) -> CommandOutput {
        self.finish(self.command(BINARY, arguments)).await
    }

    /// Runs any program to its end.
    pub async fn run_program(&self, program: &str, arguments: &[&str]) -> CommandOutput {
        self.finish(self.command(program, arguments)).await
    }

    /// As [`Self::run`], by another user; needs root.
    pub async fn run_as(&self, user: u32, arguments: &[&str]) -> CommandOutput {
        // The user may have no access to the directory of the binary.
        let binary = self.folder.path().join("binary");
        if !binary.exists() {
            std::fs::copy(BINARY, &binary).expect("room for the binary");
        }
        let mut command = self.command(binary.to_str().expect("a plain path"), arguments);
        command.uid(user).gid(user);
        self.finish(command).await
    }

    async fn finish(&self, mut command: Command) -> CommandOutput {
        let run = timeout(RUN_LIMIT, command.output());
        let Output { status, stdout, stderr } = run.await.expect("it ends in time").expect("the binary starts");
        let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
        let ran = CommandOutput { code: status.code().unwrap_or(-1), stdout: text(stdout), stderr: text(stderr) };
        assert!(!ran.all().contains(self.password()), "the output contains a secret: {}", ran.all());
        assert!(!ran.all().contains("panicked"), "{}", ran.all());
        ran
    }

    /// Starts any program in the environment of this host with piped streams. Dropping the returned value kills it.
    pub fn spawn(&self, program: &str, arguments: &[&str]) -> Child {
        self.command(program, arguments).stdin(Stdio::piped()).spawn().expect("the program starts")
    }

    /// Starts the binary and leaves it running. Dropping the returned value kills it.
    pub fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(BINARY, arguments);
        command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the binary starts")
    }
}

fn collect(folder: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.insert(path.clone(), Vec::new());
            collect(&path, files);
        } else {
            let content = std::fs::read(&path).expect("a file");
            files.insert(path, content);
        }
    }
}

impl CommandOutput {
    pub fn all(&self) -> String {
        format!("code {}\n{}\n{}", self.code, self.stdout, self.stderr)
    }

    /// The first line of standard output with this prefix, with single spaces.
    pub fn line(&self, words: &str) -> &str {
        let begins = |line: &&str| {
            let line = line.split_whitespace().collect::<Vec<_>>().join(" ");
            line.starts_with(words)
        };
        let found = self.stdout.lines().find(begins);
        found.unwrap_or_else(|| panic!("no line begins with {words:?}: {}", self.all()))
    }

    /// Asserts that this line exists and contains all parts.
    pub fn shows(&self, words: &str, parts: &[&str]) {
        let line = self.line(words);
        for part in parts {
            assert!(line.contains(part), "{part:?} is not in {line:?}");
        }
    }
}
