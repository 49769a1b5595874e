//! The state of a recorder, behind its lock. No I/O.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;

use managed_app_runtimes::{EngineInfo, ImageReference, Target};
use tokio::time::Instant;

use super::{DaemonInfo, Line, LogNumbers, RunningAction};
use crate::model::{Change, NodeName};
use crate::reconciler::{NodeStatus, Operation, Outcome, Phase, Reason, Status};
use crate::status::history::History;
use crate::status::model::{
    self, Action, Cause, CrashLoopReport, DaemonReport, EngineReport, ExitReport, FieldChange, LogReport, NodeHistory,
    NodeReport, Report, Stamp, Step, VERSION, crash_loop_text,
};
use crate::status::steps::{downtime_ms, millis, short};

/// Change messages that are kept as possible causes of actions.
const RECEIPTS_MAX: usize = 1_000;
/// Pulls that are kept until a container is created from their images.
const PULLS_MAX: usize = 64;
/// Events that are kept for followers that reconnect.
const EVENTS_MAX: usize = 200;
/// Actions in a report.
const RECENT_MAX: usize = 30;
/// Actions that may wait for a write to disk.
const UNWRITTEN_MAX: usize = 2_000;

/// A received change message.
#[derive(Debug)]
pub(super) struct Receipt {
    pub(super) change: Change,
    pub(super) message_id: String,
    pub(super) tracking_id: Option<String>,
    pub(super) sent_at: Option<Stamp>,
    pub(super) received_at: Stamp,
    pub(super) received: Instant,
}

#[derive(Debug)]
struct Observed {
    state: &'static str,
    container: Option<String>,
    error: Option<String>,
    since: Stamp,
    is_looping: bool,
}

#[derive(Debug)]
pub(super) struct Memory {
    pub(super) stage: &'static str,
    pub(super) engine: Option<EngineReport>,
    pub(super) is_kept: bool,
    history: History,
    unwritten: VecDeque<Action>,
    receipts: VecDeque<Receipt>,
    pulls: HashMap<ImageReference, (Instant, Instant)>,
    status: Option<Status>,
    observed: BTreeMap<NodeName, Observed>,
    last_change_at: Option<Stamp>,
    event_id: u64,
    events: VecDeque<Arc<Line>>,
}

impl Memory {
    pub(super) fn new(history: History) -> Self {
        Self {
            stage: "starting",
            engine: None,
            is_kept: true,
            history,
            unwritten: VecDeque::new(),
            receipts: VecDeque::new(),
            pulls: HashMap::new(),
            status: None,
            observed: BTreeMap::new(),
            last_change_at: None,
            // Larger than the IDs of earlier daemons, so that followers miss no events after a restart.
            event_id: (Stamp::now().time().unix_timestamp_nanos() / 1_000_000) as u64,
            events: VecDeque::new(),
        }
    }

    pub(super) fn receive(&mut self, receipt: Receipt) {
        self.last_change_at = Some(receipt.received_at);
        self.receipts.push_back(receipt);
        if self.receipts.len() > RECEIPTS_MAX {
            self.receipts.pop_front();
        }
    }

    pub(super) fn pulled(&mut self, image: &ImageReference, began: Instant) {
        if self.pulls.len() >= PULLS_MAX {
            let oldest = self.pulls.iter().min_by_key(|(_, (_, ended))| *ended).map(|(image, _)| image.clone());
            oldest.map(|image| self.pulls.remove(&image));
        }
        self.pulls.insert(image.clone(), (began, Instant::now()));
    }

