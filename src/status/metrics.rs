//! Metrics for Prometheus. Counters and histograms are updated at each event, gauges at each scrape.

mod pipeline;

use std::collections::BTreeMap;
use std::time::Duration;

use managed_app_runtimes::{ErrorKind, RuntimeError};
use prometheus::{
    Counter, CounterVec, Encoder, Gauge, GaugeVec, Histogram, HistogramOpts, HistogramVec, Opts, Registry, TextEncoder,
};

use pipeline::Pipeline;

use super::counters::AuditNumbers;
use super::counters::NodeNumbers;
use super::model::{Action, Outcome, Report};
use crate::model::NodeName;
use crate::reconciler::{FailureKind, Pulled};

/// Content type of the text format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Durations of actions: from a fast restart to a slow stop.
const ACTION_BUCKETS: [f64; 11] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0];
/// Durations of engine calls.
const CALL_BUCKETS: [f64; 9] = [0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0];
/// Durations of pulls.
const PULL_BUCKETS: [f64; 9] = [0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1_800.0, 10_800.0];

/// The metrics of one daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    changes: CounterVec,
    queue_age: Histogram,
    latency: HistogramVec,
    actions: CounterVec,
    action_duration: HistogramVec,
    downtime: HistogramVec,
    pulls: CounterVec,
    pull_duration: Histogram,
    engine_duration: HistogramVec,
    engine_errors: CounterVec,
    failures: CounterVec,
    events_lost: Counter,
    gauges: Gauges,
    pipeline: Pipeline,
}

/// Metrics of the current state.
#[derive(Debug)]
struct Gauges {
    build: GaugeVec,
    start_time: Gauge,
    converged: Gauge,
    cloud_up: Gauge,
    engine_up: Gauge,
    nodes: GaugeVec,
    nodes_failing: Gauge,
    nodes_unsettled: Gauge,
    node_up: GaugeVec,
    node_restarts: CounterVec,
    node_engine_restarts: CounterVec,
    node_crash_loop: GaugeVec,
    node_last_exit_code: GaugeVec,
    last_change: Gauge,
    expiry: GaugeVec,
}

/// Creates and registers metrics. Names are constants, so a failure is a bug in this file.
struct MetricFactory(Registry);

impl MetricFactory {
    fn add<T: prometheus::core::Collector + Clone + 'static>(&self, metric: prometheus::Result<T>) -> T {
        let metric = metric.expect("the name and the labels are valid");
        self.0.register(Box::new(metric.clone())).expect("no name is used twice");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> Counter {
        self.add(Counter::with_opts(Opts::new(name, help)))
    }

    fn counters(&self, name: &str, help: &str, labels: &[&str]) -> CounterVec {
        self.add(CounterVec::new(Opts::new(name, help), labels))
    }

    fn gauge(&self, name: &str, help: &str) -> Gauge {
        self.add(Gauge::with_opts(Opts::new(name, help)))
    }

