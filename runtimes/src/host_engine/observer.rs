//! The only observer of the containers of an owner: lists them, makes the calls that change them, and publishes what is
//! known.
//!
//! A list is the truth of the time at which it was requested, and the result of a call is a fact from then on. So a list
//! does not affect a container that a call has changed since the list was requested. Engine events are not a source.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use super::RevisionStore;
use crate::labels::{self, SpecRecord};
use crate::workload::{Instance, Instances};
use crate::{
    ContainerId, ContainerRuntime, ContainerSpec, ContainerState, ErrorKind, ImageId, Origin, Owner, PortBinding,
    Result, RuntimeError,
};

/// The longest wait for a list, in line and for the engine.
const LIST_LIMIT: Duration = Duration::from_secs(90);

/// The observer of the containers of one owner.
#[derive(Debug)]
pub(super) struct Observer {
    runtime: Arc<dyn ContainerRuntime>,
    owner: Owner,
    store: Arc<dyn RevisionStore>,
    /// The newest shared list, and when it was requested. Locked while the engine lists.
    newest: tokio::sync::Mutex<Option<(Instant, Arc<Vec<Instance>>)>>,
    order: Mutex<Order>,
    known: watch::Sender<Option<Instances>>,
}

/// The order of lists and results of calls.
#[derive(Debug, Default)]
struct Order {
    /// Counts requests of lists and results of calls.
    clock: u64,
    /// When the newest list that was published was requested.
    list: u64,
    /// When calls have changed containers since then.
    changed: HashMap<ContainerId, u64>,
}

impl Order {
    fn tick(&mut self) -> u64 {
        self.clock += 1;
        self.clock
    }
}

impl Observer {
    /// An observer that knows nothing yet.
    pub(super) fn new(runtime: Arc<dyn ContainerRuntime>, owner: Owner, store: Arc<dyn RevisionStore>) -> Self {
        Self {
            runtime,
            owner,
            store,
            newest: tokio::sync::Mutex::default(),
            order: Mutex::default(),
            known: watch::Sender::new(None),
        }
    }

    /// What is known; `None` before the first list.
    pub(super) fn subscribe(&self) -> watch::Receiver<Option<Instances>> {
        self.known.subscribe()
    }

    /// Whether this container is known not to run.
    pub(super) fn is_stopped(&self, id: &ContainerId) -> bool {
        let known = self.known.borrow();
        let container = known.as_ref().and_then(|known| known.get(id));
        container.is_some_and(|c| matches!(c.state, ContainerState::Created | ContainerState::Exited { .. }))
    }

    /// The known containers of `node`.
    pub(super) fn of_node(&self, node: &str) -> Vec<Instance> {
        let known = self.known.borrow();
        known.iter().flat_map(Instances::values).filter(|instance| instance.node == node).cloned().collect()
    }

    /// A known container.
    pub(super) fn get(&self, id: &ContainerId) -> Option<Instance> {
        self.known.borrow().as_ref()?.get(id).cloned()
    }

    /// Whether a container of another node has one of these host ports.
    pub(super) fn is_held_by_others(&self, ports: &[PortBinding], node: &str) -> bool {
        let known = self.known.borrow();
        let mut others = known.iter().flat_map(Instances::values).filter(|other| other.node != node && other.is_up());
        let holds = |other: &Instance, port| other.record.as_ref().is_some_and(|record| record.publishes(port));
        others.any(|other| ports.iter().any(|port| holds(other, port)))
    }

    /// Lists the containers. State of removed ones is dropped at the first list.
    pub(super) async fn list(&self) -> Result<Vec<Instance>> {
        let requested = self.order().tick();
        let listed = self.runtime.list(&self.owner).await?;
        let is_first = self.known.borrow().is_none();
        if is_first {
            self.store.retain(&listed.iter().map(|container| container.id.clone()).collect());
        }
        // All operations record revisions, also those whose response was lost. A later start by somebody else has read
        // the recorded revision or a newer one.
        let mut revisions = self.store.revisions();
        let instances: Vec<Instance> = {
            let known = self.known.borrow();
            let known_of = |id: &ContainerId| known.as_ref().and_then(|known| known.get(id));
            let instance = |container: crate::Container| {
                let (known, revision) = (known_of(&container.id), revisions.remove(&container.id));
                Instance::new(container, known, revision)
            };
            listed.into_iter().filter_map(instance).collect()
        };
        self.publish(&instances, requested);
        Ok(instances)
    }

