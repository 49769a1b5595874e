//! Ships the output of all nodes: sees to it that each of our containers whose output the engine keeps has a follower.
//!
//! The list of the engine is the truth; events, and those who are about to remove a container, make it be read at once.

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
use crate::driver::chain;
use crate::model::{App, NodeName};
use crate::tasks::Tasks;

/// How long a container that is to be removed is kept until its output is in CloudWatch. What was read by then is still
/// shipped; what was not is lost.
pub const REMOVAL_WAIT: Duration = Duration::from_secs(10);
/// How long the daemon stays at its end until the output of its nodes is in CloudWatch. What is not then is shipped by the
/// next daemon.
pub const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// Bytes of all batches together that are filled, wait, or are on their way; each node has up to three. A node always gets
/// room for the largest event.
const BATCHES_BYTES_MAX: usize = 64 * 1024 * 1024;
const BATCHES_OF_A_NODE: usize = 3;
/// How often containers are looked for without being told.
const LOOK_EVERY: Duration = Duration::from_secs(60);
/// How soon after the app is known containers are looked for first: the engine has a start to do just then, which a list, and
/// two questions about each container that is followed, would make longer.
const LOOK_FIRST: Duration = Duration::from_millis(500);
/// How soon containers are looked for when one was started.
const LOOK_SOON: Duration = Duration::from_millis(200);
/// The same when something else happened. By then a replacement has mostly started the next container: a list in between,
/// for which Podman takes the locks of all containers, would add to the time in which the node is down.
const LOOK_LATER: Duration = Duration::from_secs(1);
/// The pause after a look, in times of what it took: a list of many containers is work for an engine that may have other
/// work to do just then.
const LOOK_PAUSE_TIMES: u32 = 10;
/// The longest such pause: an engine that hung and is well again is not held against it.
const LOOK_PAUSE_MAX: Duration = Duration::from_secs(10);
/// The longest wait for a list of containers.
const LOOK_LIMIT: Duration = Duration::from_secs(30);
/// How often cursors are written down when no follower waits for that.
const SAVE_EVERY: Duration = Duration::from_secs(1);
/// Requests that may wait.
const REQUESTS_MAX: usize = 64;
/// Orders that may wait for a follower.
const ORDERS_MAX: usize = 8;

/// A handle to the shipper, for those who have something to tell it or to wait for. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Shipping(Option<Arc<Line>>);

#[derive(Debug)]
struct Line {
    requests: mpsc::Sender<Request>,
    look_soon: Notify,
    look_later: Notify,
    numbers: Numbers,
}

#[derive(Debug)]
enum Request {
    /// These containers have stopped and are to be removed.
    Finish { ids: Vec<ContainerId>, done: oneshot::Sender<()> },
    /// The daemon ends.
    Close { done: oneshot::Sender<()> },
}

/// What the shipper needs to know.
#[derive(Debug)]
pub struct ShipperOptions<'a> {
    /// The engine.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// Whose containers.
    pub owner: Owner,
    /// AWS.
    pub aws: Arc<Aws>,
    /// The daemon's own log group; those of nodes are named after it.
    pub group: &'a str,
    /// Where to remember how far the output is shipped.
    pub state_directory: &'a Path,
}

/// Ships the output of all nodes; [`Shipper::run`] is its task.
pub struct Shipper {
    runtime: Arc<dyn ContainerRuntime>,
    owner: Owner,
    aws: Arc<Aws>,
    group: String,
    context: FollowerContext,
    line: Arc<Line>,
    requests: mpsc::Receiver<Request>,
    service: Option<Arc<LogService>>,
    followers: HashMap<ContainerId, Followed>,
    tasks: Tasks,
    is_list_failing: bool,
}

/// A container that is followed.
struct Followed {
    node: NodeName,
    orders: mpsc::Sender<FollowerRequest>,
    life: watch::Sender<Lifecycle>,
}

impl Shipping {
    /// Nothing is shipped: every word to it does nothing, and nobody waits.
    pub fn off() -> Self {
        Self(None)
    }