    fn gauges(&self, name: &str, help: &str, labels: &[&str]) -> GaugeVec {
        self.add(GaugeVec::new(Opts::new(name, help), labels))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.add(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn histograms(&self, name: &str, help: &str, label: &str, buckets: &[f64]) -> HistogramVec {
        self.add(HistogramVec::new(HistogramOpts::new(name, help).buckets(buckets.to_vec()), &[label]))
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All at zero.
    pub fn new() -> Self {
        let metrics = Self::register(MetricFactory(Registry::new()));
        // `increase` needs a first value.
        for source in ["cloud", "engine", "operation", "registry"] {
            for kind in [FailureKind::Transient, FailureKind::Throttled, FailureKind::Permanent] {
                metrics.failures.with_label_values(&[source, failure_label(kind)]).inc_by(0.0);
            }
        }
        for outcome in ["fresh", "kept", "failed"] {
            metrics.pulls.with_label_values(&[outcome]).inc_by(0.0);
        }
        metrics
    }

    fn register(make: MetricFactory) -> Self {
        Self {
            changes: make.counters("managed_app_changes_total", "Change messages received, by kind.", &["kind"]),
            queue_age: make.histogram(
                "managed_app_change_queue_seconds",
                "Time that a change message spent in the queue, by the clocks of cloud and host.",
                &ACTION_BUCKETS,
            ),
            latency: make.histograms(
                "managed_app_change_latency_seconds",
                "Time from the receipt of a change message to the end of its action.",
                "action",
                &ACTION_BUCKETS,
            ),
            actions: make.counters(
                "managed_app_actions_total",
                "Attempts at actions on nodes.",
                &["action", "reason", "outcome"],
            ),
            action_duration: make.histograms(
                "managed_app_action_duration_seconds",
                "Duration of attempts at actions on nodes.",
                "action",
                &ACTION_BUCKETS,
            ),
            downtime: make.histograms(
                "managed_app_downtime_seconds",
                "Time without a running container in an action that stops and starts one.",
                "action",
                &ACTION_BUCKETS,
            ),
            pulls: make.counters("managed_app_pulls_total", "Image pulls, by outcome.", &["outcome"]),
            pull_duration: make.histogram(
                "managed_app_pull_duration_seconds",
                "Duration of image pulls.",
                &PULL_BUCKETS,
            ),
            engine_duration: make.histograms(
                "managed_app_engine_call_duration_seconds",
                "Duration of calls to the container engine.",
                "call",
                &CALL_BUCKETS,
            ),
            engine_errors: make.counters(
                "managed_app_engine_errors_total",
                "Failed calls to the container engine.",
                &["call", "kind"],
            ),
            failures: make.counters(
                "managed_app_failures_total",
                "Failures of the cloud, the engine, the registry and operations, by kind.",
                &["source", "kind"],
            ),
            events_lost: make
                .counter("managed_app_history_lost_total", "Actions that could not be written to the history file."),
            gauges: Gauges::new(&make),
            pipeline: Pipeline::new(&make),
            registry: make.0,
        }
    }

    /// Counts a received change message; `queued` is its time in the queue, if known.
    pub fn change(&self, kind: &str, queued: Option<Duration>) {
        self.changes.with_label_values(&[kind]).inc();
        if let Some(queued) = queued {
            self.queue_age.observe(queued.as_secs_f64());
        }
    }

    /// Counts the end of an attempt at an action.
    pub fn action(&self, action: &Action) {
        let verb = action.action.as_str();
        let outcome = action.outcome.text().replace(' ', "_");
        self.actions.with_label_values(&[verb, action.reason.as_str(), outcome.as_str()]).inc();
        let seconds = |millis: u64| millis as f64 / 1_000.0;
        if let Some(took) = action.took_ms {
            self.action_duration.with_label_values(&[verb]).observe(seconds(took));
        }
        if let (Some(latency), Outcome::Done) = (action.latency_ms, action.outcome) {
            self.latency.with_label_values(&[verb]).observe(seconds(latency));
        }
        if let Some(downtime) = action.downtime_ms {
            self.downtime.with_label_values(&[verb]).observe(seconds(downtime));
        }
    }

    /// Counts the end of a pull.
    pub fn pull(&self, took: Duration, outcome: &Pulled) {
        let label = match outcome {
            Pulled::Fresh(_) => "fresh",
            Pulled::Kept { .. } => "kept",
            Pulled::Failed(_) => "failed",
        };
        self.pulls.with_label_values(&[label]).inc();
        self.pull_duration.observe(took.as_secs_f64());
        if let Pulled::Kept { failure, .. } | Pulled::Failed(failure) = outcome {
            self.failure("registry", failure.kind);
        }
    }

    /// Counts the end of an engine call.
    pub fn engine_call(&self, call: &str, took: Duration, error: Option<&RuntimeError>) {
        self.engine_duration.with_label_values(&[call]).observe(took.as_secs_f64());
        if let Some(error) = error {
            self.engine_errors.with_label_values(&[call, error_label(error.kind())]).inc();
        }
    }

    /// Counts a failure of `source`.
    pub fn failure(&self, source: &str, kind: FailureKind) {
        self.failures.with_label_values(&[source, failure_label(kind)]).inc();
    }

    /// Counts actions that could not be written to disk.
    pub fn history_lost(&self, count: usize) {
        self.events_lost.inc_by(count as f64);
    }

    /// All metrics as text, with the current state from `report` and the counts of the pipelines.
    pub fn text(
        &self,
        report: &Report,
        logs: &BTreeMap<NodeName, NodeNumbers>,
        own_log: Option<NodeNumbers>,
        audit: Option<AuditNumbers>,
    ) -> Vec<u8> {
        self.gauges.set(report);
        self.pipeline.set(logs, own_log, audit);
        let mut text = Vec::new();
        let encoded = TextEncoder::new().encode(&self.registry.gather(), &mut text);
        encoded.expect("writing to a Vec cannot fail");
        text
    }
}

fn failure_label(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Transient => "transient",
        FailureKind::Throttled => "throttled",
        FailureKind::Permanent => "permanent",
    }
}

fn error_label(kind: ErrorKind) -> &'static str {
    match kind {
        ErrorKind::NotFound => "not_found",
        ErrorKind::AlreadyExists => "already_exists",
        ErrorKind::Conflict => "conflict",
        ErrorKind::Unauthorized => "unauthorized",
        ErrorKind::Throttled => "throttled",
        ErrorKind::Unreachable => "unreachable",
        ErrorKind::TimedOut => "timed_out",
        ErrorKind::Refused => "refused",
        ErrorKind::Broken => "broken",
        _ => "other",
    }
}

impl Gauges {
    fn new(make: &MetricFactory) -> Self {
        Self {
            build: make.gauges("managed_app_build_info", "Always 1; the label is the version.", &["version"]),
            start_time: make.gauge("managed_app_start_time_seconds", "Start of the daemon, Unix time."),
            converged: make
                .gauge("managed_app_converged", "1 if all nodes match the desired state and no action is pending."),
            cloud_up: make.gauge("managed_app_cloud_up", "1 if the last request to the cloud succeeded."),
            engine_up: make.gauge("managed_app_engine_up", "1 if the last request to the engine succeeded."),
            nodes: make.gauges("managed_app_nodes", "Nodes, by the state of their container.", &["state"]),
            nodes_failing: make.gauge("managed_app_nodes_failing", "Nodes with an error."),
            nodes_unsettled: make.gauge("managed_app_nodes_unsettled", "Nodes that do not match the desired state."),
            node_up: make.gauges("managed_app_node_up", "1 if a container of the node runs.", &["node"]),
            node_restarts: make.counters(
                "managed_app_node_restarts_total",
                "Starts of the node's process by the daemon after the first one, also over restarts of the daemon.",
                &["node"],
            ),
            node_engine_restarts: make.counters(
                "managed_app_node_engine_restarts_total",
                "Restarts by the restart policy of the engine, as the engine counts them for the current container; \
                 reset when the daemon starts it.",
                &["node"],
            ),
            node_crash_loop: make.gauges(
                "managed_app_node_crash_loop",
                "1 while the node is in a crash loop, until its process has been up for two minutes.",
                &["node"],
            ),
            node_last_exit_code: make.gauges(
                "managed_app_node_last_exit_code",
                "Last exit code of the node's process, 128 + n for signal n; absent if unknown.",
                &["node"],
            ),
            last_change: make.gauge(
                "managed_app_last_change_timestamp_seconds",
                "Receipt of the last change message, Unix time; 0 before the first.",
            ),
            expiry: make.gauges(
                "managed_app_expiry_timestamp_seconds",
                "Expiry of tokens and credentials, Unix time; absent if there are none.",
                &["credential"],
            ),
        }
    }

