//! The log file: creates a missing directory, appends lines, and opens the file again after a rotation. Never fails the
//! caller: a full disk must not end the daemon.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::line::Fields;

const MODE: u32 = 0o640;
const REMEDY: &str =
    "make the directory writable for the user of the daemon, free space on its disk, or set MANAGED_APP_LOG_FILE";
/// The mode that the package uses: others cannot list the directory.
const DIRECTORY_MODE: u32 = 0o750;

/// A log file that may be renamed, removed or truncated by others at any time.
///
/// Before each line, the path is compared with the open file and opened again if it differs (rotation by rename). The
/// file is opened for appending, so after a truncation (copytruncate) lines continue at the new end.
#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<File>,
    /// Whether the current error is reported.
    is_reported: bool,
    /// Whether the last write may have written only a part of a line.
    is_torn: bool,
}

impl LogFile {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, open: None, is_reported: false, is_torn: false }
    }

    /// Appends `line` and a newline. Returns an error once, as the fields of a warning, until a write succeeds again.
    pub(super) fn write(&mut self, line: &str) -> Result<(), Fields> {
        match self.append(line) {
            Ok(()) => {
                self.is_reported = false;
                Ok(())
            }
            Err(_) if self.is_reported => Ok(()),
            Err(error) => {
                self.is_reported = true;
                Err(self.warning(&error))
            }
        }
    }

    fn warning(&self, error: &io::Error) -> Fields {
        let mut fields = Fields::of("the log file cannot be written; the daemon continues without it");
        fields.add("file", &self.path.display().to_string());
        fields.add("error", &error.to_string());
        fields.add("remedy", REMEDY);
        fields
    }

    fn append(&mut self, line: &str) -> io::Result<()> {
        // One write, so that lines of other writers do not interleave.
        let start = if self.is_torn { "\n" } else { "" };
        let text = format!("{start}{line}\n");
        let file = self.current()?;
        let written = file.write_all(text.as_bytes());
        self.is_torn = written.is_err();
        written
    }

    fn current(&mut self) -> io::Result<&mut File> {
        if !self.open.as_ref().is_some_and(|file| self.is_at_path(file)) {
            self.open = None;
            let file = open(&self.path)?;
            self.open = Some(file);
            self.is_torn = false;
        }
        Ok(self.open.as_mut().expect("opened just now, or found open"))
    }

    fn is_at_path(&self, file: &File) -> bool {
        let (Ok(there), Ok(here)) = (std::fs::metadata(&self.path), file.metadata()) else { return false };
        (there.dev(), there.ino()) == (here.dev(), here.ino())
    }
}

/// Creates the directory if it is missing.
fn open(path: &Path) -> io::Result<File> {
    let attempt = || OpenOptions::new().append(true).create(true).mode(MODE).open(path);
    match (attempt(), path.parent()) {
        (Err(error), Some(folder)) if error.kind() == io::ErrorKind::NotFound => {
            DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(folder)?;
            attempt()
        }
        (opened, _) => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    fn start() -> (tempfile::TempDir, PathBuf, LogFile) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.log");
        let file = LogFile::new(path.clone());
        (folder, path, file)
    }

    fn content(path: &std::path::Path) -> String {
        fs::read_to_string(path).expect("the file is there")
    }

    #[test]
    fn lines_are_appended_to_what_is_there() {
        let (_folder, path, mut file) = start();
        fs::write(&path, "old\n").expect("written");
        file.write("one").expect("written");
        file.write("two").expect("written");
        assert_eq!(content(&path), "old\none\ntwo\n");
    }

    #[test]
    fn a_renamed_file_is_left_for_a_new_one() {
        let (folder, path, mut file) = start();
        let rotated = folder.path().join("app.log.1");
        file.write("one").expect("written");
        fs::rename(&path, &rotated).expect("renamed");
        file.write("two").expect("written");
        file.write("three").expect("written");
        assert_eq!((content(&rotated), content(&path)), ("one\n".into(), "two\nthree\n".into()));
    }

    #[test]
    fn a_file_created_by_the_rotation_is_used() {
        let (folder, path, mut file) = start();
        file.write("one").expect("written");
        fs::rename(&path, folder.path().join("app.log.1")).expect("renamed");
        fs::write(&path, "").expect("created");
        file.write("two").expect("written");
        assert_eq!(content(&path), "two\n");
    }

    #[test]
    fn a_removed_log_file_is_created_again() {
        let (_folder, path, mut file) = start();
        file.write("one").expect("written");
        fs::remove_file(&path).expect("removed");
        file.write("two").expect("written");
        assert_eq!(content(&path), "two\n");
    }

    #[test]
    fn after_a_truncation_lines_begin_at_the_start() {
        let (_folder, path, mut file) = start();
        file.write("one").expect("written");
        OpenOptions::new().write(true).open(&path).and_then(|open| open.set_len(0)).expect("truncated");
        file.write("two").expect("written");
        assert_eq!(content(&path), "two\n");
    }

    #[test]
    fn a_folder_that_is_missing_is_made() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log/echostream/app.log");
        let mut file = LogFile::new(path.clone());
        assert_eq!(file.write("one"), Ok(()));
        let mode = fs::metadata(folder.path().join("log")).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o027, 0, "{mode:o}");
        fs::remove_dir_all(folder.path().join("log")).expect("removed");
        assert_eq!(file.write("two"), Ok(()));
        assert_eq!(content(&path), "two\n");
    }

    #[test]
    fn a_file_error_is_reported_once_until_a_write_succeeds() {
        let folder = tempfile::tempdir().expect("a folder");
        let in_the_way = folder.path().join("taken");
        fs::write(&in_the_way, "a file").expect("written");
        let path = in_the_way.join("app.log");
        let mut file = LogFile::new(path.clone());
        let reported = file.write("one").expect_err("there is no folder").rest;
        assert!(
            reported.contains("taken/app.log") && reported.contains(" remedy=\"make the directory writable"),
            "{reported}"
        );
        assert_eq!(file.write("two"), Ok(()));
        fs::remove_file(&in_the_way).expect("removed");
        assert_eq!(file.write("three"), Ok(()));
        assert_eq!(content(&path), "three\n");
        fs::remove_dir_all(&in_the_way).expect("removed");
        fs::write(&in_the_way, "a file").expect("written");
        assert!(file.write("four").is_err());
    }

    #[test]
    fn a_full_disk_is_survived() {
        let mut file = LogFile::new("/dev/full".into());
        assert!(file.write("one").expect_err("the disk is full").rest.contains("/dev/full"));
        assert_eq!(file.write("two"), Ok(()));
    }

    #[test]
    fn others_cannot_read_it() {
        use std::os::unix::fs::PermissionsExt;
        let (_folder, path, mut file) = start();
        file.write("one").expect("written");
        let mode = fs::metadata(&path).expect("the file is there").permissions().mode();
        assert_eq!(mode & 0o007, 0);
    }
}
