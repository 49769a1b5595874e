//! The reconciler: desired state, observed state and pending changes in, effects out. No I/O, no clock, no randomness:
//! events carry time and random bits, so the same events always produce the same effects.
//!
//! Life of a change: [`Event::Change`] adds a pending change and requests a snapshot. The snapshot is compared with the
//! desired state. [`plan()`] plans each node that differs. The next step of the plan becomes [`Effect::Operate`], its
//! result returns as [`Event::Finished`], and the node is planned again until it is settled.

mod crash_loop;
mod crash_tracker;
mod desired;
mod effect;
mod event;
mod images;
mod impact;
mod node;
mod observe;
mod pending_changes;
mod plan;
mod policy;
mod ports;
mod quarantine;
mod reason;
mod request;
mod retry;
mod revision;
mod schedule;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{ContainerId, EngineEvent};

pub use crash_loop::{CrashLoop, CrashLoopNotice, NextStart, exit_text, rounded, signal};
pub use crash_tracker::OVER_AFTER;
pub use desired::{Desired, LOG_EVENT_PATTERN, NodeLogSettings, Settings};
pub use effect::{Effect, Finish, Operation, Strategy, Target};
pub use event::{Created, Event, Failure, FailureKind, Listing, Outcome, Pulled};
pub use plan::{ImageView, Observed, Plan, plan};
pub use policy::{AllowedBindMounts, AllowedRegistries, Policy};
pub use quarantine::QUARANTINE;
pub use reason::{Reason, ReasonKind};
pub use revision::{AppInputs, Revision, StartupInputs};
pub use status::{NodeStatus, Phase, Status};

use crate::model::{App, NodeName, QueueAddress};
use images::Images;
use node::ManagedNode;
use pending_changes::PendingChanges;
use request::Request;
use retry::Jitter;

/// How long a cloud that neither responds nor fails delays actions that are possible without it.
const CLOUD_WAIT_MAX: Duration = Duration::from_secs(10);

/// Time of the second full comparison after the start. The first snapshot may be older than a change whose message the
/// previous daemon took out of the queue.
const SECOND_RESYNC: Duration = Duration::from_secs(20);

/// The state machine. One value for the life of the daemon.
#[derive(Debug)]
pub struct Reconciler {
    settings: Settings,
    jitter: Jitter,
    phase: Phase,
    /// The last complete response of the cloud.
    app: Option<Arc<App>>,
    nodes: BTreeMap<NodeName, ManagedNode>,
    images: Images,
    pending_changes: PendingChanges,
    fetch: Request,
    list: Request,
    queue: Option<QueueAddress>,
    /// Since when the cloud reports that the app is gone.
    gone_since: Option<Duration>,
    next_resync: Option<Duration>,
    /// End of the wait for the first response of the cloud.
    cloud_wait_until: Option<Duration>,
    /// The cloud did not respond within that time.
    is_cloud_silent: bool,
    /// Nodes that may need a step.
    dirty: BTreeSet<NodeName>,
    /// When failed nodes are due again. May contain a node that has recovered since.
    retries: BTreeSet<(Duration, NodeName)>,
    /// Nodes that wait for a host port of another node.
    port_waiters: BTreeSet<NodeName>,
    /// Running operations.
    busy_count: usize,
    /// Counts operations and lists, to detect lists that are too old for a node.
    clock: u64,
    list_requested_at: u64,
    /// Containers that engine events are compared with.
    by_container: HashMap<ContainerId, KnownContainer>,
    /// Engine events received during operations, until these end.
    early_events: Vec<EngineEvent>,
    /// Effects of the current event.
    outbox: Vec<Effect>,
}

/// The known state of a container, for comparison with engine events.
#[derive(Debug)]
struct KnownContainer {
    node: NodeName,
    is_running: bool,
}

/// The treatment of the nodes at the end of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndOfNodes {
    /// They keep running.
    Leave,
    /// They are stopped.
    Stop,
    /// They are stopped and removed.
    Remove,
}

impl Reconciler {
    /// A reconciler without any state; `seed` is random.
    pub fn new(settings: Settings, seed: u64) -> Self {
        Self {
            settings,
            jitter: Jitter::new(seed),
            phase: Phase::Starting,
            app: None,
            nodes: BTreeMap::new(),
            images: Images::default(),
            pending_changes: PendingChanges::default(),
            fetch: Request::default(),
            list: Request::default(),
            queue: None,
            gone_since: None,
            next_resync: None,
            cloud_wait_until: None,
            is_cloud_silent: false,
            dirty: BTreeSet::new(),
            retries: BTreeSet::new(),
            port_waiters: BTreeSet::new(),
            busy_count: 0,
            clock: 0,
            list_requested_at: 0,
            by_container: HashMap::new(),
            early_events: Vec::new(),
            outbox: Vec::new(),
        }
    }

