//! The log of the daemon in CloudWatch, as the binary ships it.

use std::process::Command;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::Child;
use tokio::time::{sleep, timeout};

use crate::harness::Harness;

const LIMIT: Duration = Duration::from_secs(60);
/// The message of the daemon if its log cannot be shipped.
const NOT_SHIPPED: &str = "logs do not reach CloudWatch";

/// The events of the log group of the daemon, in order.
fn shipped(harness: &Harness) -> Vec<String> {
    let env = harness.variables();
    let events = harness.cloud.cloudwatch.events(&env["AWS_DEFAULT_REGION"], &env["LOG_GROUP_NAME"]);
    events.into_iter().map(|event| event.message).collect()
}

async fn eventually(what: &str, test: impl Fn() -> bool) {
    let end = Instant::now() + LIMIT;
    while !test() {
        assert!(Instant::now() < end, "not in time: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

async fn ended(mut daemon: Child) -> Option<i32> {
    let pid = daemon.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there").success());
    timeout(LIMIT, daemon.wait()).await.expect("it ends").expect("it was started").code()
}

fn is_up(harness: &Harness) -> bool {
    harness.log().contains("startup complete")
}

#[tokio::test]
async fn every_line_of_the_daemon_log_is_in_its_log_group() {
    let harness = Harness::new().await;
    let daemon = harness.start(&["run"]);
    eventually("it is up", || is_up(&harness)).await;
    assert_eq!(ended(daemon).await, Some(0));
    let lines: Vec<String> = harness.log().lines().map(str::to_owned).collect();
    assert_eq!(shipped(&harness), lines);
    assert!(
        lines[0].contains("] 20") && lines.last().is_some_and(|line| line.ends_with("daemon has ended")),
        "{lines:?}"
    );
    assert!(!lines.iter().any(|line| line.contains(harness.password())));
}

#[tokio::test]
async fn a_rejected_sign_in_is_still_shipped() {
    let mut harness = Harness::new().await;
    harness.set("PASSWORD", "not the right one");
    assert_eq!(harness.run(&["run"]).await.code, 77);
    let shipped = shipped(&harness);
    assert!(
        shipped.iter().any(|line| line.starts_with("[ERROR] ") && line.contains("sign-in was refused")),
        "{shipped:?}"
    );
}

/// Repeated failures of the shipping are logged once in the file, and never shipped.
#[tokio::test]
async fn an_outage_of_cloudwatch_logs_one_line_and_loses_nothing() {
    let mut harness = Harness::new().await;
    harness.set("LOGGING_LEVEL", "DEBUG");
    harness.cloud.cloudwatch.faults().set_outage(true);
    let daemon = harness.start(&["run"]);
    eventually("it is up", || is_up(&harness)).await;
    let tried = harness.cloud.cloudwatch.calls("CreateLogStream");
    eventually("it is tried again", || harness.cloud.cloudwatch.calls("CreateLogStream") >= tried + 4).await;
    assert_eq!(harness.log().matches(NOT_SHIPPED).count(), 1, "{}", harness.log());
    assert_eq!(shipped(&harness), [""; 0]);
    harness.cloud.cloudwatch.faults().set_outage(false);
    eventually("the lines of the outage arrive", || {
        shipped(&harness).iter().any(|line| line.contains("startup complete"))
    })
    .await;
    assert_eq!(ended(daemon).await, Some(0));
    let shipped = shipped(&harness);
    assert!(!shipped.iter().any(|line| line.contains(NOT_SHIPPED)), "{shipped:?}");
    assert!(shipped.last().is_some_and(|line| line.ends_with("daemon has ended")), "{shipped:?}");
}

#[tokio::test]
async fn without_log_permissions_the_daemon_runs_and_ends() {
    let harness = Harness::new().await;
    harness.cloud.cloudwatch.faults().set_denied(true);
    let daemon = harness.start(&["run"]);
    eventually("it is up and has logged it", || is_up(&harness) && harness.log().contains(NOT_SHIPPED)).await;
    let log = harness.log();
    let line = log.lines().find(|line| line.contains(NOT_SHIPPED)).expect("it is there");
    assert!(line.starts_with("[WARNING] ") && line.contains("logs:PutLogEvents"), "{line}");
    assert_eq!(ended(daemon).await, Some(0));
    assert_eq!(harness.log().matches(NOT_SHIPPED).count(), 1);
}

/// A response of the status socket of the daemon.
async fn get(harness: &Harness, path: &str) -> String {
    let mut socket = UnixStream::connect(harness.socket()).await.expect("the daemon listens");
    let request = format!("GET {path} HTTP/1.1\r\nhost: daemon\r\nconnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.expect("it reads");
    let mut answer = String::new();
    timeout(LIMIT, socket.read_to_string(&mut answer)).await.expect("it answers in time").expect("text");
    answer
}

#[tokio::test]
async fn status_and_metrics_show_the_fate_of_the_daemon_log() {
    let harness = Harness::new().await;
    let _daemon = harness.start(&["run"]);
    eventually("it is up and has shipped", || is_up(&harness) && !shipped(&harness).is_empty()).await;
    let status = harness.run(&["status", "--json"]).await;
    let report: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    let log = &report["daemon"]["log"];
    assert!(log["shipped"]["lines"].as_u64() > Some(0) && log["lost"]["lines"] == 0, "{report}");
    let metrics = get(&harness, "/metrics").await;
    for (name, is_some) in [
        (r#"managed_app_daemon_log_lines_total{fate="shipped"}"#, true),
        (r#"managed_app_daemon_log_bytes_total{fate="shipped"}"#, true),
        (r#"managed_app_daemon_log_lines_total{fate="lost"}"#, false),
    ] {
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse::<u64>().ok());
        assert_eq!(value.map(|value| value > 0), Some(is_some), "{name} in\n{metrics}");
    }
}

/// Writes keys to a file, as an operator or an agent does.
fn write_keys(harness: &Harness, (id, secret): (String, String)) {
    let folder = harness.folder().join(".aws");
    std::fs::create_dir_all(&folder).expect("a folder");
    let text = format!("[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\n");
    std::fs::write(folder.join("credentials"), text).expect("a file");
}

#[tokio::test]
async fn replaced_keys_of_a_file_are_used_and_nothing_is_lost() {
    let mut harness = Harness::new().await;
    let keys = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].map(|name| harness.variables()[name].clone());
    ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"].iter().for_each(|name| harness.unset(name));
    write_keys(&harness, keys.into());
    let daemon = harness.start(&["run"]);
    eventually("it is up and has shipped", || is_up(&harness) && !shipped(&harness).is_empty()).await;
    let next = harness.cloud.rotate_operator_keys();
    harness.cloud.add_node("late", |node| node.image("registry.test/node:1"));
    eventually("it is rejected", || harness.log().contains(NOT_SHIPPED)).await;
    write_keys(&harness, next);
    eventually("it continues", || shipped(&harness).iter().any(|line| line.contains("late"))).await;
    assert_eq!(ended(daemon).await, Some(0));
    // Messages about the shipping are not shipped.
    let unshipped = [NOT_SHIPPED, "logs reach CloudWatch again"];
    let is_unshipped = |line: &&str| unshipped.iter().any(|message| line.contains(message));
    let log = harness.log();
    let logged: Vec<&str> = log.lines().filter(|line| !is_unshipped(line)).collect();
    assert_eq!(shipped(&harness), logged);
}

#[tokio::test]
async fn with_daemon_logs_off_nothing_is_sent() {
    let mut harness = Harness::new().await;
    harness.set("MANAGED_APP_DAEMON_LOGS", "off");
    let daemon = harness.start(&["run"]);
    eventually("it is up", || is_up(&harness)).await;
    assert_eq!(ended(daemon).await, Some(0));
    harness.run(&["check"]).await.shows("skipped log group", &["MANAGED_APP_DAEMON_LOGS=off"]);
    let cloudwatch = &harness.cloud.cloudwatch;
    assert_eq!((cloudwatch.calls("CreateLogStream"), cloudwatch.calls("PutLogEvents")), (0, 0));
}
