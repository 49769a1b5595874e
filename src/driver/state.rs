//! The state file: for each container the revision it was started with, and the inputs of that. Small, written as a
//! whole, replaced atomically.
//!
//! Its loss costs one restart of each node, never more; problems with it are therefore warnings.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use managed_app_runtimes::{ContainerId, Revision, RevisionStore, StartupInputs};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tracing::warn;

use crate::json_file::{self, JsonFile};
use crate::text::chain;

/// Version of the file that this program writes; a newer file is set aside.
const VERSION: u32 = 1;
const FILE_NAME: &str = "state.json";

/// Storage of the state.
#[async_trait]
pub trait Disk: fmt::Debug + Send + Sync {
    /// Replaces the stored text atomically: after a failure, the previous one is still there.
    async fn write(&self, text: Vec<u8>) -> io::Result<()>;
}

/// The file and its content.
#[derive(Debug)]
pub struct StateFile {
    disk: Box<dyn Disk>,
    memory: Mutex<Memory>,
    /// Held during a write: the number of the newest change on disk.
    written: tokio::sync::Mutex<u64>,
}

#[derive(Debug, Default)]
struct Memory {
    revisions: HashMap<ContainerId, Revision>,
    changes: u64,
}

/// Older files contain no inputs and are valid; older daemons ignore them.
#[derive(Default, Deserialize)]
struct Contents {
    revisions: HashMap<String, String>,
    #[serde(default)]
    inputs: HashMap<String, StartupInputs>,
}

/// [`Contents`] by reference, for writing.
#[derive(Serialize)]
struct ContentsRef<'a> {
    revisions: HashMap<&'a str, &'a str>,
    inputs: HashMap<&'a str, &'a StartupInputs>,
}

impl StateFile {
    /// Reads `state.json` in `directory`, which is created if absent. An invalid file is set aside with a warning, and
    /// its content counts as unknown.
    pub fn open(directory: &Path) -> Self {
        if let Err(error) = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(directory) {
            warn!(path = %directory.display(), %error, "the state directory cannot be created");
        }
        let file = JsonFile::new(directory.join(FILE_NAME), VERSION);
        let contents = file.read_or_set_aside().unwrap_or_else(|error| {
            warn!(error = chain(&error), "the state file cannot be read and is set aside; nodes restart once");
            Contents::default()
        });
        Self::with(contents.into_revisions(), Box::new(file))
    }

    /// The state of `text`, stored on `disk` from now on. An invalid text counts as unknown.
    pub fn of(text: Option<&[u8]>, disk: Box<dyn Disk>) -> Self {
        Self::with(text.and_then(|text| parse(text).ok()).unwrap_or_default(), disk)
    }

    fn with(revisions: HashMap<ContainerId, Revision>, disk: Box<dyn Disk>) -> Self {
        let memory = Mutex::new(Memory { revisions, changes: 0 });
        Self { disk, memory, written: tokio::sync::Mutex::new(0) }
    }

    /// The content of the file in `directory`, for `plan`: creates, moves and writes nothing. Empty if there is no
    /// file.
    ///
    /// Fails with `InvalidData` for a file that [`StateFile::open`] would set aside, and with the system's error if
    /// this user may not read it.
    pub fn peek(directory: &Path) -> io::Result<HashMap<ContainerId, Revision>> {
        JsonFile::new(directory.join(FILE_NAME), VERSION).read().map(Contents::into_revisions)
    }

    async fn change(&self, change: impl FnOnce(&mut HashMap<ContainerId, Revision>)) {
        let number = self.edit(change);
        self.save(number).await;
    }

    /// Changes the state in memory; returns the number of the change.
    fn edit(&self, change: impl FnOnce(&mut HashMap<ContainerId, Revision>)) -> u64 {
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut memory.revisions);
        memory.changes += 1;
        memory.changes
    }

    /// Writes the file unless this change is on disk already. Changes during a write share the next one.
    async fn save(&self, number: u64) {
        let mut written = self.written.lock().await;
        if *written >= number {
            return;
        }
        let (text, number) = self.text();
        match self.disk.write(text).await {
            Ok(()) => *written = number,
            Err(error) => warn!(disk = ?self.disk, %error, "the state file cannot be written"),
        }
    }

    /// The text to write, and the number of the newest change in it.
    fn text(&self) -> (Vec<u8>, u64) {
        let (revisions, number) = {
            let memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
            (memory.revisions.clone(), memory.changes)
        };
        (to_text(&revisions).expect("texts can be written as JSON"), number)
    }
}

