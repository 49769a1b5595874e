//! The only place that starts background tasks. Each has a name and an owner, and ends with its owner.

use std::future::Future;
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{Instrument, debug, error, info_span, warn};

/// Tasks of one owner: dropped or shut down together.
#[derive(Debug, Default)]
pub struct Tasks(JoinSet<()>);

impl Tasks {
    /// No tasks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts a task. A panic in it is logged as an error and ends only this task.
    pub fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        while let Some(ended) = self.0.try_join_next() {
            report(ended);
        }
        let named = async move {
            task.await;
            debug!(task = name, "task ended");
        };
        self.0.spawn(named.instrument(info_span!("task", name)));
    }

    /// Waits at most `limit` until all tasks have ended; remaining tasks are aborted.
    pub async fn finish(mut self, limit: Duration) {
        let all = async {
            while let Some(ended) = self.0.join_next().await {
                report(ended);
            }
        };
        if timeout(limit, all).await.is_err() {
            warn!(tasks = self.0.len(), "tasks did not end in time and are aborted");
        }
        self.shutdown().await;
    }

    /// Aborts all tasks and waits until they have ended.
    pub async fn shutdown(mut self) {
        self.0.abort_all();
        while let Some(ended) = self.0.join_next().await {
            report(ended);
        }
    }
}

fn report(ended: Result<(), tokio::task::JoinError>) {
    if let Err(error) = ended
        && error.is_panic()
    {
        error!(%error, "a task panicked; this is a bug");
    }
}

/// Starts a task that lives as long as the process.
pub fn spawn_detached(name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
    tokio::spawn(task.instrument(info_span!("task", name)));
}
