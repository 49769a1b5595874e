//! The composition of the daemon: order of the start, connections between the parts, and orderly shutdown.
//!
//! Start: sign-in and engine concurrently, then the network and the driver concurrently. The driver reads the app,
//! pulls and converges; READY=1 follows. An unreachable cloud delays nothing that is possible without it.

mod dependencies;
mod feeds;
mod shipping;
mod signals;

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::try_join;
use managed_app_runtimes::{
    ContainerRuntime, EngineInfo, EnvValue, HostEngine, HostEngineOptions, Owner, WorkloadEngine,
};
use secrecy::SecretString;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

pub use self::shipping::LogShipping;
pub use self::signals::Requests;

use self::dependencies::{end_of_nodes, engine_logs, ensure_network, interruptible, shipper, sign_in, wait_for_engine};
use self::feeds::{forward_changes, notify_watchdog, publish_status};
use crate::changes::{CHANGES_WAITING_MAX, ChangeMessage, Changes};
use crate::cloud::{Account, AppCredentials, AuditTrail, Aws, ControlPlane, EchoStream};
use crate::config::{Config, ConfigErrors, NodeLogs, OnRemoved, Replace};
use crate::driver::{Driver, Executor, StateFile};
use crate::engine::NodeLogsChoice;
use crate::exit::Exit;
use crate::host::{Notifier, Signal, power_off, watchdog_interval};
use crate::logs::Shipping;
use crate::model::QueueAddress;
use crate::reconciler::{EndOfNodes, Event, Finish, NodeLogSettings, Settings, Status};
use crate::registry::Registry;
use crate::status::{Recorder, TimedRuntime};
use crate::tasks::Tasks;
use crate::text::chain;

/// Events that may wait for the driver.
const INBOX_MAX: usize = 1024;
/// How long the engine may take to respond when the daemon starts.
const ENGINE_WAIT: Duration = Duration::from_secs(30);
/// The same after a signal: long enough to stop running nodes, if the engine is healthy.
const ENGINE_WAIT_AFTER_SIGNAL: Duration = Duration::from_secs(2);
/// How long the last tasks may take after the driver has ended.
const TASKS_END_LIMIT: Duration = Duration::from_secs(2);
/// How long deletions of messages and audit records may take after the driver has ended; above the limits of both.
const CHANGES_END_LIMIT: Duration = Duration::from_secs(4);

/// The parts of the daemon.
#[derive(Debug)]
pub struct Daemon {
    /// The settings.
    pub config: Config,
    /// The engine.
    pub runtime: Arc<dyn ContainerRuntime>,
    /// AWS.
    pub aws: Arc<Aws>,
    /// Signals of the operator, in order.
    pub signals: mpsc::Receiver<Signal>,
    /// Receives the status.
    pub status: watch::Sender<Option<Status>>,
    /// Records events for queries.
    pub recorder: Arc<Recorder>,
    /// PATH for `shutdown`; `None` uses that of the process.
    pub search_path: Option<std::ffi::OsString>,
    /// Reads the configuration again on SIGHUP.
    pub reload: Reload,
}

/// Reads the configuration again.
pub struct Reload(pub Box<dyn Fn() -> Result<Config, ConfigErrors> + Send + Sync>);

impl std::fmt::Debug for Reload {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reload")
    }
}

/// State that signals act on.
struct Controls {
    inbox: mpsc::Sender<Event>,
    password: watch::Sender<SecretString>,
    settings: Settings,
    is_stopping: bool,
}

/// Dependencies that are ready when the driver starts.
struct Dependencies {
    cloud: Arc<EchoStream>,
    /// The source of the password for the cloud's client.
    password: watch::Sender<SecretString>,
    node_logs: NodeLogsChoice,
    /// A signal arrived during the start.
    is_interrupted: bool,
}

