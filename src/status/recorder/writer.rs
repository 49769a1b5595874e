//! Writes the history to disk in the background: a disk that hangs delays only the history.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

use super::Recorder;

/// Delay between two writes, so that a burst of actions is one write.
const PAUSE: Duration = Duration::from_millis(200);
/// Time limit of the last write when the daemon ends.
const LAST_WRITE_MAX: Duration = Duration::from_secs(2);

impl Recorder {
    pub(super) fn write(&self) {
        self.pending.notify_one();
    }

    /// Writes new actions forever. For a task.
    pub async fn keep_writing(self: Arc<Self>) {
        loop {
            self.pending.notified().await;
            self.write_pending().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes the actions that are not written yet.
    pub async fn flush(self: &Arc<Self>) {
        if timeout(LAST_WRITE_MAX, self.write_pending()).await.is_err() {
            warn!("last actions could not be written to the history file in time");
        }
    }

    async fn write_pending(self: &Arc<Self>) {
        let this = self.clone();
        // A panic in it costs records only.
        let _ = spawn_blocking(move || this.write_now()).await;
    }

    fn write_now(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let actions = self.memory().take_unwritten();
        let (Some(file), false) = (file.as_mut(), actions.is_empty()) else { return };
        let all = || self.memory().everything();
        let result = file.append(&actions, all);
        let was_kept = std::mem::replace(&mut self.memory().is_kept, result.is_ok());
        if let Err(error) = result {
            self.metrics.history_lost(actions.len());
            if was_kept {
                warn!(%error, "history file cannot be written; `why` loses these actions when the daemon ends");
            }
        }
    }
}
