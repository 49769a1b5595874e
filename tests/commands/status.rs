//! `status`, `why` and `events` without a daemon, or with a degraded one.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::bench::{Bench, Ran};

const LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

async fn eventually(bench: &Bench, arguments: &[&str], test: impl Fn(&Ran) -> bool) -> Ran {
    let until = Instant::now() + LIMIT;
    loop {
        let ran = bench.run(arguments).await;
        if test(&ran) {
            return ran;
        }
        assert!(Instant::now() < until, "{}\n{}", ran.all(), bench.log());
        sleep(POLL_INTERVAL).await;
    }
}

#[tokio::test]
async fn without_a_daemon_they_say_so_and_need_no_settings() {
    let mut bench = Bench::new().await;
    bench.unset("APP");
    bench.unset("PASSWORD");
    for arguments in [vec!["status"], vec!["status", "--json"], vec!["why", "a"], vec!["events"]] {
        let ran = bench.run(&arguments).await;
        assert_eq!((ran.code, ran.stdout.as_str()), (69, ""), "{}", ran.all());
        assert!(
            ran.stderr.contains("the daemon is not running") && ran.stderr.contains("systemctl start"),
            "{}",
            ran.all()
        );
    }
    bench.set("MANAGED_APP_STATUS_SOCKET", "off");
    let ran = bench.run(&["status"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
}

#[tokio::test]
async fn a_daemon_that_waits_for_its_engine_tells_so() {
    let mut bench = Bench::new().await;
    bench.set("MANAGED_APP_RUNTIME", "podman");
    bench.set("CONTAINER_HOST", &format!("unix://{}/none.sock", bench.folder().display()));
    let _daemon = bench.start(&["run"]);
    let ran = eventually(&bench, &["status"], |ran| ran.code == 0).await;
    assert!(ran.stdout.contains("waiting for the engine") && ran.stdout.contains("no engine yet"), "{}", ran.all());
    let mode = fs::metadata(bench.socket()).expect("a socket").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[tokio::test]
async fn the_socket_of_a_daemon_that_was_killed_is_replaced() {
    let bench = Bench::new().await;
    let mut first = bench.start(&["run"]);
    eventually(&bench, &["status"], |ran| ran.code == 0).await;
    let second = bench.start(&["run"]);
    let until = Instant::now() + LIMIT;
    while !bench.log().contains("another daemon listens there") {
        assert!(Instant::now() < until, "{}", bench.log());
        sleep(POLL_INTERVAL).await;
    }
    drop(second);
    assert!(bench.run(&["status"]).await.code == 0, "the socket of the first daemon stays");
    first.kill().await.expect("it runs");
    assert!(bench.socket().exists(), "a killed daemon leaves its socket");
    let gone = bench.run(&["status"]).await;
    assert_eq!(gone.code, 69, "{}", gone.all());
    let _third = bench.start(&["run"]);
    eventually(&bench, &["status"], |ran| ran.code == 0).await;
}

#[tokio::test]
async fn an_answer_that_never_comes_is_given_up() {
    let bench = Bench::new().await;
    fs::create_dir(bench.folder().join("run")).expect("a folder");
    let _silent = UnixListener::bind(bench.socket()).expect("a socket");
    let ran = bench.run(&["status"]).await;
    assert_eq!(ran.code, 69, "{}", ran.all());
    assert!(ran.stderr.contains("no answer within"), "{}", ran.all());
}
