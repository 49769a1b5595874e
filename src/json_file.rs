//! A small JSON file with a version, read and written as a whole. After a crash or a failed write, the old file or the
//! new one is there, complete. Blocks: async code uses it through `spawn_blocking`. Uses no other module.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// A larger file was not written by this program.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A file of one program at a time.
#[derive(Debug, Clone)]
pub struct JsonFile {
    path: PathBuf,
    version: u32,
}

/// A file that could not be read.
#[derive(Debug, thiserror::Error)]
#[error("read {path}, which {} {path}.unreadable", if *.is_moved { "is renamed to" } else { "cannot be renamed to" }, path = .path.display())]
pub struct Unreadable {
    path: PathBuf,
    is_moved: bool,
    #[source]
    reason: io::Error,
}

#[derive(Deserialize)]
struct Version {
    version: u32,
}

#[derive(Serialize)]
struct Versioned<'a, T> {
    version: u32,
    #[serde(flatten)]
    contents: &'a T,
}

impl JsonFile {
    /// The file at `path`. `version` is the version that this program writes, and the newest that it reads.
    pub fn new(path: PathBuf, version: u32) -> Self {
        Self { path, version }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The contents; the default if there is no file.
    ///
    /// `InvalidData` for a file that is too large, invalid or of a newer version; the system's error if it cannot be
    /// read.
    pub fn read<T: DeserializeOwned + Default>(&self) -> io::Result<T> {
        match fs::metadata(&self.path) {
            Ok(metadata) if metadata.len() > BYTES_MAX => return Err(invalid("it is too large")),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(T::default()),
            _ => {}
        }
        parse(&fs::read(&self.path)?, self.version)
    }

    /// As [`JsonFile::read`], but a file that cannot be read is renamed to `NAME.unreadable`, so that it is not
    /// overwritten.
    pub fn read_or_set_aside<T: DeserializeOwned + Default>(&self) -> Result<T, Unreadable> {
        self.read().map_err(|reason| {
            let is_moved = fs::rename(&self.path, with_suffix(&self.path, ".unreadable")).is_ok();
            Unreadable { path: self.path.clone(), is_moved, reason }
        })
    }

    /// Replaces the file.
    pub fn write(&self, contents: &impl Serialize) -> io::Result<()> {
        replace(&self.path, &to_text(contents, self.version)?)
    }
}

/// The contents of a text that [`to_text`] wrote with `version` or an older one. Unknown fields are ignored.
pub fn parse<T: DeserializeOwned>(text: &[u8], version: u32) -> io::Result<T> {
    let found: Version = serde_json::from_slice(text).map_err(invalid)?;
    if found.version > version {
        return Err(invalid(format!("version {} is newer than version {version} of this program", found.version)));
    }
    serde_json::from_slice(text).map_err(invalid)
}

/// The text of a file. `contents` must become a JSON object.
pub fn to_text(contents: &impl Serialize, version: u32) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec(&Versioned { version, contents })
}

/// Replaces a file of any format atomically. Only its owner may read it.
///
/// The temporary file has a fixed name and not a random one as those of `tempfile`: the next write replaces what a crash
/// left.
pub fn replace(path: &Path, text: &[u8]) -> io::Result<()> {
    let next = with_suffix(path, ".next");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&next)?;
    file.write_all(text)?;
    file.sync_data()?;
    fs::rename(&next, path)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn invalid(reason: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, reason)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tempfile::TempDir;

    use super::*;

    #[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
    struct Contents {
        items: Vec<u32>,
    }

    fn file() -> (TempDir, JsonFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("x.json");
        (folder, JsonFile::new(path, 2))
    }

    fn names(folder: &TempDir) -> Vec<String> {
        let entries = fs::read_dir(folder.path()).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text")).collect();
        names.sort();
        names
    }

    #[test]
    fn written_file_is_private_and_is_read_again() {
        let (folder, file) = file();
        assert_eq!(file.read::<Contents>().expect("no file is the default"), Contents::default());
        let contents = Contents { items: vec![1, 2] };
        file.write(&contents).expect("it can be written");
        assert_eq!(fs::read_to_string(&file.path).expect("a file"), r#"{"version":2,"items":[1,2]}"#);
        assert_eq!(fs::metadata(&file.path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(
            (file.read::<Contents>().expect("it can be read"), names(&folder)),
            (contents, vec!["x.json".into()])
        );
        fs::write(&file.path, r#"{"version":1,"items":[3],"later":{}}"#).expect("a file");
        assert_eq!(file.read::<Contents>().expect("it can be read").items, [3]);
    }

    #[test]
    fn file_left_by_a_crash_is_replaced_by_the_next_write() {
        let (folder, file) = file();
        fs::write(folder.path().join("x.json.next"), "half of a lon").expect("a file");
        file.write(&Contents { items: vec![1] }).expect("it can be written");
        assert_eq!(file.read::<Contents>().expect("it can be read").items, [1]);
        assert_eq!(names(&folder), ["x.json"]);
    }

    #[test]
    fn failed_write_keeps_the_old_file() {
        let (folder, file) = file();
        file.write(&Contents { items: vec![1] }).expect("it can be written");
        fs::create_dir(folder.path().join("x.json.next")).expect("a folder in the way");
        file.write(&Contents { items: vec![2] }).expect_err("it cannot be written");
        assert_eq!(file.read::<Contents>().expect("it can be read").items, [1]);
    }

    #[test]
    fn unreadable_file_is_set_aside_with_its_reason() {
        for (text, reason) in [
            ("", "EOF while parsing"),
            (r#"{"version":2}"#, "missing field `items`"),
            (r#"{"items":[]}"#, "missing field `version`"),
            (r#"{"version":3,"things":[]}"#, "version 3 is newer than version 2"),
        ] {
            let (folder, file) = file();
            fs::write(&file.path, text).expect("a file");
            assert_eq!(file.read::<Contents>().expect_err("it is invalid").kind(), ErrorKind::InvalidData);
            let error = crate::text::chain(&file.read_or_set_aside::<Contents>().expect_err("it is invalid"));
            assert!(error.contains("x.json.unreadable: ") && error.contains(reason), "{error}");
            assert_eq!(fs::read_to_string(folder.path().join("x.json.unreadable")).expect("set aside"), text);
            assert_eq!(file.read::<Contents>().expect("no file is the default"), Contents::default());
        }
    }

    #[test]
    fn file_that_is_too_large_is_not_read() {
        let (_folder, file) = file();
        fs::File::create(&file.path).and_then(|file| file.set_len(BYTES_MAX + 1)).expect("a sparse file");
        assert_eq!(file.read::<Contents>().expect_err("it is too large").to_string(), "it is too large");
    }
}
