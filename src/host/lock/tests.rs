//! The lock between two holders in one process: `flock` belongs to the open file, so they behave as two processes.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::process::{Command, Stdio};
use std::sync::Mutex;

use tempfile::TempDir;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::*;
use crate::host::Signal;

/// Much longer than a hand-over takes here.
const PATIENCE: Duration = Duration::from_secs(20);

/// A holder that responds, composed as in `main` and `daemon::Requests`.
struct Daemon {
    lock: HostLock,
    signals: mpsc::Receiver<Signal>,
    ending: Ending,
    server: JoinHandle<()>,
}

impl Daemon {
    fn of((lock, successors): (HostLock, Successors)) -> Self {
        let (sender, signals) = mpsc::channel(8);
        let ending = Ending::default();
        let server = tokio::spawn(successors.serve(ending.clone(), sender));
        Self { lock, signals, ending, server }
    }

    fn end(self) {
        self.server.abort();
        drop(self.lock);
    }
}

fn folder() -> TempDir {
    tempfile::tempdir().expect("a folder")
}

fn key(folder: &TempDir) -> LockKey {
    LockKey::new(folder.path().join("locks"), "plant 7", "acme")
}

async fn take(key: &LockKey) -> Result<Daemon, LockError> {
    acquire(key, false, PATIENCE, |_| ()).await.map(Daemon::of)
}

fn inode(key: &LockKey) -> u64 {
    std::fs::metadata(key.path()).expect("a lock file").ino()
}

#[tokio::test]
async fn a_second_daemon_is_refused_with_the_pid_of_the_first() {
    let folder = folder();
    let first = take(&key(&folder)).await.expect("the lock is free");
    let began = Instant::now();
    let error = take(&key(&folder)).await.err().expect("the lock is taken");
    assert!(matches!(error, LockError::Taken { .. }), "{error:?}");
    let (text, pid) = (error.to_string(), std::process::id());
    assert!(text.contains(&format!("pid {pid}, host name")) && text.contains("plant 7"), "{text}");
    assert!(began.elapsed() < HELD_MIN * 4, "it took {:?}", began.elapsed());
    let asked = key(&folder).holder().await.expect("it answers");
    assert_eq!((asked.pid, asked.visible_pid), (pid, Some(pid)));
    first.end();
    assert_eq!(key(&folder).holder().await, None);
}

#[tokio::test]
async fn another_app_or_tenant_is_another_lock() {
    let folder = folder();
    let locks = folder.path().join("locks");
    // The last two are the same text when joined, and all but the hash of the third is that of the first.
    let pairs = [("plant 7", "acme"), ("plant 7", "umbra"), ("plant-7", "acme"), ("ab", "c"), ("b", "ca")];
    let mut held = Vec::new();
    for (app, tenant) in pairs {
        held.push(take(&LockKey::new(&locks, app, tenant)).await.expect("nobody else has it"));
    }
    let longest = "x".repeat(256);
    take(&LockKey::new(&locks, &longest, &longest)).await.expect("its socket's address is short enough").end();
    let odd = LockKey::new(&locks, "../../etc/passwd\n", "acme").path();
    assert_eq!(odd.parent(), Some(locks.as_path()), "{odd:?}");
}

#[tokio::test]
async fn the_lock_file_outlives_its_holders() {
    let folder = folder();
    take(&key(&folder)).await.expect("the lock is free").end();
    let before = inode(&key(&folder));
    let next = take(&key(&folder)).await.expect("the first one has ended, and has left its socket as a crash does");
    assert_eq!(inode(&key(&folder)), before);
    assert_eq!(std::fs::metadata(key(&folder).path()).expect("a file").permissions().mode() & 0o777, 0o600);
    assert!(take(&key(&folder)).await.is_err());
    next.end();
}

#[tokio::test]
async fn a_child_process_does_not_keep_the_lock() {
    let folder = folder();
    let first = take(&key(&folder)).await.expect("the lock is free");
    let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep is installed");
    first.end();
    let next = take(&key(&folder)).await;
    child.kill().and_then(|()| child.wait()).expect("it ran until now");
    next.expect("nobody has the lock").end();
}

