//! The daemon as systemd runs it: the release program as a process with an environment, a log file and a notify socket.
//! Dropping it kills it.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tempfile::TempDir;
use tokio::net::UnixDatagram;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::harness::Harness;

/// The program under test, as `cargo bench` built it.
pub const BINARY: &str = env!("CARGO_BIN_EXE_echostream-managed-app");
const LIMIT: Duration = Duration::from_secs(120);

pub struct Daemon {
    child: Child,
    notify: UnixDatagram,
    folder: TempDir,
    spawned: Instant,
}

/// The environment of the packaged unit.
fn unit_variables() -> impl Iterator<Item = (&'static str, &'static str)> {
    let unit = include_str!("../../packaging/echostream-managed-app.service");
    unit.lines().filter_map(|line| line.strip_prefix("Environment=")?.split_once('='))
}

impl Daemon {
    /// Starts the daemon of a harness with additional settings.
    pub fn start(harness: &Harness, more: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let socket = folder.path().join("notify");
        let notify = UnixDatagram::bind(&socket).expect("the folder is ours");
        let log = folder.path().join("daemon.log");
        let mut command = Command::new(BINARY);
        command.env_clear().envs(unit_variables()).envs(harness.variables());
        command.env("NOTIFY_SOCKET", &socket).env("MANAGED_APP_LOG_FILE", &log).envs(more.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).kill_on_drop(true);
        let spawned = Instant::now();
        let child = command.spawn().expect("the program can be run");
        Self { child, notify, folder, spawned }
    }

    /// Start of the process.
    pub fn spawned(&self) -> Instant {
        self.spawned
    }

    /// Its process ID.
    pub fn pid(&self) -> u32 {
        self.child.id().expect("it runs")
    }

    /// Waits for the end of the start; returns its time.
    pub async fn ready(&mut self) -> Instant {
        let listen = async {
            let mut buffer = [0; 4096];
            loop {
                let length = self.notify.recv(&mut buffer).await.expect("the socket is open");
                if String::from_utf8_lossy(&buffer[..length]).lines().any(|line| line == "READY=1") {
                    return Instant::now();
                }
            }
        };
        let ready = timeout(LIMIT, listen).await;
        ready.unwrap_or_else(|_| panic!("the daemon did not become ready; its log:\n{}", self.log()))
    }

    /// Stops it as systemd does and waits for its end; returns the duration. It includes a millisecond or two for the
    /// process that sends the signal.
    pub async fn terminate(mut self) -> Duration {
        let began = Instant::now();
        let sent = Command::new("kill").args(["-TERM", &self.pid().to_string()]).status().await;
        assert!(sent.expect("kill is installed").success());
        let ended = timeout(LIMIT, self.child.wait()).await;
        let ended = ended.unwrap_or_else(|_| panic!("the daemon did not end; its log:\n{}", self.log()));
        assert!(ended.expect("its end can be waited for").success(), "it failed; its log:\n{}", self.log());
        began.elapsed()
    }

    /// Starts a full comparison by SIGHUP.
    pub async fn resync_now(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.pid().to_string()]).status().await;
        assert!(sent.expect("kill is installed").success());
    }

    /// Kills it, like a crash.
    pub async fn kill(mut self) {
        self.child.kill().await.expect("it can be killed");
    }

    /// Its log.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("daemon.log")).unwrap_or_default()
    }
}

/// The directory of the reports.
pub fn report_folder() -> PathBuf {
    let target = std::path::Path::new(BINARY).ancestors().nth(2).expect("the program is below the target directory");
    target.join("bench-report")
}
