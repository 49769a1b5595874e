//! Detects whether dockerd has AWS credentials of its own, as far as that is visible from outside. Reads files of the
//! host and queries the instance metadata service; changes nothing.
//!
//! The log driver `awslogs` runs inside dockerd, with dockerd's environment. A host may have credentials that the
//! daemon finds and dockerd does not: a system unit has no HOME, and short-lived keys in a file are read once for each
//! start of a container.

mod environment;
mod role;
#[cfg(test)]
mod tests;
mod unit;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use managed_app_runtimes::EngineInfo;
use tokio::net::UnixStream;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use environment::{Evidence, Variables};

/// Time limit for the socket and for the host's files.
const EXAMINE_LIMIT: Duration = Duration::from_secs(5);
/// The cgroup of dockerd if systemd runs it.
const UNIT_CGROUP: &str = "/system.slice/docker.service";

/// Whether dockerd has AWS credentials of its own. The texts contain the evidence and no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DockerdCredentials {
    /// It has some that last.
    Found(String),
    /// It has none, or some that expire.
    Absent(String),
    /// Not visible from here.
    Unknown(String),
}

/// The host to examine. The default is this host.
#[derive(Debug, Clone)]
pub(super) struct Host {
    root: PathBuf,
    /// The instance metadata service; `None` skips it.
    metadata: Option<String>,
}

impl Host {
    /// This host. AWS_EC2_METADATA_DISABLED in the daemon's own environment disables the metadata service.
    pub(super) fn this() -> Self {
        let is_disabled = crate::config::process_environment("AWS_EC2_METADATA_DISABLED")
            .is_some_and(|value| value.eq_ignore_ascii_case("true"));
        Self { root: PathBuf::from("/"), metadata: (!is_disabled).then(|| role::METADATA.to_owned()) }
    }
}

/// Examines the credentials of the dockerd behind `info`. Ends within seconds, whatever the state of the host is.
pub(super) async fn credentials(host: Host, info: &EngineInfo) -> DockerdCredentials {
    let Some(socket) = info.endpoint.strip_prefix("unix://") else {
        return DockerdCredentials::Unknown(format!("its socket {} does not identify its process", info.endpoint));
    };
    let Ok(Some(process)) = timeout(EXAMINE_LIMIT, listener(socket)).await else {
        return DockerdCredentials::Unknown(format!("the process behind {socket} is not visible from here"));
    };
    let (root, version) = (host.root.clone(), info.version.clone());
    let examined = spawn_blocking(move || examine(&root, process, &version));
    let evidence = match timeout(EXAMINE_LIMIT, examined).await {
        Ok(Ok(Ok(evidence))) => evidence,
        Ok(Ok(Err(unknown))) => return DockerdCredentials::Unknown(unknown),
        _ => return DockerdCredentials::Unknown("the files of this host cannot be read in time".to_owned()),
    };
    match evidence {
        Evidence::Lasting(what) => DockerdCredentials::Found(what),
        Evidence::Expiring(what) => DockerdCredentials::Absent(what),
        Evidence::Unknown(what) => DockerdCredentials::Unknown(what),
        Evidence::None(why) => match host.metadata {
            Some(metadata) if role::has_role(&metadata).await => {
                DockerdCredentials::Found("the role of this instance".to_owned())
            }
            _ => DockerdCredentials::Absent(format!("{why}, and this host has no instance role")),
        },
        Evidence::NoneWithoutRole(why) => DockerdCredentials::Absent(why),
    }
}

/// The process that listens on a socket: dockerd, or systemd if it created the socket. `None` if it is not in our
/// process namespace, because the daemon runs in a container.
async fn listener(socket: &str) -> Option<u32> {
    let stream = UnixStream::connect(socket).await.ok()?;
    stream.peer_cred().ok()?.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid > 0)
}

/// Examines the environment of dockerd. Fails with the reason if it is not visible.
///
/// If systemd runs dockerd, its unit files are read instead of `/proc`: the daemon's own unit hides `/proc`
/// (ProtectProc=, no CAP_SYS_PTRACE), and `check` in a shell must have the same result as the unit.
fn examine(root: &Path, process: u32, version: &str) -> Result<Evidence, String> {
    let folder = root.join(format!("proc/{process}"));
    let cgroup = fs::read_to_string(folder.join("cgroup")).ok();
    let is_unit = process == 1 || cgroup.is_none_or(|cgroup| cgroup.lines().any(|line| line.ends_with(UNIT_CGROUP)));
    let (variables, of) = match is_unit {
        true => {
            if !root.join("run/systemd/system").is_dir() {
                return Err("its environment is hidden, and systemd does not run it".to_owned());
            }
            let found = unit::variables(root, "docker.service");
            (found.ok_or("systemd has no unit docker.service")?, "docker.service")
        }
        false => {
            let bytes = fs::read(folder.join("environ")).map_err(|error| format!("its environment: {error}"))?;
            (of_process(&bytes), "its process")
        }
    };
    Ok(environment::evaluate(&variables, of, root, major(version)))
}

fn of_process(bytes: &[u8]) -> Variables {
    let text = String::from_utf8_lossy(bytes);
    let pairs = text.split('\0').filter_map(|pair| pair.split_once('='));
    pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// The first number of a version; 0 when there is none.
fn major(version: &str) -> u32 {
    let digits: String = version.chars().skip_while(|c| *c == 'v').take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or(0)
}
