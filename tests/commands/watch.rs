//! `status --watch` as a process, in a pipe and on a terminal, while the daemon reports changes, is killed, and
//! returns.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{BINARY, Harness};

const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);
const SIGINT: i32 = 2;
/// The byte that a terminal sends for Ctrl-C.
const CTRL_C: &[u8] = b"\x03";
/// Prefix of each frame on a terminal.
const CLEAR: &str = "\u{1b}[H\u{1b}[J";

/// A watching process with its output.
struct Watcher {
    child: Child,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

impl Watcher {
    fn start(harness: &Harness, program: &str, arguments: &[&str]) -> Self {
        let mut child = harness.spawn(program, arguments);
        let stdout = collect(child.stdout.take().expect("it is piped"));
        let stderr = collect(child.stderr.take().expect("it is piped"));
        Self { child, stdout, stderr }
    }

    /// On standard output.
    fn printed(&self) -> String {
        self.stdout.lock().expect("no panic").clone()
    }

    fn errors(&self) -> String {
        self.stderr.lock().expect("no panic").clone()
    }

    /// Waits until it has printed this text after the first `from` bytes.
    async fn prints(&self, from: usize, text: &str) {
        self.until(text, || self.printed()[from..].contains(text)).await;
    }

    async fn until(&self, what: &str, is_so: impl Fn() -> bool) {
        let end = Instant::now() + LIMIT;
        while !is_so() {
            assert!(Instant::now() < end, "not in time: {what}\n{}\n{}", self.printed(), self.errors());
            sleep(POLL_INTERVAL).await;
        }
    }

    async fn ended(&mut self) -> ExitStatus {
        timeout(LIMIT, self.child.wait()).await.expect("it ends in time").expect("it ran")
    }

