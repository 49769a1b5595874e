//! The lock that allows one daemon of a tenant and app per host: an advisory lock (`flock`) on a file at a fixed path.
//!
//! The key consists of tenant and app alone, so it also covers daemons with other host ids, state directories or
//! sockets. The kernel releases the lock when the process ends, for any reason. The file is never removed: one daemon
//! could hold the lock of a removed file and another one the lock of the new file. It is opened close-on-exec, so no
//! child process keeps it. The content of the file is for people; only the lock decides.

mod socket;
#[cfg(test)]
mod tests;

use std::fmt;
use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::time::{Instant, sleep};

use crate::status::Stamp;
use socket::{Request, Response};

pub use socket::{Ending, Successors};

/// The directory of root's locks, the same on every host and in every container. It is outside the unit's runtime
/// directory, which systemd removes when the unit stops.
pub const LOCK_DIRECTORY: &str = "/run/lock/echostream-managed-app";
const HOST_NAME: &str = "/proc/sys/kernel/hostname";
/// The longest part of a file name that comes from the app; the address of a Unix socket has at most 107 bytes.
const STEM_CHARS_MAX: usize = 32;
/// Hex digits of the hash that distinguishes apps and tenants: 40 bits, for some apps on a host.
const HASH_DIGITS: usize = 10;
/// The longest content of a lock file that is read.
const CONTENT_BYTES_MAX: u64 = 4096;
/// Interval of attempts to take a held lock.
const POLL_EVERY: Duration = Duration::from_millis(100);
/// How long a lock must be held before the second daemon gives up. The first one may be ending because of a signal that
/// it has not received yet, or that the kernel is still processing.
const HELD_MIN: Duration = Duration::from_secs(1);
/// How often a wait is reported.
const REPORT_EVERY: Duration = Duration::from_secs(10);

/// The key of a lock.
#[derive(Debug, Clone)]
pub struct LockKey {
    directory: PathBuf,
    stem: String,
    app: String,
    tenant: String,
}

/// The process that holds a lock, as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// Its process id, in its own PID namespace.
    pub pid: u32,
    /// The name of its host; a container has its own.
    pub host: String,
    /// When it took the lock.
    pub since: Stamp,
    /// Its process id in our PID namespace, from the kernel; `None` if it is in another one.
    #[serde(skip)]
    pub visible_pid: Option<u32>,
}

/// A held lock; released when dropped.
#[derive(Debug)]
pub struct HostLock {
    _file: File,
}

/// Why the lock was not taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// The directory or the file cannot be created, opened or locked.
    #[error("lock {}: {source}", path.display())]
    Unusable {
        /// The path.
        path: PathBuf,
        /// The error.
        source: io::Error,
    },
    /// Other users can write to the directory.
    #[error("lock {}: it must be a directory that user {uid} owns and nobody else can write to", path.display())]
    NotPrivate {
        /// The directory.
        path: PathBuf,
        /// The required owner.
        uid: u32,
    },
    /// Another daemon holds it.
    #[error("app {app:?} of tenant {tenant:?} already has a daemon on this host: {}", holder_text(holder))]
    Taken {
        /// The app.
        app: String,
        /// Its tenant.
        tenant: String,
        /// The holder, if it responded or its file names it.
        holder: Option<Holder>,
    },
    /// The other daemon does not respond to the request to hand over.
    #[error("the daemon on this host does not answer the request to hand over: {}", holder_text(holder))]
    Silent {
        /// The holder.
        holder: Option<Holder>,
    },
    /// The other daemon takes too long to end.
    #[error("the daemon on this host has not ended within {} s: {}", waited.as_secs(), holder_text(holder))]
    StillEnding {
        /// The holder.
        holder: Option<Holder>,
        /// The duration of the wait.
        waited: Duration,
    },
}

