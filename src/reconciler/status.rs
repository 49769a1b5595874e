//! What the reconciler knows, as plain data for people and monitors.

use managed_app_runtimes::{ContainerId, ContainerState, ProcessExit};
use time::OffsetDateTime;

use super::crash_loop::CrashLoop;
use super::effect::Finish;
use super::node::{Intent, NodeState};
use super::{EndOfNodes, Reconciler};
use crate::model::NodeName;

/// Where the daemon is in its life.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not everything has been looked at and tried once.
    Starting,
    /// Following changes.
    Running,
    /// Bringing the nodes to their end.
    Stopping {
        /// What becomes of the nodes.
        nodes: EndOfNodes,
        /// Why.
        finish: Finish,
    },
    /// Done.
    Finished,
}

/// One moment of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    /// Where it is in its life.
    pub phase: Phase,
    /// Whether all that is known to be wanted is so, nothing is on its way, and no node is in a crash loop.
    pub is_converged: bool,
    /// Why the cloud cannot be asked, if so.
    pub cloud_failure: Option<String>,
    /// Why the engine cannot be asked, if so.
    pub engine_failure: Option<String>,
    /// All nodes by name.
    pub nodes: Vec<NodeStatus>,
}

/// One node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeStatus {
    /// Its name.
    pub name: NodeName,
    /// Its image, as wanted, or as it is where nothing is known to be wanted.
    pub image: Option<String>,
    /// Its container; of several the one that runs.
    pub container: Option<ContainerId>,
    /// The state of that container in one word; `absent` where there is none.
    pub state: &'static str,
    /// When that container was started, by the engine's clock, where it told since.
    pub started_at: Option<OffsetDateTime>,
    /// Whether a container of it runs.
    pub is_running: bool,
    /// Whether it is as wanted.
    pub is_settled: bool,
    /// The operation that is going on.
    pub busy: Option<&'static str>,
    /// What is wrong, for people.
    pub failure: Option<String>,
    /// Whether it is not run at all as the cloud describes it, for that reason; its containers stay as they are.
    pub is_refused: bool,
    /// Its crash loop, if its process keeps ending.
    pub crash_loop: Option<CrashLoop>,
    /// Starts of that container by the engine's restart policy, as the engine counts them; `None` if not known.
    pub engine_restarts: Option<u64>,
    /// The last end of its process that was seen.
    pub last_exit: Option<ProcessExit>,
}

impl NodeStatus {
    /// Whether something is wrong with it.
    pub fn is_failing(&self) -> bool {
        self.failure.is_some() || self.crash_loop.is_some()
    }
}

impl Status {
    /// One line for systemd: counts, and what is wrong first.
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

fn word(state: &ContainerState) -> &'static str {
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

impl Reconciler {
    /// What is known now. Costs a walk over all nodes.
    pub fn status(&self) -> Status {
        let nodes = self.nodes.iter().map(|(name, node)| self.node_status(name, node)).collect();
        Status {
            phase: self.phase,
            is_converged: self.is_converged(),
            cloud_failure: self.fetch.failure.as_ref().map(|failure| failure.text.clone()),
            engine_failure: self.list.failure.as_ref().map(|failure| failure.text.clone()),
            nodes,
        }
    }

    fn is_converged(&self) -> bool {
        let is_quiet = |request: &super::Request| !request.is_running && !request.is_wanted && request.has_answer;
        is_quiet(&self.fetch)
            && is_quiet(&self.list)
            && self.busy_count == 0
            && self.dirty.is_empty()
            && !self.images.is_pulling()
            && !self.pending_changes.has_new()
            && self
                .nodes
                .values()
                .all(|node| node.is_settled || !matches!(node.intent, Intent::Run(_) | Intent::Remove))
            && self.nodes.values().all(|node| node.crash_tracker.crash_loop().is_none())
    }

    fn node_status(&self, name: &NodeName, node: &NodeState) -> NodeStatus {
        let image_failure = node.desired().and_then(|desired| self.images.failure(&desired.image));
        let failure = match &node.intent {
            Intent::Invalid(reason) => Some(reason.clone()),
            _ => node
                .failure
                .as_ref()
                .map(|failure| failure.text.clone())
                .or_else(|| Some(node.quarantine.as_ref()?.reason.clone()))
                .or_else(|| node.waits_for.clone())
                .or_else(|| Some(image_failure?.text.clone())),
        };
        let wanted = node.desired().map(|desired| desired.image.to_string());
        let shown = node.containers.iter().max_by_key(|container| (container.is_up(), container.started_at));
        NodeStatus {
            name: name.clone(),
            image: wanted.or_else(|| Some(shown?.record.as_ref()?.image().to_owned())),
            container: shown.map(|container| container.id.clone()),
            state: shown.map_or("absent", |container| word(&container.state)),
            started_at: shown.and_then(|container| container.started_at),
            is_running: node.containers.iter().any(|container| container.state.is_running()),
            is_settled: node.is_settled,
            busy: node.busy,
            failure,
            is_refused: matches!(node.intent, Intent::Invalid(_)),
            crash_loop: node.crash_tracker.crash_loop(),
            engine_restarts: shown.and_then(|container| container.restarts),
            last_exit: node.crash_tracker.last_exit(),
        }
    }
}
