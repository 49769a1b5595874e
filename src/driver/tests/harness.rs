//! The driver's executor on the engine in memory, and a loop that plans and operates until nothing is left to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use managed_app_fakes::memory::View;
use managed_app_fakes::{Faulty, InMemoryRuntime};
use managed_app_runtimes::{ContainerRuntime, ContainerSpec, ImageReference, LogSettings, Owner, PortBinding, labels};
use tempfile::TempDir;
use tokio::sync::{Semaphore, broadcast};
use tokio_util::sync::CancellationToken;

use crate::cloud::{Aws, AwsOptions, CloudError, CloudErrorKind, ControlPlane};
use crate::driver::{ContainerObserver, Executor, NOTICES_MAX, StateFile};
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
    pub executor: Executor,
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
    Target { spec: Arc::new(spec), revision: Revision::from_text(revision) }
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
        let executor = executor(&faults, &directory, 64);
        Self { memory, faults, executor, directory }
    }

    /// The same with this many operations at a time.
    pub fn with_permits(self, permits: usize) -> Self {
        Self { executor: executor(&self.faults, &self.directory, permits), ..self }
    }

    /// A new daemon after this one died: it has the state on disk.
    pub fn restarted(self) -> Self {
        self.with_permits(64)
    }

    /// Creates and starts a container of node `a` and image `one`, which has read `1`.
    pub async fn with_old(ports: Vec<PortBinding>) -> Self {
        let harness = Self::new();
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
        let old = vec![self.view(&target.spec.name).expect("the old one").container.id];
        self.executor.operate(Operation::Replace { old, next: None, target, strategy }).await
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
        let desired = Desired { target: target.clone(), image, can_overlap, kept_logs: None };
        let mut is_quarantined = false;
        for _ in 0..STEPS_MAX {
            let revisions = self.executor.state.revisions();
            let listed = self.memory.list(&owner()).await.expect("a list");
            let observed = listed.into_iter().map(|container| {
                let revision = revisions.get(&container.id).cloned();
                Observed::new(container, None, revision)
            });
            let view = if is_quarantined { ImageView::Quarantined(&image_id) } else { ImageView::Present(&image_id) };
            let Plan::Do(operation, _) = plan(Some(&desired), view, &observed.collect::<Vec<_>>()) else { return };
            let outcome = self.executor.operate(operation).await;
            is_quarantined |= matches!(outcome, Outcome::RolledBack(_));
            assert!(!matches!(outcome, Outcome::Failed(_) | Outcome::ImageMissing), "{outcome:?}");
        }
        panic!("no convergence; {:?}", self.memory.containers());
    }
}

fn executor(faults: &Faulty, directory: &TempDir, permits: usize) -> Executor {
    // A second installation is refused; the first one serves all tests of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let aws = Arc::new(Aws::new(AwsOptions { endpoint_url: None, sqs_endpoint_url: None, host_credentials: None }));
    Executor {
        runtime: Arc::new(faults.clone()),
        cloud: Arc::new(NoCloud),
        registry: Arc::new(Registry::new(aws.clone())),
        aws,
        state: Arc::new(StateFile::open(directory.path())),
        owner: owner(),
        stop_grace: Duration::from_secs(30),
        operations: Semaphore::new(permits),
        pulls: Semaphore::new(1),
        replace_window: WINDOW,
        notices: broadcast::Sender::new(NOTICES_MAX),
        pulled: Default::default(),
        containers: ContainerObserver::new(Arc::new(faults.clone()), owner()),
        recorder: Recorder::in_memory(DaemonInfo::default()),
        last_app: std::sync::Mutex::default(),
        shipping: Shipping::off(),
        stopping: CancellationToken::new(),
    }
}
