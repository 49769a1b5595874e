//! Ships the output of all nodes: starts a follower for each own container whose output the engine keeps. Which containers
//! there are, and which of them run, is known from the driver; the shipper only reads logs.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use futures_util::future::join_all;
use managed_app_runtimes::{ContainerId, ContainerState, Instance, Instances, OutputShipper, WorkloadEngine, names};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tracing::{debug, info, warn};

use super::batch::BATCH_BYTES_MAX;
use super::cursors::Cursors;
use super::deliver::{Delivery, LogService};
use super::follow::{Follower, FollowerContext, FollowerRequest, Lifecycle};
use crate::cloud::Aws;
use crate::model::{App, NodeName};
use crate::status::Numbers;
use crate::tasks::Tasks;

/// Limit for which the removal of a container waits until its output is in CloudWatch. After that, output that was read
/// is still shipped; output that was not read is lost.
pub const REMOVAL_WAIT: Duration = Duration::from_secs(10);
/// Limit for which the end of the daemon waits until the output of its nodes is in CloudWatch. The next daemon ships
/// the rest.
pub const CLOSE_WAIT: Duration = Duration::from_secs(10);
/// Added to it for the request and its response.
const CLOSE_MARGIN: Duration = Duration::from_millis(200);
/// Bytes of all batches that are being filled, wait, or are being sent; each node has up to three. A batch always has
/// room for the largest event.
const BATCHES_BYTES_MAX: usize = 64 * 1024 * 1024;
const BATCHES_OF_A_NODE: usize = 3;
/// Delay of the first followers after the app is known. The engine starts containers then, and two requests for each
/// followed container would slow this down.
const FOLLOW_FIRST: Duration = Duration::from_millis(500);
/// Delay of followers after a change of the containers: those that start together are followed together.
const FOLLOW_DELAY: Duration = Duration::from_millis(200);
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
    pub engine: Arc<dyn WorkloadEngine>,
    /// AWS.
    pub aws: Arc<Aws>,
    /// The daemon's log group; the names of the log groups of nodes begin with it.
    pub group: &'a str,
    /// Where cursors are stored.
    pub state_directory: &'a Path,
}

/// Ships the output of all nodes; [`Shipper::run`] is its task.
pub struct Shipper {
    aws: Arc<Aws>,
    group: String,
    context: FollowerContext,
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
    service: Option<Arc<LogService>>,
    followers: HashMap<ContainerId, Followed>,
    tasks: Tasks,
}

/// A container that is followed.
struct Followed {
    node: NodeName,
    requests: mpsc::Sender<FollowerRequest>,
    lifecycle: watch::Sender<Lifecycle>,
}

/// The requests of a [`Shipping`], for [`Shipper::new`].
#[derive(Debug)]
pub struct ShippingRequests {
    shared: Arc<Shared>,
    requests: mpsc::Receiver<Request>,
}

impl Shipping {
    /// A handle, and its requests.
    pub fn new() -> (Self, ShippingRequests) {
        let (sender, requests) = mpsc::channel(REQUESTS_MAX);
        let shared = Arc::new(Shared { requests: sender, numbers: Numbers::default() });
        (Self(Some(shared.clone())), ShippingRequests { shared, requests })
    }

    /// A handle without a shipper: calls do nothing and return at once.
    pub fn off() -> Self {
        Self(None)
    }

    /// The numbers of each node; empty without a shipper.
    pub fn numbers(&self) -> Numbers {
        self.0.as_ref().map(|shared| shared.numbers.clone()).unwrap_or_default()
    }

