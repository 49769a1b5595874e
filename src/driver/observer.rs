//! The only observer of containers: lists them, makes the calls that start and end them, and publishes what is known.
//!
//! A list is the truth of the time at which it was requested, and the result of a call is a fact from then on. So a list
//! does not affect a container that a call has changed since the list was requested. Engine events are not a source.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use managed_app_runtimes::{
    Container, ContainerId, ContainerRuntime, ContainerSpec, ContainerState, ErrorKind, Owner, RuntimeError, labels,
};
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::model::{NodeContainer, NodeContainers, NodeName};

/// The longest wait for a list, in line and for the engine.
const LIST_LIMIT: Duration = Duration::from_secs(90);

/// The observer of the containers of one owner.
#[derive(Debug)]
pub struct ContainerObserver {
    runtime: Arc<dyn ContainerRuntime>,
    owner: Owner,
    /// The newest shared list, and when it was requested. Locked while the engine lists.
    newest: tokio::sync::Mutex<Option<(Instant, Arc<Vec<Container>>)>>,
    order: Mutex<Order>,
    known: watch::Sender<Option<NodeContainers>>,
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

impl ContainerObserver {
    /// An observer that knows nothing yet.
    pub fn new(runtime: Arc<dyn ContainerRuntime>, owner: Owner) -> Self {
        Self {
            runtime,
            owner,
            newest: tokio::sync::Mutex::default(),
            order: Mutex::default(),
            known: watch::Sender::new(None),
        }
    }

    /// What is known; `None` before the first list.
    pub fn subscribe(&self) -> watch::Receiver<Option<NodeContainers>> {
        self.known.subscribe()
    }

    /// Whether this container is known not to run.
    pub fn is_stopped(&self, id: &ContainerId) -> bool {
        let known = self.known.borrow();
        let container = known.as_ref().and_then(|known| known.get(id));
        container.is_some_and(|c| matches!(c.state, ContainerState::Created | ContainerState::Exited { .. }))
    }

    /// Lists the containers.
    pub async fn list(&self) -> Result<Vec<Container>, RuntimeError> {
        let requested = self.order().tick();
        let listed = self.runtime.list(&self.owner).await?;
        self.publish(&listed, requested);
        Ok(listed)
    }

