//! Word from the kernel (inotify) that a log file was written to, has lost its name, or was closed by the engine.
//!
//! One inotify instance serves all files, as a user may have few of them (128 is a common limit). Where the kernel gives
//! none, or no watch, there is no word: who waits looks by himself then.

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

/// Rest after words were handed on: what happens meanwhile is told at once, so that a busy log costs few wake-ups.
const PAUSE: Duration = Duration::from_millis(20);
/// What inotify says of a file is 16 bytes.
const BUFFER_BYTES: usize = 4 << 10;

/// What is told of: a change of any kind. `CLOSE_WRITE` comes when the engine has written all it will.
const TOLD: WatchMask =
    WatchMask::MODIFY.union(WatchMask::ATTRIB).union(WatchMask::MOVE_SELF).union(WatchMask::CLOSE_WRITE);

/// With how often each file was closed.
type Files = HashMap<WatchDescriptor, watch::Sender<usize>>;

/// The files of one engine's logs that are watched.
#[derive(Debug, Clone, Default)]
pub(crate) struct Watches(Arc<OnceLock<Option<Instance>>>);

/// Told of each change of one file.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` when there is no word.
    word: Option<watch::Receiver<usize>>,
    /// How often the file had been closed when it was last looked at.
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
    /// Two readers of one file have one descriptor. The kernel never gives it to another file.
    files: Mutex<Files>,
}

impl Watches {
    /// Watches an open file from now on, whatever its name will be.
    pub(super) fn watch(&self, file: &File) -> Watch {
        let instance = self.0.get_or_init(|| {
            Instance::new().inspect_err(|error| tracing::debug!(%error, "log files cannot be watched")).ok()
        });
        let word = instance.as_ref().and_then(|instance| {
            let word = instance.shared.watch(file);
            word.inspect_err(|error| tracing::debug!(%error, "a log file cannot be watched")).ok()
        });
        let closed = word.as_ref().map_or(0, |word| *word.borrow());
        Watch { word, closed }
    }

    /// As when the kernel's words cannot be read any more.
    #[cfg(test)]
    pub(super) fn lose(&self) {
        if let Some(Some(instance)) = self.0.get() {
            instance.shared.files().clear();
        }
    }

    /// As on a host whose kernel gives no inotify instance.
    #[cfg(test)]
    pub(super) fn none() -> Self {
        Self(Arc::new(OnceLock::from(None)))
    }
}

impl Watch {
    /// Whether there will be word of changes.
    pub(super) fn is_live(&self) -> bool {
        self.word.is_some()
    }

    /// Forgets the changes up to now, as the file is being looked at. Whether it was closed since the last look.
    pub(super) fn look(&mut self) -> bool {
        let closed = self.word.as_mut().map_or(self.closed, |word| *word.borrow_and_update());
        std::mem::replace(&mut self.closed, closed) != closed
    }

    /// Waits for a change since the last look. Cancel-safe.
    pub(super) async fn changed(&mut self) {
        let Some(word) = &mut self.word else { return std::future::pending().await };
        if word.changed().await.is_err() {
            self.word = None;
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

/// Hands words on for as long as the kernel gives any.
async fn read(mut stream: EventStream<[u8; BUFFER_BYTES]>, shared: Arc<Shared>) {
    while let Some(first) = stream.next().await {
        let mut next = Some(first);
        while let Some(event) = next {
            match event {
                Ok(event) => shared.tell(event),
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
        // The file itself: by its name it might be another one by now.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        // Held over both steps, as a watch that nobody needs may be removed meanwhile.
        let mut files = self.files();
        let descriptor = self.kernel.clone().add(path, TOLD)?;
        Ok(files.entry(descriptor).or_insert_with(|| watch::channel(0).0).subscribe())
    }

    fn tell(&self, event: EventOwned) {
        let mut files = self.files();
        if event.mask.contains(EventMask::Q_OVERFLOW) {
            files.values().for_each(|file| file.send_modify(|closed| *closed += 1));
        } else if event.mask.contains(EventMask::IGNORED) {
            files.remove(&event.wd);
        } else if let Some(file) = files.get(&event.wd) {
            file.send_modify(|closed| *closed += usize::from(event.mask.contains(EventMask::CLOSE_WRITE)));
            if file.receiver_count() == 0 {
                files.remove(&event.wd);
                // It may be gone together with its file.
                let _ = self.kernel.clone().remove(event.wd);
            }
        }
    }
}
