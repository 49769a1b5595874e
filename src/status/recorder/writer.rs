//! Brings the history to disk, beside everything else: a disk that hangs holds up nothing but the history.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::warn;

use super::Recorder;

/// Pause between two writes, so that a burst of actions is one.
const PAUSE: Duration = Duration::from_millis(200);
/// How long the last write may take when the daemon ends.
const LAST_WRITE_MAX: Duration = Duration::from_secs(2);

impl Recorder {
    pub(super) fn write(&self) {
        self.written.notify_one();
    }

    /// Writes whatever comes to be written, for ever. For a task.
    pub async fn keep_writing(self: Arc<Self>) {
        loop {
            self.written.notified().await;
            self.write_pending().await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Writes what is not written yet.
    pub async fn flush(self: &Arc<Self>) {
        if timeout(LAST_WRITE_MAX, self.write_pending()).await.is_err() {
            warn!("the end of the history could not be written in time");
        }
    }

    async fn write_pending(self: &Arc<Self>) {
        let this = self.clone();
        // A panic in it was a mistake there, and costs records only.
        let _ = spawn_blocking(move || this.write_now()).await;
    }

    fn write_now(&self) {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        let pending = self.memory().take_unwritten();
        let (Some(file), false) = (file.as_mut(), pending.is_empty()) else { return };
        let all = || self.memory().everything();
        let result = file.append(&pending, all);
        let was_kept = std::mem::replace(&mut self.memory().is_kept, result.is_ok());
        if let Err(error) = result {
            self.metrics.history_lost(pending.len());
            if was_kept {
                warn!(%error, "the history cannot be written; `why` forgets it with the end of this daemon");
            }
        }
    }
}
