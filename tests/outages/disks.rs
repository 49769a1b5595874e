//! Full disks of the state file and of the log.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;
use crate::harness::Plan;
use crate::process::Process;
use crate::turns;

on_each_engine! {
    a_full_disk_under_the_log_stops_nothing
}

/// The device on which every write fails with "no space left".
const FULL: &str = "/dev/full";

/// A small disk that a test can fill: a file system in memory. Dropping it unmounts it.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// # Panics
    /// If it cannot be mounted. Needs root, like the engines of these tests.
    fn mount(folder: &Path) -> Self {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=64k", "tmpfs"]).arg(folder);
        assert!(mount.status().expect("mount is installed").success(), "a small disk cannot be mounted");
        Self(folder.to_owned())
    }

    /// Fills all free space, including space that was released since the last call.
    fn fill(&self) {
        let filler = File::options().create(true).append(true).open(self.0.join("filler"));
        let mut file = filler.expect("there is space for a directory entry");
        let error = std::iter::repeat_with(|| file.write_all(&[0; 512])).find_map(Result::err).expect("it ends");
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }

    fn free(&self) {
        std::fs::remove_file(self.0.join("filler")).expect("it was filled");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A drop must not panic.
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

#[tokio::test]
async fn a_full_disk_of_the_state_file_costs_at_most_one_restart() {
    let mut harness = Plan::new().await.nodes(&["a", "b"]).set("MANAGED_APP_ON_EXIT", "leave").off();
    let disk = SmallDisk::mount(harness.state_directory());
    harness.start();
    harness.converged().await;
    harness.journal.clear();
    for round in 0..3 {
        // A pending replacement of the state file would release the space of the old file.
        harness.converged().await;
        disk.fill();
        harness.cloud.set_node_config("a", &format!(r#"{{"round":{round}}}"#));
        harness.eventually("a restarts", |host| host.journal.starts("a") == round + 1).await;
    }
    harness.probe("a").await;
    // The state is written after the restart. A late write would use the space that is freed below.
    tokio::time::sleep(Duration::from_secs(1)).await;
    harness.journal.clear();

    // The saved state is old: `a` is stale once more, `b` is not.
    harness.kill().await;
    disk.free();
    harness.start();
    harness.converged().await;
    assert_eq!(harness.journal.actions().iter().filter(|act| act.as_str() == "restart a").count(), 1);
    assert_eq!(harness.journal.starts("b"), 0);
    harness.journal.clear();

    // With free space, the state is saved.
    harness.kill().await;
    harness.start();
    harness.converged().await;
    assert_eq!((harness.journal.starts("a"), harness.journal.starts("b")), (0, 0));
}

async fn a_full_disk_under_the_log_stops_nothing(engine: Engine) {
    let _turn = turns::shared().await;
    let engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    engine_harness.add("a", |n| n.image(&image));
    let mut daemon = Process::start(&engine_harness, &[("MANAGED_APP_LOG_FILE", FULL), ("LOGGING_LEVEL", "DEBUG")]);
    daemon.notified("READY=1").await;
    let before = engine_harness.running("a").await;
    engine_harness.cloud().set_node_config(&engine_harness.name("a"), r#"{"x":1}"#);
    engine_harness.restarted("a", &before).await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code(), Some(0));
}
