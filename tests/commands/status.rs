//! `status`, `why` and `events` without a daemon, or with a degraded one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::{CommandOutput, Harness};

const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

async fn eventually(harness: &Harness, arguments: &[&str], test: impl Fn(&CommandOutput) -> bool) -> CommandOutput {
    let until = Instant::now() + LIMIT;
    loop {
        let ran = harness.run(arguments).await;
        if test(&ran) {
            return ran;
        }
        assert!(Instant::now() < until, "{}\n{}", ran.all(), harness.log());
        sleep(POLL_INTERVAL).await;
    }
}

#[tokio::test]
async fn status_commands_report_a_missing_daemon_without_settings() {
    let mut harness = Harness::new().await;
    harness.unset("APP");
    harness.unset("PASSWORD");
    for arguments in [vec!["status"], vec!["status", "--json"], vec!["why", "a"], vec!["events"]] {
        let ran = harness.run(&arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (69, ""), "{}", ran.all());
        assert!(
            ran.stderr.contains("the daemon is not running") && ran.stderr.contains("systemctl start"),
            "{}",
            ran.all()
        );
    }
    harness.set("MANAGED_APP_STATUS_SOCKET", "off");
    let ran = harness.run(&["status"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
}

#[tokio::test]
async fn status_shows_that_the_daemon_waits_for_its_engine() {
    let mut harness = Harness::new().await;
    harness.set("MANAGED_APP_RUNTIME", "podman");
    harness.set("CONTAINER_HOST", &format!("unix://{}/none.sock", harness.folder().display()));
    let _daemon = harness.start(&["run"]);
    let ran = eventually(&harness, &["status"], |ran| ran.code == 0).await;
    assert!(ran.stdout.contains("waiting for the engine") && ran.stdout.contains("no engine yet"), "{}", ran.all());
    let mode = fs::metadata(harness.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn the_socket_of_a_daemon_that_was_killed_is_replaced() {
    let harness = Harness::new().await;
    let mut first = harness.start(&["run"]);
    eventually(&harness, &["status"], |ran| ran.code == 0).await;
    let second = harness.start(&["run"]);
    let until = Instant::now() + LIMIT;
    while !harness.log().contains("another daemon listens there") {
        assert!(Instant::now() < until, "{}", harness.log());
        sleep(POLL_INTERVAL).await;
    }
    drop(second);
    assert!(harness.run(&["status"]).await.code == 0, "the socket of the first daemon stays");
    first.kill().await.expect("it runs");
    assert!(harness.socket().exists(), "a killed daemon leaves its socket");
    let gone = harness.run(&["status"]).await;
    assert_eq!(gone.code, 69, "{}", gone.all());
    let _third = harness.start(&["run"]);
    eventually(&harness, &["status"], |ran| ran.code == 0).await;
}

#[tokio::test]
async fn a_missing_response_of_the_daemon_times_out() {
    let harness = Harness::new().await;
    fs::create_dir(harness.folder().join("run")).expect("a folder");
    let _silent = UnixListener::bind(harness.socket()).expect("a socket");
    let ran = harness.run(&["status"]).await;
    assert_eq!(ran.code, 69, "{}", ran.all());
    assert!(ran.stderr.contains("no answer within"), "{}", ran.all());
}
