//! Signals with any inherited disposition: `nohup` and background jobs of scripts pass some signals on as ignored, and
//! for process 1 of a container the kernel ignores signals without a handler.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::harness::{BINARY, Harness};

const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Commands without an end.
const FOLLOWERS: [&[&str]; 3] = [&["status", "--watch"], &["status", "--watch", "--json"], &["events"]];

/// A host with a responding daemon.
async fn host() -> (Harness, Child) {
    let harness = Harness::new().await;
    let daemon = harness.start(&["run"]);
    let end = Instant::now() + LIMIT;
    while harness.run(&["status"]).await.code != 0 {
        assert!(Instant::now() < end, "{}", harness.log());
        sleep(POLL_INTERVAL).await;
    }
    (harness, daemon)
}

/// The program, started by a shell that ignores signals, after its first line of output.
async fn start(harness: &Harness, arguments: &[&str]) -> Child {
    let script = r#"trap '' HUP INT TERM; exec "$0" "$@""#;
    started(harness.spawn("/bin/sh", &[&["-c", script, BINARY], arguments].concat()), harness).await
}

async fn started(mut child: Child, harness: &Harness) -> Child {
    // Causes an event.
    harness.cloud.add_node("a", |node| node.image("registry.example/a:1"));
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let line = timeout(LIMIT, lines.next_line()).await.expect("it prints in time").expect("text");
    assert!(line.is_some(), "it ended");
    // Keeps reading; it would end with a closed output.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    harness.cloud.remove_node("a");
    child
}

async fn send(signal: &str, process: u32) {
    let sent = Command::new("kill").args([&format!("-{signal}"), &process.to_string()]).status().await;
    assert!(sent.expect("kill is installed").success());
}

async fn ended(child: &mut Child) -> ExitStatus {
    timeout(LIMIT, child.wait()).await.expect("it ends in time").expect("it ran")
}

#[tokio::test]
async fn followers_end_on_signals_that_their_parent_ignored() {
    let (harness, _daemon) = host().await;
    for arguments in FOLLOWERS {
        for (name, number) in [("INT", 2), ("TERM", 15)] {
            let mut child = start(&harness, arguments).await;
            send(name, child.id().expect("it runs")).await;
            assert_eq!(ended(&mut child).await.signal(), Some(number), "{arguments:?} {name}");
        }
    }
}

/// This is the purpose of `nohup`.
#[tokio::test]
async fn followers_survive_a_hangup_that_their_parent_ignored() {
    let (harness, _daemon) = host().await;
    let mut child = start(&harness, &["events"]).await;
    let process = child.id().expect("it runs");
    send("HUP", process).await;
    send("INT", process).await;
    // Of two pending signals, the kernel delivers the one with the lower number first: SIGHUP.
    assert_eq!(ended(&mut child).await.signal(), Some(2));
}

/// As in a container with one process.
#[tokio::test]
async fn followers_end_on_signals_also_as_process_1() {
    let (harness, _daemon) = host().await;
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let namespace = ["--pid", "--fork", "--kill-child", BINARY, "status", "--watch"];
        let mut child = started(harness.spawn("/usr/bin/unshare", &namespace), &harness).await;
        let unshare = child.id().expect("it runs");
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).expect("it runs");
        send(name, children.trim().parse().expect("one child")).await;
        assert_eq!(ended(&mut child).await.code(), Some(code), "{name}");
    }
}

#[tokio::test]
async fn the_daemon_logs_and_ignores_sigusr1() {
    let (harness, mut daemon) = host().await;
    let process = daemon.id().expect("it runs");
    send("USR1", process).await;
    let end = Instant::now() + LIMIT;
    while !harness.log().contains("SIGUSR1 is ignored") {
        assert!(Instant::now() < end && daemon.try_wait().expect("it ran").is_none(), "{}", harness.log());
        sleep(POLL_INTERVAL).await;
    }
    assert_eq!(harness.run(&["status"]).await.code, 0);
    send("TERM", process).await;
    assert_eq!(ended(&mut daemon).await.code(), Some(0), "{}", harness.log());
}

#[tokio::test]
async fn the_daemon_ends_on_signals_that_its_parent_ignored() {
    let harness = Harness::new().await;
    let script = r#"trap '' HUP INT TERM USR1 USR2; exec "$0" run"#;
    for name in ["INT", "TERM", "USR2"] {
        let mut daemon = harness.spawn("/bin/sh", &["-c", script, BINARY]);
        let end = Instant::now() + LIMIT;
        while harness.run(&["status"]).await.code != 0 {
            assert!(Instant::now() < end, "{}", harness.log());
            sleep(POLL_INTERVAL).await;
        }
        send(name, daemon.id().expect("it runs")).await;
        assert_eq!(ended(&mut daemon).await.code(), Some(0), "{name}: {}", harness.log());
    }
}

#[tokio::test]
async fn the_directory_of_the_log_file_is_created() {
    let mut harness = Harness::new().await;
    let path = harness.folder().join("var/log/echostream/daemon.log");
    harness.set("MANAGED_APP_LOG_FILE", path.to_str().expect("a plain path"));
    harness.set("PASSWORD", "not the right one");
    harness.run(&["check"]).await.shows("ok log file", &["is not there yet and can be made"]);
    let ran = harness.run(&["run"]).await;
    assert_eq!(ran.code, 77, "{}", ran.all());
    assert!(harness.log().contains("daemon starts") && !ran.stderr.contains("log file"), "{}", ran.all());
}

#[tokio::test]
async fn a_log_file_that_cannot_be_written_is_a_warning_with_a_remedy() {
    let mut harness = Harness::new().await;
    let path = harness.folder().join("taken");
    std::fs::write(&path, "").expect("a file");
    harness.set("MANAGED_APP_LOG_FILE", path.join("daemon.log").to_str().expect("a plain path"));
    harness.set("PASSWORD", "not the right one");
    let ran = harness.run(&["run"]).await;
    assert_eq!(ran.code, 77, "{}", ran.all());
    let reported: Vec<&str> =
        ran.stderr.lines().filter(|line| line.contains("the log file cannot be written")).collect();
    assert!(reported.len() == 1 && reported[0].starts_with("[WARNING] 20"), "{}", ran.all());
    assert!(reported[0].contains("taken/daemon.log") && reported[0].contains(" remedy="), "{}", ran.all());
}
