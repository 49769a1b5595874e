//! A host: the fake cloud, an engine, a state directory, and a daemon that tests can start, signal, stop, kill and
//! start again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use managed_app::config::Config;
use managed_app::daemon::{Daemon, Reload};
use managed_app::exit::Exit;
use managed_app::host::Signal;
use managed_app::reconciler::{NodeStatus, Phase, Status};
use managed_app::status::{self, DaemonInfo, ListenAddresses, Recorder};
use managed_app::tasks::Tasks;
use managed_app_fakes::FakeCloud;
use managed_app_runtimes::{Container, ContainerRuntime, Owner, labels};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::recorded::Recorded;
use super::{Journal, alarms, aws};

/// Limit of each wait: far above the need of a busy machine, and well below the resync of five minutes, which would
/// find every difference.
pub const LIMIT: Duration = Duration::from_secs(120);
/// Interval of the checks of a condition while the status does not change.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Builds a [`Host`].
pub struct Builder {
    cloud: FakeCloud,
    runtime: Arc<dyn ContainerRuntime>,
    variables: BTreeMap<String, String>,
    tune: fn(&mut Config),
    search_path: Option<OsString>,
    listen_addresses: ListenAddresses,
}

/// A host with its daemon.
pub struct Host {
    /// The cloud; its methods are actions of users.
    pub cloud: FakeCloud,
    /// The calls of the daemon to the engine.
    pub journal: Journal,
    /// The engine, without the journal.
    pub engine: Arc<dyn ContainerRuntime>,
    state: TempDir,
    variables: BTreeMap<String, String>,
    /// The configuration that the daemon reads on SIGHUP.
    on_reload: Arc<Mutex<Option<Config>>>,
    tune: fn(&mut Config),
    search_path: Option<OsString>,
    listen_addresses: ListenAddresses,
    running: Option<Running>,
    probes: usize,
}

/// A running daemon.
struct Running {
    task: JoinHandle<Exit>,
    signals: mpsc::Sender<Signal>,
    status: watch::Receiver<Option<Status>>,
    recorder: Arc<Recorder>,
    /// Serve the status.
    _servers: Tasks,
}

impl Builder {
    /// A host of this cloud on this engine. For faults, wrap the engine in `Faulty` first.
    pub fn new(cloud: FakeCloud, runtime: Arc<dyn ContainerRuntime>) -> Self {
        let mut variables = cloud.env();
        variables.insert("MANAGED_APP_HOST_ID".to_owned(), "host-1".to_owned());
        variables.insert("MANAGED_APP_NODE_LOGS".to_owned(), "engine".to_owned());
        let search_path = Some(OsString::new());
        Self { cloud, runtime, variables, tune: |_| (), search_path, listen_addresses: ListenAddresses::default() }
    }

    /// Sets a variable in the environment of the daemon.
    pub fn set(mut self, variable: &str, value: &str) -> Self {
        self.variables.insert(variable.to_owned(), value.to_owned());
        self
    }

    /// Changes the validated configuration, also to values that its validation rejects (a resync of milliseconds).
    pub fn tune(self, tune: fn(&mut Config)) -> Self {
        Self { tune, ..self }
    }

    /// The search path for `shutdown`; empty unless set.
    pub fn search_path(self, path: impl Into<OsString>) -> Self {
        Self { search_path: Some(path.into()), ..self }
    }

    /// Where the daemon serves its status; nowhere unless set.
    pub fn listen_at(self, listen_addresses: ListenAddresses) -> Self {
        Self { listen_addresses, ..self }
    }

    /// The host; its daemon is not started.
    pub fn off(self) -> Host {
        alarms::listen();
        Host {
            cloud: self.cloud,
            journal: Journal::default(),
            engine: self.runtime,
            state: tempfile::tempdir().expect("a folder for the state"),
            variables: self.variables,
            on_reload: Arc::default(),
            tune: self.tune,
            search_path: self.search_path,
            listen_addresses: self.listen_addresses,
            running: None,
            probes: 0,
        }
    }

    /// The host with a started daemon.
    pub fn start(self) -> Host {
        let mut host = self.off();
        host.start();
        host
    }
}

/// Control of the daemon.
impl Host {
    /// Starts the daemon. Returns at once.
    ///
    /// # Panics
    /// If it runs already.
    pub fn start(&mut self) {
        assert!(self.running.is_none(), "the daemon runs already");
        let config = self.config();
        let (same, on_reload) = (config.clone(), self.on_reload.clone());
        let reload = move || Ok(on_reload.lock().expect("no panic").clone().unwrap_or_else(|| same.clone()));
        let (signals, receiver) = mpsc::channel(8);
        let (status, status_receiver) = watch::channel(None);
        let about = DaemonInfo { app: config.app.clone(), tenant: config.tenant.clone() };
        let recorder = Recorder::open(about, self.state.path());
        let mut servers = Tasks::new();
        status::serve(&mut servers, &recorder, self.listen_addresses.clone());
        servers.spawn("history", recorder.clone().keep_writing());
        let daemon = Daemon {
            config,
            runtime: Arc::new(Recorded::new(self.engine.clone(), self.journal.clone())),
            aws: aws::aws(&self.cloud),
            signals: receiver,
            status,
            recorder: recorder.clone(),
            search_path: self.search_path.clone(),
            reload: Reload(Box::new(reload)),
        };
        let task = tokio::spawn(daemon.run());
        self.running = Some(Running { task, signals, status: status_receiver, recorder, _servers: servers });
    }