impl Daemon {
    /// Runs until a signal or the removal of the app, and returns the exit code of the process.
    pub async fn run(mut self) -> Exit {
        let notifier = self.notifier();
        let dependencies = match self.start_dependencies(&notifier).await {
            Ok(dependencies) => dependencies,
            Err(exit) => return exit,
        };
        let settings = settings_of(&self.config, &dependencies.node_logs);
        let finish = self.drive(dependencies, settings, &notifier).await;
        match finish {
            Some(Finish::AppRemoved) => self.end_of_app().await,
            Some(Finish::NoSuchApp) => {
                error!(
                    app = self.config.app,
                    tenant = self.config.tenant,
                    "the cloud knows no such app; check APP and TENANT"
                );
                return Exit::Configuration;
            }
            Some(Finish::Stopped) => info!("daemon has ended"),
            None => warn!("daemon ends at once after a second signal"),
        }
        Exit::Done
    }

    fn notifier(&self) -> Arc<Notifier> {
        let name = self.config.systemd.notify_socket.as_deref();
        Arc::new(Notifier::connect(name).unwrap_or_else(|error| {
            warn!(%error, "systemd cannot be notified of the status");
            Notifier::connect(None).expect("without a name there is nothing to connect to")
        }))
    }

    /// Signs in and waits for the engine, concurrently. A signal shortens the wait; running nodes are then stopped all
    /// the same.
    async fn start_dependencies(&mut self, notifier: &Notifier) -> Result<Dependencies, Exit> {
        info!(app = self.config.app, tenant = self.config.tenant, version = env!("CARGO_PKG_VERSION"), "daemon starts");
        notifier.status("signing in");
        self.recorder.set_stage("signing in");
        let password = watch::Sender::new(self.config.password.clone());
        let cloud =
            EchoStream::new(&Account::from(&self.config), password.subscribe(), &self.aws).await.map_err(|error| {
                error!(error = chain(&error), "the cloud's address cannot be used");
                Exit::Configuration
            })?;
        let mut is_interrupted = false;
        // Both may take long. A rejected sign-in ends the wait for the engine too.
        let signed_in = async {
            sign_in(&cloud).await?;
            notifier.status("waiting for the engine");
            self.recorder.set_stage("waiting for the engine");
            Ok(())
        };
        let config = self.config.clone();
        let both = try_join(signed_in, wait_for_engine(self.runtime.as_ref(), &config, ENGINE_WAIT));
        let (info, node_logs) = match interruptible(&mut self.signals, &mut self.config.on_exit, both).await {
            Some(both) => both?.1,
            None => {
                is_interrupted = true;
                self.wait_for_engine_after_signal().await?
            }
        };
        info!(engine = %info.kind, version = info.version, endpoint = info.endpoint, "engine responds");
        self.recorder.engine(&info);
        info!(way = ?node_logs.way, reason = node_logs.reason, "destination of the output of new containers chosen");
        Ok(Dependencies { cloud: Arc::new(cloud), password, node_logs, is_interrupted })
    }

    /// After the first signal the engine gets a short time to respond, after a second one none.
    async fn wait_for_engine_after_signal(&mut self) -> Result<(EngineInfo, NodeLogsChoice), Exit> {
        let config = self.config.clone();
        let connected = wait_for_engine(self.runtime.as_ref(), &config, ENGINE_WAIT_AFTER_SIGNAL);
        let last = interruptible(&mut self.signals, &mut self.config.on_exit, connected).await;
        last.and_then(Result::ok).ok_or(Exit::Done)
    }

