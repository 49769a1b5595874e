//! Signals with any inherited disposition: `nohup` and background jobs of scripts pass some signals on as ignored, and for
//! process 1 of a container the kernel ignores signals without a handler.

use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::bench::{BINARY, Bench};

const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(20);
/// Commands without an end.
const FOLLOWERS: [&[&str]; 3] = [&["status", "--watch"], &["status", "--watch", "--json"], &["events"]];

/// A host with a responding daemon.
async fn host() -> (Bench, Child) {
    let bench = Bench::new().await;
    let daemon = bench.start(&["run"]);
    let end = Instant::now() + LIMIT;
    while bench.run(&["status"]).await.code != 0 {
        assert!(Instant::now() < end, "{}", bench.log());
        sleep(POLL_INTERVAL).await;
    }
    (bench, daemon)
}

/// The program, started by a shell that ignores signals, after its first line of output.
async fn start(bench: &Bench, arguments: &[&str]) -> Child {
    let script = r#"trap '' HUP INT TERM; exec "$0" "$@""#;
    started(bench.spawn("/bin/sh", &[&["-c", script, BINARY], arguments].concat()), bench).await
}

async fn started(mut child: Child, bench: &Bench) -> Child {
    // Causes an event.
    bench.cloud.add_node("a", |node| node.image("registry.example/a:1"));
    let mut lines = BufReader::new(child.stdout.take().expect("it is piped")).lines();
    let line = timeout(LIMIT, lines.next_line()).await.expect("it prints in time").expect("text");
    assert!(line.is_some(), "it ended");
    // Keeps reading; it would end with a closed output.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    bench.cloud.remove_node("a");
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
async fn what_follows_ends_on_signals_that_its_parent_ignored() {
    let (bench, _daemon) = host().await;
    for arguments in FOLLOWERS {
        for (name, number) in [("INT", 2), ("TERM", 15)] {
            let mut child = start(&bench, arguments).await;
            send(name, child.id().expect("it runs")).await;
            assert_eq!(ended(&mut child).await.signal(), Some(number), "{arguments:?} {name}");
        }
    }
}

/// This is the purpose of `nohup`.
#[tokio::test]
async fn what_follows_outlives_a_hang_up_that_its_parent_ignored() {
    let (bench, _daemon) = host().await;
    let mut child = start(&bench, &["events"]).await;
    let process = child.id().expect("it runs");
    send("HUP", process).await;
    send("INT", process).await;
    // Of two pending signals, the kernel delivers the one with the lower number first: SIGHUP.
    assert_eq!(ended(&mut child).await.signal(), Some(2));
}

/// As in a container with one process.
#[tokio::test]
async fn what_follows_ends_on_signals_also_as_process_1() {
    let (bench, _daemon) = host().await;
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let namespace = ["--pid", "--fork", "--kill-child", BINARY, "status", "--watch"];
        let mut child = started(bench.spawn("/usr/bin/unshare", &namespace), &bench).await;
        let unshare = child.id().expect("it runs");
        let children = std::fs::read_to_string(format!("/proc/{unshare}/task/{unshare}/children")).expect("it runs");
        send(name, children.trim().parse().expect("one child")).await;
        assert_eq!(ended(&mut child).await.code(), Some(code), "{name}");
    }
}

#[tokio::test]
async fn the_daemon_ignores_sigusr1_and_says_so() {
    let (bench, mut daemon) = host().await;
    let process = daemon.id().expect("it runs");
    send("USR1", process).await;
    let end = Instant::now() + LIMIT;
    while !bench.log().contains("SIGUSR1 is ignored") {
        assert!(Instant::now() < end && daemon.try_wait().expect("it ran").is_none(), "{}", bench.log());
        sleep(POLL_INTERVAL).await;
    }
    assert_eq!(bench.run(&["status"]).await.code, 0);
    send("TERM", process).await;
    assert_eq!(ended(&mut daemon).await.code(), Some(0), "{}", bench.log());
}

#[tokio::test]
async fn the_daemon_ends_on_signals_that_its_parent_ignored() {
    let bench = Bench::new().await;
    let script = r#"trap '' HUP INT TERM USR1 USR2; exec "$0" run"#;
    for name in ["INT", "TERM", "USR2"] {
        let mut daemon = bench.spawn("/bin/sh", &["-c", script, BINARY]);
        let end = Instant::now() + LIMIT;
        while bench.run(&["status"]).await.code != 0 {
            assert!(Instant::now() < end, "{}", bench.log());
            sleep(POLL_INTERVAL).await;
        }
        send(name, daemon.id().expect("it runs")).await;
        assert_eq!(ended(&mut daemon).await.code(), Some(0), "{name}: {}", bench.log());
    }
}

#[tokio::test]
async fn the_folder_of_the_log_file_is_made() {
    let mut bench = Bench::new().await;
    let path = bench.folder().join("var/log/echostream/daemon.log");
    bench.set("MANAGED_APP_LOG_FILE", path.to_str().expect("a plain path"));
    bench.set("PASSWORD", "not the right one");
    bench.run(&["check"]).await.shows("ok log file", &["is not there yet and can be made"]);
    let ran = bench.run(&["run"]).await;
    assert_eq!(ran.code, 77, "{}", ran.all());
    assert!(bench.log().contains("daemon starts") && !ran.stderr.contains("log file"), "{}", ran.all());
}

#[tokio::test]
async fn a_log_file_that_cannot_be_written_is_a_warning_with_a_remedy() {
    let mut bench = Bench::new().await;
    let path = bench.folder().join("taken");
    std::fs::write(&path, "").expect("a file");
    bench.set("MANAGED_APP_LOG_FILE", path.join("daemon.log").to_str().expect("a plain path"));
    bench.set("PASSWORD", "not the right one");
    let ran = bench.run(&["run"]).await;
    assert_eq!(ran.code, 77, "{}", ran.all());
    let reported: Vec<&str> =
        ran.stderr.lines().filter(|line| line.contains("the log file cannot be written")).collect();
    assert!(reported.len() == 1 && reported[0].starts_with("[WARNING] 20"), "{}", ran.all());
    assert!(reported[0].contains("taken/daemon.log") && reported[0].contains(" remedy="), "{}", ran.all());
}
