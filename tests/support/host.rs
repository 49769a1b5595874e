//! A host: the fake cloud, an engine, a state folder, and the daemon between them, which can be started, signalled,
//! ended, killed and started again.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use managed_app::config::Config;
use managed_app::daemon::{Daemon, Reload};
use managed_app::exit::Exit;
use managed_app::host::Signal;
use managed_app::reconciler::{NodeStatus, Phase, Status};
use managed_app::status::{self, About, ListenAddresses, Recorder};
use managed_app::tasks::Tasks;
use managed_app_fakes::FakeCloud;
use managed_app_runtimes::{Container, ContainerRuntime, Owner, labels};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, timeout};

use super::recorded::Recorded;
use super::{Journal, alarms, aws};

/// How long a test waits for anything: far beyond what it takes, also on a busy machine, and well below the resync of five
/// minutes that would find everything by itself.
pub const LIMIT: Duration = Duration::from_secs(120);
/// How often a condition is looked at while the status does not change.
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// A host in the making.
pub struct Builder {
    cloud: FakeCloud,
    runtime: Arc<dyn ContainerRuntime>,
    variables: BTreeMap<String, String>,
    tune: fn(&mut Config),
    search_path: Option<OsString>,
    places: ListenAddresses,
}

/// A host with its daemon.
pub struct Host {
    /// The cloud; drive it in the words of its users.
    pub cloud: FakeCloud,
    /// What the daemon asked of the engine.
    pub journal: Journal,
    /// The engine, past the journal.
    pub engine: Arc<dyn ContainerRuntime>,
    state: TempDir,
    variables: BTreeMap<String, String>,
    /// What the daemon reads when SIGHUP asks for it.
    on_reload: Arc<Mutex<Option<Config>>>,
    tune: fn(&mut Config),
    search_path: Option<OsString>,
    places: ListenAddresses,
    running: Option<Running>,
    probes: usize,
}

/// A daemon that runs.
struct Running {
    task: JoinHandle<Exit>,
    signals: mpsc::Sender<Signal>,
    status: watch::Receiver<Option<Status>>,
    recorder: Arc<Recorder>,
    /// They answer who asks for the status.
    _servers: Tasks,
}

impl Builder {
    /// A host of this cloud on this engine. Wrap the engine in `Faulty` beforehand where faults are wanted.
    pub fn new(cloud: FakeCloud, runtime: Arc<dyn ContainerRuntime>) -> Self {
        let mut variables = cloud.env();
        variables.insert("MANAGED_APP_HOST_ID".to_owned(), "host-1".to_owned());
        variables.insert("MANAGED_APP_NODE_LOGS".to_owned(), "engine".to_owned());
        let search_path = Some(OsString::new());
        Self { cloud, runtime, variables, tune: |_| (), search_path, places: ListenAddresses::default() }
    }

    /// Sets a variable of the daemon's environment.
    pub fn set(mut self, variable: &str, value: &str) -> Self {
        self.variables.insert(variable.to_owned(), value.to_owned());
        self
    }

    /// Changes the checked configuration, also beyond what its checks allow (a resync of milliseconds).
    pub fn tune(self, tune: fn(&mut Config)) -> Self {
        Self { tune, ..self }
    }

    /// Where `shutdown` is found; nowhere unless set.
    pub fn search_path(self, path: impl Into<OsString>) -> Self {
        Self { search_path: Some(path.into()), ..self }
    }

    /// Where the daemon can be asked; nowhere unless set.
    pub fn listen_at(self, places: ListenAddresses) -> Self {
        Self { places, ..self }
    }

    /// The host, its daemon not started yet.
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
            places: self.places,
            running: None,
            probes: 0,
        }
    }

    /// The host, its daemon started.
    pub fn start(self) -> Host {
        let mut host = self.off();
        host.start();
        host
    }
}

