//! Ships the output of all nodes: starts a follower for each own container whose output the engine keeps.
//!
//! The current list of the engine is the truth. Events and removals trigger a new list.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use managed_app_runtimes::labels::{self, SpecRecord};
use managed_app_runtimes::{Container, ContainerId, ContainerRuntime, Owner, names};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout, timeout_at};
use tracing::{debug, info, warn};

use super::batch::BATCH_BYTES_MAX;
use super::cursors::Cursors;
use super::deliver::{Delivery, LogService};
use super::follow::{Follower, FollowerContext, FollowerRequest, Lifecycle};
use super::numbers::Numbers;
use crate::cloud::Aws;
use crate::model::{App, NodeName};
use crate::tasks::Tasks;
use crate::text::chain;

/// Limit for which the removal of a container waits until its output is in CloudWatch. After that, output that was read
/// is still shipped; output that was not read is lost.
pub const REMOVAL_WAIT: Duration = Duration::from_secs(10);
/// Limit for which the end of the daemon waits until the output of its nodes is in CloudWatch. The next daemon ships
/// the rest.
pub const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// Bytes of all batches that are being filled, wait, or are being sent; each node has up to three. A batch always has
/// room for the largest event.
const BATCHES_BYTES_MAX: usize = 64 * 1024 * 1024;
const BATCHES_OF_A_NODE: usize = 3;
/// Interval of lists without an event.
const LIST_EVERY: Duration = Duration::from_secs(60);
/// Delay of the first list after the app is known. The engine starts containers then, and a list and two requests for
/// each followed container would slow this down.
const LIST_FIRST: Duration = Duration::from_millis(500);
/// Delay of a list after the start of a container.
const LIST_SOON: Duration = Duration::from_millis(200);
/// Delay of a list after other events. By then a replacement has mostly started the next container. A list in between,
/// for which Podman takes the locks of all containers, would increase the downtime of the node.
const LIST_LATER: Duration = Duration::from_secs(1);
/// Pause after a list, as a multiple of its duration: a list of many containers is expensive for a busy engine.
const LIST_PAUSE_FACTOR: u32 = 10;
/// The longest such pause, so that an engine that has recovered from a hang is listed soon.
const LIST_PAUSE_MAX: Duration = Duration::from_secs(10);
/// Limit for a list of containers.
const LIST_LIMIT: Duration = Duration::from_secs(30);
/// Interval at which cursors are saved that no follower saves.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Requests to the shipper that may wait.
const REQUESTS_MAX: usize = 64;
/// Requests to a follower that may wait.
const FOLLOWER_REQUESTS_MAX: usize = 8;

/// A handle to the shipper. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shipping(Option<Arc<Shared>>);

#[derive(Debug)]
struct Shared {
    requests: mpsc::Sender<Request>,
    list_soon: Notify,
    list_later: Notify,
    numbers: Numbers,
}

#[derive(Debug)]
enum Request {
    /// These containers have stopped and will be removed.
    Finish { ids: Vec<ContainerId>, done: oneshot::Sender<()> },
    /// The daemon ends.
    Close { done: oneshot::Sender<()> },
}

/// Options of [`Shipper::new`].
#[derive(Debug)]
pub struct ShipperOptions<'a> {
    /// The engine.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// The owner of the containers.
    pub owner: Owner,
    /// AWS.
    pub aws: Arc<Aws>,
    /// The daemon's log group; the names of the log groups of nodes begin with it.
    pub group: &'a str,
    /// Where cursors are stored.
    pub state_directory: &'a Path,
}

/// Ships the output of all nodes; [`Shipper::run`] is its task.
pub struct Shipper {
    runtime: Arc<dyn ContainerRuntime>,
    owner: Owner,
    aws: Arc<Aws>,
    group: String,
    context: FollowerContext,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    service: Option<Arc<LogService>>,
    followers: HashMap<ContainerId, Followed>,
    tasks: Tasks,
    is_list_failing: bool,
}

/// A container that is followed.
struct Followed {
    node: NodeName,
    requests: mpsc::Sender<FollowerRequest>,
    lifecycle: watch::Sender<Lifecycle>,
}

impl Shipping {
    /// A handle without a shipper: calls do nothing and return at once.
    pub fn off() -> Self {
        Self(None)
    }

    /// Requests a list after an event of a container. `has_begun`: there may be output without a follower.
    pub fn look(&self, has_begun: bool) {
        if let Some(shared) = &self.0 {
            if has_begun { &shared.list_soon } else { &shared.list_later }.notify_one();
        }
    }

    /// The numbers of each node; empty without a shipper.
    pub fn numbers(&self) -> Numbers {
        self.0.as_ref().map(|shared| shared.numbers.clone()).unwrap_or_default()
    }

