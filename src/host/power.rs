//! Powers the host off. The caller has verified that the app is gone.

use std::ffi::OsStr;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;

use crate::text::excerpt;

/// Time limit of `shutdown`; it needs well under a second.
const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(30);

/// Why the host was not powered off.
#[derive(Debug, thiserror::Error)]
pub enum PowerOffError {
    /// `shutdown` does not exist, or must not be run.
    #[error("run `shutdown now`; check that it is on PATH")]
    NotRun(#[source] std::io::Error),
    /// `shutdown` failed.
    #[error("power off: `shutdown now` ended with {status}: {stderr}")]
    Refused {
        /// Its exit status.
        status: std::process::ExitStatus,
        /// Its standard error, shortened.
        stderr: String,
    },
    /// `shutdown` did not end in time and was killed.
    #[error("power off: `shutdown now` did not end within {} s", SHUTDOWN_TIME_MAX.as_secs())]
    TimedOut,
}

/// Runs `shutdown now` from PATH; `search_path` replaces PATH. Returns when the request was accepted, so that the
/// caller can still end in order before SIGTERM.
pub async fn power_off(search_path: Option<&OsStr>) -> Result<(), PowerOffError> {
    run(search_path, SHUTDOWN_TIME_MAX).await
}

async fn run(search_path: Option<&OsStr>, time_max: Duration) -> Result<(), PowerOffError> {
    let mut command = Command::new("shutdown");
    command.arg("now").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).kill_on_drop(true);
    if let Some(path) = search_path {
        command.env("PATH", path);
    }
    let output = tokio::time::timeout(time_max, command.output()).await.map_err(|_| PowerOffError::TimedOut)?;
    let output = output.map_err(PowerOffError::NotRun)?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = excerpt(String::from_utf8_lossy(&output.stderr).trim());
    Err(PowerOffError::Refused { status: output.status, stderr })
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// A directory with a test `shutdown`. Another process writes it: if it were open for writing here while another
    /// test forks, running it would fail as "text file busy".
    fn fake(script: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("shutdown");
        let write = r#"printf '#!/bin/sh\n%s\n' "$2" > "$1" && chmod 755 "$1""#;
        let written = std::process::Command::new("sh").args(["-c", write, "sh"]).arg(&path).arg(script).status();
        assert!(written.expect("sh is installed").success());
        folder
    }

    async fn run_in(folder: &Path) -> Result<(), PowerOffError> {
        run(Some(folder.as_os_str()), SHUTDOWN_TIME_MAX).await
    }

    #[tokio::test]
    async fn shutdown_is_found_on_the_path_and_runs_now() {
        let folder = fake(r#"echo "$@" > "${0%/*}/told""#);
        run_in(folder.path()).await.expect("it ends well");
        assert_eq!(std::fs::read_to_string(folder.path().join("told")).expect("it was run"), "now\n");
    }

    #[tokio::test]
    async fn refused_shutdown_reports_its_standard_error() {
        let folder = fake("echo 'must be root' >&2; exit 3");
        let error = run_in(folder.path()).await.expect_err("it refuses").to_string();
        assert!(error.contains("must be root") && error.contains("3"), "{error}");
    }

    #[tokio::test]
    async fn missing_shutdown_is_reported() {
        let folder = tempfile::tempdir().expect("a folder");
        assert!(matches!(run_in(folder.path()).await, Err(PowerOffError::NotRun(_))));
    }

    #[tokio::test]
    async fn hanging_shutdown_is_killed() {
        let folder = fake("exec /bin/sleep 60");
        let path = Some(folder.path().as_os_str());
        assert!(matches!(run(path, Duration::from_millis(50)).await, Err(PowerOffError::TimedOut)));
    }
}
