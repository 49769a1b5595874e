//! The state of the reconciler, as plain data for people and monitors.

use managed_app_runtimes::{ContainerId, ContainerState, ProcessExit};
use time::OffsetDateTime;

use super::EndOfNodes;
use super::crash_loop::CrashLoop;
use super::effect::Finish;
use super::images::Images;
use super::node::{Intent, ManagedNode, NodeState};
use crate::model::NodeName;

/// The phase of the daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Some nodes were not evaluated and tried yet.
    Starting,
    /// Following changes.
    Running,
    /// Stopping.
    Stopping {
        /// The treatment of the nodes.
        nodes: EndOfNodes,
        /// Why.
        finish: Finish,
    },
    /// Done.
    Finished,
}

/// The status at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// The phase.
    pub phase: Phase,
    /// Whether all nodes have their known desired state, no action is pending, and no node is in a crash loop, except
    /// stopped nodes that cannot be run as the cloud describes them.
    pub is_converged: bool,
    /// The last failure of the cloud, until it responds.
    pub cloud_failure: Option<String>,
    /// The last failure of the engine, until it responds.
    pub engine_failure: Option<String>,
    /// All nodes by name.
    pub nodes: Vec<NodeStatus>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// Its desired image, or the current one if no desired state is known.
    pub image: Option<String>,
    /// Its container; the running one if there are several.
    pub container: Option<ContainerId>,
    /// The state of that container; `absent` if there is none.
    pub state: &'static str,
    /// When that container was started, by the engine's clock, if known.
    pub started_at: Option<OffsetDateTime>,
    /// Whether a container of it runs.
    pub is_running: bool,
    /// Whether its desired state is reached.
    pub is_settled: bool,
    /// The running operation.
    pub busy: Option<&'static str>,
    /// The failure, for people.
    pub failure: Option<String>,
    /// Whether it cannot be run as the cloud describes it; its containers stay unchanged.
    pub is_refused: bool,
    /// Its crash loop, if there is one.
    pub crash_loop: Option<CrashLoop>,
    /// Starts of that container by the engine's restart policy, as the engine counts them; `None` if not known.
    pub engine_restarts: Option<u64>,
    /// The last observed exit of its process.
    pub last_exit: Option<ProcessExit>,
}

impl NodeStatus {
    /// The status of `node`.
    pub(super) fn of(name: &NodeName, node: &ManagedNode, images: &Images) -> Self {
        let image_failure = node.desired().and_then(|desired| images.failure(&desired.image));
        let failure = match &node.intent {
            Intent::Invalid(reason) => Some(reason.clone()),
            _ => node
                .failure
                .as_ref()
                .map(|failure| failure.text.clone())
                .or_else(|| Some(node.quarantine.as_ref()?.reason.clone()))
                .or_else(|| if let NodeState::Waiting(text) = &node.state { Some(text.clone()) } else { None })
                .or_else(|| Some(image_failure?.text.clone())),
        };
        let desired_image = node.desired().map(|desired| desired.image.to_string());
        let shown = node.containers.iter().max_by_key(|container| (container.is_up(), container.started_at));
        Self {
            name: name.clone(),
            image: desired_image.or_else(|| Some(shown?.record.as_ref()?.image().to_owned())),
            container: shown.map(|container| container.id.clone()),
            state: shown.map_or("absent", |container| state_name(&container.state)),
            started_at: shown.and_then(|container| container.started_at),
            is_running: node.containers.iter().any(|container| container.state.is_running()),
            is_settled: node.is_settled(),
            busy: if let NodeState::Busy { verb, .. } = node.state { Some(verb) } else { None },
            failure,
            is_refused: matches!(node.intent, Intent::Invalid(_)),
            crash_loop: node.crash_tracker.crash_loop(),
            engine_restarts: shown.and_then(|container| container.restarts),
            last_exit: node.crash_tracker.last_exit(),
        }
    }

    /// Whether it has a failure.
    pub fn is_failing(&self) -> bool {
        self.failure.is_some() || self.crash_loop.is_some()
    }
}

impl Status {
    /// One line for systemd: counts, with failures first.
    pub fn summary(&self) -> String {
        let count = |test: &dyn Fn(&NodeStatus) -> bool| self.nodes.iter().filter(|node| test(node)).count();
        let phase = match self.phase {
            Phase::Starting => "starting",
            Phase::Running => "running",
            Phase::Stopping { .. } => "stopping",
            Phase::Finished => "finished",
        };
        let mut text = format!("{phase}: {} of {} nodes up", count(&|node| node.is_running), self.nodes.len());
        let failing = count(&NodeStatus::is_failing);
        if failing > 0 {
            text.push_str(&format!(", {failing} failing"));
        }
        for (what, failure) in [("cloud", &self.cloud_failure), ("engine", &self.engine_failure)] {
            if let Some(failure) = failure {
                text.push_str(&format!("; degraded, {what}: {failure}"));
            }
        }
        text
    }
}

fn state_name(state: &ContainerState) -> &'static str {
    match state {
        ContainerState::Created => "created",
        ContainerState::Running => "running",
        ContainerState::Paused => "paused",
        ContainerState::Restarting => "crashing",
        ContainerState::Exited { .. } => "stopped",
        ContainerState::Removing => "removing",
        ContainerState::Dead => "dead",
        ContainerState::Unknown(_) => "unknown",
    }
}
