//! The step of `check` about disk space for the daemon and the engine.

use std::path::{Path, PathBuf};

use super::super::query::Problem;
use super::super::report::Report;
use super::FoundEngine;
use crate::config::Config;

const MIB: u64 = 1024 * 1024;
/// Minimum for the state directory and the log file.
const OWN_BYTES_MIN: u64 = 100 * MIB;
/// Minimum for images.
const ENGINE_BYTES_MIN: u64 = 2048 * MIB;

/// Prints a line for each path.
pub(super) fn check(config: &Config, engine: Option<&FoundEngine>, report: &mut Report) {
    report_space("state directory", &config.state_directory, OWN_BYTES_MIN, report);
    if let Some(log) = &config.log_file {
        report_space("log file", log, OWN_BYTES_MIN, report);
    }
    match engine.map(|engine| engine.host.data_root.clone()) {
        None => report.skipped("disk space", "images: no engine"),
        Some(None) => report.skipped("disk space", "images: the engine does not report their directory"),
        Some(Some(root)) if !root.exists() => {
            report.skipped("disk space", &format!("images: {} is not visible to this process", root.display()));
        }
        Some(Some(root)) => report_space("images", &root, ENGINE_BYTES_MIN, report),
    }
}

fn report_space(what: &str, path: &Path, bytes_min: u64, report: &mut Report) {
    let Some((directory, free)) = free(path) else {
        return report.skipped("disk space", &format!("{what}: not known for {}", path.display()));
    };
    let found = format!("{what}: {} MiB free at {}", free / MIB, directory.display());
    if free >= bytes_min {
        return report.ok("disk space", &found);
    }
    let remedy = format!("free at least {} MiB", bytes_min / MIB);
    report.problem("disk space", &Problem::wrong(found, remedy));
}

/// Free space for this user at a path, or at its nearest existing ancestor.
fn free(path: &Path) -> Option<(PathBuf, u64)> {
    let directory = path.ancestors().find(|ancestor| ancestor.exists())?;
    let disk = rustix::fs::statvfs(directory).ok()?;
    Some((directory.to_owned(), disk.f_bavail.saturating_mul(disk.f_frsize)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_space_is_that_of_the_nearest_existing_ancestor() {
        let folder = tempfile::tempdir().expect("a folder");
        let (directory, bytes) = free(&folder.path().join("a/b")).expect("a disk");
        assert_eq!(directory, folder.path());
        assert!(bytes > 0);
    }
}