    /// Waits until all output of these containers is in CloudWatch, at most for [`REMOVAL_WAIT`]. The containers have
    /// stopped and will be removed.
    pub async fn finish(&self, ids: &[ContainerId]) {
        let ids = ids.to_vec();
        if self.request(REMOVAL_WAIT, |done| Request::Finish { ids, done }).await.is_err() {
            warn!("containers are removed before all their output is in CloudWatch: the wait exceeded its limit");
        }
    }

    /// Waits until all output so far is in CloudWatch, and ends the shipper. Takes slightly more than [`CLOSE_WAIT`] at
    /// most.
    pub async fn close(&self) {
        if self.request(CLOSE_WAIT + LIST_SOON, |done| Request::Close { done }).await.is_err() {
            warn!("not all output of nodes is in CloudWatch; the next daemon continues from here");
        }
    }

    async fn request(&self, limit: Duration, request: impl FnOnce(oneshot::Sender<()>) -> Request) -> Result<(), ()> {
        let Some(shared) = &self.0 else { return Ok(()) };
        let (done, response) = oneshot::channel();
        let completed = async {
            shared.requests.send(request(done)).await.map_err(|_| ())?;
            response.await.map_err(|_| ())
        };
        timeout(limit, completed).await.unwrap_or(Err(()))
    }
}