#[async_trait]
impl RevisionStore for StateFile {
    fn revisions(&self) -> HashMap<ContainerId, Revision> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).revisions.clone()
    }

    fn revision(&self, id: &ContainerId) -> Option<Revision> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).revisions.get(id).cloned()
    }

    async fn record(&self, id: &ContainerId, revision: &Revision) {
        self.change(|revisions| drop(revisions.insert(id.clone(), revision.clone()))).await;
    }

    async fn forget(&self, ids: &[ContainerId]) {
        self.change(|revisions| revisions.retain(|id, _| !ids.contains(id))).await;
    }

    fn retain(&self, ids: &HashSet<ContainerId>) {
        self.edit(|revisions| revisions.retain(|id, _| ids.contains(id)));
    }
}

#[async_trait]
impl Disk for JsonFile {
    async fn write(&self, text: Vec<u8>) -> io::Result<()> {
        let path = self.path().to_owned();
        spawn_blocking(move || json_file::replace(&path, &text)).await.map_err(io::Error::other).flatten()
    }
}

/// Parses the text of a file.
fn parse(text: &[u8]) -> io::Result<HashMap<ContainerId, Revision>> {
    json_file::parse(text, VERSION).map(Contents::into_revisions)
}

/// The text of a file.
fn to_text(revisions: &HashMap<ContainerId, Revision>) -> serde_json::Result<Vec<u8>> {
    json_file::to_text(&ContentsRef::of(revisions), VERSION)
}

impl<'a> ContentsRef<'a> {
    fn of(all: &'a HashMap<ContainerId, Revision>) -> Self {
        let (mut revisions, mut inputs) = (HashMap::new(), HashMap::new());
        for (id, revision) in all {
            revisions.insert(id.0.as_str(), revision.as_str());
            if let Some(known) = revision.inputs() {
                inputs.insert(id.0.as_str(), &**known);
            }
        }
        Self { revisions, inputs }
    }
}

impl Contents {
    fn into_revisions(self) -> HashMap<ContainerId, Revision> {
        let Self { revisions, mut inputs } = self;
        revisions
            .into_iter()
            .map(|(id, digest)| {
                let inputs = inputs.remove(&id).map(Arc::new);
                (ContainerId(id), Revision::new(digest, inputs))
            })
            .collect()
    }
}