    /// Waits until all output so far is in CloudWatch, and ends the shipper. Takes slightly more than [`CLOSE_WAIT`] at
    /// most.
    pub async fn close(&self) {
        if self.request(CLOSE_WAIT + CLOSE_MARGIN, |done| Request::Close { done }).await.is_err() {
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

#[async_trait]
impl OutputShipper for Shipping {
    /// The limit is [`REMOVAL_WAIT`].
    async fn finish(&self, ids: &[ContainerId]) {
        let ids = ids.to_vec();
        if self.request(REMOVAL_WAIT, |done| Request::Finish { ids, done }).await.is_err() {
            warn!("containers are removed before all their output is in CloudWatch: the wait exceeded its limit");
        }
    }
}

impl Shipper {
    /// A shipper for the requests of a handle. Reads the cursors; makes no call.
    pub fn new(options: ShipperOptions<'_>, requests: ShippingRequests) -> Self {
        let ShippingRequests { shared, requests } = requests;
        let context = FollowerContext {
            engine: options.engine,
            cursors: Arc::new(Cursors::open(options.state_directory)),
            batch_bytes_max: Arc::new(AtomicUsize::new(BATCH_BYTES_MAX)),
        };
        Self {
            aws: options.aws,
            group: options.group.to_owned(),
            context,
            shared,
            requests,
            service: None,
            followers: HashMap::new(),
            tasks: Tasks::new(),
        }
    }

    /// Runs until [`Shipping::close`]. Dropping the future stops shipping; nothing is lost.
    ///
    /// Groups are in the region of the tenant, so nothing is shipped before `app` is known.
    pub async fn run(
        mut self,
        mut app: watch::Receiver<Option<Arc<App>>>,
        mut containers: watch::Receiver<Option<Instances>>,
    ) {
        let Some(region) = self.region(&mut app).await else { return };
        self.service = Some(Arc::new(LogService::new(self.aws.clone(), &region)));
        let mut save = interval(SAVE_EVERY);
        save.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut follow_at = Some(Instant::now() + FOLLOW_FIRST);
        loop {
            // All arms are cancel-safe. The driver may end before the shipper.
            tokio::select! {
                request = self.requests.recv() => {
                    self.follow_all(&containers.borrow_and_update());
                    match request {
                        Some(Request::Finish { ids, done }) => self.finish(&ids, done),
                        Some(Request::Close { done }) => return self.close(done).await,
                        None => return,
                    }
                }
                Ok(()) = containers.changed() => {
                    follow_at.get_or_insert(Instant::now() + FOLLOW_DELAY);
                }
                () = due(follow_at) => {
                    follow_at = None;
                    self.follow_all(&containers.borrow_and_update());
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

    /// Starts and ends followers. `None`: the containers are not known yet.
    fn follow_all(&mut self, containers: &Option<Instances>) {
        let Some(containers) = containers else { return };
        for (id, container) in containers.iter().filter(|(_, container)| container.keeps_output()) {
            self.observe(id, container);
        }
        for (id, followed) in &self.followers {
            if !containers.contains_key(id) {
                followed.set(Lifecycle::Removed);
            }
        }
        self.followers.retain(|_, followed| !followed.requests.is_closed());
        let nodes: HashSet<&NodeName> = self.followers.values().map(|followed| &followed.node).collect();
        self.shared.numbers.retain(|node| nodes.contains(node));
        let followers = &self.followers;
        self.context.cursors.retain(|id| {
            let id = ContainerId(id.to_owned());
            containers.contains_key(&id) || followers.contains_key(&id)
        });
        let share = BATCHES_BYTES_MAX / (BATCHES_OF_A_NODE * self.followers.len().max(1));
        self.context.batch_bytes_max.store(share, Ordering::Relaxed);
    }

    /// A container that was never started has no output.
    fn observe(&mut self, id: &ContainerId, instance: &Instance) {
        let Instance { node, state, started_at, .. } = instance;
        let lifecycle = Lifecycle::Present { started_at: *started_at, is_running: state.is_running() };
        match self.followers.get(id) {
            Some(followed) => followed.set(lifecycle),
            None if *state == ContainerState::Created => {}
            None => {
                // Others may have created a container whose node has an impossible name.
                if let Ok(node) = NodeName::new(node.clone()) {
                    self.follow(id.clone(), node, lifecycle);
                }
            }
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

    fn finish(&mut self, ids: &[ContainerId], done: oneshot::Sender<()>) {
        let followed = ids.iter().filter_map(|id| self.followers.get(id));
        let ends: Vec<_> = followed.map(|followed| request_flush(followed, true)).collect();
        let all = async move {
            // A follower that has ended has nothing to ship.
            let _ = timeout(REMOVAL_WAIT, join_all(ends)).await.map(|_| done.send(()));
        };
        self.tasks.spawn("finish-node-logs", all);
    }

    async fn close(self, done: oneshot::Sender<()>) {
        let ends =
            self.followers.values().map(|followed| request_flush(followed, !followed.lifecycle.borrow().is_running()));
        let is_done = timeout(CLOSE_WAIT, join_all(ends.collect::<Vec<_>>())).await.is_ok();
        self.context.cursors.save().await;
        self.tasks.shutdown().await;
        if is_done {
            info!("all output of nodes is in CloudWatch");
            let _ = done.send(());
        }
    }
}

impl Followed {
    fn set(&self, lifecycle: Lifecycle) {
        self.lifecycle.send_if_modified(|known| {
            let is_new = *known != lifecycle;
            *known = lifecycle;
            is_new
        });
    }
}

/// Never ends if there is no time.
async fn due(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
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

#[cfg(test)]
mod tests;
