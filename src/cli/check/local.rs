//! The steps of `check` about this host: a running daemon of the app, the state directory and the log file. Leaves no
//! files.

use std::fs::{self, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::task::spawn_blocking;

use super::super::only::missing_mount;
use super::super::query::{Problem, within};
use super::super::report::Report;
use crate::config::Config;
use crate::engine;
use crate::exit::Exit;
use crate::host::{LockKey, lock_directory};

/// The longest wait for the disk, which may be on a network.
const DISK_LIMIT: Duration = Duration::from_secs(10);

pub(super) async fn check(config: &Config, report: &mut Report) {
    check_daemon(config, report).await;
    let state = config.state_directory.clone();
    report_attempt(
        "state directory",
        "MANAGED_APP_STATE_DIRECTORY",
        &state.clone(),
        move || try_directory(&state),
        report,
    )
    .await;
    match config.log_file.clone() {
        None => report.skipped("log file", "MANAGED_APP_LOG_FILE=off"),
        Some(path) => {
            report_attempt("log file", "MANAGED_APP_LOG_FILE", &path.clone(), move || try_file(&path), report).await
        }
    }
}

/// A running daemon is not a failure, but `run` would exit with code 75.
async fn check_daemon(config: &Config, report: &mut Report) {
    if !engine::is_shared(config.runtime) {
        report.skipped("daemon", "the in-memory engine belongs to one process");
        return;
    }
    if let Some((found, remedy)) = missing_mount() {
        report.failed("daemon", &found, remedy, Exit::Configuration);
        return;
    }
    match LockKey::new(lock_directory(), &config.app, &config.tenant).holder().await {
        Some(holder) => report.ok("daemon", &format!("runs: {holder}")),
        None => report.ok("daemon", "no daemon of this app runs on this host"),
    }
}

async fn report_attempt(
    subject: &str,
    variable: &str,
    path: &Path,
    attempt: impl FnOnce() -> io::Result<&'static str> + Send + 'static,
    report: &mut Report,
) {
    let remedy =
        format!("make its directory writable by this user (the daemon usually runs as root), or set {variable}");
    let attempt = async { spawn_blocking(attempt).await.map_err(io::Error::other).flatten() };
    let tried = async { attempt.await.map_err(|error| Problem::wrong(error.to_string(), remedy.as_str())) };
    match within(DISK_LIMIT, "the disk does not answer", tried).await {
        Ok(found) => report.ok(subject, &format!("{} {found}", path.display())),
        Err(problem) => {
            let found = format!("{}: {}", path.display(), problem.found);
            report.failed(subject, &found, problem.remedy, problem.exit);
        }
    }
}

fn try_directory(path: &Path) -> io::Result<&'static str> {
    if path.is_dir() { try_new_file(path).map(|()| "can be written") } else { try_create(path) }
}

/// Like the daemon, which opens the log file and creates a missing directory.
fn try_file(path: &Path) -> io::Result<&'static str> {
    if fs::symlink_metadata(path).is_ok() {
        OpenOptions::new().append(true).open(path)?;
        return Ok("can be written");
    }
    try_create(path)
}

/// A missing path can be created if its nearest existing ancestor is a writable directory.
fn try_create(path: &Path) -> io::Result<&'static str> {
    let mut ancestors = path.ancestors().skip(1);
    let nearest = ancestors.find(|ancestor| fs::symlink_metadata(ancestor).is_ok());
    let nearest = nearest.ok_or(io::ErrorKind::NotFound)?;
    if fs::symlink_metadata(path).is_ok() || !nearest.is_dir() {
        return Err(io::ErrorKind::NotADirectory.into());
    }
    try_new_file(nearest).map(|()| "is not there yet and can be made")
}

fn try_new_file(folder: &Path) -> io::Result<()> {
    let path: PathBuf = folder.join(format!(".echostream-managed-app-check-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&path)?;
    fs::remove_file(&path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_tested_without_leftover_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("file");
        fs::write(&file, "kept").expect("a file");
        let ok = |result: io::Result<&'static str>| result.map_err(|error| error.kind());
        assert_eq!(ok(try_directory(folder.path())), Ok("can be written"));
        assert_eq!(ok(try_directory(&folder.path().join("a/b"))), Ok("is not there yet and can be made"));
        assert_eq!(ok(try_directory(&file)), Err(io::ErrorKind::NotADirectory));
        assert!(try_directory(&file.join("below")).is_err());
        assert_eq!(ok(try_file(&file)), Ok("can be written"));
        assert_eq!(ok(try_file(&folder.path().join("new"))), Ok("is not there yet and can be made"));
        assert_eq!(ok(try_file(&folder.path().join("a/new"))), Ok("is not there yet and can be made"));
        assert_eq!(ok(try_file(&file.join("new"))), Err(io::ErrorKind::NotADirectory));
        assert!(try_file(folder.path()).is_err());
        assert_eq!(fs::read_dir(folder.path()).expect("the folder").count(), 1);
        assert_eq!(fs::read_to_string(&file).expect("the file"), "kept");
    }
}
