//! A host on the engine in memory, with a few words that most scenarios need.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use managed_app_fakes::cloud::commands::Node;
use managed_app_fakes::memory::View;
use managed_app_fakes::{FakeCloud, Faulty, InMemoryRuntime};
use managed_app_runtimes::{ImageReference, labels, names};

use crate::support::{Builder, Host};

/// The image of a node unless it is given another.
pub const IMAGE: &str = "registry.test/node:1";

/// A host whose engine is in memory, with switches for its faults.
pub struct Harness {
    /// The host.
    pub host: Host,
    /// The engine, for looking and for acts of others.
    pub memory: InMemoryRuntime,
    /// Makes the daemon's calls of the engine fail.
    pub faults: Faulty,
}

/// A site in the making.
pub struct Plan {
    cloud: FakeCloud,
    memory: InMemoryRuntime,
    faults: Faulty,
    shape: Box<dyn FnOnce(Builder) -> Builder>,
}

impl Plan {
    /// A site for this cloud. [`IMAGE`] can be pulled.
    pub fn of(cloud: FakeCloud) -> Self {
        let memory = InMemoryRuntime::new();
        memory.publish_image(&image(IMAGE), IMAGE.as_bytes());
        let faults = Faulty::new(Arc::new(memory.clone()));
        // The engine in memory needs no two seconds to show that a container stays up.
        let shape = |builder: Builder| builder.set("MANAGED_APP_REPLACE_WINDOW", "20ms");
        Self { cloud, memory, faults, shape: Box::new(shape) }
    }

    /// A site for a cloud with default names.
    pub async fn new() -> Self {
        Self::of(FakeCloud::start().await)
    }

    /// A site for an app whose name an engine takes as it is, as the Python program needed it.
    pub async fn of_plain_name() -> Self {
        Self::of(FakeCloud::builder().app("plant-7").start().await.expect("127.0.0.1 has free ports"))
    }

    /// Adds nodes of [`IMAGE`] to the cloud, each of a type of its own.
    pub fn nodes(self, names: &[&str]) -> Self {
        for name in names {
            self.cloud.quietly(|world| world.add_node(name, Node::default().image(IMAGE)));
        }
        self
    }

    /// Adds a node to the cloud.
    pub fn node(self, name: &str, node: Node) -> Self {
        self.cloud.quietly(|world| world.add_node(name, node));
        self
    }

    /// Does something to the cloud and the engine beforehand.
    pub fn with(self, act: impl FnOnce(&FakeCloud, &InMemoryRuntime)) -> Self {
        act(&self.cloud, &self.memory);
        self
    }

    /// Sets faults of the engine beforehand.
    pub fn faulty(self, act: impl FnOnce(&Faulty)) -> Self {
        act(&self.faults);
        self
    }

    /// Shapes the host.
    pub fn host(mut self, shape: impl FnOnce(Builder) -> Builder + 'static) -> Self {
        let before = std::mem::replace(&mut self.shape, Box::new(|builder| builder));
        self.shape = Box::new(move |builder| shape(before(builder)));
        self
    }

    /// Sets a variable of the daemon's environment.
    pub fn set(self, variable: &'static str, value: &'static str) -> Self {
        self.host(move |builder| builder.set(variable, value))
    }

    /// The site, its daemon not started.
    pub fn off(self) -> Harness {
        let host = (self.shape)(Builder::new(self.cloud, Arc::new(self.faults.clone()))).off();
        Harness { host, memory: self.memory, faults: self.faults }
    }

    /// The site, its daemon started.
    pub fn start(self) -> Harness {
        let mut harness = self.off();
        harness.start();
        harness
    }

    /// The site when all is as wanted; the journal is empty.
    pub async fn up(self) -> Harness {
        let harness = self.start();
        harness.converged().await;
        harness.journal.clear();
        harness
    }
}

impl Harness {
    /// A site with these nodes, all up; the journal is empty.
    pub async fn with(nodes: &[&str]) -> Self {
        Plan::new().await.nodes(nodes).up().await
    }

    /// The container of a node under its proper name.
    pub fn view(&self, node: &str) -> Option<View> {
        self.memory.container(&names::container_name(node))
    }

    /// Whether the container of a node is there and runs.
    pub fn runs(&self, node: &str) -> bool {
        self.view(node).is_some_and(|view| view.container.state.is_running())
    }

    /// Nodes that have containers with our labels, sorted, one entry for each container.
    pub fn nodes_with_containers(&self) -> Vec<String> {
        let views = self.memory.containers();
        let mut nodes: Vec<_> = views.iter().filter_map(|v| v.container.labels.get(labels::NODE).cloned()).collect();
        nodes.sort();
        nodes
    }

    /// Waits until the engine has been asked exactly for `actions`, in any order, and all is as wanted.
    pub async fn expect(&self, actions: &[&str]) {
        let mut wanted: Vec<String> = actions.iter().map(|act| (*act).to_owned()).collect();
        wanted.sort();
        let has_all = |host: &Host| host.is_converged() && host.journal.actions().len() >= wanted.len();
        self.eventually(&format!("acts {wanted:?}"), has_all).await;
        assert_eq!(self.journal.sorted_actions(), wanted);
    }

    /// As [`Harness::expect`], and nothing else happens that was told before now; `node` is restarted once for that.
    pub async fn expect_no_more_than(&mut self, actions: &[&str], node: &str) {
        self.expect(actions).await;
        self.journal.clear();
        self.probe(node).await;
        assert_eq!(self.journal.actions(), [format!("restart {node}")]);
        self.journal.clear();
    }
}

impl Deref for Harness {
    type Target = Host;

    fn deref(&self) -> &Host {
        &self.host
    }
}

impl DerefMut for Harness {
    fn deref_mut(&mut self) -> &mut Host {
        &mut self.host
    }
}

/// A reference that is right.
pub fn image(text: &str) -> ImageReference {
    text.parse().expect("a valid image reference")
}
