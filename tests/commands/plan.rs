//! `plan` with the engine in memory, which is new and empty for each run.

use crate::harness::Harness;

const IMAGE: &str = "123456789012.dkr.ecr.us-east-1.amazonaws.com/node:1";

#[tokio::test]
async fn an_empty_host_pulls_and_creates_and_nothing_is_changed() {
    let harness = Harness::new().await;
    harness.cloud.add_node("a", |node| node.image(IMAGE));
    harness.cloud.add_node("b: second", |node| node.image(IMAGE));
    let disk = harness.disk();
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("app", &[harness.app(), "memory", "nothing is changed"]);
    ran.shows("pull image", &[IMAGE, "not here yet"]);
    ran.shows("create node \"a\"", &["it has no container", "as soon as its image is pulled"]);
    ran.shows("create node \"b: second\"", &[]);
    ran.shows("image content is compared after the pull", &[]);
    ran.shows("2 of 2 nodes need an action; 1 images to pull", &[]);
    assert_eq!(harness.disk(), disk, "no file and no folder is made");
}

#[tokio::test]
async fn an_app_without_nodes_has_nothing_to_do() {
    let harness = Harness::new().await;
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("no action for 0 nodes", &[]);
}

#[tokio::test]
async fn plan_for_a_removed_app_warns_of_the_power_off() {
    let harness = Harness::new().await;
    harness.cloud.remove_app();
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    ran.shows("the cloud has no such app", &["power this host off"]);
    assert!(ran.stderr.contains("check APP and TENANT"), "{}", ran.all());
}

#[tokio::test]
async fn plan_reports_an_invalid_state_file_and_keeps_it() {
    let harness = Harness::new().await;
    std::fs::create_dir(harness.state()).expect("a folder");
    std::fs::write(harness.state().join("state.json"), "{").expect("a file");
    let disk = harness.disk();
    let ran = harness.run(&["plan"]).await;
    assert_eq!(ran.code, 0, "{}", ran.all());
    ran.shows("the state file makes no sense", &["set aside"]);
    assert_eq!(harness.disk(), disk);
}
