//! The first step of `run`: become the only daemon of the app on this host, before anything is touched, also the log file.
//! Reports on standard error and to systemd.

use std::time::Duration;

use super::report::complain;
use crate::config::{Config, RuntimeChoice};
use crate::exit::Exit;
use crate::host::{
    HostLock, LOCK_DIRECTORY, LockError, LockKey, Notifier, Successors, acquire, lacks_mount, lock_directory,
};

/// How much longer than the grace of its nodes a daemon may take to end.
const END_MARGIN: Duration = Duration::from_secs(60);

/// The lock, and who asks for it. `None` where no other daemon could act on the same nodes.
pub async fn only_daemon(config: &Config, takeover: bool) -> Result<Option<(HostLock, Successors)>, Exit> {
    if config.runtime == RuntimeChoice::Memory {
        return Ok(None);
    }
    if let Some((found, remedy)) = missing_mount() {
        complain(&format!("{found} -> {remedy}"));
        return Err(Exit::Configuration);
    }
    let notifier = Notifier::connect(config.systemd.notify_socket.as_deref());
    let report = |line: &str| {
        complain(line);
        if let Ok(notifier) = &notifier {
            notifier.status(line);
        }
    };
    let key = LockKey::new(lock_directory(), &config.app, &config.tenant);
    match acquire(&key, takeover, config.stop_grace + END_MARGIN, report).await {
        Ok(held) => Ok(Some(held)),
        Err(error) => {
            complain(&format!("{error} -> {}", remedy(&error)));
            Err(exit_of(&error))
        }
    }
}

/// In a container without the host's locks: what is wrong, and what to do.
pub(super) fn missing_mount() -> Option<(String, String)> {
    let directory = lock_directory();
    lacks_mount(&directory).then(|| {
        let shown = directory.display();
        let found = format!("{shown} of the host is not mounted into this container, so other daemons cannot be seen");
        let remedy = format!("run the container with `-v {LOCK_DIRECTORY}:{shown}` (as it is on the host for root)");
        (found, remedy)
    })
}

fn exit_of(error: &LockError) -> Exit {
    match error {
        LockError::Unusable { .. } => Exit::Unavailable,
        LockError::NotPrivate { .. } => Exit::Configuration,
        LockError::Taken { .. } | LockError::Silent { .. } | LockError::StillEnding { .. } => Exit::AlreadyRunning,
    }
}

fn remedy(error: &LockError) -> &'static str {
    match error {
        LockError::Unusable { .. } => "make its folder, owned by the daemon's user; see docs/security.md",
        LockError::NotPrivate { .. } => "remove it, if it is not in use; the daemon makes it anew",
        LockError::Taken { .. } => {
            "this one ends and has changed nothing; stop the other one, or take over its nodes with `run --takeover`"
        }
        LockError::Silent { .. } => {
            "this one ends and has changed nothing; stop or kill the other one, and start again"
        }
        LockError::StillEnding { .. } => {
            "this one ends and has changed nothing; start it again later, or kill the other one"
        }
    }
}