    /// Something happened to a container; `has_begun`: there may be output that nobody follows yet.
    pub fn look(&self, has_begun: bool) {
        if let Some(line) = &self.0 {
            if has_begun { &line.look_soon } else { &line.look_later }.notify_one();
        }
    }

    /// What became of the output of each node; empty when nothing is shipped.
    pub fn numbers(&self) -> Numbers {
        self.0.as_ref().map(|line| line.numbers.clone()).unwrap_or_default()
    }

    /// Waits until all output of these containers, which have stopped and are to be removed, is in CloudWatch; at most
    /// [`REMOVAL_WAIT`].
    pub async fn finish(&self, ids: &[ContainerId]) {
        let ids = ids.to_vec();
        if self.ask(REMOVAL_WAIT, |done| Request::Finish { ids, done }).await.is_err() {
            warn!("containers are removed before all their output is in CloudWatch, as that takes too long");
        }
    }

    /// Waits until all output so far is in CloudWatch, and ends the shipper; at most [`CLOSE_WAIT`] and a moment.
    pub async fn close(&self) {
        if self.ask(CLOSE_WAIT + LOOK_SOON, |done| Request::Close { done }).await.is_err() {
            warn!("not all output of nodes is in CloudWatch; the next daemon goes on where this one ended");
        }
    }

    async fn ask(&self, limit: Duration, request: impl FnOnce(oneshot::Sender<()>) -> Request) -> Result<(), ()> {
        let Some(line) = &self.0 else { return Ok(()) };
        let (done, answer) = oneshot::channel();
        let asked = async {
            line.requests.send(request(done)).await.map_err(|_| ())?;
            answer.await.map_err(|_| ())
        };
        timeout(limit, asked).await.unwrap_or(Err(()))
    }
}