impl LockKey {
    /// The lock of `app` and `tenant` below `directory`. All daemons of a host must use [`lock_directory`].
    pub fn new(directory: impl Into<PathBuf>, app: &str, tenant: &str) -> Self {
        let valid = |c: char| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '-' };
        let sanitized: String = app.chars().map(valid).take(STEM_CHARS_MAX).collect();
        // The length distinguishes pairs whose names are the same text when joined.
        let digest = Sha256::digest(format!("{}:{tenant}{app}", tenant.len()));
        let stem = format!("{sanitized}-{}", &hex::encode(digest)[..HASH_DIGITS]);
        Self { directory: directory.into(), stem, app: app.to_owned(), tenant: tenant.to_owned() }
    }

    /// The locked file.
    pub fn path(&self) -> PathBuf {
        self.directory.join(format!("{}.lock", self.stem))
    }

    /// The socket on which its holder responds to requests.
    fn socket(&self) -> PathBuf {
        self.directory.join(format!("{}.sock", self.stem))
    }

    /// The daemon that holds the lock and responds. Changes nothing.
    pub async fn holder(&self) -> Option<Holder> {
        match socket::send(&self.socket(), Request::Describe).await {
            Response::Holder { holder, .. } => Some(holder),
            Response::Silent(visible_pid) => self.read_holder(visible_pid),
            Response::Nobody => None,
        }
    }

    /// The content of the file, for a holder that does not respond.
    fn read_holder(&self, visible_pid: Option<u32>) -> Option<Holder> {
        let mut text = String::new();
        File::open(self.path()).ok()?.take(CONTENT_BYTES_MAX).read_to_string(&mut text).ok()?;
        let holder: Holder = serde_json::from_str(&text).ok()?;
        Some(Holder { visible_pid, ..holder })
    }

    /// Creates the directory if it is absent. Nobody else may be able to replace its files.
    fn prepare(&self) -> Result<(), LockError> {
        let unusable = |source| LockError::Unusable { path: self.directory.clone(), source };
        DirBuilder::new().recursive(true).mode(0o755).create(&self.directory).map_err(unusable)?;
        let found = std::fs::symlink_metadata(&self.directory).map_err(unusable)?;
        let uid = geteuid().as_raw();
        if found.is_dir() && found.uid() == uid && found.mode() & 0o022 == 0 {
            return Ok(());
        }
        Err(LockError::NotPrivate { path: self.directory.clone(), uid })
    }

    /// `None`: another process holds the lock.
    fn try_lock(&self) -> Result<Option<File>, LockError> {
        let path = self.path();
        let attempt = || {
            let options = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).clone();
            let file = options.open(&path)?;
            match file.try_lock() {
                Ok(()) => Ok(is_at(&file, &path)?.then_some(file)),
                Err(TryLockError::WouldBlock) => Ok(None),
                Err(TryLockError::Error(error)) => Err(error),
            }
        };
        attempt().map_err(|source| LockError::Unusable { path: path.clone(), source })
    }
}

/// Somebody may have removed the file meanwhile: the lock of a removed file is worthless.
fn is_at(file: &File, path: &Path) -> io::Result<bool> {
    let (held, found) = (file.metadata()?, std::fs::metadata(path));
    Ok(found.is_ok_and(|found| (found.dev(), found.ino()) == (held.dev(), held.ino())))
}

/// The lock directory of this process's user. Other users than root have their own engines, and cannot write to root's
/// directory.
pub fn lock_directory() -> PathBuf {
    match geteuid().as_raw() {
        0 => PathBuf::from(LOCK_DIRECTORY),
        uid => PathBuf::from(format!("{LOCK_DIRECTORY}-{uid}")),
    }
}

/// Takes the lock, at once if it is free.
///
/// Waits at most `wait_max` for a holder that is ending. With `takeover`, first asks a running holder once to hand
/// over. `report` receives the progress of a wait. Cancel-safe: a dropped call has changed nothing, but a holder that
/// was asked to hand over does so.
pub async fn acquire(
    key: &LockKey,
    takeover: bool,
    wait_max: Duration,
    report: impl Fn(&str),
) -> Result<(HostLock, Successors), LockError> {
    key.prepare()?;
    let mut wait =
        Wait { key, began: Instant::now(), wait_max, requests_takeover: takeover, is_ending: None, last_report: None };
    loop {
        if let Some(file) = key.try_lock()? {
            return Ok(hold(key, file));
        }
        wait.query_holder(&report).await?;
        sleep(POLL_EVERY).await;
    }
}

