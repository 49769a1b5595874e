//! Audit records: each message that the change receiver took is told to the tenant's audit endpoint, while the tenant
//! asks for it. Beside the control plane and not in it: another address, another signature, and nobody waits for it.
//!
//! Records wait in memory, bounded, and are lost in a crash: they are sent a second after the first of them was noted.
//! What does not fit is dropped, counted and said.

mod queue;
mod request;
mod send;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use time::OffsetDateTime;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use self::queue::{Queue, Record};
use self::request::Target;
use super::AppCredentials;
use crate::model::App;

/// What became of audit records since the daemon began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct AuditNumbers {
    /// Whether the tenant asks for them now, and has an endpoint that can be used.
    pub is_on: bool,
    /// Those that wait to be sent.
    pub waiting: usize,
    /// Those that the endpoint accepted.
    pub sent: u64,
    /// Those that had to be sent once more, counted for each further time.
    pub retried: u64,
    /// Those that are lost: there was no room, the endpoint did not take them, or the daemon ended.
    pub dropped: u64,
}

/// Takes note of messages and tells the audit endpoint of them. Cheap to clone; clones share one queue.
#[derive(Clone)]
pub struct AuditTrail {
    queue: Arc<Queue>,
    app: watch::Receiver<Option<Arc<App>>>,
}

impl AuditTrail {
    /// A trail for the app as it was last seen: its tenant's `audit` switches it on and off, its endpoint is where
    /// records go. Starts nothing; see [`AuditTrail::send`].
    pub fn new(app: watch::Receiver<Option<Arc<App>>>) -> Self {
        Self { queue: Arc::default(), app }
    }

    /// Takes note of a message that was handled now, if the tenant wants to know. Never waits.
    pub fn note(&self, tracking_id: &str, previous_tracking_ids: Vec<String>) {
        let app = self.app.borrow().clone();
        let Some(app) = app.filter(|app| app.tenant.audit) else { return };
        if let Err(reason) = Target::of(&app) {
            if self.queue.drop_unusable() {
                tracing::warn!(reason, "audit is on for the tenant, and its records cannot be sent; they are dropped");
            }
            return;
        }
        let source_node = app.change_receiver.as_ref().map(|receiver| receiver.source.clone()).unwrap_or_default();
        let (at, tracking_id) = (OffsetDateTime::now_utc(), tracking_id.to_owned());
        if self.queue.push(Record { at, tracking_id, previous_tracking_ids, source_node }) {
            tracing::warn!("too many audit records wait to be sent; those that come now are dropped and counted");
        }
    }

    /// Sends what was noted until `shutdown`, and then what is left, for two seconds at most.
    ///
    /// Failures are waited out with growing pauses; said once, and once more when records are accepted again. Call it
    /// once.
    pub async fn send(self, credentials: AppCredentials, shutdown: CancellationToken) {
        send::run(&self.queue, &self.app, credentials, shutdown).await;
    }

    /// How it goes.
    pub fn numbers(&self) -> AuditNumbers {
        let is_on = self.app.borrow().as_ref().is_some_and(|app| app.tenant.audit && Target::of(app).is_ok());
        AuditNumbers { is_on, ..self.queue.numbers() }
    }
}

impl fmt::Debug for AuditTrail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("AuditTrail").field(&self.numbers()).finish()
    }
}