impl Shipper {
    /// A shipper and the handle to it. Reads the cursors; makes no call.
    pub fn new(options: ShipperOptions<'_>) -> (Self, Shipping) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let shared = Arc::new(Shared {
            requests: sender,
            list_soon: Notify::new(),
            list_later: Notify::new(),
            numbers: Numbers::default(),
        });
        let context = FollowerContext {
            runtime: options.runtime.clone(),
            cursors: Arc::new(Cursors::open(options.state_directory)),
            batch_bytes_max: Arc::new(AtomicUsize::new(BATCH_BYTES_MAX)),
        };
        let shipper = Self {
            runtime: options.runtime,
            owner: options.owner,
            aws: options.aws,
            group: options.group.to_owned(),
            context,
            shared: shared.clone(),
            requests,
            service: None,
            followers: HashMap::new(),
            tasks: Tasks::new(),
            is_list_failing: false,
        };
        (shipper, Shipping(Some(shared)))
    }

    /// Runs until [`Shipping::close`]. Dropping the future stops shipping; nothing is lost.
    ///
    /// Groups are in the region of the tenant, so nothing is shipped before `app` is known.
    pub async fn run(mut self, mut app: watch::Receiver<Option<Arc<App>>>) {
        let Some(region) = self.region(&mut app).await else { return };
        self.service = Some(Arc::new(LogService::new(self.aws.clone(), &region)));
        let mut save = interval(SAVE_EVERY);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let shared = self.shared.clone();
        let (mut list_at, mut not_before) = (Instant::now(), Instant::now() + LIST_FIRST);
        loop {
            // All arms are cancel-safe.
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Finish { ids, done }) => self.finish(ids, done).await,
                    Some(Request::Close { done }) => return self.close(done).await,
                    None => return,
                },
                () = shared.list_soon.notified() => list_at = list_at.min(Instant::now() + LIST_SOON),
                () = shared.list_later.notified() => list_at = list_at.min(Instant::now() + LIST_LATER),
                () = sleep_until(list_at.max(not_before)) => {
                    let began = Instant::now();
                    self.list_containers().await;
                    not_before = Instant::now() + (LIST_PAUSE_FACTOR * began.elapsed()).min(LIST_PAUSE_MAX);
                    list_at = Instant::now() + LIST_EVERY;
                }
                _ = save.tick() => self.context.cursors.save().await,
            }
        }
    }

    /// Waits for the tenant's region; `None` if the shipper is closed before.
    async fn region(&mut self, app: &mut watch::Receiver<Option<Arc<App>>>) -> Option<String> {
        loop {
            // Both arms are cancel-safe.
            let request = tokio::select! {
                known = app.wait_for(Option::is_some) => return Some(known.ok()?.as_ref()?.tenant.region.clone()),
                request = self.requests.recv() => request?,
            };
            // Nothing has been read, so there is nothing to wait for.
            match request {
                Request::Finish { done, .. } => {
                    let _ = done.send(());
                }
                Request::Close { done } => {
                    let _ = done.send(());
                    return None;
                }
            }
        }
    }

    /// Lists the containers of the engine, and starts or ends followers.
    async fn list_containers(&mut self) {
        let listed = match timeout(LIST_LIMIT, self.runtime.list(&self.owner)).await {
            Ok(Ok(listed)) => listed,
            Ok(Err(error)) => return self.list_failed(&chain(&error)),
            Err(_) => return self.list_failed("no response in time"),
        };
        self.is_list_failing = false;
        for container in &listed {
            self.observe(container);
        }
        let is_there = |id: &str| listed.iter().any(|container| container.id.0 == id);
        for (id, followed) in &self.followers {
            if !is_there(&id.0) {
                followed
                    .lifecycle
                    .send_if_modified(|known| std::mem::replace(known, Lifecycle::Removed) != Lifecycle::Removed);
            }
        }
        self.followers.retain(|_, followed| !followed.requests.is_closed());
        self.shared.numbers.retain(|node| self.followers.values().any(|followed| followed.node == *node));
        let followers = &self.followers;
        self.context.cursors.retain(|id| is_there(id) || followers.contains_key(&ContainerId(id.to_owned())));
        let share = BATCHES_BYTES_MAX / (BATCHES_OF_A_NODE * self.followers.len().max(1));
        self.context.batch_bytes_max.store(share, Ordering::Relaxed);
    }

    fn list_failed(&mut self, error: &str) {
        if !std::mem::replace(&mut self.is_list_failing, true) {
            debug!(error, "containers cannot be listed for their logs");
        }
    }

    fn observe(&mut self, container: &Container) {
        let Some(node) = node_of(container) else { return };
        let lifecycle =
            Lifecycle::Present { started_at: container.started_at, is_running: container.state.is_running() };
        match self.followers.get(&container.id) {
            Some(followed) => {
                followed.lifecycle.send_if_modified(|known| std::mem::replace(known, lifecycle.clone()) != lifecycle);
            }
            None => self.follow(container.id.clone(), node, lifecycle),
        }
    }

    fn follow(&mut self, id: ContainerId, node: NodeName, lifecycle: Lifecycle) {
        let Some(service) = self.service.clone() else { return };
        let group = names::log_group(&self.group, node.as_str());
        let counter = self.shared.numbers.counter(&node);
        let delivery = Delivery::new(service, &group, counter.another());
        let follower = Follower::new(&self.context, id.clone(), node.clone(), counter, delivery);
        let (requests, request_receiver) = mpsc::channel(FOLLOWER_REQUESTS_MAX);
        let (lifecycle, lifecycle_receiver) = watch::channel(lifecycle);
        debug!(node = %node, container = %id, group, "the node's log is followed");
        self.tasks.spawn("node-log", follower.run(request_receiver, lifecycle_receiver));
        self.followers.insert(id, Followed { node, requests, lifecycle });
    }

    /// A container without a follower may have been created and have ended since the last list.
    async fn finish(&mut self, ids: Vec<ContainerId>, done: oneshot::Sender<()>) {
        if ids.iter().any(|id| !self.followers.contains_key(id)) {
            self.list_containers().await;
        }
        let followed = ids.iter().filter_map(|id| self.followers.get(id));
        let ends: Vec<_> = followed.map(|followed| request_flush(followed, true)).collect();
        let all = async move {
            // A follower that has ended has nothing to ship.
            let _ = timeout(REMOVAL_WAIT, join_all(ends)).await.map(|_| done.send(()));
        };
        self.tasks.spawn("finish-node-logs", all);
    }

    async fn close(mut self, done: oneshot::Sender<()>) {
        let until = Instant::now() + CLOSE_WAIT;
        let _ = timeout_at(until, self.list_containers()).await;
        let ends =
            self.followers.values().map(|followed| request_flush(followed, !followed.lifecycle.borrow().is_running()));
        let is_done = timeout_at(until, join_all(ends.collect::<Vec<_>>())).await.is_ok();
        self.context.cursors.save().await;
        self.tasks.shutdown().await;
        if is_done {
            info!("all output of nodes is in CloudWatch");
            let _ = done.send(());
        }
    }
}

/// Requests that a follower ships all output. Completes when it has, or when the follower has ended.
fn request_flush(followed: &Followed, is_stopped: bool) -> impl Future<Output = ()> + Send + 'static {
    let (done, response) = oneshot::channel();
    let requests = followed.requests.clone();
    async move {
        if requests.send(FollowerRequest { is_stopped, done }).await.is_ok() {
            let _ = response.await;
        }
    }
}

/// The node of a container whose output the engine keeps for this daemon.
fn node_of(container: &Container) -> Option<NodeName> {
    let keeps = SpecRecord::from_labels(&container.labels).is_some_and(|record| record.keeps_output());
    NodeName::new(container.labels.get(labels::NODE).filter(|_| keeps)?.as_str()).ok()
}

#[cfg(test)]
mod tests;