    /// A list that was requested after this call: one list serves all callers that waited for the previous one.
    pub(super) async fn shared_list(&self) -> Result<Arc<Vec<Instance>>> {
        let requested_at = Instant::now();
        let list = async {
            let mut newest = self.newest.lock().await;
            if let Some((began, found)) = &*newest
                && *began > requested_at
            {
                return Ok(found.clone());
            }
            let began = Instant::now();
            let found = Arc::new(self.list().await?);
            *newest = Some((began, found.clone()));
            Ok(found)
        };
        let timed_out = |_| RuntimeError::new(ErrorKind::TimedOut, "list containers of app", &self.owner.app);
        timeout(LIST_LIMIT, list).await.map_err(timed_out)?
    }

    /// As [`ContainerRuntime::create`], for a spec with this record.
    pub(super) async fn create(&self, spec: &ContainerSpec, record: Arc<SpecRecord>) -> Result<ContainerId> {
        let id = self.runtime.create(spec).await?;
        let instance = Instance {
            id: id.clone(),
            node: spec.labels.get(labels::NODE).cloned().unwrap_or_default(),
            name: spec.name.clone(),
            image_id: ImageId(String::new()),
            state: ContainerState::Created,
            origin: Origin::Labelled,
            networks: vec![spec.network.clone()],
            record: Some(record),
            revision: None,
            started_at: None,
            restarts: None,
            last_exit: None,
        };
        self.record(&id, |known| drop(known.insert(id.clone(), instance)));
        Ok(id)
    }

    /// The image of a container that was just created.
    pub(super) fn record_image(&self, id: &ContainerId, image_id: ImageId) {
        self.change(id, |instance| instance.image_id = image_id);
    }

    /// As [`ContainerRuntime::rename`].
    pub(super) async fn rename(&self, id: &ContainerId, name: &str) -> Result<()> {
        self.runtime.rename(id, name).await?;
        self.change(id, |instance| name.clone_into(&mut instance.name));
        Ok(())
    }

    /// As [`ContainerRuntime::start`].
    pub(super) async fn start(&self, id: &ContainerId) -> Result<()> {
        self.runtime.start(id).await?;
        self.record_start(id);
        Ok(())
    }

    /// As [`ContainerRuntime::restart`].
    pub(super) async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        self.runtime.restart(id, grace).await?;
        self.record_start(id);
        Ok(())
    }

    /// As [`ContainerRuntime::stop`]. An absent container is `Ok`.
    pub(super) async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<()> {
        match self.runtime.stop(id, grace).await {
            Err(error) if error.kind() == ErrorKind::NotFound => self.record_removal(id),
            stopped => {
                stopped?;
                self.change(id, |instance| instance.state = ContainerState::Exited { code: None });
            }
        }
        Ok(())
    }

    /// As [`ContainerRuntime::remove`].
    pub(super) async fn remove(&self, id: &ContainerId) -> Result<()> {
        self.runtime.remove(id).await?;
        self.record_removal(id);
        Ok(())
    }

    fn record_start(&self, id: &ContainerId) {
        self.change(id, |instance| {
            // A restart resets the engine's count. A container that had exited may have been started by the engine before.
            let is_reset = instance.state.is_running() || instance.state == ContainerState::Created;
            instance.restarts = is_reset.then_some(0);
            instance.state = ContainerState::Running;
            instance.started_at = None;
        });
    }

    fn change(&self, id: &ContainerId, change: impl FnOnce(&mut Instance)) {
        self.record(id, |known| drop(known.entry(id.clone()).and_modify(change)));
    }

    fn record_removal(&self, id: &ContainerId) {
        self.record(id, |known| drop(known.remove(id)));
    }

    /// Records the result of a call. Before the first list there is nothing to change.
    fn record(&self, id: &ContainerId, change: impl FnOnce(&mut Instances)) {
        let mut order = self.order();
        let now = order.tick();
        order.changed.insert(id.clone(), now);
        self.known.send_if_modified(|known| known.as_mut().map(change).is_some());
    }

    fn publish(&self, listed: &[Instance], requested: u64) {
        let mut order = self.order();
        if requested < order.list {
            return;
        }
        order.list = requested;
        order.changed.retain(|_, at| *at > requested);
        let changed = &order.changed;
        self.known.send_if_modified(|known| {
            let unchanged = listed.iter().filter(|instance| !changed.contains_key(&instance.id));
            let mut after: Instances = unchanged.map(|instance| (instance.id.clone(), instance.clone())).collect();
            let before = known.iter().flatten();
            let kept = before.filter(|(id, _)| changed.contains_key(id));
            after.extend(kept.map(|(id, instance)| (id.clone(), instance.clone())));
            let is_new = known.as_ref() != Some(&after);
            *known = Some(after);
            is_new
        });
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
