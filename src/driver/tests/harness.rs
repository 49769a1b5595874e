//! The driver's executor and the host engine on the engine in memory, and a loop that plans and operates until nothing is left to do.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use managed_app_fakes::memory::View;
use managed_app_fakes::{Faulty, InMemoryRuntime};
use managed_app_runtimes::{
    ContainerId, ContainerRuntime, ContainerSpec, HostEngine, HostEngineOptions, ImageReference, LogSettings, Owner,
    PortBinding, Revision, RevisionStore, Strategy, Target, WorkloadEngine, labels,
};
use tempfile::TempDir;
use tokio::sync::Semaphore;

use crate::cloud::{Aws, AwsOptions, CloudError, CloudErrorKind, ControlPlane};
use crate::driver::{Executor, StateFile};
use crate::logs::Shipping;
use crate::model::Snapshot;
use crate::reconciler::*;
use crate::registry::Registry;
use crate::status::{DaemonInfo, Recorder};

/// The replacement window.
pub const WINDOW: Duration = Duration::from_secs(2);
/// More steps than any plan needs.
const STEPS_MAX: usize = 8;

pub struct Harness {
    pub memory: InMemoryRuntime,
    pub faults: Faulty,
    pub host: Arc<HostEngine>,
    pub executor: Executor,
    state: Arc<StateFile>,
    directory: TempDir,
}

#[derive(Debug)]
struct NoCloud;

#[async_trait]
impl ControlPlane for NoCloud {
    async fn app(&self) -> Result<Snapshot, CloudError> {
        Err(CloudError::new(CloudErrorKind::Unreachable, "read the app"))
    }

    async fn aws_credentials(&self) -> Result<aws_credential_types::Credentials, CloudError> {
        Err(CloudError::new(CloudErrorKind::Unreachable, "read credentials"))
    }
}

pub fn owner() -> Owner {
    Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() }
}

pub fn image(text: &str) -> ImageReference {
    format!("registry.test/{text}:1").parse().expect("a valid reference")
}

/// A container of node `node`, of `image_name`, that reads `revision`.
pub fn target(node: &str, image_name: &str, revision: &str, ports: Vec<PortBinding>) -> Target {
    let mut all = owner().labels();
    all.insert(labels::NODE.to_owned(), node.to_owned());
    let spec = ContainerSpec {
        name: node.to_owned(),
        hostname: node.to_owned(),
        image: image(image_name),
        env: BTreeMap::new(),
        labels: all,
        network: "app".to_owned(),
        aliases: [].into(),
        ports,
        mounts: vec![],
        logs: LogSettings::Engine { file_bytes_max: 1, files_max: 1 },
        stop_grace: Duration::from_secs(30),
        hardening: Default::default(),
    };
    Target { spec: Arc::new(spec), revision: Revision::new(revision, None), image_id: None, kept_logs: None }
}

impl Harness {
    /// An engine with the images `one` and `two`.
    pub fn new() -> Self {
        let memory = InMemoryRuntime::new();
        memory.add_network("app");
        for name in ["one", "two"] {
            memory.load_image(&image(name), name.as_bytes());
        }
        let directory = tempfile::tempdir().expect("a folder");
        let faults = Faulty::new(Arc::new(memory.clone()));
        Self::on(memory, faults, directory, 64, WINDOW)
    }

    fn on(memory: InMemoryRuntime, faults: Faulty, directory: TempDir, permits: usize, window: Duration) -> Self {
        let state = Arc::new(StateFile::open(directory.path()));
        let host = Arc::new(HostEngine::new(HostEngineOptions {
            runtime: Arc::new(faults.clone()),
            owner: owner(),
            store: state.clone(),
            shipper: Arc::new(Shipping::off()),
            stop_grace: Duration::from_secs(30),
            replace_window: window,
            operations_max: permits,
        }));
        let executor = executor(host.clone());
        Self { memory, faults, host, executor, state, directory }
    }

    /// The same with this many operations at a time.
    pub async fn with_permits(self, permits: usize) -> Self {
        Self::on(self.memory, self.faults, self.directory, permits, WINDOW).observed().await
    }

    /// The same with this replacement window.
    pub async fn with_window(self, window: Duration) -> Self {
        Self::on(self.memory, self.faults, self.directory, 64, window).observed().await
    }

    /// A new daemon after this one died: it has the state on disk.
    pub async fn restarted(self) -> Self {
        self.with_permits(64).await
    }

    async fn observed(self) -> Self {
        self.host.observe().await.expect("a list");
        self.memory.clear_journal();
        self
    }

    /// Creates and starts a container of node `a` and image `one`, which has read `1`.
    pub async fn with_old(ports: Vec<PortBinding>) -> Self {
        let harness = Self::new().observed().await;
        harness.create(target("aa", "one", "1", ports)).await;
        harness.memory.clear_journal();
        harness
    }

    pub async fn create(&self, target: Target) {
        let outcome = self.executor.operate(Operation::Create(target)).await;
        assert!(matches!(outcome, Outcome::Created(_)), "{outcome:?}");
    }

    /// Replaces the one container of `target`'s node.
    pub async fn replace(&self, target: Target, strategy: Strategy) -> Outcome {
        self.executor.operate(Operation::Replace { target, strategy }).await
    }

    pub fn revisions(&self) -> HashMap<ContainerId, Revision> {
        self.state.revisions()
    }

    pub fn view(&self, name: &str) -> Option<View> {
        self.memory.container(name)
    }

    /// Names and images of all containers that run.
    pub fn running(&self) -> Vec<(String, String)> {
        let views = self.memory.containers().into_iter().filter(|view| view.container.state.is_running());
        let image_of =
            |view: &View| view.spec.as_ref().map_or(String::new(), |spec| spec.image.repository().to_owned());
        views.map(|view| (view.container.name.clone(), image_of(&view))).collect()
    }

    /// The calls of the engine since the journal was cleared.
    pub fn calls(&self) -> Vec<String> {
        self.memory.journal().into_iter().map(|call| format!("{} {}", call.verb, call.subject)).collect()
    }

    /// Plans and operates until nothing is left to do, and keeps rollbacks in quarantine.
    pub async fn settle(&self, target: &Target, can_overlap: bool) {
        let image = target.spec.image.clone();
        let image_id = self.memory.image(&image).await.expect("an answer").expect("the image is here");
        let desired = Desired { target: target.clone(), image, can_overlap };
        let mut is_quarantined = false;
        for _ in 0..STEPS_MAX {
            let observed = self.host.observe().await.expect("a list");
            let view = if is_quarantined { ImageView::Quarantined(&image_id) } else { ImageView::Present(&image_id) };
            let Plan::Do(operation, _) = plan(Some(&desired), view, &observed) else { return };
            let outcome = self.executor.operate(operation).await;
            is_quarantined |= matches!(outcome, Outcome::RolledBack(_));
            assert!(!matches!(outcome, Outcome::Failed(_) | Outcome::ImageMissing), "{outcome:?}");
        }
        panic!("no convergence; {:?}", self.memory.containers());
    }
}

fn executor(engine: Arc<dyn WorkloadEngine>) -> Executor {
    // A second installation is refused; the first one serves all tests of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let aws = Arc::new(Aws::new(AwsOptions { endpoint_url: None, sqs_endpoint_url: None, host_credentials: None }));
    Executor {
        engine,
        cloud: Arc::new(NoCloud),
        registry: Arc::new(Registry::new(aws.clone())),
        aws,
        pulls: Semaphore::new(1),
        recorder: Recorder::in_memory(DaemonInfo::default()),
        last_app: std::sync::Mutex::default(),
    }
}