    /// Handles one event at `now` (monotonic time since a fixed start) and returns the resulting effects.
    pub fn on(&mut self, event: Event, now: Duration) -> Vec<Effect> {
        match event {
            Event::Begin => {
                self.cloud_wait_until = Some(now + CLOUD_WAIT_MAX);
                self.resync(now);
                self.next_resync = Some(now + SECOND_RESYNC);
            }
            Event::Resync => self.resync_now(now),
            Event::Timer => self.tick(now),
            Event::Change(change) => {
                self.pending_changes.add(change);
                self.fetch.request();
            }
            Event::QueueLost => self.fetch.request(),
            Event::Snapshot(Ok(snapshot)) => self.on_snapshot(snapshot, now),
            Event::Snapshot(Err(failure)) => self.on_snapshot_failed(failure, now),
            Event::Listed(result) => self.on_listed(result, now),
            Event::Engine(event) => self.on_engine_event(event),
            Event::EventsLost => self.list.request(),
            Event::Saved => {}
            Event::Pulled { image, outcome } => {
                self.images.apply_result(&image, outcome, now, &mut self.jitter);
                self.mark_image_users(&image);
            }
            Event::Finished { node, outcome } => self.on_finished(&node, outcome, now),
            Event::Settings(settings) => self.on_settings(*settings, now),
            Event::Stop(nodes) => self.begin_stop(nodes, Finish::Stopped),
        }
        self.schedule(now);
        std::mem::take(&mut self.outbox)
    }

    /// The phase of the daemon.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// When the next [`Event::Timer`] is due.
    pub fn deadline(&self) -> Option<Duration> {
        let retry = self.retries.first().map(|(at, _)| *at);
        let list = self.list.deadline();
        let all = match self.phase {
            Phase::Finished | Phase::Stopping { nodes: EndOfNodes::Leave, .. } => vec![],
            Phase::Stopping { .. } => vec![list, retry],
            Phase::Starting | Phase::Running => {
                let fetch = self.fetch.deadline();
                let cloud_wait = self.cloud_wait_until;
                vec![
                    list,
                    retry,
                    fetch,
                    self.images.deadline(),
                    self.next_resync,
                    self.pending_changes.deadline(),
                    cloud_wait,
                ]
            }
        };
        all.into_iter().flatten().min()
    }

    fn resync(&mut self, now: Duration) {
        self.fetch.request();
        self.list.request();
        self.next_resync = Some(now + self.jitter.around(self.settings.resync));
    }

    /// An operator requests a comparison, perhaps after a repair: earlier failures delay nothing.
    fn resync_now(&mut self, now: Duration) {
        self.resync(now);
        self.fetch.request_now();
        self.list.request_now();
        self.images.skip_delay();
        for node in self.nodes.values_mut() {
            node.skip_delay();
            node.crash_tracker.skip_delay();
        }
        self.dirty.extend(self.nodes.keys().cloned());
    }

    fn tick(&mut self, now: Duration) {
        if self.next_resync.is_some_and(|at| at <= now) {
            self.resync(now);
        }
        if self.cloud_wait_until.is_some_and(|at| at <= now) {
            self.cloud_wait_until = None;
            self.is_cloud_silent = self.app.is_none();
            self.dirty.extend(self.nodes.keys().cloned());
        }
        if self.pending_changes.take_due(now) {
            self.fetch.request();
        }
        while self.retries.first().is_some_and(|(at, _)| *at <= now) {
            let due = self.retries.pop_first();
            let Some((_, name)) = due else { continue };
            if let Some(node) = self.nodes.get_mut(&name) {
                node.crash_tracker.clear(now);
            }
            self.notify_crash_loop(&name, now);
            self.dirty.insert(name);
        }
    }

    /// Whether the app is known, or known to be unavailable for now.
    fn is_cloud_settled(&self) -> bool {
        self.app.is_some() || self.fetch.failure.is_some() || self.is_cloud_silent
    }

    /// Without the cloud, existing containers are started unchanged.
    fn on_snapshot_failed(&mut self, failure: Failure, now: Duration) {
        self.fetch.failed(failure, now, &mut self.jitter);
        if self.app.is_none() {
            self.dirty.extend(self.nodes.keys().cloned());
        }
    }

    fn begin_stop(&mut self, nodes: EndOfNodes, finish: Finish) {
        if matches!(self.phase, Phase::Stopping { .. } | Phase::Finished) {
            return;
        }
        self.phase = Phase::Stopping { nodes, finish };
        self.retries.clear();
        for node in self.nodes.values_mut() {
            node.attempts = 0;
            node.skip_delay();
        }
        self.dirty = self.nodes.keys().cloned().collect();
        // An earlier failure of a list does not predict the next one.
        self.list.failure = None;
        self.list.request_now();
    }
}
