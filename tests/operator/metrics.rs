//! Metrics for Prometheus: their format, the alert rules, the dashboard, and a scrape.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use managed_app::model::NodeName;
use managed_app::status::ListenAddresses;
use managed_app::status::{NodeNumbers, Numbers};
use managed_app_fakes::faulty::Verb;
use managed_app_runtimes::{ErrorKind, names};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use crate::harness::{Harness, Plan};
use crate::support::Host;
use crate::{free_address, program};

const LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Kills its process when dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn packaging(file: &str) -> String {
    format!("{}/packaging/{file}", env!("CARGO_MANIFEST_DIR"))
}

fn dashboard() -> Value {
    let text = fs::read_to_string(packaging("grafana/dashboard.json")).expect("the dashboard");
    serde_json::from_str(&text).expect("JSON")
}

/// The queries of the dashboard, as Grafana would send them.
fn queries(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().expect("panels");
    let targets = panels.iter().flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let query = |target: &Value| target["expr"].as_str().expect("a query").to_owned();
    targets.map(query).map(|query| query.replace("$instance", ".*").replace("$__rate_interval", "1m")).collect()
}

/// The names of our metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let names = text.split(|c| !is_part(c)).filter(|name| name.starts_with("managed_app_"));
    names.map(str::to_owned).collect()
}

/// Runs promtool with `input`, which must succeed; its output.
fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new(program("MANAGED_APP_TEST_PROMTOOL"));
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool starts");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    assert!(output.status.success(), "{arguments:?}: {text}");
    text
}

/// A host with two nodes, one with a special name, after events of each counted kind.
async fn eventful(address: std::net::SocketAddr) -> Harness {
    let addresses = ListenAddresses { metrics: Some(address), ..ListenAddresses::default() };
    let plan = Plan::new().await.nodes(&["a", "b: \"second\" \\ one"]);
    let harness = plan.host(move |builder| builder.listen_at(addresses)).up().await;
    // The engine in memory has no output to ship; the counters are those of a node without output.
    let numbers = Numbers::default();
    drop(numbers.counter(&NodeName::new("a").expect("a valid name")));
    harness.recorder().watch_logs(numbers);
    harness.recorder().watch_own_log(NodeNumbers::default);
    harness.faults.on(Verb::Restart).times(1).fail(ErrorKind::TimedOut);
    harness.cloud.set_node_config("a", "{}");
    harness.eventually("it is restarted", |host| host.is_converged() && host.journal.starts("a") > 0).await;
    harness.memory.crash(&names::container_name("a"), 3).expect("it is there");
    let has_ended = |host: &Host| host.node("a").is_some_and(|node| node.last_exit.is_some());
    harness.eventually("it runs again", |host| has_ended(host) && harness.runs("a") && host.is_converged()).await;
    harness
}

/// A client that ignores proxies in the environment of the tests.
fn http() -> reqwest::Client {
    reqwest::Client::builder().no_proxy().build().expect("a client")
}

async fn get(url: &str) -> String {
    let answer = http().get(url).send().await.expect("an answer");
    assert_eq!(answer.status(), 200, "{url}");
    answer.text().await.expect("a body")
}

#[tokio::test]
async fn metrics_are_valid_and_used_by_rules_and_dashboard() {
    let address = free_address();
    let harness = eventful(address).await;
    let text = get(&format!("http://{address}/metrics")).await;
    promtool(&["check", "metrics"], &text);
    promtool(&["check", "rules", &packaging("prometheus/alerts.yml")], "");
    promtool(&["check", "config", &packaging("prometheus/scrape.yml")], "");
    let samples: BTreeSet<String> = text.lines().filter(|line| !line.starts_with('#')).flat_map(names).collect();
    let rules = fs::read_to_string(packaging("prometheus/alerts.yml")).expect("the rules");
    let queries = queries(&dashboard()).join("\n");
    let used: BTreeSet<String> = names(&rules).union(&names(&queries)).cloned().collect();
    for used in &used {
        assert!(samples.contains(used), "{used} is not among the metrics:\n{text}");
    }
    for metric in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()) {
        let is_shown = used.iter().any(|used| used == metric || *used == format!("{metric}_bucket"));
        // The variable of the dashboard uses the info metric.
        assert!(is_shown || metric == "managed_app_build_info", "{metric} is on no panel");
    }
    assert!(!text.contains(&harness.cloud.env()["PASSWORD"]));
    // With labels for kind of change, action, reason, outcome, error and credential.
    for sample in [
        "managed_app_changes_total{kind=\"node\"}",
        "managed_app_actions_total{action=\"create\",outcome=\"done\",reason=\"absent\"}",
        "managed_app_actions_total{action=\"restart\",outcome=\"failed\",reason=\"inputs_changed\"}",
        "managed_app_actions_total{action=\"restart\",outcome=\"done\",reason=\"inputs_changed\"}",
        "managed_app_engine_errors_total{call=\"restart\",kind=\"timed_out\"} 1",
        "managed_app_failures_total{kind=\"transient\",source=\"operation\"} 1",
        "managed_app_pulls_total{outcome=\"fresh\"}",
        "managed_app_change_queue_seconds_count ",
        "managed_app_change_latency_seconds_count{action=\"restart\"} 1",
        "managed_app_downtime_seconds_count{action=\"restart\"}",
        "managed_app_expiry_timestamp_seconds{credential=\"sign_in\"}",
        "managed_app_expiry_timestamp_seconds{credential=\"app\"}",
    ] {
        assert!(text.lines().any(|line| line.starts_with(sample)), "no {sample} in\n{text}");
    }
    let stranger = http().get(format!("http://{address}/metrics")).header("host", "evil.example");
    assert_eq!(stranger.send().await.expect("an answer").status(), 421);
    let other = http().get(format!("http://{address}/v1/status")).send().await.expect("an answer");
    assert_eq!(other.status(), 404, "the listener serves metrics only");
}

