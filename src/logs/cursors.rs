//! Stores on disk, per container, up to which position its output is in CloudWatch. The file is small and is replaced
//! atomically as a whole.
//!
//! If the file is lost, all output that the engines still keep is sent again.

use std::collections::HashMap;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use managed_app_runtimes::ContainerId;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::position::Position;
use crate::json_file::JsonFile;
use crate::text::chain;

/// Version of the file that this program writes; a newer one is set aside.
const VERSION: u32 = 1;
const FILE_NAME: &str = "logs.json";

/// The file and its contents.
#[derive(Debug)]
pub(super) struct Cursors {
    file: JsonFile,
    memory: Mutex<Memory>,
    /// Held while the file is written.
    disk: tokio::sync::Mutex<Disk>,
}

#[derive(Debug, Default)]
struct Memory {
    cursors: HashMap<String, Position>,
    changes: u64,
}

#[derive(Debug, Default)]
struct Disk {
    /// Number of the newest change that is on disk.
    written: u64,
    /// Whether the last attempt failed, and the failure is logged.
    is_failing: bool,
}

#[derive(Default, Serialize, Deserialize)]
struct Contents {
    cursors: HashMap<String, Position>,
}

impl Cursors {
    /// Reads `logs.json` in `directory`. An unreadable file is set aside with a warning and counts as empty.
    pub(super) fn open(directory: &Path) -> Self {
        let file = JsonFile::new(directory.join(FILE_NAME), VERSION);
        let Contents { cursors } = file.read_or_set_aside().unwrap_or_else(|error| {
            warn!(
                error = chain(&error),
                "the log cursors cannot be read and are set aside; output that the engine still keeps is sent again"
            );
            Contents::default()
        });
        let memory = Mutex::new(Memory { cursors, changes: 0 });
        Self { file, memory, disk: tokio::sync::Mutex::default() }
    }

    /// The position up to which the output of a container is shipped; `None` for an unknown container.
    pub(super) fn get(&self, id: &ContainerId) -> Option<Position> {
        self.lock().cursors.get(&id.0).copied()
    }

    /// Sets the cursor of a container in memory. Returns the number of this change.
    pub(super) fn set(&self, id: &ContainerId, position: Position) -> u64 {
        let mut memory = self.lock();
        memory.cursors.insert(id.0.clone(), position);
        memory.changes += 1;
        memory.changes
    }

    /// Removes the cursors of all containers for which `is_there` is false.
    pub(super) fn retain(&self, is_there: impl Fn(&str) -> bool) {
        let mut memory = self.lock();
        let before = memory.cursors.len();
        memory.cursors.retain(|id, _| is_there(id));
        if memory.cursors.len() < before {
            memory.changes += 1;
        }
    }

    /// Writes the file unless the change of this number is on disk already. Logs the first of consecutive failures.
    pub(super) async fn save_up_to(self: &Arc<Self>, number: u64) {
        let mut disk = self.disk.lock().await;
        if disk.written >= number {
            return;
        }
        let this = self.clone();
        let result = tokio::task::spawn_blocking(move || this.write()).await.map_err(io::Error::other).flatten();
        match result {
            Ok(written) => {
                disk.written = written;
                if std::mem::take(&mut disk.is_failing) {
                    info!(path = %self.file.path().display(), "the log cursors can be saved again");
                }
            }
            Err(error) if !disk.is_failing => {
                disk.is_failing = true;
                warn!(path = %self.file.path().display(), %error,
                    "the log cursors cannot be saved; after a restart some output is sent again");
            }
            Err(_) => {}
        }
    }

    /// As [`Cursors::save_up_to`] for all changes so far.
    pub(super) async fn save(self: &Arc<Self>) {
        let number = self.lock().changes;
        self.save_up_to(number).await;
    }

    fn write(&self) -> io::Result<u64> {
        let (contents, number) = {
            let memory = self.lock();
            (Contents { cursors: memory.cursors.clone() }, memory.changes)
        };
        self.file.write(&contents)?;
        Ok(number)
    }

    fn lock(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use managed_app_runtimes::{LogChunk, LogSource};
    use time::OffsetDateTime;

    use super::*;

    fn id(text: &str) -> ContainerId {
        ContainerId(text.to_owned())
    }

    fn position(text: &'static str) -> Position {
        let bytes = text.as_bytes().into();
        let chunk = LogChunk { at: OffsetDateTime::UNIX_EPOCH, source: LogSource::Stdout, bytes };
        Position::after(None, &chunk)
    }

    #[tokio::test]
    async fn cursors_are_stored_in_a_private_file() {
        let directory = tempfile::tempdir().expect("a folder");
        let cursors = Arc::new(Cursors::open(directory.path()));
        cursors.set(&id("a"), position("a"));
        let number = cursors.set(&id("b"), position("b"));
        assert!(Cursors::open(directory.path()).get(&id("a")).is_none(), "not saved yet");
        cursors.save_up_to(number).await;
        let again = Arc::new(Cursors::open(directory.path()));
        assert_eq!((again.get(&id("a")), again.get(&id("b"))), (Some(position("a")), Some(position("b"))));
        let mode = std::fs::metadata(directory.path().join(FILE_NAME)).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        again.retain(|id| id == "b");
        again.save().await;
        let last = Cursors::open(directory.path());
        assert_eq!((last.get(&id("a")), last.get(&id("b"))), (None, Some(position("b"))));
    }

    #[tokio::test]
    async fn invalid_file_is_set_aside() {
        for text in ["", "{", r#"{"version":2,"cursors":{}}"#] {
            let directory = tempfile::tempdir().expect("a folder");
            std::fs::write(directory.path().join(FILE_NAME), text).expect("a file");
            let cursors = Arc::new(Cursors::open(directory.path()));
            let aside = std::fs::read_to_string(directory.path().join("logs.json.unreadable")).expect("set aside");
            assert_eq!(aside, text);
            cursors.save_up_to(cursors.set(&id("a"), position("a"))).await;
            assert!(Cursors::open(directory.path()).get(&id("a")).is_some());
        }
    }

    #[tokio::test]
    async fn file_of_version_1_is_read_also_with_unknown_fields() {
        let text =
            r#"{"version":1,"more":[],"cursors":{"9f1c":{"at_ns":1,"index":2,"digest":18446744073709551615,"x":0}}}"#;
        let directory = tempfile::tempdir().expect("a folder");
        std::fs::write(directory.path().join(FILE_NAME), text).expect("a file");
        assert!(Cursors::open(directory.path()).get(&id("9f1c")).is_some());
    }

    #[tokio::test]
    async fn file_of_version_1_is_written_with_the_same_bytes() {
        let text = include_str!("fixtures/logs-v1.json");
        let directory = tempfile::tempdir().expect("a folder");
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, text).expect("a file");
        let cursors = Arc::new(Cursors::open(directory.path()));
        let position = cursors.get(&id("9f1c0a")).expect("it is known");
        std::fs::remove_file(&path).expect("it is there");
        cursors.save_up_to(cursors.set(&id("9f1c0a"), position)).await;
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
    }

    #[tokio::test]
    async fn unwritable_directory_is_only_a_warning() {
        let directory = tempfile::tempdir().expect("a folder");
        let cursors = Arc::new(Cursors::open(&directory.path().join("absent")));
        cursors.save_up_to(cursors.set(&id("a"), position("a"))).await;
        assert!(cursors.get(&id("a")).is_some());
    }
}