    /// A list that was requested after this call: one list serves all callers that waited for the previous one.
    pub async fn shared_list(&self) -> Result<Arc<Vec<Container>>, RuntimeError> {
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

    /// As [`ContainerRuntime::create`].
    pub async fn create(&self, spec: &ContainerSpec) -> Result<ContainerId, RuntimeError> {
        let id = self.runtime.create(spec).await?;
        let node = spec.labels.get(labels::NODE).and_then(|name| NodeName::new(name.clone()).ok());
        let container = node.map(|node| NodeContainer::created(node, &spec.labels));
        self.record(&id, |known| known.extend(container.map(|container| (id.clone(), container))));
        Ok(id)
    }

    /// As [`ContainerRuntime::start`].
    pub async fn start(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.runtime.start(id).await?;
        self.record_start(id);
        Ok(())
    }

    /// As [`ContainerRuntime::restart`].
    pub async fn restart(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        self.runtime.restart(id, grace).await?;
        self.record_start(id);
        Ok(())
    }

    /// As [`ContainerRuntime::stop`]. An absent container is `Ok`.
    pub async fn stop(&self, id: &ContainerId, grace: Duration) -> Result<(), RuntimeError> {
        match self.runtime.stop(id, grace).await {
            Err(error) if error.kind() == ErrorKind::NotFound => self.record_removal(id),
            stopped => {
                stopped?;
                self.record(id, |known| {
                    known.entry(id.clone()).and_modify(|c| c.state = ContainerState::Exited { code: None });
                });
            }
        }
        Ok(())
    }

    /// As [`ContainerRuntime::remove`].
    pub async fn remove(&self, id: &ContainerId) -> Result<(), RuntimeError> {
        self.runtime.remove(id).await?;
        self.record_removal(id);
        Ok(())
    }

    fn record_start(&self, id: &ContainerId) {
        self.record(id, |known| {
            known.entry(id.clone()).and_modify(|container| {
                container.state = ContainerState::Running;
                container.started_at = None;
            });
        });
    }

    fn record_removal(&self, id: &ContainerId) {
        self.record(id, |known| drop(known.remove(id)));
    }

    /// Records the result of a call. Before the first list there is nothing to change.
    fn record(&self, id: &ContainerId, change: impl FnOnce(&mut NodeContainers)) {
        let mut order = self.order();
        let now = order.tick();
        order.changed.insert(id.clone(), now);
        self.known.send_if_modified(|known| known.as_mut().map(change).is_some());
    }

    fn publish(&self, listed: &[Container], requested: u64) {
        let mut order = self.order();
        if requested < order.list {
            return;
        }
        order.list = requested;
        order.changed.retain(|_, at| *at > requested);
        let changed = &order.changed;
        self.known.send_if_modified(|known| {
            let before = known.take();
            let before_of = |id: &ContainerId| before.as_ref()?.get(id).cloned();
            let unchanged = listed.iter().filter(|container| !changed.contains_key(&container.id));
            let mut after: NodeContainers = unchanged
                .filter_map(|container| {
                    // Labels of a container never change, so its record is parsed once.
                    let (state, started_at) = (container.state.clone(), container.started_at);
                    let node = match before_of(&container.id) {
                        Some(known) => NodeContainer { state, started_at, ..known },
                        None => NodeContainer::listed(container)?,
                    };
                    Some((container.id.clone(), node))
                })
                .collect();
            after.extend(changed.keys().filter_map(|id| Some((id.clone(), before_of(id)?))));
            let is_new = before.as_ref() != Some(&after);
            *known = Some(after);
            is_new
        });
    }

    fn order(&self) -> MutexGuard<'_, Order> {
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use managed_app_fakes::faulty::Verb;
    use managed_app_fakes::{Faulty, InMemoryRuntime};

    use super::*;
    use crate::driver::tests::harness::{image, owner, target};

    /// An engine with the image of containers, and an observer that has listed no container.
    async fn observer() -> (InMemoryRuntime, Faulty, Arc<ContainerObserver>) {
        let memory = InMemoryRuntime::new();
        memory.add_network("app");
        memory.load_image(&image("one"), b"one");
        let faults = Faulty::new(Arc::new(memory.clone()));
        let observer = ContainerObserver::new(Arc::new(faults.clone()), owner());
        assert_eq!(*observer.subscribe().borrow(), None, "nothing is known before a list");
        observer.list().await.expect("a list");
        (memory, faults, Arc::new(observer))
    }

    /// Node and state of each known container.
    fn known(observer: &ContainerObserver) -> Vec<(String, ContainerState)> {
        let known = observer.subscribe().borrow().clone().expect("a list");
        known.into_values().map(|container| (container.node.as_str().to_owned(), container.state)).collect()
    }

    async fn started(observer: &ContainerObserver, node: &str) -> ContainerId {
        let id = observer.create(&target(node, "one", "1", vec![]).spec).await.expect("it is created");
        observer.start(&id).await.expect("it is started");
        id
    }

    #[tokio::test(start_paused = true)]
    async fn the_results_of_calls_are_known_without_a_list() {
        let (memory, _, observer) = observer().await;
        let id = observer.create(&target("aa", "one", "1", vec![]).spec).await.expect("it is created");
        let is = |state| vec![("aa".to_owned(), state)];
        assert_eq!(known(&observer), is(ContainerState::Created));
        observer.start(&id).await.expect("it is started");
        assert_eq!(known(&observer), is(ContainerState::Running));
        observer.stop(&id, Duration::ZERO).await.expect("it is stopped");
        assert_eq!(known(&observer), is(ContainerState::Exited { code: None }));
        assert!(observer.is_stopped(&id));
        observer.restart(&id, Duration::ZERO).await.expect("it is restarted");
        assert_eq!(known(&observer), is(ContainerState::Running));
        observer.remove(&id).await.expect("it is removed");
        assert_eq!((known(&observer), memory.calls("list", "app")), (vec![], 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_list_shows_what_others_have_changed() {
        let (memory, _, observer) = observer().await;
        let id = started(&observer, "aa").await;
        memory.kill("aa").expect("it runs");
        observer.list().await.expect("a list");
        assert!(observer.is_stopped(&id));
        memory.remove_externally("aa").expect("it exists");
        observer.list().await.expect("a list");
        assert_eq!(known(&observer), []);
        observer.stop(&id, Duration::ZERO).await.expect("it is gone");
    }

    /// The engine answers with the state before the calls.
    #[tokio::test(start_paused = true)]
    async fn a_late_list_does_not_revert_the_results_of_calls() {
        let (memory, faults, observer) = observer().await;
        let (gone, stopped) = (started(&observer, "gone").await, started(&observer, "stopped").await);
        started(&observer, "other").await;
        faults.on(Verb::List).times(1).answer_late(Duration::from_secs(1));
        let calls = async {
            tokio::time::sleep(Duration::from_millis(500)).await;
            observer.remove(&gone).await.expect("it is removed");
            observer.stop(&stopped, Duration::ZERO).await.expect("it is stopped");
            started(&observer, "new").await;
            memory.kill("other").expect("it runs");
        };
        let (listed, ()) = tokio::join!(observer.list(), calls);
        assert_eq!(listed.expect("a list").len(), 3, "it is old");
        let mut after = known(&observer);
        after.sort_by(|one, other| one.0.cmp(&other.0));
        let exited = ContainerState::Exited { code: None };
        let wanted = [("new", ContainerState::Running), ("other", ContainerState::Running), ("stopped", exited)];
        assert_eq!(after, wanted.map(|(node, state)| (node.to_owned(), state)));
        observer.list().await.expect("a list");
        assert_eq!(known(&observer).iter().filter(|(_, state)| *state == ContainerState::Running).count(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn of_two_lists_the_one_that_was_requested_later_counts() {
        let (memory, faults, observer) = observer().await;
        started(&observer, "aa").await;
        faults.on(Verb::List).times(1).answer_late(Duration::from_secs(9));
        let later = async {
            tokio::time::sleep(Duration::from_secs(1)).await;
            memory.remove_externally("aa").expect("it exists");
            observer.list().await.expect("a list")
        };
        let (early, later) = tokio::join!(observer.list(), later);
        assert_eq!((early.expect("a list").len(), later.len(), known(&observer).len()), (1, 0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn callers_that_wait_for_a_list_share_the_next_one() {
        let (memory, faults, observer) = observer().await;
        faults.on(Verb::List).times(2).delay(Duration::from_secs(1));
        let late = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            futures_util::future::join_all((0..20).map(|_| observer.shared_list())).await
        };
        let (first, others) = tokio::join!(observer.shared_list(), late);
        assert!(first.is_ok() && others.iter().all(Result::is_ok));
        assert_eq!(memory.calls("list", "app"), 3, "the first one, the one in progress, and one for all others");
    }
}
