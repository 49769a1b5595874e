//! A host engine over any backend, for tests.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;

use super::bench::GRACE;
use crate::workload::Revision;
use crate::{ContainerId, ContainerRuntime, HostEngine, HostEngineOptions, OutputShipper, Owner, RevisionStore};

/// A host engine that keeps revisions in memory and ships no output.
pub fn host_engine(runtime: Arc<dyn ContainerRuntime>, owner: Owner, replace_window: Duration) -> HostEngine {
    HostEngine::new(HostEngineOptions {
        runtime,
        owner,
        store: Arc::new(Revisions::default()),
        shipper: Arc::new(NoShipper),
        stop_grace: GRACE,
        replace_window,
        operations_max: 64,
    })
}

#[derive(Debug, Default)]
struct Revisions(Mutex<HashMap<ContainerId, Revision>>);

impl Revisions {
    fn all(&self) -> MutexGuard<'_, HashMap<ContainerId, Revision>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RevisionStore for Revisions {
    fn revisions(&self) -> HashMap<ContainerId, Revision> {
        self.all().clone()
    }

    fn revision(&self, id: &ContainerId) -> Option<Revision> {
        self.all().get(id).cloned()
    }

    async fn record(&self, id: &ContainerId, revision: &Revision) {
        self.all().insert(id.clone(), revision.clone());
    }

    async fn forget(&self, ids: &[ContainerId]) {
        self.all().retain(|id, _| !ids.contains(id));
    }

    fn retain(&self, ids: &HashSet<ContainerId>) {
        self.all().retain(|id, _| ids.contains(id));
    }
}

#[derive(Debug)]
struct NoShipper;

#[async_trait]
impl OutputShipper for NoShipper {
    async fn finish(&self, _: &[ContainerId]) {}
}