/// Writes the holder to the file and listens for requests.
fn hold(key: &LockKey, mut file: File) -> (HostLock, Successors) {
    let host = std::fs::read_to_string(HOST_NAME).map(|name| name.trim().to_owned()).unwrap_or_default();
    let holder = Holder { pid: std::process::id(), host, since: Stamp::now(), visible_pid: None };
    let written = serde_json::to_string(&holder).unwrap_or_default();
    // For people only: the lock is held without it too.
    let _ = file.set_len(0).and_then(|()| writeln!(file, "{written}"));
    (HostLock { _file: file }, Successors::bind(&key.socket(), holder))
}

/// One wait for a lock.
struct Wait<'a> {
    key: &'a LockKey,
    began: Instant,
    wait_max: Duration,
    /// Whether the holder is still to be asked to hand over.
    requests_takeover: bool,
    /// The holder that reported that it is ending.
    is_ending: Option<Holder>,
    last_report: Option<Instant>,
}

impl Wait<'_> {
    /// Queries the holder. An error ends the wait.
    async fn query_holder(&mut self, report: impl Fn(&str)) -> Result<(), LockError> {
        let request = if self.requests_takeover { Request::TakeOver } else { Request::Describe };
        let response = socket::send(&self.key.socket(), request).await;
        match response {
            Response::Holder { holder, is_ending: true } => {
                self.requests_takeover = false;
                self.is_ending = Some(holder);
            }
            Response::Holder { holder, is_ending: false } => {
                self.is_ending = None;
                self.fail_after(HELD_MIN, || self.taken(Some(holder)))?;
            }
            // An ending daemon stops answering before it releases the lock.
            Response::Nobody | Response::Silent(_) if self.is_ending.is_some() => {}
            Response::Nobody => self.fail_after(HELD_MIN, || self.no_response(None))?,
            Response::Silent(pid) => self.fail_after(HELD_MIN, || self.no_response(pid))?,
        }
        let Some(holder) = &self.is_ending else { return Ok(()) };
        if self.last_report.is_none_or(|last| last.elapsed() >= REPORT_EVERY) {
            self.last_report = Some(Instant::now());
            let waited = self.began.elapsed().as_secs();
            report(&format!("waiting for the daemon before to end, for {waited} s: {holder}"));
        }
        let waited = self.wait_max;
        self.fail_after(waited, || LockError::StillEnding { holder: self.is_ending.clone(), waited })
    }

    fn fail_after(&self, limit: Duration, error: impl FnOnce() -> LockError) -> Result<(), LockError> {
        if self.began.elapsed() < limit { Ok(()) } else { Err(error()) }
    }

    fn taken(&self, holder: Option<Holder>) -> LockError {
        LockError::Taken { app: self.key.app.clone(), tenant: self.key.tenant.clone(), holder }
    }

    /// A holder that does not respond.
    fn no_response(&self, visible_pid: Option<u32>) -> LockError {
        let holder = self.key.read_holder(visible_pid);
        if self.requests_takeover { LockError::Silent { holder } } else { self.taken(holder) }
    }
}

fn holder_text(holder: &Option<Holder>) -> String {
    holder.as_ref().map_or_else(|| "its process id is unknown".to_owned(), ToString::to_string)
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.visible_pid {
            Some(pid) => write!(f, "pid {pid}")?,
            None => write!(f, "pid {} of another PID namespace (a container, or the host of this one)", self.pid)?,
        }
        let since = serde_json::to_string(&self.since).unwrap_or_default();
        write!(f, ", host name {:?}, since {}", self.host, since.trim_matches('"'))
    }
}
