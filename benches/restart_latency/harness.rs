//! One app on one engine: a fake cloud with its nodes, counting proxies to it, the directory of the daemon, and raw
//! containers beside the app. All names have the tag as prefix.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use managed_app_fakes::cloud::commands::Node;
use managed_app_fakes::{FakeCloud, node_image};
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::engine::{Engine, PREFIX, Spec};
use crate::events::Events;
use crate::proxy::Proxy;

static COUNTER: AtomicU32 = AtomicU32::new(0);

/// The node type of all nodes.
pub const TYPE: &str = "type";
const LIMIT: Duration = Duration::from_secs(60);
/// Idle time after which the daemon has finished the work after a change.
const QUIET: Duration = Duration::from_millis(400);

/// Two versions of the image of the nodes, in the public registry and in the engines.
#[derive(Debug, Clone)]
pub struct Images(pub [String; 2]);

impl Images {
    /// Pushes them to the registry and pulls them into both engines.
    pub async fn publish() -> Self {
        let registry = crate::variable("MANAGED_APP_TEST_PUBLIC_REGISTRY");
        let name = |version: u32| format!("{registry}/{PREFIX}node/node:{version}");
        let images = Self([name(1), name(2)]);
        for (index, reference) in images.0.iter().enumerate() {
            let archive = node_image::archive(reference, &format!("bench {}", index + 1));
            Engine::Docker.load_and_push(&archive, reference).await;
            for engine in [Engine::Docker, Engine::Podman] {
                engine.pull(reference).await;
            }
        }
        images
    }
}

/// The app with its cloud, proxies and state.
pub struct Harness {
    pub engine: Engine,
    pub cloud: FakeCloud,
    pub images: Images,
    /// The name of the app, and the prefix of all other names.
    pub tag: String,
    /// For Cognito and the token services, AppSync, and SQS.
    pub proxies: [Proxy; 3],
    state: TempDir,
}

impl Harness {
    /// An app of `count` nodes.
    pub async fn new(engine: Engine, images: &Images, count: usize) -> Self {
        let tag = format!("{PREFIX}{}-{}", std::process::id(), COUNTER.fetch_add(1, Ordering::Relaxed));
        let cloud = FakeCloud::builder().app(&tag).start().await.expect("127.0.0.1 has free ports");
        for index in 0..count {
            cloud.quietly(|world| world.add_node(&node_name(&tag, index), plain_node(&images.0[0])));
        }
        let proxies = [
            Proxy::before(&cloud.endpoint()).await,
            Proxy::before(&cloud.endpoint()).await,
            Proxy::before(&cloud.sqs_endpoint()).await,
        ];
        let state = tempfile::tempdir().expect("a temporary folder");
        Self { engine, cloud, images: images.clone(), tag, proxies, state }
    }

    /// The name of a node and of its container.
    pub fn node(&self, index: usize) -> String {
        node_name(&self.tag, index)
    }

    /// The whole environment of the daemon.
    pub fn variables(&self) -> BTreeMap<String, String> {
        let mut variables = self.cloud.env();
        let [services, appsync, sqs] = &self.proxies;
        let endpoint = variables["APPSYNC_ENDPOINT"].replace(&self.cloud.endpoint(), &appsync.url);
        let ours = [
            ("APPSYNC_ENDPOINT", endpoint),
            ("AWS_ENDPOINT_URL", services.url.clone()),
            ("AWS_ENDPOINT_URL_SQS", sqs.url.clone()),
            ("MANAGED_APP_RUNTIME", self.engine.name().to_owned()),
            (self.engine.variable(), self.engine.endpoint()),
            // The daemon ships the output of nodes, which is its most expensive mode.
            ("MANAGED_APP_NODE_LOGS", "agent".to_owned()),
            ("MANAGED_APP_STATE_DIRECTORY", self.state.path().display().to_string()),
            ("MANAGED_APP_HOST_ID", self.tag.clone()),
            ("PATH", String::new()),
            // The bench must not use a role of its machine.
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        variables.extend(ours.map(|(name, value)| (name.to_owned(), value)));
        variables
    }

    /// Waits until the daemon has received all changes, polls again, and was idle for a moment.
    pub async fn quiet(&self, daemon: &Daemon) {
        let end = Instant::now() + LIMIT;
        while self.cloud.pending_changes() > 0 || self.cloud.queues.waiting() == 0 {
            assert!(Instant::now() < end, "the daemon does not become idle; its log:\n{}", daemon.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(QUIET).await;
    }

    /// A foreign container beside those of the daemon.
    pub fn raw(&self, name: &str) -> Spec {
        Spec {
            name: format!("{}-raw-{name}", self.tag),
            image: self.images.0[0].clone(),
            network: format!("{}-raw", self.tag),
            mount: None,
        }
    }

    /// Removes everything with the tag from the engine.
    pub async fn sweep(&self) {
        self.engine.sweep(&self.tag).await;
    }

    /// Waits until `count` containers of the app were started since `after`; returns the time of the last start.
    pub async fn last_start(&self, events: &Events, after: f64, count: usize) -> f64 {
        let prefix = format!("{}-n", self.tag);
        let starts = events
            .wait("starts of nodes", after, count, |seen| seen.action == "start" && seen.name.starts_with(&prefix));
        starts.await[count - 1].at
    }
}

/// A node of [`TYPE`].
pub fn plain_node(image: &str) -> Node {
    Node::default().of_type(TYPE).image(image)
}

fn node_name(tag: &str, index: usize) -> String {
    format!("{tag}-n{index}")
}