/// A file that was read is written with the same content.
#[cfg(feature = "fuzzing")]
pub(crate) fn hold_for_any_file(data: &[u8]) {
    let Ok(revisions) = parse(data) else { return };
    let text = to_text(&revisions).expect("what is known has a JSON form");
    let again = parse(&text).expect("what is written can be read");
    assert_eq!(again, revisions);
    for (id, revision) in &again {
        // Equality compares the digests only.
        assert_eq!(revision.inputs(), revisions[id].inputs());
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn id(text: &str) -> ContainerId {
        ContainerId(text.to_owned())
    }

    #[tokio::test]
    async fn state_survives_a_restart_and_the_file_is_private() {
        let directory = tempfile::tempdir().expect("a folder");
        let state = Arc::new(StateFile::open(directory.path()));
        let (a, b) = (id("a"), id("b"));
        let (one, two) = (Revision::new("1", None), Revision::new("2", None));
        tokio::join!(state.record(&a, &one), state.record(&b, &two));
        state.forget(std::slice::from_ref(&b)).await;
        let again = StateFile::open(directory.path()).revisions();
        assert_eq!(again, HashMap::from([(a, one)]));
        let mode = std::fs::metadata(directory.path().join("state.json")).expect("the file").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[tokio::test]
    async fn record_after_a_retain_call_stays() {
        let directory = tempfile::tempdir().expect("a folder");
        let state = Arc::new(StateFile::open(directory.path()));
        state.record(&id("old"), &Revision::new("1", None)).await;
        state.retain(&HashSet::new());
        state.record(&id("new"), &Revision::new("2", None)).await;
        let left = StateFile::open(directory.path()).revisions();
        assert_eq!(left, HashMap::from([(id("new"), Revision::new("2", None))]));
    }

    #[tokio::test]
    async fn file_of_version_1_is_read_also_with_unknown_fields() {
        let text = include_str!("fixtures/state-v1.json");
        let with_more = text.replacen("{", r#"{"a_field_of_the_future":{"x":[1]},"#, 1);
        for text in [text, with_more.as_str()] {
            let directory = tempfile::tempdir().expect("a folder");
            std::fs::write(directory.path().join("state.json"), text).expect("a file");
            let read = StateFile::open(directory.path()).revisions();
            assert_eq!(read.get(&id("9f1c0a")), Some(&Revision::new("5d41402abc4b2a76b9719d911017c592", None)));
            assert_eq!((read.len(), std::fs::read_dir(directory.path()).expect("a folder").count()), (2, 1));
        }
    }

    #[tokio::test]
    async fn file_of_version_1_is_written_with_the_same_bytes() {
        let text = include_str!("fixtures/state-v1-inputs.json");
        let directory = tempfile::tempdir().expect("a folder");
        let path = directory.path().join(FILE_NAME);
        std::fs::write(&path, text).expect("a file");
        let state = Arc::new(StateFile::open(directory.path()));
        let known = state.revisions().remove(&id("9f1c0a")).expect("it is known");
        assert_eq!(known.inputs().map(|inputs| inputs.len()), Some(3));
        std::fs::remove_file(&path).expect("it is there");
        state.record(&id("9f1c0a"), &known).await;
        assert_eq!(std::fs::read_to_string(&path).expect("a file"), text);
    }

    #[tokio::test]
    async fn state_file_keeps_inputs_that_name_what_changed() {
        let directory = tempfile::tempdir().expect("a folder");
        let revision = |digest: &str, pairs: &[(&str, &str)]| {
            let inputs = pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
            Revision::new(digest, Some(Arc::new(inputs)))
        };
        let before = revision("1", &[("node config", "#1"), ("stopped", "no"), ("edge to b", "#2")]);
        Arc::new(StateFile::open(directory.path())).record(&id("a"), &before).await;
        let read = StateFile::open(directory.path()).revisions().remove(&id("a")).expect("it is known");
        let after = revision("2", &[("node config", "#1"), ("stopped", "yes"), ("edge to c", "#2")]);
        let names: Vec<String> = read.differences(&after).iter().map(ToString::to_string).collect();
        assert_eq!(names, ["edge to b", "edge to c", "stopped"]);
        assert!(Revision::new("1", None).differences(&after).is_empty() && read == Revision::new("1", None));
    }

    #[tokio::test]
    async fn invalid_file_is_set_aside() {
        for text in ["", "{", r#"{"version":2,"revisions":{}}"#] {
            let directory = tempfile::tempdir().expect("a folder");
            std::fs::write(directory.path().join("state.json"), text).expect("a file");
            let state = Arc::new(StateFile::open(directory.path()));
            assert!(state.revisions().is_empty());
            let aside = std::fs::read_to_string(directory.path().join("state.json.unreadable")).expect("set aside");
            assert_eq!(aside, text);
            state.record(&id("a"), &Revision::new("1", None)).await;
            assert_eq!(StateFile::open(directory.path()).revisions().len(), 1);
        }
    }

    #[tokio::test]
    async fn peek_changes_nothing() {
        let directory = tempfile::tempdir().expect("a folder");
        let absent = directory.path().join("absent");
        assert!(StateFile::peek(&absent).expect("nothing is known").is_empty());
        assert!(!absent.exists());
        Arc::new(StateFile::open(directory.path())).record(&id("a"), &Revision::new("1", None)).await;
        assert_eq!(StateFile::peek(directory.path()).expect("a good file").len(), 1);
        std::fs::write(directory.path().join(FILE_NAME), "{").expect("a file");
        let error = StateFile::peek(directory.path()).expect_err("a broken file");
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(std::fs::read_dir(directory.path()).expect("the folder").count(), 1);
    }

    #[tokio::test]
    async fn unwritable_directory_is_only_a_warning() {
        let directory = tempfile::tempdir().expect("a folder");
        let file = directory.path().join("file");
        std::fs::write(&file, "").expect("a file");
        let state = Arc::new(StateFile::open(&file.join("below a file")));
        state.record(&id("a"), &Revision::new("1", None)).await;
        assert_eq!(state.revisions().len(), 1);
    }
}