    fn set(&self, report: &Report) {
        let daemon = &report.daemon;
        let flag = |is_set: bool| if is_set { 1.0 } else { 0.0 };
        let unix = |stamp: super::model::Stamp| stamp.time().unix_timestamp_nanos() as f64 / 1e9;
        self.build.with_label_values(&[daemon.version.as_str()]).set(1.0);
        self.start_time.set(unix(daemon.started_at));
        self.converged.set(flag(daemon.is_converged));
        self.cloud_up.set(flag(daemon.cloud_failure.is_none()));
        self.engine_up.set(flag(daemon.engine.is_some() && daemon.engine_failure.is_none()));
        self.last_change.set(daemon.last_change_at.map_or(0.0, unix));
        for vector in [&self.nodes, &self.node_up, &self.node_crash_loop, &self.node_last_exit_code, &self.expiry] {
            vector.reset();
        }
        self.node_restarts.reset();
        self.node_engine_restarts.reset();
        for state in ["running", "stopped", "crashing", "absent"] {
            self.nodes.with_label_values(&[state]).set(0.0);
        }
        for node in &report.nodes {
            self.nodes.with_label_values(&[node.state.as_str()]).inc();
            self.node_up.with_label_values(&[node.name.as_str()]).set(flag(node.state == "running"));
            self.node_restarts.with_label_values(&[node.name.as_str()]).inc_by(node.restarts as f64);
            if let Some(restarts) = node.engine_restarts {
                self.node_engine_restarts.with_label_values(&[node.name.as_str()]).inc_by(restarts as f64);
            }
            self.node_crash_loop.with_label_values(&[node.name.as_str()]).set(flag(node.crash_loop.is_some()));
            if let Some(code) = node.last_exit.as_ref().and_then(|exit| exit.code) {
                self.node_last_exit_code.with_label_values(&[node.name.as_str()]).set(code as f64);
            }
        }
        self.nodes_failing.set(report.nodes.iter().filter(|node| node.error.is_some()).count() as f64);
        self.nodes_unsettled.set(report.nodes.iter().filter(|node| !node.is_settled).count() as f64);
        for (credential, at) in &daemon.expiries {
            self.expiry.with_label_values(&[credential.as_str()]).set(unix(*at));
        }
    }
}
