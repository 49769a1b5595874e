//! The tasks around the driver: the one that sends changes to it, and those that publish its status.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use crate::changes::ChangeMessage;
use crate::host::Notifier;
use crate::model::NodeName;
use crate::reconciler::{Event, Phase, Status};
use crate::status::Recorder;
use crate::telemetry::PROGRESS;

/// A driver without a heartbeat for this long hangs; heartbeats are seconds apart.
const HEARTBEAT_AGE_MAX: Duration = Duration::from_secs(30);
/// An engine that has been unreachable for this long may respond to a new process.
const ENGINE_LOST_MAX: Duration = Duration::from_secs(15 * 60);

pub(super) async fn forward_changes(
    mut messages: mpsc::Receiver<ChangeMessage>,
    inbox: mpsc::Sender<Event>,
    recorder: Arc<Recorder>,
) {
    while let Some(message) = messages.recv().await {
        let event = match message {
            ChangeMessage::Change { change, message_id, tracking_id, sent_at } => {
                info!(change = %change, message_id, tracking_id, "change");
                recorder.received(&change, &message_id, tracking_id.as_deref(), sent_at);
                Event::Change(change)
            }
            ChangeMessage::QueueLost => Event::QueueLost,
        };
        if inbox.send(event).await.is_err() {
            return;
        }
    }
}

/// Publishes each status, notifies systemd with one line, and once at the end of the start.
pub(super) async fn publish_status(
    mut status: watch::Receiver<Status>,
    publish: watch::Sender<Option<Status>>,
    notifier: Arc<Notifier>,
    recorder: Arc<Recorder>,
) {
    let mut is_ready = false;
    let mut last = String::new();
    let mut refused = BTreeMap::new();
    let mut convergence = Convergence::new();
    loop {
        let now = status.borrow_and_update().clone();
        log_refused(&now, &mut refused);
        convergence.show(&now);
        let line = now.summary();
        if line != last {
            notifier.status(&line);
            last = line;
        }
        if !is_ready && now.phase == Phase::Running {
            is_ready = true;
            notifier.ready();
        }
        recorder.observe(&now);
        publish.send_replace(Some(now));
        if status.changed().await.is_err() {
            return;
        }
    }
}

/// Logs each refused node, once for each reason; `reported` contains the previous ones.
fn log_refused(status: &Status, reported: &mut BTreeMap<NodeName, String>) {
    let refused = status.nodes.iter().filter(|node| node.is_refused);
    let now: BTreeMap<_, _> =
        refused.map(|node| (node.name.clone(), node.failure.clone().unwrap_or_default())).collect();
    for (node, reason) in now.iter().filter(|(node, reason)| reported.get(*node) != Some(*reason)) {
        warn!(%node, reason, "node is refused; its containers stay unchanged");
    }
    *reported = now;
}

/// Interval of convergence lines in a log without a terminal.
const CONVERGENCE_EVERY: Duration = Duration::from_secs(10);

/// Reports how many nodes have reached their desired state.
struct Convergence {
    last_line: Instant,
    is_shown: bool,
}

impl Convergence {
    fn new() -> Self {
        Self { last_line: Instant::now(), is_shown: false }
    }

    fn show(&mut self, now: &Status) {
        // A crash loop may last for days without any pending action.
        let is_only_crashing = || {
            let is_looping = now.nodes.iter().any(|node| node.crash_loop.is_some());
            is_looping && now.nodes.iter().all(|node| node.is_settled && node.busy.is_none())
        };
        if now.is_converged || now.nodes.is_empty() || is_only_crashing() {
            if std::mem::take(&mut self.is_shown) {
                info!(target: PROGRESS, subject = "nodes as wanted", is_over = true);
            }
            self.last_line = Instant::now();
            return;
        }
        let (done, total) = (now.nodes.iter().filter(|node| node.is_settled).count(), now.nodes.len());
        self.is_shown = true;
        info!(target: PROGRESS, subject = "nodes as wanted", unit = "nodes", done = done as u64, total = total as u64);
        if self.last_line.elapsed() >= CONVERGENCE_EVERY {
            self.last_line = Instant::now();
            info!(done, total, "nodes are converging");
        }
    }
}

/// Notifies systemd's watchdog while the driver's loop runs and the engine has not been unreachable for so long that a
/// new process may help.
pub(super) async fn notify_watchdog(
    notifier: Arc<Notifier>,
    every: Duration,
    heartbeat: watch::Receiver<Instant>,
    mut status: watch::Receiver<Status>,
) {
    let mut engine_lost: Option<Instant> = None;
    let mut interval = tokio::time::interval(every);
    loop {
        interval.tick().await;
        engine_lost = match &status.borrow_and_update().engine_failure {
            Some(_) => engine_lost.or_else(|| Some(Instant::now())),
            None => None,
        };
        let is_loop_running = heartbeat.borrow().elapsed() < HEARTBEAT_AGE_MAX;
        let has_engine = engine_lost.is_none_or(|since| since.elapsed() < ENGINE_LOST_MAX);
        if is_loop_running && has_engine {
            notifier.alive();
        } else {
            error!(is_loop_running, has_engine, "watchdog notification skipped: the daemon is not healthy");
        }
    }
}