    /// Ends it as Ctrl-C does.
    async fn interrupted(&mut self) -> ExitStatus {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().await.expect("kill is installed");
        assert!(sent.success());
        self.ended().await
    }
}

/// Collects the output.
fn collect(mut from: impl AsyncRead + Unpin + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let into = text.clone();
    tokio::spawn(async move {
        let mut bytes = [0; 4096];
        while let Ok(count @ 1..) = from.read(&mut bytes).await {
            // The output of these tests is ASCII.
            into.lock().expect("no panic").push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    });
    text
}

/// A host whose daemon runs and knows one node.
async fn host() -> (Harness, Child) {
    let harness = Harness::new().await;
    add_node(&harness, "first");
    let daemon = harness.start(&["run"]);
    let end = Instant::now() + LIMIT;
    while !harness.run(&["status"]).await.stdout.contains("first") {
        assert!(Instant::now() < end, "{}", harness.log());
        sleep(POLL_INTERVAL).await;
    }
    (harness, daemon)
}

/// The engine in memory lacks the image; the status shows the failure.
fn add_node(harness: &Harness, name: &str) {
    harness.cloud.add_node(name, |node| node.image("registry.example/a:1"));
}

#[tokio::test]
async fn in_a_pipe_it_prints_changes_once_and_waits_for_the_daemon() {
    let (harness, mut daemon) = host().await;
    let mut text = Watcher::start(&harness, BINARY, &["status", "--watch"]);
    let mut json = Watcher::start(&harness, BINARY, &["status", "--watch", "--json"]);
    text.prints(0, "\nfirst ").await;
    json.prints(0, r#""name":"first""#).await;
    add_node(&harness, "second");
    text.prints(0, "\nsecond ").await;
    json.prints(0, r#""name":"second""#).await;

    daemon.kill().await.expect("it runs");
    for watcher in [&text, &json] {
        let message = "the daemon is not running: no process listens at";
        watcher.until(message, || watcher.errors().contains(message)).await;
        assert!(watcher.errors().contains("; waiting for it\n"), "{}", watcher.errors());
    }
    let (text_so_far, json_so_far) = (text.printed().len(), json.printed().len());
    let _daemon = harness.start(&["run"]);
    text.prints(text_so_far, "\nsecond ").await;
    json.prints(json_so_far, r#""name":"second""#).await;

    for watcher in [&mut text, &mut json] {
        assert_eq!(watcher.interrupted().await.signal(), Some(SIGINT), "{}", watcher.errors());
        assert_eq!(watcher.errors().lines().count(), 1, "it is printed once: {}", watcher.errors());
    }
    assert!(!text.printed().contains('\u{1b}'), "no colours and no clearing in a pipe");
    for line in json.printed().lines() {
        let report: serde_json::Value = serde_json::from_str(line).expect("each line is JSON");
        assert_eq!(report["version"], 1);
    }
    let frames: Vec<_> = json.printed().lines().map(str::to_owned).collect();
    assert!(frames.windows(2).all(|pair| pair[0] != pair[1]), "{frames:#?}");
}

#[tokio::test]
async fn on_a_terminal_it_redraws_and_ends_on_ctrl_c() {
    let (mut harness, mut daemon) = host().await;
    harness.set("TERM", "xterm");
    // `script` of util-linux gives its command a terminal and forwards its input.
    let line = format!("stty cols 160 rows 40; exec {BINARY} status --watch");
    let mut watcher = Watcher::start(&harness, "script", &["--quiet", "--return", "--command", &line, "/dev/null"]);
    watcher.prints(0, "first ").await;
    let so_far = watcher.printed().len();
    add_node(&harness, "second");
    watcher.prints(so_far, "second ").await;

    daemon.kill().await.expect("it runs");
    watcher.prints(0, "the daemon is not running").await;
    let away = watcher.printed();
    let frame = || watcher.printed().rsplit(CLEAR).next().unwrap_or_default().to_owned();
    watcher.until("the last state stays", || frame().contains("waiting for it") && frame().contains("second ")).await;
    let _daemon = harness.start(&["run"]);
    let is_back = |text: &str| text.contains("first ") && !text.contains("not running");
    watcher.until("it is back", || is_back(&frame())).await;
    assert!(away.contains(CLEAR) && away.contains("\u{1b}[31m"), "failures are red: {away}");

    watcher.child.stdin.as_mut().expect("it is piped").write_all(CTRL_C).await.expect("script reads");
    assert_eq!(watcher.ended().await.code(), Some(128 + SIGINT));
}

/// The cursor needs a line: a frame with as many lines as the terminal would scroll.
#[tokio::test]
async fn on_a_small_terminal_the_last_line_counts_the_other_nodes() {
    const ROWS: usize = 14;
    let (mut harness, _daemon) = host().await;
    harness.set("TERM", "xterm");
    let line = format!("stty cols 200 rows {ROWS}; exec {BINARY} status --watch");
    let watcher = Watcher::start(&harness, "script", &["--quiet", "--return", "--command", &line, "/dev/null"]);
    watcher.prints(0, "first ").await;
    assert!(!watcher.printed().contains(" more"), "one node fits: {}", watcher.printed());
    let names: Vec<String> = (1..=20).map(|number| format!("node-{number:02}")).collect();
    for name in &names {
        add_node(&harness, name);
    }
    let frames = || watcher.printed().split(CLEAR).map(str::to_owned).collect::<Vec<_>>();
    let is_full = |frame: &String| frame.contains(" of 21 nodes up") && frame.ends_with(" more nodes\r\n");
    watcher.until("the other nodes are counted", || frames().iter().any(is_full)).await;
    let frame = frames().into_iter().find(is_full).expect("it was there");
    assert!(frame.matches('\n').count() < ROWS, "it scrolls: {frame}");
    let shown = frame.lines().filter(|line| line.starts_with("first ") || line.starts_with("node-")).count();
    assert!(shown > 0 && frame.contains(&format!("and {} more nodes", 21 - shown)), "{frame}");

    let piped = harness.run(&["status"]).await.stdout;
    assert!(names.iter().all(|name| piped.contains(name)), "a pipe gets all: {piped}");
}
