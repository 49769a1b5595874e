//! The shared credentials and config files: their paths, their contents, and whether they are being written. Does not
//! parse profiles.

use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio::io::AsyncReadExt;
use tokio::time::timeout;

use crate::config::process_environment;

/// A file that was written less than this ago may be incomplete.
const QUIET_MIN: Duration = Duration::from_millis(500);

/// The same for a file without a newline at its end, whose writer may have been interrupted in a value.
const QUIET_MIN_WITHOUT_NEWLINE: Duration = Duration::from_secs(2);

/// A file that was written less than this ago may be written again soon.
const RECENT_MAX: Duration = Duration::from_secs(30);

/// Limit for reading both files; a home directory may be on a network.
const READ_LIMIT: Duration = Duration::from_secs(5);

/// The largest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Paths of the two files; `None` if the path depends on a home directory and there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct ProfilePaths {
    /// AWS_CONFIG_FILE, else `~/.aws/config`.
    pub(crate) config: Option<PathBuf>,
    /// AWS_SHARED_CREDENTIALS_FILE, else `~/.aws/credentials`.
    pub(crate) credentials: Option<PathBuf>,
}

impl ProfilePaths {
    /// Those of this process.
    pub(crate) fn of_process() -> Self {
        Self::of(&process_environment)
    }

    fn of(environment: &dyn Fn(&str) -> Option<String>) -> Self {
        let home = environment("HOME").filter(|home| !home.is_empty()).map(PathBuf::from);
        let path = |variable: &str, default: &str| {
            let named = environment(variable).unwrap_or_else(|| default.to_owned());
            match named.strip_prefix("~/") {
                Some(below) => home.as_ref().map(|home| home.join(below)),
                None => Some(PathBuf::from(named)),
            }
        };
        Self {
            config: path("AWS_CONFIG_FILE", "~/.aws/config"),
            credentials: path("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials"),
        }
    }

    /// Reads both. An unreadable file counts as empty, as in all AWS SDKs; the problem is recorded.
    pub(super) async fn read(&self) -> Files {
        let both = async {
            (ProfileFile::read(self.config.as_deref()).await, ProfileFile::read(self.credentials.as_deref()).await)
        };
        let (config, credentials) = timeout(READ_LIMIT, both).await.unwrap_or_else(|_| {
            let late =
                || ProfileFile { problem: Some("the disk does not respond".to_owned()), ..ProfileFile::default() };
            (late(), late())
        });
        Files { config, credentials }
    }
}

/// One file at the time it was read.
#[derive(Debug, Clone, Default)]
pub(super) struct ProfileFile {
    pub(super) text: String,
    /// Time since the last write; `None` if it is in the future or the file does not exist.
    pub(super) age: Option<Duration>,
    /// Why it could not be read; not set if the file does not exist.
    pub(super) problem: Option<String>,
    pub(super) exists: bool,
}

impl ProfileFile {
    async fn read(path: Option<&Path>) -> Self {
        let Some(path) = path else { return Self::default() };
        match Self::open(path).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(error) => Self { problem: Some(error.to_string()), ..Self::default() },
        }
    }

    /// Text and age of the same file, also if it is replaced meanwhile.
    async fn open(path: &Path) -> io::Result<Self> {
        let file = tokio::fs::File::open(path).await?;
        let written = file.metadata().await?.modified()?;
        let mut bytes = Vec::new();
        file.take(FILE_BYTES_MAX).read_to_end(&mut bytes).await?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        Ok(Self { text, age: SystemTime::now().duration_since(written).ok(), problem: None, exists: true })
    }

    fn is_quiet(&self) -> bool {
        let is_whole = self.text.is_empty() || self.text.ends_with('\n');
        let wanted = if is_whole { QUIET_MIN } else { QUIET_MIN_WITHOUT_NEWLINE };
        self.age.is_none_or(|age| age >= wanted)
    }
}

/// Both files.
#[derive(Debug, Clone, Default)]
pub(super) struct Files {
    pub(super) config: ProfileFile,
    pub(super) credentials: ProfileFile,
}

impl Files {
    /// Whether they were not written for a short time, so that they are probably complete.
    pub(super) fn are_quiet(&self) -> bool {
        self.config.is_quiet() && self.credentials.is_quiet()
    }

    /// Whether one of them was written recently, so that more writes may follow.
    pub(super) fn are_recent(&self) -> bool {
        [&self.config, &self.credentials].into_iter().any(|file| file.age.is_some_and(|age| age < RECENT_MAX))
    }

    /// Whether reading keys may start a process.
    pub(super) fn name_a_process(&self) -> bool {
        [&self.config, &self.credentials].into_iter().any(|file| file.text.contains("credential_process"))
    }

    /// Digest of both contents.
    pub(super) fn digest(&self) -> [u8; 32] {
        let mut digest = Sha256::new();
        for file in [&self.config, &self.credentials] {
            digest.update((file.text.len() as u64).to_le_bytes());
            digest.update(&file.text);
        }
        digest.finalize().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(environment: &[(&str, &str)]) -> [Option<String>; 2] {
        let found = ProfilePaths::of(&|name| {
            environment.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        });
        [found.config, found.credentials].map(|path| path.map(|path| path.display().to_string()))
    }

    #[test]
    fn files_are_where_every_aws_sdk_looks_for_them() {
        let some = |path: &str| Some(path.to_owned());
        assert_eq!(paths(&[("HOME", "/root")]), [some("/root/.aws/config"), some("/root/.aws/credentials")]);
        assert_eq!(paths(&[]), [None, None]);
        assert_eq!(paths(&[("HOME", "")]), [None, None]);
        let named = [("AWS_CONFIG_FILE", "/c"), ("AWS_SHARED_CREDENTIALS_FILE", "~/k"), ("HOME", "/h")];
        assert_eq!(paths(&named), [some("/c"), some("/h/k")]);
    }

    #[test]
    fn a_file_that_was_just_written_is_not_quiet() {
        let file = |text: &str, age: Option<u64>| ProfileFile {
            text: text.to_owned(),
            age: age.map(Duration::from_millis),
            ..ProfileFile::default()
        };
        assert!(!file("a\n", Some(100)).is_quiet());
        assert!(file("a\n", Some(600)).is_quiet());
        assert!(!file("", Some(100)).is_quiet(), "it was truncated");
        assert!(!file("aws_secret_access_key = ab", Some(600)).is_quiet(), "the line has no end");
        assert!(file("aws_secret_access_key = ab", Some(2_000)).is_quiet());
        assert!(file("a\n", None).is_quiet(), "its time lies in the future");
    }

    #[tokio::test]
    async fn an_unreadable_profile_file_is_reported_and_counts_as_empty() {
        let folder = tempfile::tempdir().expect("a folder");
        let paths =
            ProfilePaths { config: Some(folder.path().to_owned()), credentials: Some(folder.path().join("no")) };
        let files = paths.read().await;
        assert!(files.config.problem.is_some_and(|problem| problem.contains("directory")));
        assert_eq!((files.config.text.as_str(), files.credentials.exists), ("", false));
        assert_eq!(files.credentials.problem, None);
    }
}
