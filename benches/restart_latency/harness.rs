//! One app on one engine: a fake cloud with its nodes, the counting proxies before it, the daemon's folder, and the raw
//! containers beside it. All names begin with the tag.

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
/// After this long without work the daemon has done what follows a change.
const QUIET: Duration = Duration::from_millis(400);

/// Two versions of the node's image, in the public registry and in an engine.
#[derive(Debug, Clone)]
pub struct Images(pub [String; 2]);

impl Images {
    /// Puts them into the registry and into both engines.
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

/// The app and what belongs to it.
pub struct Harness {
    pub engine: Engine,
    pub cloud: FakeCloud,
    pub images: Images,
    /// The app's name, and the beginning of all others.
    pub tag: String,
    /// Before Cognito and the token services, AppSync, and SQS.
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
            // The daemon ships what nodes print by itself, which costs it most.
            ("MANAGED_APP_NODE_LOGS", "agent".to_owned()),
            ("MANAGED_APP_STATE_DIRECTORY", self.state.path().display().to_string()),
            ("MANAGED_APP_HOST_ID", self.tag.clone()),
            ("PATH", String::new()),
            // Nothing here may look for a role of the machine that this runs on.
            ("AWS_EC2_METADATA_DISABLED", "true".to_owned()),
        ];
        variables.extend(ours.map(|(name, value)| (name.to_owned(), value)));
        variables
    }

    /// Waits until the daemon has taken in all changes, polls again, and has been quiet for a moment.
    pub async fn quiet(&self, daemon: &Daemon) {
        let end = Instant::now() + LIMIT;
        while self.cloud.pending_changes() > 0 || self.cloud.queues.waiting() == 0 {
            assert!(Instant::now() < end, "the daemon does not come to rest; its log:\n{}", daemon.log());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(QUIET).await;
    }

    /// A container beside the daemon's, which is no business of it.
    pub fn raw(&self, name: &str) -> Spec {
        Spec {
            name: format!("{}-raw-{name}", self.tag),
            image: self.images.0[0].clone(),
            network: format!("{}-raw", self.tag),
            mount: None,
        }
    }

    /// Removes all that carries the tag from the engine.
    pub async fn sweep(&self) {
        self.engine.sweep(&self.tag).await;
    }

    /// Waits until `count` of the app's containers were started since `after`; when the last one was.
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