/// Each shipped alert fires in its case and not otherwise.
#[test]
fn alert_rules_fire_only_when_they_should() {
    let root = env!("CARGO_MANIFEST_DIR");
    let cases = format!("{root}/tests/operator/alerts.yml");
    promtool(&["test", "rules", &cases], "");
    let rules = fs::read_to_string(packaging("prometheus/alerts.yml")).expect("the rules");
    let cases = fs::read_to_string(cases).expect("the cases");
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let times = cases.lines().filter(|line| line.trim() == format!("alertname: {alert}")).count();
        assert!(times >= 2, "{alert} has no case in which it fires and one in which it does not");
    }
}

/// The problems of a dashboard, as found by Grafana's types.
fn problems_of(dashboard: &Path) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let interpreter = root.join("target/clients/bin/python");
    assert!(interpreter.exists(), "{} does not exist: run scripts/clients", interpreter.display());
    let mut command = Command::new(interpreter);
    command.env_clear().arg(root.join("tests/operator/dashboard.py")).arg(dashboard).stdin(Stdio::null());
    let output = command.output().expect("the interpreter starts");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn grafana_knows_every_field_of_the_dashboard() {
    assert_eq!(problems_of(Path::new(&packaging("grafana/dashboard.json"))), "");
    let folder = tempfile::tempdir().expect("a folder");
    let invalid = folder.path().join("dashboard.json");
    let mut dashboard = dashboard();
    let panels = dashboard["panels"].as_array_mut().expect("panels");
    panels[0]["gridPost"] = panels[0]["gridPos"].clone();
    panels[1]["gridPos"] = panels[0]["gridPos"].clone();
    panels[2]["type"] = "thermometer".into();
    fs::write(&invalid, dashboard.to_string()).expect("a file");
    let found = problems_of(&invalid);
    for problem in ["gridPost is no part of Grafana's schema", "lies on", "Grafana has no panel 'thermometer'"] {
        assert!(found.contains(problem), "{found}");
    }
}

/// A private Prometheus in `folder` that scrapes `target` every second.
fn prometheus(folder: &Path, target: std::net::SocketAddr, own: std::net::SocketAddr) -> Running {
    let scrape = fs::read_to_string(packaging("prometheus/scrape.yml")).expect("the configuration");
    let scrape = scrape.replace("127.0.0.1:9464", &target.to_string()).replace("15s", "1s");
    fs::write(folder.join("scrape.yml"), scrape).expect("a file");
    fs::copy(packaging("prometheus/alerts.yml"), folder.join("alerts.yml")).expect("a file");
    let mut command = Command::new(program("MANAGED_APP_TEST_PROMETHEUS"));
    command.arg(format!("--config.file={}", folder.join("scrape.yml").display()));
    command.arg(format!("--storage.tsdb.path={}", folder.join("data").display()));
    command.arg(format!("--web.listen-address={own}")).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    Running(command.spawn().expect("prometheus starts"))
}

/// The result of a Prometheus query; `None` before Prometheus responds.
async fn query(own: std::net::SocketAddr, query: &str) -> Option<Value> {
    let url = reqwest::Url::parse_with_params(&format!("http://{own}/api/v1/query"), [("query", query)]);
    let answer = http().get(url.expect("a URL")).send().await.ok()?;
    // It responds with plain text until it has started.
    let answer = answer.error_for_status().ok()?;
    let body: Value = serde_json::from_str(&answer.text().await.ok()?).expect("JSON");
    assert_eq!(body["status"], "success", "{query}: {body}");
    Some(body["data"]["result"].clone())
}

#[tokio::test]
async fn prometheus_scrapes_the_daemon_and_rules_and_queries_work() {
    let (address, own) = (free_address(), free_address());
    let harness = eventful(address).await;
    let folder = tempfile::tempdir().expect("a folder");
    let _prometheus = prometheus(folder.path(), address, own);
    let until = Instant::now() + LIMIT;
    let nodes = loop {
        match query(own, "managed_app_node_up").await {
            Some(Value::Array(nodes)) if nodes.len() == 2 => break nodes,
            other => assert!(Instant::now() < until, "not scraped in time: {other:?}"),
        }
        sleep(POLL_INTERVAL).await;
    };
    let named: Vec<&str> = nodes.iter().filter_map(|node| node["metric"]["node"].as_str()).collect();
    assert_eq!(named, ["a", "b: \"second\" \\ one"]);
    for expression in queries(&dashboard()) {
        let found = query(own, &expression).await.expect("it answers");
        let needs_time = expression.contains("rate(") || expression.contains("increase(");
        assert!(needs_time || found.as_array().is_some_and(|all| !all.is_empty()), "nothing for {expression}");
    }
    let up = query(own, "up{job=\"managed-app\"} == 1").await.expect("it answers");
    assert_eq!(up.as_array().map(Vec::len), Some(1));
    let rules: Value = serde_json::from_str(&get(&format!("http://{own}/api/v1/rules")).await).expect("JSON");
    let rules = rules["data"]["groups"][0]["rules"].as_array().expect("rules").clone();
    let firing: Vec<&Value> = rules.iter().filter(|rule| rule["state"] == "firing").collect();
    assert!(rules.len() >= 8 && firing.is_empty(), "{firing:?}");
    assert!(harness.is_converged());
}