impl Shipper {
    /// A shipper and the handle to it. Reads the cursors; makes no call.
    pub fn new(options: ShipperOptions<'_>) -> (Self, Shipping) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let line = Arc::new(Line {
            requests: sender,
            look_soon: Notify::new(),
            look_later: Notify::new(),
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
            line: line.clone(),
            requests,
            service: None,
            followers: HashMap::new(),
            tasks: Tasks::new(),
            is_list_failing: false,
        };
        (shipper, Shipping(Some(line)))
    }

    /// Runs until the handle's [`Shipping::close`]. Dropping the future ends all shipping where it is; nothing is lost.
    ///
    /// Groups are in the region of the tenant, so that nothing is shipped before `app` is known.
    pub async fn run(mut self, mut app: watch::Receiver<Option<Arc<App>>>) {
        let Some(region) = self.region(&mut app).await else { return };
        self.service = Some(Arc::new(LogService::new(self.aws.clone(), &region)));
        let mut save = interval(SAVE_EVERY);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let line = self.line.clone();
        let (mut look_at, mut not_before) = (Instant::now(), Instant::now() + LOOK_FIRST);
        loop {
            // All arms are cancel-safe.
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(Request::Finish { ids, done }) => self.finish(ids, done).await,
                    Some(Request::Close { done }) => return self.close(done).await,
                    None => return,
                },
                () = line.look_soon.notified() => look_at = look_at.min(Instant::now() + LOOK_SOON),
                () = line.look_later.notified() => look_at = look_at.min(Instant::now() + LOOK_LATER),
                () = sleep_until(look_at.max(not_before)) => {
                    let began = Instant::now();
                    self.look().await;
                    not_before = Instant::now() + (LOOK_PAUSE_TIMES * began.elapsed()).min(LOOK_PAUSE_MAX);
                    look_at = Instant::now() + LOOK_EVERY;
                }
                _ = save.tick() => self.context.cursors.save().await,
            }
        }
    }

    /// Waits for the tenant's region; `None` when the shipper is told to end first.
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

    /// Compares what is followed with what the engine has.
    async fn look(&mut self) {
        let listed = match timeout(LOOK_LIMIT, self.runtime.list(&self.owner)).await {
            Ok(Ok(listed)) => listed,
            Ok(Err(error)) => return self.list_failed(&chain(&error)),
            Err(_) => return self.list_failed("no answer in time"),
        };
        self.is_list_failing = false;
        for container in &listed {
            self.see(container);
        }
        let is_there = |id: &str| listed.iter().any(|container| container.id.0 == id);
        for (id, followed) in &self.followers {
            if !is_there(&id.0) {
                followed.life.send_if_modified(|life| std::mem::replace(life, Lifecycle::Gone) != Lifecycle::Gone);
            }
        }
        self.followers.retain(|_, followed| !followed.orders.is_closed());
        self.line.numbers.retain(|node| self.followers.values().any(|followed| followed.node == *node));
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

    fn see(&mut self, container: &Container) {
        let Some(node) = node_of(container) else { return };
        let life = Lifecycle::There { started_at: container.started_at, is_running: container.state.is_running() };
        match self.followers.get(&container.id) {
            Some(followed) => {
                followed.life.send_if_modified(|known| std::mem::replace(known, life.clone()) != life);
            }
            None => self.follow(container.id.clone(), node, life),
        }
    }

    fn follow(&mut self, id: ContainerId, node: NodeName, life: Lifecycle) {
        let Some(service) = self.service.clone() else { return };
        let group = names::log_group(&self.group, node.as_str());
        let counter = self.line.numbers.counter(&node);
        let delivery = Delivery::new(service, &group, counter.another());
        let follower = Follower::new(&self.context, id.clone(), node.clone(), counter, delivery);
        let (orders, order_receiver) = mpsc::channel(ORDERS_MAX);
        let (life, life_receiver) = watch::channel(life);
        debug!(node = %node, container = %id, group, "the node's log is followed");
        self.tasks.spawn("node-log", follower.run(order_receiver, life_receiver));
        self.followers.insert(id, Followed { node, orders, life });
    }

    /// A container that is not followed yet may have been made and have ended since the last look.
    async fn finish(&mut self, ids: Vec<ContainerId>, done: oneshot::Sender<()>) {
        if ids.iter().any(|id| !self.followers.contains_key(id)) {
            self.look().await;
        }
        let followed = ids.iter().filter_map(|id| self.followers.get(id));
        let ends: Vec<_> = followed.map(|followed| order(followed, true)).collect();
        let all = async move {
            // A follower that has ended has no more to ship.
            let _ = timeout(REMOVAL_WAIT, join_all(ends)).await.map(|_| done.send(()));
        };
        self.tasks.spawn("finish-node-logs", all);
    }

    async fn close(mut self, done: oneshot::Sender<()>) {
        let until = Instant::now() + CLOSE_WAIT;
        let _ = timeout_at(until, self.look()).await;
        let ends = self.followers.values().map(|followed| order(followed, !followed.life.borrow().is_running()));
        let is_done = timeout_at(until, join_all(ends.collect::<Vec<_>>())).await.is_ok();
        self.context.cursors.save().await;
        self.tasks.shutdown().await;
        if is_done {
            info!("all output of nodes is in CloudWatch");
            let _ = done.send(());
        }
    }
}

/// Asks a follower to ship all it can; the answer comes when that is done, or when it has ended.
fn order(followed: &Followed, is_stopped: bool) -> impl Future<Output = ()> + Send + 'static {
    let (done, answer) = oneshot::channel();
    let orders = followed.orders.clone();
    async move {
        if orders.send(FollowerRequest { is_stopped, done }).await.is_ok() {
            let _ = answer.await;
        }
    }
}

/// The node of a container whose output the engine keeps for us.
fn node_of(container: &Container) -> Option<NodeName> {
    let keeps = SpecRecord::from_labels(&container.labels).is_some_and(|record| record.keeps_output());
    NodeName::new(container.labels.get(labels::NODE).filter(|_| keeps)?.as_str()).ok()
}

#[cfg(test)]
mod tests;