    async fn drive(
        &mut self,
        dependencies: Dependencies,
        settings: Settings,
        notifier: &Arc<Notifier>,
    ) -> Option<Finish> {
        let Dependencies { cloud, password, node_logs, is_interrupted } = dependencies;
        let token = cloud.clone();
        self.recorder.watch_expiry("sign_in", move || token.token_left());
        let keys = self.aws.host_credentials().await;
        self.recorder.watch_expiry("host", move || keys.left());
        let cloud: Arc<dyn ControlPlane> = cloud;
        let (queue, queue_receiver) = watch::channel(None);
        let (inbox, events) = mpsc::channel(INBOX_MAX);
        let shutdown = CancellationToken::new();
        let (mut tasks, mut closing) = (Tasks::new(), Tasks::new());
        tasks.spawn("network", ensure_network(self.runtime.clone(), settings.network(), settings.owner.clone()));
        let (shipping, requests) = node_logs.ships().then(Shipping::new).unzip();
        let shipping = shipping.unwrap_or_default();
        let engine = self.host_engine(&settings, shipping.clone());
        let (driver, status) = Driver::new(settings.clone(), self.executor(cloud.clone(), engine.clone()), queue);
        if let Some(requests) = requests {
            self.recorder.watch_logs(shipping.numbers());
            tasks.spawn("shipper", shipper(self, engine.clone(), requests).run(driver.app(), engine.subscribe()));
        }
        let audit = AuditTrail::new(driver.app());
        let trail = audit.clone();
        self.recorder.watch_audit(move || trail.numbers());
        let messages = self.start_changes(&mut closing, cloud, queue_receiver, audit, &shutdown);
        tasks.spawn("change-messages", forward_changes(messages, inbox.clone(), self.recorder.clone()));
        tasks.spawn(
            "status",
            publish_status(status.clone(), self.status.clone(), notifier.clone(), self.recorder.clone()),
        );
        if let Some(every) = watchdog_interval(&self.config.systemd, std::process::id()) {
            tasks.spawn("watchdog", notify_watchdog(notifier.clone(), every, driver.heartbeat(), status));
        }
        let driver = driver.run(events);
        tokio::pin!(driver);
        if is_interrupted {
            notifier.stopping();
            let _ = inbox.send(Event::Stop(end_of_nodes(self.config.on_exit))).await;
        }
        let controls = Controls { inbox, password, settings, is_stopping: is_interrupted };
        let finish = self.follow(driver, controls, notifier).await;
        shutdown.cancel();
        notifier.stopping();
        if finish.is_some() {
            closing.finish(CHANGES_END_LIMIT).await;
            // The last output of nodes that were just stopped. A second signal does not wait for it.
            interruptible(&mut self.signals, &mut self.config.on_exit, shipping.close()).await;
        }
        let _ = tokio::time::timeout(TASKS_END_LIMIT, tasks.shutdown()).await;
        finish
    }

    /// Waits for the driver and forwards signals. `None`: a second signal arrived.
    async fn follow(
        &mut self,
        mut driver: std::pin::Pin<&mut impl Future<Output = Finish>>,
        mut controls: Controls,
        notifier: &Notifier,
    ) -> Option<Finish> {
        loop {
            // Both arms are cancel-safe: the driver is only polled, and a signal waits in its channel.
            let signal = tokio::select! {
                finish = &mut driver => return Some(finish),
                Some(signal) = self.signals.recv() => signal,
            };
            let event = match signal {
                Signal::Hangup => {
                    notifier.reloading();
                    let event = self.reload(&controls);
                    notifier.ready();
                    event
                }
                Signal::Terminate | Signal::Interrupt | Signal::HandOver if controls.is_stopping => return None,
                Signal::HandOver => {
                    info!("ending at the request of a successor; its nodes keep running");
                    controls.is_stopping = true;
                    notifier.stopping();
                    Event::Stop(EndOfNodes::Leave)
                }
                Signal::Terminate | Signal::Interrupt => {
                    info!("ending after a signal; a second signal ends the daemon at once");
                    controls.is_stopping = true;
                    notifier.stopping();
                    Event::Stop(end_of_nodes(self.config.on_exit))
                }
            };
            tokio::select! {
                finish = &mut driver => return Some(finish),
                _ = controls.inbox.send_timeout(event, TASKS_END_LIMIT) => {}
            }
        }
    }

    /// Applies a new password of the configuration to the daemon and the nodes, and requests a full comparison.
    fn reload(&self, controls: &Controls) -> Event {
        let config = match (self.reload.0)() {
            Ok(config) => config,
            Err(errors) => {
                error!(error = %errors, "the configuration cannot be reloaded; the old one stays in use");
                return Event::Resync;
            }
        };
        info!("configuration reloaded; a new PASSWORD applies now, other settings after the next start");
        controls.password.send_replace(config.password.clone());
        let settings = Settings { env: env_of(&config), ..controls.settings.clone() };
        Event::Settings(Box::new(settings))
    }