    /// Returns the recorded action and the receipt time of its oldest cause.
    pub(super) fn begin(
        &mut self,
        node: &NodeName,
        operation: &Operation,
        reason: &Reason,
    ) -> (Action, Option<Instant>) {
        let receipts: Vec<Option<&Receipt>> = reason.causes.iter().map(|change| self.receipt(change)).collect();
        let received = receipts.iter().flatten().map(|receipt| receipt.received).min();
        let causes = reason.causes.iter().zip(&receipts).map(|(change, receipt)| cause(change, *receipt)).collect();
        let now = Stamp::now();
        let target = target(operation);
        let action = self.history.begin(Action {
            id: 0,
            node: node.to_string(),
            action: operation.verb().to_owned(),
            reason: reason.kind.as_str().to_owned(),
            because: reason.text(),
            differences: reason.differences.iter().map(field_change).collect(),
            causes,
            began_at: now,
            attempts: 1,
            steps: target.and_then(|target| self.pull_before(target, received)).into_iter().collect(),
            ended_at: None,
            outcome: model::Outcome::GoingOn,
            error: None,
            took_ms: None,
            latency_ms: None,
            downtime_ms: None,
            container: None,
            image: target.map(|target| target.spec.image.to_string()),
            revision: None,
            restarts: 0,
        });
        self.keep_for_disk(action.clone());
        (action, received)
    }

    pub(super) fn end(&mut self, begun: &RunningAction, outcome: &Outcome) -> Option<Action> {
        let took = begun.steps.began().elapsed();
        let ended = self.history.end(&begun.node, begun.id, |action| {
            action.ended_at = Some(Stamp::now());
            action.took_ms = Some(millis(took));
            action.latency_ms = begun.received.map(|received| millis(received.elapsed()));
            action.steps.extend(begun.steps.take());
            action.downtime_ms = downtime_ms(&action.steps);
            let (result, error) = outcome_report(outcome);
            action.outcome = result;
            action.error = error;
            match outcome {
                Outcome::Created(created) => {
                    action.container = Some(short(&created.id));
                    action.revision = created.revision.as_ref().map(ToString::to_string);
                }
                Outcome::Started { id, revision } => {
                    action.container = Some(short(id));
                    action.revision = revision.as_ref().map(ToString::to_string);
                }
                _ => {}
            }
        })?;
        self.keep_for_disk(ended.clone());
        Some(ended)
    }

    /// Returns the changes for followers: the node, if the change is about a node, and the text.
    pub(super) fn observe(&mut self, status: &Status) -> Vec<(Option<String>, String)> {
        let mut events = Vec::new();
        let phase = phase(status.phase);
        if self.status.as_ref().is_none_or(|before| before.phase != status.phase) {
            events.push((None, phase.to_owned()));
        }
        let before = self.status.as_ref();
        let cloud = (before.and_then(|before| before.cloud_failure.as_ref()), status.cloud_failure.as_ref());
        let engine = (before.and_then(|before| before.engine_failure.as_ref()), status.engine_failure.as_ref());
        for (what, (before, now)) in [("cloud", cloud), ("engine", engine)] {
            if before != now {
                events.push((None, now.map_or(format!("the {what} responds again"), |now| format!("{what}: {now}"))));
            }
        }
        for node in &status.nodes {
            events.extend(self.update_observed(node).map(|text| (Some(node.name.to_string()), text)));
        }
        // The nodes are sorted by name.
        self.observed.retain(|name, _| status.nodes.binary_search_by(|node| node.name.cmp(name)).is_ok());
        self.status = Some(status.clone());
        events
    }

    fn update_observed(&mut self, node: &NodeStatus) -> Option<String> {
        let container = node.container.as_ref().map(short);
        let is_looping = node.crash_loop.is_some();
        let now =
            Observed { state: node.state, container, error: node.failure.clone(), since: Stamp::now(), is_looping };
        let Some(before) = self.observed.get_mut(&node.name) else {
            let text = format!("{}: {}", node.name, now.state);
            self.observed.insert(node.name.clone(), now);
            return Some(text);
        };
        let is_same_state = before.state == now.state && before.container == now.container;
        let is_new_error = before.error != now.error;
        // The single exits and starts of a crash loop cause no events: its notices do.
        let is_crash_loop = before.is_looping || now.is_looping;
        let since = if is_same_state { before.since } else { now.since };
        *before = Observed { since, ..now };
        match (&before.error, is_new_error, is_same_state) {
            (Some(error), true, _) => Some(format!("{}: {}, {error}", node.name, node.state)),
            (_, false, _) if is_crash_loop => None,
            (None, true, _) if now.is_looping => Some(format!("{}: {}", node.name, node.state)),
            (None, true, _) => Some(format!("{}: {}, recovered", node.name, node.state)),
            (_, false, false) => Some(format!("{}: {}", node.name, node.state)),
            (_, false, true) => None,
        }
    }

