//! Audit records: sends one record for each message of the change receiver to the tenant's audit endpoint while the
//! tenant enables audit. Separate from the control plane: another endpoint, another signature, and no caller waits for
//! it.
//!
//! Records wait in memory, up to a limit, and are lost in a crash. They are sent one second after the first of them.
//! Records that exceed the limit are dropped, counted and logged.

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
use crate::status::AuditNumbers;

/// Records messages and sends the records to the audit endpoint. Cheap to clone; clones share one queue.
#[derive(Clone)]
pub struct AuditTrail {
    queue: Arc<Queue>,
    app: watch::Receiver<Option<Arc<App>>>,
}

impl AuditTrail {
    /// A trail for the current app: `audit` of its tenant enables records, and its endpoint receives them. Starts no
    /// task; see [`AuditTrail::send`].
    pub fn new(app: watch::Receiver<Option<Arc<App>>>) -> Self {
        Self { queue: Arc::default(), app }
    }

    /// Records a message that was handled now, if the tenant enables audit. Never waits.
    pub fn record(&self, tracking_id: &str, previous_tracking_ids: Vec<String>) {
        let app = self.app.borrow().clone();
        let Some(app) = app.filter(|app| app.tenant.audit) else { return };
        if let Err(reason) = Target::of(&app) {
            if self.queue.drop_unsendable() {
                tracing::warn!(reason, "audit is enabled for the tenant, but records cannot be sent; they are dropped");
            }
            return;
        }
        let source_node = app.change_receiver.as_ref().map(|receiver| receiver.source.clone()).unwrap_or_default();
        let (at, tracking_id) = (OffsetDateTime::now_utc(), tracking_id.to_owned());
        if self.queue.push(Record { at, tracking_id, previous_tracking_ids, source_node }) {
            tracing::warn!("too many audit records wait to be sent; new records are dropped and counted");
        }
    }

    /// Sends records until `shutdown`, then the remaining ones for at most two seconds.
    ///
    /// Failures are retried with increasing delays. The first failure and the recovery are logged. Call this once.
    pub async fn send(self, credentials: AppCredentials, shutdown: CancellationToken) {
        send::run(&self.queue, &self.app, credentials, shutdown).await;
    }

    /// The current numbers.
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