/// The daemon's life.
impl Host {
    /// Starts the daemon. Returns at once.
    ///
    /// # Panics
    /// When it runs already.
    pub fn start(&mut self) {
        assert!(self.running.is_none(), "the daemon runs already");
        let config = self.config();
        let (same, on_reload) = (config.clone(), self.on_reload.clone());
        let reload = move || Ok(on_reload.lock().expect("no panic").clone().unwrap_or_else(|| same.clone()));
        let (signals, receiver) = mpsc::channel(8);
        let (status, status_receiver) = watch::channel(None);
        let about = About { app: config.app.clone(), tenant: config.tenant.clone() };
        let recorder = Recorder::open(about, self.state.path());
        let mut servers = Tasks::new();
        status::serve(&mut servers, &recorder, self.places.clone());
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

    /// The daemon's configuration.
    pub fn config(&self) -> Config {
        let mut variables = self.variables.clone();
        variables.insert("MANAGED_APP_STATE_DIRECTORY".to_owned(), self.state.path().display().to_string());
        let mut config = aws::config(&variables);
        (self.tune)(&mut config);
        config
    }

    /// Takes a variable away for the next start of the daemon, or the next SIGHUP.
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

    /// Where `shutdown` is found from the next start on.
    pub fn search_in(&mut self, path: impl Into<OsString>) {
        self.search_path = Some(path.into());
    }

    /// The folder of the state file.
    pub fn state_directory(&self) -> &std::path::Path {
        self.state.path()
    }

    /// What the daemon takes note of.
    pub fn recorder(&self) -> &Arc<Recorder> {
        &self.running().recorder
    }

    /// Whose containers the daemon looks after.
    pub fn owner(&self) -> Owner {
        let config = self.config();
        Owner { app: config.app, tenant: config.tenant, host: config.host_id }
    }

    /// Sends a signal.
    pub async fn signal(&self, signal: Signal) {
        self.running().signals.send(signal).await.expect("the daemon takes signals while it runs");
    }

    /// Waits until the daemon has ended by itself.
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
                    "the daemon does not end; status {:?}\nacts {:?}",
                    *running.status.borrow(),
                    self.journal.actions()
                );
            }
        }
    }

    /// Whether the daemon still runs.
    pub fn is_up(&self) -> bool {
        self.running.as_ref().is_some_and(|running| !running.task.is_finished())
    }

    /// Ends the daemon as systemd does, and waits for it.
    pub async fn stop(&mut self) -> Exit {
        self.signal(Signal::Terminate).await;
        self.ended().await
    }

    /// Kills the daemon where it stands: no more of its code runs. What it asked the engine for may still happen.
    pub async fn kill(&mut self) {
        let running = self.running.take().expect("the daemon runs");
        running.task.abort();
        // An error says that it was aborted, which is what is wanted.
        let _ = running.task.await;
    }

    /// Ends the daemon in order and starts it again, beside whatever the end has left.
    pub async fn restart_daemon(&mut self) {
        self.stop().await;
        self.start();
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("the daemon runs")
    }
}

/// What can be seen.
impl Host {
    /// The daemon's latest status; `None` before the first.
    pub fn status(&self) -> Option<Status> {
        self.running.as_ref().and_then(|running| running.status.borrow().clone())
    }

    /// The status of one node.
    pub fn node(&self, name: &str) -> Option<NodeStatus> {
        self.status()?.nodes.into_iter().find(|node| node.name.as_str() == name)
    }

    /// Whether the start is over and all is as wanted.
    pub fn is_converged(&self) -> bool {
        let is_quiet = |status: Status| status.is_converged && status.phase == Phase::Running;
        self.status().is_some_and(is_quiet) && self.cloud.pending_changes() == 0
    }

    /// The daemon's containers, as the engine lists them.
    pub async fn containers(&self) -> Vec<Container> {
        self.engine.list(&self.owner()).await.expect("the engine lists containers")
    }

    /// The one container of a node.
    ///
    /// # Panics
    /// When it has none or several.
    pub async fn container(&self, node: &str) -> Container {
        let all = self.containers().await;
        let is_its = |c: &&Container| c.labels.get(labels::NODE).unwrap_or(&c.name) == node;
        let its: Vec<_> = all.iter().filter(is_its).collect();
        assert_eq!(its.len(), 1, "containers of {node:?}: {its:?}");
        its[0].clone()
    }

    /// Waits until `test` holds, looking at each new status and every few milliseconds.
    ///
    /// # Panics
    /// When it does not within [`LIMIT`], or when the daemon ends meanwhile.
    pub async fn eventually(&self, what: &str, test: impl Fn(&Self) -> bool) {
        let mut status = self.running().status.clone();
        let end = Instant::now() + LIMIT;
        while !test(self) {
            let now = self.status();
            assert!(self.is_up(), "the daemon has ended, not: {what}; status {now:?}");
            assert!(Instant::now() < end, "not in time: {what}; status {now:?}\nacts {:?}", self.journal.actions());
            // Both arms only wait; an ended status channel shows in the next look.
            tokio::select! {
                changed = status.changed() => if changed.is_err() { sleep(POLL_INTERVAL).await },
                () = sleep(POLL_INTERVAL) => {}
            }
        }
    }

    /// Waits until the start is over and all is as wanted.
    pub async fn converged(&self) {
        self.eventually("all is as wanted", Self::is_converged).await;
        alarms::assert_none();
    }

    /// Waits until everything that was told so far has had its effect, also when that is none: changes the
    /// configuration of `node` and waits for the restart, which comes after all that was told before.
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