    pub(super) fn report(
        &self,
        about: &DaemonInfo,
        started_at: Stamp,
        expiries: BTreeMap<String, Stamp>,
        numbers: &LogNumbers,
    ) -> Report {
        let status = self.status.as_ref();
        let daemon = DaemonReport {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            app: about.app.clone(),
            tenant: about.tenant.clone(),
            pid: std::process::id(),
            started_at,
            phase: status.map_or(self.stage, |status| phase(status.phase)).to_owned(),
            is_converged: status.is_some_and(|status| status.is_converged),
            engine: self.engine.clone(),
            cloud_failure: status.and_then(|status| status.cloud_failure.clone()),
            engine_failure: status.and_then(|status| status.engine_failure.clone()),
            last_change_at: self.last_change_at,
            expiries,
            is_history_kept: self.is_kept,
            log: None,
        };
        let nodes = status.into_iter().flat_map(|status| &status.nodes).map(|node| self.node(node, numbers)).collect();
        Report { version: VERSION, at: Stamp::now(), daemon, nodes, recent: self.history.recent(RECENT_MAX) }
    }

    fn node(&self, node: &NodeStatus, numbers: &LogNumbers) -> NodeReport {
        let name = node.name.as_str();
        let all = || self.history.of_node(name);
        let last = all().filter(|action| action.outcome != model::Outcome::GoingOn).last();
        let observed = self.observed.get(&node.name);
        NodeReport {
            name: name.to_owned(),
            state: node.state.to_owned(),
            since: since(node, observed, last),
            is_settled: node.is_settled,
            busy: node.busy.map(str::to_owned),
            image: node.image.clone(),
            container: node.container.as_ref().map(short),
            restarts: self.history.last(name).map_or(0, |action| action.restarts),
            last: last.cloned(),
            log_lag_s: numbers.get(&node.name).map(|numbers| numbers.lag_seconds as f64),
            log: numbers.get(&node.name).copied().map(LogReport::from),
            error: problem(node),
            engine_restarts: node.engine_restarts,
            last_exit: node.last_exit.as_ref().map(ExitReport::of),
            crash_loop: node.crash_loop.as_ref().map(CrashLoopReport::of),
        }
    }

    pub(super) fn history(&self, node: &str, numbers: &LogNumbers) -> Option<NodeHistory> {
        let known = self.status.iter().flat_map(|status| &status.nodes).find(|known| known.name.as_str() == node);
        if known.is_none() && !self.history.knows(node) {
            return None;
        }
        let actions = self.history.of_node(node).cloned().collect();
        Some(NodeHistory {
            version: VERSION,
            node: node.to_owned(),
            now: known.map(|node| self.node(node, numbers)),
            actions,
        })
    }

    pub(super) fn next_event(&mut self) -> u64 {
        self.event_id += 1;
        self.event_id
    }

    pub(super) fn keep_event(&mut self, line: Arc<Line>) {
        self.events.push_back(line);
        if self.events.len() > EVENTS_MAX {
            self.events.pop_front();
        }
    }

    /// Returns all events if `after` is larger than any ID, because the clock was set back.
    pub(super) fn events_after(&self, after: u64) -> Vec<Arc<Line>> {
        let after = if after > self.event_id { 0 } else { after };
        self.events.iter().filter(|line| line.id > after).cloned().collect()
    }

    pub(super) fn take_unwritten(&mut self) -> Vec<Action> {
        self.unwritten.drain(..).collect()
    }

