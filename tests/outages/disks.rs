//! Full disks: under the state file and under the log.

use std::os::unix::fs::symlink;
use std::path::PathBuf;

use crate::engine::Engine;
use crate::process::Process;
use crate::rig::Rig;
use crate::site::{Plan, Site};
use crate::turns;

on_each_engine! {
    a_full_disk_under_the_log_stops_nothing
}

/// The device on which every write finds the disk full.
const FULL: &str = "/dev/full";

/// Where the next state is written before it replaces the old one.
fn next_state(site: &Site) -> PathBuf {
    site.state_directory().join("state.json.next")
}

#[tokio::test]
async fn a_full_disk_under_the_state_file_costs_one_restart_of_what_changed_at_most() {
    let mut site = Plan::new().await.nodes(&["a", "b"]).set("MANAGED_APP_ON_EXIT", "leave").up().await;
    symlink(FULL, next_state(&site)).expect("nothing is there between two writes");
    for round in 0..3 {
        site.cloud.set_node_config("a", &format!(r#"{{"round":{round}}}"#));
        site.eventually("a restarts", |host| host.journal.starts("a") == round + 1).await;
    }
    site.probe("a").await;
    site.journal.clear();

    // What was written down last is old: `a` counts as stale once more, `b` does not.
    site.kill().await;
    std::fs::remove_file(next_state(&site)).expect("the link is there");
    site.start();
    site.converged().await;
    assert_eq!(site.journal.acts().iter().filter(|act| act.as_str() == "restart a").count(), 1);
    assert_eq!(site.journal.starts("b"), 0);
    site.journal.clear();

    // With room again it is written down.
    site.kill().await;
    site.start();
    site.converged().await;
    assert_eq!((site.journal.starts("a"), site.journal.starts("b")), (0, 0));
}

async fn a_full_disk_under_the_log_stops_nothing(engine: Engine) {
    let _turn = turns::shared().await;
    let rig = Rig::new(engine).await;
    let image = rig.push("node:1", "1").await;
    rig.add("a", |n| n.image(&image));
    let mut daemon = Process::start(&rig, &[("MANAGED_APP_LOG_FILE", FULL), ("LOGGING_LEVEL", "DEBUG")]);
    daemon.told("READY=1").await;
    let before = rig.running("a").await;
    rig.cloud().set_node_config(&rig.name("a"), r#"{"x":1}"#);
    rig.restarted("a", &before).await;
    daemon.signal("TERM").await;
    assert_eq!(daemon.ended().await.code(), Some(0));
}
