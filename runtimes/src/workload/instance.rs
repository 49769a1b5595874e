//! A container of a workload, as the engine has it.

use std::collections::BTreeMap;
use std::sync::Arc;

use time::OffsetDateTime;

use super::Revision;
use crate::labels::{self, SpecRecord};
use crate::{Container, ContainerId, ContainerState, ImageId, Origin, ProcessExit};

/// Instances by id.
pub type Instances = BTreeMap<ContainerId, Instance>;

/// One container of a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    /// Its id.
    pub id: ContainerId,
    /// The node of its workload.
    pub node: String,
    /// Its name.
    pub name: String,
    /// Its image; empty if unknown.
    pub image_id: ImageId,
    /// Its state.
    pub state: ContainerState,
    /// Its origin.
    pub origin: Origin,
    /// Its networks.
    pub networks: Vec<String>,
    /// The record of its spec, if it has one.
    pub record: Option<Arc<SpecRecord>>,
    /// Its startup inputs, if known.
    pub revision: Option<Revision>,
    /// When its process was started, by the engine's clock; `None` if never or not known.
    pub started_at: Option<OffsetDateTime>,
    /// Starts by the engine's restart policy, as the engine counts them; `None` if not known.
    pub restarts: Option<u64>,
    /// The last exit of its process, as the engine reports it.
    pub last_exit: Option<ProcessExit>,
}

impl Instance {
    /// A container of the engine's list; `None` if it belongs to no node. Labels of a container never change, so the
    /// record of a known one is not parsed again.
    pub fn new(container: Container, known: Option<&Self>, revision: Option<Revision>) -> Option<Self> {
        let record = match known {
            Some(known) => known.record.clone(),
            None => SpecRecord::from_labels(&container.labels).map(Arc::new),
        };
        let node = match container.origin {
            Origin::Labelled => container.labels.get(labels::NODE)?.clone(),
            Origin::Legacy => container.name.clone(),
        };
        Some(Self {
            id: container.id,
            node,
            name: container.name,
            image_id: container.image_id,
            state: container.state,
            origin: container.origin,
            networks: container.networks,
            record,
            revision,
            started_at: container.started_at,
            restarts: container.restarts,
            last_exit: container.last_exit,
        })
    }

    /// Whether it runs or is paused: it holds its host ports.
    pub fn is_up(&self) -> bool {
        self.state.is_running() || self.state == ContainerState::Paused
    }

    /// Whether it does not run and can be started.
    pub fn can_start(&self) -> bool {
        matches!(self.state, ContainerState::Exited { .. } | ContainerState::Created)
    }

    /// Whether it runs or may run: nothing is started beside it.
    pub fn may_run(&self) -> bool {
        !self.can_start() && !matches!(self.state, ContainerState::Dead | ContainerState::Removing)
    }

    /// Whether the engine keeps its output for this daemon.
    pub fn keeps_output(&self) -> bool {
        self.record.as_ref().is_some_and(|record| record.keeps_output())
    }
}
