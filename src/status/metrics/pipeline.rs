//! Metrics of the output of nodes, the daemon's log and audit records. Their owners count; this file exports the counts.

use std::collections::BTreeMap;

use prometheus::{CounterVec, Gauge, GaugeVec};

use super::MetricFactory;
use crate::model::NodeName;
use crate::status::AuditNumbers;
use crate::status::{NodeNumbers, Volume};

/// The metrics of the pipelines, set at each scrape.
#[derive(Debug)]
pub(super) struct Pipeline {
    log_bytes: CounterVec,
    log_lines: CounterVec,
    log_gaps: CounterVec,
    log_gap: CounterVec,
    log_lag: GaugeVec,
    own_bytes: CounterVec,
    own_lines: CounterVec,
    own_lag: Gauge,
    audit_records: CounterVec,
    audit_waiting: Gauge,
}

impl Pipeline {
    pub(super) fn new(make: &MetricFactory) -> Self {
        let fate = &["node", "fate"];
        Self {
            log_bytes: make.counters(
                "managed_app_log_bytes_total",
                "Output of nodes in bytes: read, shipped, retried, rejected, lost.",
                fate,
            ),
            log_lines: make.counters(
                "managed_app_log_lines_total",
                "Output of nodes in lines: read, shipped, retried, rejected, lost.",
                fate,
            ),
            log_gaps: make.counters(
                "managed_app_log_gaps_total",
                "Gaps in the output of nodes that the engine rotated away before it was read.",
                &["node"],
            ),
            log_gap: make.counters(
                "managed_app_log_gap_seconds_total",
                "Length of the gaps in the output of nodes, seconds.",
                &["node"],
            ),
            log_lag: make.gauges(
                "managed_app_log_lag_seconds",
                "Age of the oldest output that was read and is not in CloudWatch.",
                &["node"],
            ),
            own_bytes: make.counters(
                "managed_app_daemon_log_bytes_total",
                "The daemon's own log in bytes: read, shipped, retried, rejected, lost.",
                &["fate"],
            ),
            own_lines: make.counters(
                "managed_app_daemon_log_lines_total",
                "The daemon's own log in lines: read, shipped, retried, rejected, lost.",
                &["fate"],
            ),
            own_lag: make.gauge(
                "managed_app_daemon_log_lag_seconds",
                "Age of the oldest line of the daemon's own log that is not in CloudWatch.",
            ),
            audit_records: make.counters(
                "managed_app_audit_records_total",
                "Audit records: sent, retried, dropped.",
                &["fate"],
            ),
            audit_waiting: make.gauge("managed_app_audit_records_waiting", "Audit records that wait to be sent."),
        }
    }

    pub(super) fn set(
        &self,
        logs: &BTreeMap<NodeName, NodeNumbers>,
        own_log: Option<NodeNumbers>,
        audit: Option<AuditNumbers>,
    ) {
        for counter in [&self.log_bytes, &self.log_lines, &self.log_gaps, &self.log_gap] {
            counter.reset();
        }
        for counter in [&self.own_bytes, &self.own_lines, &self.audit_records] {
            counter.reset();
        }
        self.log_lag.reset();
        for (node, numbers) in logs {
            self.set_node(node.as_str(), numbers);
        }
        if let Some(own) = own_log {
            for (fate, volume) in fates(&own) {
                self.own_bytes.with_label_values(&[fate]).inc_by(volume.bytes as f64);
                self.own_lines.with_label_values(&[fate]).inc_by(volume.lines as f64);
            }
            self.own_lag.set(own.lag_seconds as f64);
        }
        if let Some(audit) = audit {
            for (fate, count) in [("sent", audit.sent), ("retried", audit.retried), ("dropped", audit.dropped)] {
                self.audit_records.with_label_values(&[fate]).inc_by(count as f64);
            }
            self.audit_waiting.set(audit.waiting as f64);
        }
    }

    fn set_node(&self, node: &str, numbers: &NodeNumbers) {
        for (fate, volume) in fates(numbers) {
            self.log_bytes.with_label_values(&[node, fate]).inc_by(volume.bytes as f64);
            self.log_lines.with_label_values(&[node, fate]).inc_by(volume.lines as f64);
        }
        self.log_gaps.with_label_values(&[node]).inc_by(numbers.gaps as f64);
        self.log_gap.with_label_values(&[node]).inc_by(numbers.gap.as_secs_f64());
        self.log_lag.with_label_values(&[node]).set(numbers.lag_seconds as f64);
    }
}

fn fates(numbers: &NodeNumbers) -> [(&'static str, Volume); 5] {
    [
        ("read", numbers.read),
        ("shipped", numbers.shipped),
        ("retried", numbers.retried),
        ("lost", numbers.lost),
        ("rejected", numbers.rejected),
    ]
}
