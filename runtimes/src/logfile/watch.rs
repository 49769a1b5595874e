//! inotify events of a log file: it was written, lost its name, or was closed by the engine.
//!
//! One inotify instance serves all files, because a user may have few of them (128 is a common limit). If the kernel
//! gives no instance or no watch, there are no events, and the reader polls.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use futures_util::{FutureExt, StreamExt};
use inotify::{EventMask, EventOwned, EventStream, Inotify, WatchDescriptor, WatchMask};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::task::AbortOnDropHandle;

/// Pause after a delivery. Events during the pause are delivered together, so that a busy log causes few wake-ups.
const PAUSE: Duration = Duration::from_millis(20);
/// An inotify event of a file has 16 bytes.
const BUFFER_BYTES: usize = 4 << 10;

/// Watched events: any change. `CLOSE_WRITE` comes when the engine has written all output.
const WATCHED_EVENTS: WatchMask =
    WatchMask::MODIFY.union(WatchMask::ATTRIB).union(WatchMask::MOVE_SELF).union(WatchMask::CLOSE_WRITE);

/// The value is the number of times that each file was closed.
type Files = HashMap<WatchDescriptor, watch::Sender<usize>>;

/// The watched log files of one engine.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watches(Arc<OnceLock<Option<Instance>>>);

/// Receives the changes of one file.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` without inotify.
    changes: Option<watch::Receiver<usize>>,
    /// How often the file had been closed at the last check.
    closed: usize,
}

#[derive(Debug)]
struct Instance {
    shared: Arc<Shared>,
    _reading: AbortOnDropHandle<()>,
}

#[derive(Debug)]
struct Shared {
    kernel: inotify::Watches,
    /// Two readers of one file share one descriptor. The kernel never reuses it for another file.
    files: Mutex<Files>,
}

impl Watches {
    /// Watches an open file from now on, whatever its name will be.
    pub(super) fn watch(&self, file: &File) -> Watch {
        let instance = self.0.get_or_init(|| {
            Instance::new().inspect_err(|error| tracing::debug!(%error, "log files cannot be watched")).ok()
        });
        let changes = instance.as_ref().and_then(|instance| {
            let changes = instance.shared.watch(file);
            changes.inspect_err(|error| tracing::debug!(%error, "a log file cannot be watched")).ok()
        });
        let closed = changes.as_ref().map_or(0, |changes| *changes.borrow());
        Watch { changes, closed }
    }

    /// Simulates a failed read of inotify events.
    #[cfg(test)]
    pub(super) fn lose(&self) {
        if let Some(Some(instance)) = self.0.get() {
            instance.shared.files().clear();
        }
    }

    /// Simulates a host whose kernel gives no inotify instance.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(Arc::new(OnceLock::from(None)))
    }
}

impl Watch {
    /// Whether changes will be signalled.
    pub(super) fn is_live(&self) -> bool {
        self.changes.is_some()
    }

    /// Marks the changes up to now as seen. Returns whether the file was closed since the last call.
    pub(super) fn mark_seen(&mut self) -> bool {
        let closed = self.changes.as_mut().map_or(self.closed, |changes| *changes.borrow_and_update());
        std::mem::replace(&mut self.closed, closed) != closed
    }

    /// Waits for a change since the last [`Watch::mark_seen`]. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let Some(changes) = &mut self.changes else { return std::future::pending().await };
        if changes.changed().await.is_err() {
            self.changes = None;
        }
    }
}

impl Instance {
    fn new() -> io::Result<Self> {
        let stream = Inotify::init()?.into_event_stream([0; BUFFER_BYTES])?;
        let shared = Arc::new(Shared { kernel: stream.watches(), files: Mutex::default() });
        let reading = tokio::spawn(read(stream, shared.clone()));
        Ok(Self { shared, _reading: AbortOnDropHandle::new(reading) })
    }
}

/// Delivers events until the kernel stops.
async fn read(mut stream: EventStream<[u8; BUFFER_BYTES]>, shared: Arc<Shared>) {
    while let Some(first) = stream.next().await {
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Ok(event) => shared.notify(event),
                Err(error) => {
                    tracing::debug!(%error, "log files are not watched any more");
                    return shared.files().clear();
                }
            }
            next = stream.next().now_or_never().flatten();
        }
        sleep(PAUSE).await;
    }
}

impl Shared {
    fn files(&self) -> MutexGuard<'_, Files> {
        self.files.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn watch(&self, file: &File) -> io::Result<watch::Receiver<usize>> {
        // Watch the open file: its name may belong to another file by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // Held over both steps, because an unused watch may be removed meanwhile.
        let mut files = self.files();
        let descriptor = self.kernel.clone().add(path, WATCHED_EVENTS)?;
        Ok(files.entry(descriptor).or_insert_with(|| watch::channel(0).0).subscribe())
    }

    fn notify(&self, event: EventOwned) {
        let mut files = self.files();
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            files.values().for_each(|file| file.send_modify(|closed| *closed += 1));
        } else if event.mask.contains(EventMask::IGNORED) {
            files.remove(&event.wd);
        } else if let Some(file) = files.get(&event.wd) {
            file.send_modify(|closed| *closed += usize::from(event.mask.contains(EventMask::CLOSE_WRITE)));
            if file.receiver_count() == 0 {
                files.remove(&event.wd);
                // The watch may have been removed together with its file.
                let _ = self.kernel.clone().remove(event.wd);
            }
        }
    }
}
