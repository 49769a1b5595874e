//! The first step of `run`, before any file is opened: become the only daemon of the app on this host. Reports on
//! standard error and to systemd.

use std::time::Duration;

use super::report::print_error;
use crate::config::Config;
use crate::engine;
use crate::exit::Exit;
use crate::host::{
    HostLock, LOCK_DIRECTORY, LockError, LockKey, Notifier, Successors, acquire, lacks_mount, lock_directory,
};

/// Time that a daemon has to end, in addition to the stop grace of its nodes.
const END_MARGIN: Duration = Duration::from_secs(60);

/// The lock, and the requests of successors for it. `None` where no other daemon could act on the same nodes.
pub async fn only_daemon(config: &Config, takeover: bool) -> Result<Option<(HostLock, Successors)>, Exit> {
    if !engine::is_shared(config.runtime) {
        return Ok(None);
    }
    if let Some((found, remedy)) = missing_mount() {
        print_error(&format!("{found} -> {remedy}"));
        return Err(Exit::Configuration);
    }
    let notifier = Notifier::connect(config.systemd.notify_socket.as_deref());
    let report = |line: &str| {
        print_error(line);
        if let Ok(notifier) = &notifier {
            notifier.status(line);
        }
    };
    let key = LockKey::new(lock_directory(), &config.app, &config.tenant);
    match acquire(&key, takeover, config.stop_grace + END_MARGIN, report).await {
        Ok(held) => Ok(Some(held)),
        Err(error) => {
            print_error(&format!("{error} -> {}", remedy(&error)));
            Err(exit_of(&error))
        }
    }
}

/// In a container without the lock directory of the host: the problem and its remedy.
pub(super) fn missing_mount() -> Option<(String, String)> {
    let directory = lock_directory();
    lacks_mount(&directory).then(|| {
        let path = directory.display();
        let found =
            format!("{path} of the host is not mounted into this container, so other daemons cannot be detected");
        let remedy =
            format!("run the container with `-v {LOCK_DIRECTORY}:{path}` (the path on the host is that of root)");
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
        LockError::Unusable { .. } => "create its directory, owned by the user of the daemon; see docs/security.md",
        LockError::NotPrivate { .. } => "remove it if it is not in use; the daemon creates it again",
        LockError::Taken { .. } => {
            "this daemon exits without a change; stop the other one, or take over its nodes with `run --takeover`"
        }
        LockError::Silent { .. } => "this daemon exits without a change; stop or kill the other one, then start again",
        LockError::StillEnding { .. } => {
            "this daemon exits without a change; start it again later, or kill the other one"
        }
    }
}
