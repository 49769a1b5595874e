//! A host with the engine in memory, and helpers for most scenarios.

use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use managed_app_fakes::cloud::commands::Node;
use managed_app_fakes::memory::View;
use managed_app_fakes::{FakeCloud, Faulty, InMemoryRuntime};
use managed_app_runtimes::{ImageReference, labels, names};

use crate::support::{Builder, Host};

/// The default image of a node.
pub const IMAGE: &str = "registry.test/node:1";

/// A host with the engine in memory and fault injection.
pub struct Harness {
    /// The host.
    pub host: Host,
    /// The engine, for observation and external changes.
    pub memory: InMemoryRuntime,
    /// Makes engine calls of the daemon fail.
    pub faults: Faulty,
}

/// Builds a [`Harness`].
pub struct Plan {
    cloud: FakeCloud,
    memory: InMemoryRuntime,
    faults: Faulty,
    shape: Box<dyn FnOnce(Builder) -> Builder>,
}

impl Plan {
    /// A host for this cloud. [`IMAGE`] can be pulled.
    pub fn of(cloud: FakeCloud) -> Self {
        let memory = InMemoryRuntime::new();
        memory.publish_image(&image(IMAGE), IMAGE.as_bytes());
        let faults = Faulty::new(Arc::new(memory.clone()));
        // The default window is too long for the engine in memory.
        let shape = |builder: Builder| builder.set("MANAGED_APP_REPLACE_WINDOW", "20ms");
        Self { cloud, memory, faults, shape: Box::new(shape) }
    }

    /// A host for a cloud with default names.
    pub async fn new() -> Self {
        Self::of(FakeCloud::start().await)
    }

    /// A host for an app with a valid engine name, which the Python program requires.
    pub async fn of_plain_name() -> Self {
        Self::of(FakeCloud::builder().app("plant-7").start().await.expect("127.0.0.1 has free ports"))
    }

    /// Adds nodes of [`IMAGE`] to the cloud, each with its own type.
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

    /// Changes the cloud and the engine before the start.
    pub fn with(self, act: impl FnOnce(&FakeCloud, &InMemoryRuntime)) -> Self {
        act(&self.cloud, &self.memory);
        self
    }

    /// Sets faults of the engine before the start.
    pub fn faulty(self, act: impl FnOnce(&Faulty)) -> Self {
        act(&self.faults);
        self
    }

    /// Changes the host.
    pub fn host(mut self, shape: impl FnOnce(Builder) -> Builder + 'static) -> Self {
        let before = std::mem::replace(&mut self.shape, Box::new(|builder| builder));
        self.shape = Box::new(move |builder| shape(before(builder)));
        self
    }

    /// Sets a variable in the environment of the daemon.
    pub fn set(self, variable: &'static str, value: &'static str) -> Self {
        self.host(move |builder| builder.set(variable, value))
    }

    /// The host; its daemon is not started.
    pub fn off(self) -> Harness {
        let host = (self.shape)(Builder::new(self.cloud, Arc::new(self.faults.clone()))).off();
        Harness { host, memory: self.memory, faults: self.faults }
    }

    /// The host with a started daemon.
    pub fn start(self) -> Harness {
        let mut harness = self.off();
        harness.start();
        harness
    }

    /// The host in its desired state; the journal is empty.
    pub async fn up(self) -> Harness {
        let harness = self.start();
        harness.converged().await;
        harness.journal.clear();
        harness
    }
}

impl Harness {
    /// A host with these nodes, all up; the journal is empty.
    pub async fn with(nodes: &[&str]) -> Self {
        Plan::new().await.nodes(nodes).up().await
    }

    /// The container with the final name of a node.
    pub fn view(&self, node: &str) -> Option<View> {
        self.memory.container(&names::container_name(node))
    }

    /// Whether the container of a node exists and runs.
    pub fn runs(&self, node: &str) -> bool {
        self.view(node).is_some_and(|view| view.container.state.is_running())
    }

    /// Nodes of the containers with our labels, sorted, one entry per container.
    pub fn nodes_with_containers(&self) -> Vec<String> {
        let views = self.memory.containers();
        let mut nodes: Vec<_> = views.iter().filter_map(|v| v.container.labels.get(labels::NODE).cloned()).collect();
        nodes.sort();
        nodes
    }

    /// Waits for the desired state and exactly these engine calls, in any order.
    pub async fn expect(&self, actions: &[&str]) {
        let mut wanted: Vec<String> = actions.iter().map(|act| (*act).to_owned()).collect();
        wanted.sort();
        let has_all = |host: &Host| host.is_converged() && host.journal.actions().len() >= wanted.len();
        self.eventually(&format!("actions {wanted:?}"), has_all).await;
        assert_eq!(self.journal.sorted_actions(), wanted);
    }

    /// As [`Harness::expect`]; asserts that earlier messages cause no other calls. Restarts `node` once for that.
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

/// A valid image reference.
pub fn image(text: &str) -> ImageReference {
    text.parse().expect("a valid image reference")
}
