//! One run of the daemon: the real reconciler, the real executor of the driver and the real host engine, in virtual time. Dropping it is a
//! crash.

use std::collections::HashMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use managed_app::cloud::{Aws, AwsOptions};
use managed_app::driver::{Executor, StateFile};
use managed_app::logs::Shipping;
use managed_app::reconciler::{Effect, EndOfNodes, Event, Finish, Phase, Reconciler};
use managed_app::registry::Registry;
use managed_app::status::{DaemonInfo, Recorder};
use managed_app_runtimes::{
    Action, ContainerId, HostEngine, HostEngineOptions, Notice, Revision, RevisionStore, WorkloadEngine,
};
use tokio::sync::Semaphore;

use crate::calls::Backends;
use crate::world::Shared;
use crate::{disk, trace};

/// The replacement window.
const WINDOW: Duration = Duration::from_secs(5);

/// A running daemon.
pub struct Daemon {
    pub reconciler: Reconciler,
    executor: Arc<Executor>,
    host: Arc<HostEngine>,
    state: Arc<StateFile>,
    world: Shared,
    /// The monotonic clock of the daemon starts here.
    started_at: Duration,
    tasks: FuturesUnordered<BoxFuture<'static, Event>>,
    pub finish: Option<Finish>,
    pub is_ready: bool,
}

impl Daemon {
    /// Starts with the content of the state file.
    pub fn new(world: &Shared) -> Self {
        let state = disk::open(world);
        let (settings, seed, started_at) = world.with(|world| {
            world.daemon += 1;
            let network = world.settings.network();
            world.engine.networks.insert(network);
            world.log_line(|| "daemon starts".to_owned());
            (world.settings.clone(), world.prng.next(), world.now)
        });
        let aws = Arc::new(Aws::new(AwsOptions::default()));
        let host = Arc::new(HostEngine::new(HostEngineOptions {
            runtime: Arc::new(Backends(world.clone())),
            owner: settings.owner.clone(),
            store: state.clone(),
            shipper: Arc::new(Shipping::off()),
            stop_grace: settings.stop_grace,
            replace_window: WINDOW,
            operations_max: 64,
        }));
        let executor = Executor {
            engine: host.clone(),
            cloud: Arc::new(Backends(world.clone())),
            registry: Arc::new(Registry::new(aws.clone())),
            aws,
            pulls: Semaphore::new(4),
            last_app: std::sync::Mutex::default(),
            recorder: Recorder::in_memory(DaemonInfo::default()),
        };
        let mut daemon = Self {
            reconciler: Reconciler::new(settings, seed),
            executor: Arc::new(executor),
            host,
            state,
            world: world.clone(),
            started_at,
            tasks: FuturesUnordered::new(),
            finish: None,
            is_ready: false,
        };
        daemon.deliver(Event::Begin);
        daemon
    }

    /// The next deadline of the reconciler.
    pub fn deadline(&self) -> Option<Duration> {
        self.reconciler.deadline().map(|at| self.started_at + at)
    }

    /// Whether no task runs.
    pub fn is_idle(&self) -> bool {
        self.tasks.is_empty()
    }

    /// Whether the shutdown has started.
    pub fn is_ending(&self) -> bool {
        matches!(self.reconciler.phase(), Phase::Stopping { .. } | Phase::Finished)
    }

    /// The recorded revisions of containers.
    pub fn revisions(&self) -> HashMap<ContainerId, Revision> {
        self.state.revisions()
    }

    /// The result of the next finished task; pending while there are no tasks.
    pub async fn done(&mut self) -> Event {
        match self.tasks.next().await {
            Some(event) => event,
            None => pending().await,
        }
    }

    /// Handles an event like the loop of the driver.
    pub fn deliver(&mut self, event: Event) {
        if self.finish.is_some() {
            return;
        }
        let now = self.world.with(|world| {
            world.log_line(|| format!("-> {}", trace::of_event(&event)));
            world.check_event(&event);
            if let Event::Stop(nodes) = event {
                world.invariants.is_ending = true;
                world.invariants.is_clearing |= nodes == EndOfNodes::Remove;
            }
            world.now - self.started_at
        });
        // The world schedules the events of the engine.
        match &event {
            Event::Engine(event) if event.action == Action::Died => {
                self.host.notify(Notice::Died(event.container.clone()));
            }
            Event::EventsLost => self.host.notify(Notice::EngineAway),
            _ => {}
        }
        let effects = self.reconciler.on(event, now);
        if matches!(self.reconciler.phase(), Phase::Stopping { .. }) {
            self.host.close();
        }
        for effect in effects {
            self.execute(effect);
        }
    }

    fn execute(&mut self, effect: Effect) {
        self.world.with(|world| {
            world.log_line(|| format!("   <- {}", trace::of_effect(&effect)));
            world.check_effect(&effect);
        });
        let executor = self.executor.clone();
        let task: BoxFuture<'static, Event> = match effect {
            Effect::FetchSnapshot => Box::pin(async move { executor.snapshot().await }),
            Effect::List => Box::pin(async move { executor.list().await }),
            Effect::Pull(image) => Box::pin(async move {
                let outcome = executor.pull(&image).await;
                Event::Pulled { image, outcome }
            }),
            Effect::Operate { node, operation, .. } => Box::pin(async move {
                let outcome = executor.operate(operation).await;
                Event::Finished { node, outcome }
            }),
            Effect::Listen(_) | Effect::CrashLoop { .. } => return,
            Effect::Ready => {
                self.is_ready = true;
                return;
            }
            Effect::Finish(finish) => {
                self.finish = Some(finish);
                return;
            }
        };
        self.tasks.push(task);
    }
}