    pub(super) fn everything(&self) -> Vec<Action> {
        self.history.all().into_iter().cloned().collect()
    }

    fn keep_for_disk(&mut self, action: Action) {
        self.unwritten.push_back(action);
        if self.unwritten.len() > UNWRITTEN_MAX {
            self.unwritten.pop_front();
        }
    }

    /// The latest message about this change.
    fn receipt(&self, change: &Change) -> Option<&Receipt> {
        self.receipts.iter().rev().find(|receipt| receipt.change == *change)
    }

    /// The pull that this container waited for: the last one of its image, unless it ended before the change came in.
    fn pull_before(&self, target: &Target, received: Option<Instant>) -> Option<Step> {
        let (began, ended) = self.pulls.get(&target.spec.image)?;
        if received.is_some_and(|received| *ended < received) {
            return None;
        }
        Some(Step {
            step: "pull".to_owned(),
            container: None,
            after_ms: -(millis(began.elapsed()) as i64),
            took_ms: millis(ended.saturating_duration_since(*began)),
            error: None,
        })
    }
}

pub(super) fn engine_report(info: &EngineInfo) -> EngineReport {
    EngineReport { kind: info.kind.to_string(), version: info.version.clone(), endpoint: info.endpoint.clone() }
}

/// The errors of a node, with its crash loop last: another failure may be its cause.
fn problem(node: &NodeStatus) -> Option<String> {
    let crash_loop = node.crash_loop.as_ref().map(|crash_loop| crash_loop_text(crash_loop, Stamp::now()));
    let all: Vec<String> = node.failure.iter().cloned().chain(crash_loop).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

fn phase(phase: Phase) -> &'static str {
    match phase {
        Phase::Starting => "starting",
        Phase::Running => "running",
        Phase::Stopping { .. } => "stopping",
        Phase::Finished => "finished",
    }
}

fn cause(change: &Change, receipt: Option<&Receipt>) -> Cause {
    Cause {
        kind: change.kind().to_owned(),
        change: change.to_string(),
        message_id: receipt.map(|receipt| receipt.message_id.clone()),
        tracking_id: receipt.and_then(|receipt| receipt.tracking_id.clone()),
        sent_at: receipt.and_then(|receipt| receipt.sent_at),
        received_at: receipt.map(|receipt| receipt.received_at),
    }
}

fn field_change(difference: &managed_app_runtimes::labels::Difference) -> FieldChange {
    FieldChange { field: difference.field.clone(), before: difference.before.clone(), after: difference.after.clone() }
}

fn target(operation: &Operation) -> Option<&Target> {
    match operation {
        Operation::Create(target) | Operation::Replace { target, .. } => Some(target),
        _ => None,
    }
}

fn outcome_report(outcome: &Outcome) -> (model::Outcome, Option<String>) {
    match outcome {
        Outcome::Failed(failure) | Outcome::Discarded { failure, .. } => {
            (model::Outcome::Failed, Some(failure.text.clone()))
        }
        Outcome::RolledBack(failure) => (model::Outcome::RolledBack, Some(failure.text.clone())),
        Outcome::ImageMissing => (model::Outcome::ImageMissing, None),
        Outcome::Abandoned => (model::Outcome::Abandoned, None),
        Outcome::Created(_) | Outcome::Started { .. } | Outcome::Removed(_) | Outcome::Stopped(_) => {
            (model::Outcome::Done, None)
        }
    }
}

/// The start time from the engine, else the time of the last observed change or action.
fn since(node: &NodeStatus, observed: Option<&Observed>, last: Option<&Action>) -> Stamp {
    if let (true, Some(at)) = (node.is_running, node.started_at) {
        return Stamp::of(at);
    }
    let observed = observed.map_or_else(Stamp::now, |observed| observed.since);
    let started = last.filter(|last| node.is_running && last.outcome == model::Outcome::Done);
    started.and_then(|last| last.ended_at).map_or(observed, |ended| ended.max(observed))
}