    /// The configuration of the daemon.
    pub fn config(&self) -> Config {
        let mut variables = self.variables.clone();
        variables.insert("MANAGED_APP_STATE_DIRECTORY".to_owned(), self.state.path().display().to_string());
        let mut config = aws::config(&variables);
        (self.tune)(&mut config);
        config
    }

    /// Removes a variable for the next start of the daemon, or the next SIGHUP.
    pub fn unset(&mut self, variable: &str) {
        self.variables.remove(variable);
        let config = self.config();
        self.on_reload.lock().expect("no panic").replace(config);
    }

    /// Sets a variable for the next start of the daemon, or the next SIGHUP.
    pub fn set(&mut self, variable: &str, value: &str) {
        self.variables.insert(variable.to_owned(), value.to_owned());
        let config = self.config();
        self.on_reload.lock().expect("no panic").replace(config);
    }

    /// Sets the search path for `shutdown` from the next start on.
    pub fn search_in(&mut self, path: impl Into<OsString>) {
        self.search_path = Some(path.into());
    }

    /// The directory of the state file.
    pub fn state_directory(&self) -> &std::path::Path {
        self.state.path()
    }

    /// The status recorder of the daemon.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.running().recorder
    }

    /// The owner of the containers of the daemon.
    pub fn owner(&self) -> Owner {
        let config = self.config();
        Owner { app: config.app, tenant: config.tenant, host: config.host_id }
    }

    /// Sends a signal.
    pub async fn signal(&self, signal: Signal) {
        self.running().signals.send(signal).await.expect("the daemon takes signals while it runs");
    }

    /// Waits until the daemon has ended.
    pub async fn ended(&mut self) -> Exit {
        let running = self.running.take().expect("the daemon runs");
        let mut task = running.task;
        match timeout(LIMIT, &mut task).await {
            Ok(exit) => {
                running.recorder.flush().await;
                alarms::assert_none();
                exit.expect("the daemon does not panic")
            }
            Err(_) => {
                task.abort();
                panic!(
                    "the daemon does not end; status {:?}\nactions {:?}",
                    *running.status.borrow(),
                    self.journal.actions()
                );
            }
        }
    }

    /// Whether the daemon runs.
    pub fn is_up(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.task.is_finished())
    }

    /// Stops the daemon as systemd does, and waits for its end.
    pub async fn stop(&mut self) -> Exit {
        self.signal(Signal::Terminate).await;
        self.ended().await
    }

    /// Kills the daemon: none of its code runs afterwards. Requested engine calls may still take effect.
    pub async fn kill(&mut self) {
        let running = self.running.take().expect("the daemon runs");
        running.task.abort();
        // The error of an aborted task is expected.
        let _ = running.task.await;
    }

    /// Stops the daemon and starts it again.
    pub async fn restart_daemon(&mut self) {
        self.stop().await;
        self.start();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the daemon runs")
    }
}

/// Observation of the daemon and its containers.
impl Host {
    /// The latest status of the daemon; `None` before the first.
    pub fn status(&self) -> Option<Status> {
        self.running.as_ref().and_then(|running| running.status.borrow().clone())
    }

    /// The status of one node.
    pub fn node(&self, name: &str) -> Option<NodeStatus> {
        self.status()?.nodes.into_iter().find(|node| node.name.as_str() == name)
    }

    /// Whether the start is over and the desired state is reached.
    pub fn is_converged(&self) -> bool {
        let is_quiet = |status: Status| status.is_converged && status.phase == Phase::Running;
        self.status().is_some_and(is_quiet) && self.cloud.pending_changes() == 0
    }

    /// The containers of the daemon, as the engine lists them.
    pub async fn containers(&self) -> Vec<Container> {
        self.engine.list(&self.owner()).await.expect("the engine lists containers")
    }

    /// The only container of a node.
    ///
    /// # Panics
    /// If it has none or several.
    pub async fn container(&self, node: &str) -> Container {
        let all = self.containers().await;
        let is_its = |c: &&Container| c.labels.get(labels::NODE).unwrap_or(&c.name) == node;
        let its: Vec<_> = all.iter().filter(is_its).collect();
        assert_eq!(its.len(), 1, "containers of {node:?}: {its:?}");
        its[0].clone()
    }

    /// Waits until `test` holds. Checks it at each new status and every few milliseconds.
    ///
    /// # Panics
    /// If it does not hold within [`LIMIT`], or if the daemon ends meanwhile.
    pub async fn eventually(&self, what: &str, test: impl Fn(&Self) -> bool) {
        let mut status = self.running().status.clone();
        let end = Instant::now() + LIMIT;
        while !test(self) {
            let now = self.status();
            assert!(self.is_up(), "the daemon has ended, not: {what}; status {now:?}");
            assert!(Instant::now() < end, "not in time: {what}; status {now:?}\nactions {:?}", self.journal.actions());
            // Both arms only wait; the next check sees a closed status channel.
            tokio::select! {
                changed = status.changed() => if changed.is_err() { sleep(POLL_INTERVAL).await },
                () = sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Waits until the start is over and the desired state is reached.
    pub async fn converged(&self) {
        self.eventually("the desired state is reached", Self::is_converged).await;
        alarms::assert_none();
    }

    /// Waits until all messages sent so far had their effect, if any: changes the configuration of `node` and waits for
    /// the restart, which comes after the effects of earlier messages.
    pub async fn probe(&mut self, node: &str) {
        self.probes += 1;
        let before = self.journal.count("restart", node);
        self.cloud.set_node_config(node, &format!(r#"{{"probe":{}}}"#, self.probes));
        self.eventually("the probe restarts", |host| host.journal.count("restart", node) > before).await;
        self.converged().await;
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.task.abort();
        }
    }
}