    fn host_engine(&self, settings: &Settings, shipping: Shipping) -> Arc<dyn WorkloadEngine> {
        Arc::new(HostEngine::new(HostEngineOptions {
            runtime: Arc::new(TimedRuntime::new(self.runtime.clone(), self.recorder.metrics().clone())),
            owner: settings.owner.clone(),
            store: Arc::new(StateFile::open(&self.config.state_directory)),
            shipper: Arc::new(shipping),
            stop_grace: self.config.stop_grace,
            replace_window: self.config.replace_window,
            operations_max: self.config.parallel_operations,
        }))
    }

    fn executor(&self, cloud: Arc<dyn ControlPlane>, engine: Arc<dyn WorkloadEngine>) -> Executor {
        Executor {
            engine,
            cloud,
            aws: self.aws.clone(),
            registry: Arc::new(Registry::new(self.aws.clone())),
            pulls: Semaphore::new(self.config.parallel_pulls),
            recorder: self.recorder.clone(),
            last_app: std::sync::Mutex::default(),
        }
    }

    /// Receives changes until `shutdown`; their audit trail ends after the last one.
    fn start_changes(
        &self,
        tasks: &mut Tasks,
        cloud: Arc<dyn ControlPlane>,
        queue: watch::Receiver<Option<QueueAddress>>,
        audit: AuditTrail,
        shutdown: &CancellationToken,
    ) -> mpsc::Receiver<ChangeMessage> {
        let (sender, messages) = mpsc::channel(CHANGES_WAITING_MAX);
        let credentials = AppCredentials::new(cloud);
        let held = credentials.clone();
        self.recorder.watch_expiry("app", move || held.left());
        let (shutdown, after_changes) = (shutdown.clone(), CancellationToken::new());
        tasks.spawn("audit", audit.clone().send(credentials.clone(), after_changes.clone()));
        let (aws, app) = (self.aws.clone(), self.config.app.clone());
        let changes = Changes { aws, credentials, app, queue, sender, audit };
        tasks.spawn("changes", async move {
            let _last = after_changes.drop_guard();
            changes.run(shutdown).await;
        });
        messages
    }

    async fn end_of_app(&self) {
        match self.config.on_removed {
            OnRemoved::Exit => info!("the app was removed from the cloud; its nodes are gone"),
            OnRemoved::Shutdown => {
                warn!("the app was removed from the cloud; the host is powered off");
                if let Err(error) = power_off(self.search_path.as_deref()).await {
                    error!(error = chain(&error), "the host cannot be powered off");
                }
            }
        }
    }
}

/// The owner of the containers of this configuration.
pub fn owner_of(config: &Config) -> Owner {
    Owner { app: config.app.clone(), tenant: config.tenant.clone(), host: config.host_id.clone() }
}

/// The reconciler's settings of this configuration.
pub fn settings_of(config: &Config, node_logs: &NodeLogsChoice) -> Settings {
    let awslogs =
        || NodeLogSettings::Awslogs { group: config.log_group.clone(), mode: config.node_log_options.awslogs };
    let kept_by_engine = || engine_logs(&config.node_log_options);
    let is_awslogs = node_logs.way == NodeLogs::Awslogs;
    // Without a configured destination, existing containers keep theirs: the default depends on what is known of
    // dockerd.
    let has_both = node_logs.is_default && node_logs.has_awslogs;
    Settings {
        owner: owner_of(config),
        env: env_of(config),
        logs: if is_awslogs { awslogs() } else { kept_by_engine() },
        kept_logs: has_both.then(|| if is_awslogs { kept_by_engine() } else { awslogs() }),
        stop_grace: config.stop_grace,
        resync: config.resync,
        overlap: config.replace == Replace::StartFirst,
        remove_nodes_with_app: config.on_removed == OnRemoved::Exit,
        policy: config.policy.clone(),
        hardening: config.hardening.clone(),
    }
}

fn env_of(config: &Config) -> BTreeMap<String, EnvValue> {
    let pool = format!("{}_{}", config.user_pool_id.region, config.user_pool_id.id);
    Settings::node_env(
        &config.appsync_endpoint,
        &config.client_id,
        &config.password,
        &config.tenant,
        &pool,
        &config.user_name,
    )
}