#[tokio::test]
async fn takeover_asks_once_and_waits_for_the_end() {
    let folder = folder();
    let mut first = take(&key(&folder)).await.expect("the lock is free");
    let reports = Mutex::new(Vec::new());
    let report = |line: &str| reports.lock().expect("no panic").push(line.to_owned());
    let second = {
        let (key, second) = (key(&folder), async |key: &LockKey| acquire(key, true, PATIENCE, report).await);
        let first = async {
            assert_eq!(first.signals.recv().await, Some(Signal::HandOver));
            sleep(POLL_EVERY * 5).await;
            assert!(first.signals.try_recv().is_err(), "a second signal would end it at once");
            first.end();
        };
        tokio::join!(second(&key), first).0
    };
    Daemon::of(second.expect("the first one has ended")).end();
    let reports = reports.into_inner().expect("no panic");
    assert!(reports.len() == 1 && reports[0].contains(&format!("pid {}", std::process::id())), "{reports:?}");
}

#[tokio::test]
async fn second_daemon_waits_for_one_that_is_ending() {
    let folder = folder();
    let mut first = take(&key(&folder)).await.expect("the lock is free");
    assert!(first.ending.begin() && !first.ending.begin());
    let (key, limit) = (key(&folder), HELD_MIN * 2);
    let error = acquire(&key, false, limit, |_| ()).await.expect_err("it does not end");
    assert!(matches!(error, LockError::StillEnding { .. }), "{error:?}");
    assert!(first.signals.try_recv().is_err(), "nobody asked it to take over");
    let ends = async {
        sleep(HELD_MIN * 2).await;
        first.end();
    };
    let (next, ()) = tokio::join!(take(&key), ends);
    next.expect("the first one has ended").end();
}

#[tokio::test]
async fn a_daemon_that_hangs_is_reported_and_nothing_changes() {
    let folder = folder();
    // Its socket is open and nothing responds.
    let (lock, successors) = acquire(&key(&folder), false, PATIENCE, |_| ()).await.expect("the lock is free");
    let (before, pid) = (inode(&key(&folder)), std::process::id());
    let error = acquire(&key(&folder), true, PATIENCE, |_| ()).await.expect_err("it hangs");
    assert!(matches!(error, LockError::Silent { .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("pid {pid}, ")), "{error}");
    let error = take(&key(&folder)).await.err().expect("it hangs");
    assert!(matches!(error, LockError::Taken { .. }), "{error:?}");
    assert_eq!(inode(&key(&folder)), before);
    drop((lock, successors));
    take(&key(&folder)).await.expect("it was killed").end();
}

#[tokio::test]
async fn a_folder_that_others_can_change_is_refused() {
    let folder = folder();
    let locks = folder.path().join("locks");
    std::fs::create_dir(&locks).expect("a folder");
    std::fs::set_permissions(&locks, std::fs::Permissions::from_mode(0o777)).expect("our folder");
    let error = take(&key(&folder)).await.err().expect("others can write there");
    assert!(matches!(error, LockError::NotPrivate { .. }), "{error:?}");
    std::fs::remove_dir(&locks).expect("an empty folder");
    symlink(folder.path(), &locks).expect("a link");
    let error = take(&key(&folder)).await.err().expect("a link may lead anywhere");
    assert!(matches!(error, LockError::NotPrivate { .. }), "{error:?}");
    std::fs::remove_file(&locks).expect("a link");
    std::fs::write(&locks, "").expect("a file");
    let error = take(&key(&folder)).await.err().expect("a file is no folder");
    assert!(matches!(error, LockError::Unusable { .. }), "{error:?}");
}

#[test]
fn holder_in_another_pid_namespace_is_reported_as_such() {
    let since = serde_json::from_str(r#""2026-11-30T22:40:00Z""#).expect("a time");
    let holder = Holder { pid: 1, host: "4be1".to_owned(), since, visible_pid: None };
    let text = holder.to_string();
    assert!(text.starts_with("pid 1 of another PID namespace"), "{text}");
    assert!(text.ends_with(r#"host name "4be1", since 2026-11-30T22:40:00Z"#), "{text}");
    assert!(Holder { visible_pid: Some(77), ..holder }.to_string().starts_with("pid 77, host name"));
}
