//! Tests of the reconciler: a simulated world of plain data executes its effects, without time and I/O.

mod found;
mod leftovers;
mod replacing;
mod world;

use std::time::Duration;

use managed_app_runtimes::{ContainerId, ContainerState, ImageReference};

use super::state_machine::CLOUD_WAIT_MAX;
use super::*;
use crate::model::{App, Change};
use world::{World, name};

#[test]
fn new_app_gets_its_containers_once() {
    let mut world = World::new(&["a", "b"]);
    world.begin();
    assert_eq!(world.take_log(), ["pull img/a", "create a", "create b"]);
    assert!(world.is_ready && world.reconciler.status().is_converged);
    world.send(Event::Resync);
    world.send(Event::EventsLost);
    assert_eq!(world.take_log(), [""; 0]);
}

#[test]
fn a_daemon_that_starts_beside_matching_containers_touches_none() {
    let mut world = World::new(&["a", "b"]);
    world.begin();
    let mut world = world.restart_daemon();
    world.take_log();
    world.begin();
    assert_eq!(world.take_log(), ["pull img/a"]);
    assert!(world.is_ready);
}

#[test]
fn changes_without_a_daemon_restart_exactly_the_stale_nodes() {
    let mut world = World::new(&["a", "b", "c"]);
    world.begin();
    let mut world = world.restart_daemon();
    world.connect("a", "b");
    world.take_log();
    world.begin();
    assert_eq!(world.take_log(), ["pull img/a", "restart a", "restart b"]);
}

#[test]
fn edge_change_restarts_both_ends_once() {
    let mut world = World::new(&["a", "b", "c"]);
    world.begin();
    world.take_log();
    world.connect("a", "b");
    for _ in 0..50 {
        world.send(Event::Change(Change::Edge(vec![name("a"), name("b")])));
    }
    assert_eq!(world.take_log(), ["restart a", "restart b"]);
    world.advance(Duration::from_secs(60));
    assert_eq!(world.take_log(), [""; 0]);
}

#[test]
fn change_that_a_snapshot_lacks_is_checked_again() {
    let mut world = World::new(&["a", "b"]);
    world.begin();
    world.take_log();
    world.send(Event::Change(Change::Edge(vec![name("a"), name("b")])));
    assert_eq!(world.take_log(), [""; 0]);
    world.connect("a", "b");
    world.advance(Duration::from_secs(3));
    assert_eq!(world.take_log(), ["restart a", "restart b"]);
}

#[test]
fn an_image_change_pulls_and_then_replaces() {
    let mut world = World::new(&["a", "b"]);
    world.begin();
    world.take_log();
    world.edit(|app| {
        for node in app.nodes.values_mut() {
            node.node_type.image_uri = "registry.test/img/b:1".to_owned();
        }
    });
    world.send(Event::Change(Change::NodeType("type".to_owned())));
    assert_eq!(world.take_log(), ["pull img/b", "replace a", "replace b"]);
}

#[test]
fn type_change_with_a_moved_tag_pulls_once_and_replaces() {
    let mut world = World::new(&["a", "b"]);
    world.begin();
    world.take_log();
    let change = || Event::Change(Change::NodeType("type".to_owned()));
    world.send(change());
    world.advance(Duration::from_secs(60));
    assert_eq!(world.take_log(), ["pull img/a"]);
    world.tags_moved += 1;
    world.send(change());
    assert_eq!(world.take_log(), ["pull img/a", "replace a", "replace b"]);
}

#[test]
fn failed_pull_keeps_the_node_running_and_following_its_edges() {
    let mut world = World::new(&["a", "b"]);
    world.begin();
    world.take_log();
    world.broken_images.insert("img/b".to_owned());
    world
        .edit(|app| app.nodes.get_mut(&name("a")).expect("a").node_type.image_uri = "registry.test/img/b:1".to_owned());
    world.send(Event::Change(Change::Node(name("a"))));
    assert_eq!(world.take_log(), ["pull img/b"]);
    world.connect("a", "b");
    world.send(Event::Change(Change::Edge(vec![name("a"), name("b")])));
    assert_eq!(world.take_log(), ["restart a", "restart b"]);
    world.broken_images.clear();
    world.advance(Duration::from_secs(30));
    assert_eq!(world.take_log(), ["pull img/b", "replace a"]);
}

#[test]
fn removed_nodes_are_removed_and_gaps_remove_nothing() {
    let mut world = World::new(&["a", "b", "c"]);
    world.begin();
    world.take_log();
    world.edit(|app| {
        app.nodes.remove(&name("a"));
        app.nodes.remove(&name("b"));
        app.is_complete = false;
    });
    world.send(Event::Resync);
    assert_eq!(world.take_log(), [""; 0]);
    world.send(Event::Change(Change::NodeRemoved(name("a"))));
    assert_eq!(world.take_log(), ["remove a"]);
    world.edit(|app| app.is_complete = true);
    world.send(Event::Resync);
    assert_eq!(world.take_log(), ["remove b"]);
}

#[test]
fn a_failed_snapshot_changes_nothing_and_is_fetched_again() {
    let mut world = World::new(&["a"]);
    world.begin();
    world.take_log();
    world.cloud_is_down = true;
    world.send(Event::Change(Change::NodeRemoved(name("a"))));
    assert_eq!(world.take_log(), [""; 0]);
    assert!(world.reconciler.status().cloud_failure.is_some());
    world.cloud_is_down = false;
    world.connect("a", "x");
    world.advance(Duration::from_secs(3));
    assert_eq!(world.take_log(), ["restart a"]);
}

#[test]
fn without_the_cloud_at_boot_existing_containers_start() {
    let mut world = World::new(&["a"]);
    world.begin();
    let mut world = world.restart_daemon();
    world.take_log();
    world.containers[0].state = ContainerState::Exited { code: Some(0) };
    world.cloud_is_down = true;
    world.begin();
    assert_eq!(world.take_log(), ["start a"]);
    assert!(world.is_ready);
}

#[test]
fn silent_cloud_at_boot_delays_existing_containers_for_seconds() {
    let mut world = World::new(&["a"]);
    world.begin();
    let mut world = world.restart_daemon();
    world.take_log();
    world.containers[0].state = ContainerState::Exited { code: Some(0) };
    world.cloud_is_silent = true;
    world.begin();
    assert_eq!(world.take_log(), [""; 0]);
    world.advance(CLOUD_WAIT_MAX);
    assert_eq!(world.take_log(), ["start a"]);
    assert!(world.is_ready);
}

#[test]
fn external_changes_of_containers_are_reverted() {
    let mut world = World::new(&["a", "b", "c", "d", "e"]);
    world.begin();
    world.advance(Duration::from_secs(60));
    world.take_log();
    world.containers.retain(|container| !container.name.starts_with("a-"));
    world.containers.iter_mut().for_each(|container| match &container.name[..1] {
        "b" => container.state = ContainerState::Exited { code: Some(0) },
        "c" => container.name = "somebody".to_owned(),
        "d" => container.networks.clear(),
        _ => container.state = ContainerState::Paused,
    });
    world.send(Event::EventsLost);
    assert_eq!(world.take_log(), ["create a", "start b", "replace c", "replace d", "restart e"]);
}

#[test]
fn start_with_a_lost_response_is_not_repeated() {
    let mut world = World::new(&["a"]);
    world.lost_responses = 1;
    world.begin();
    assert_eq!(world.take_log(), ["pull img/a", "create a"]);
    world.advance(Duration::from_secs(5));
    assert_eq!(world.take_log(), [""; 0]);
    assert!(world.reconciler.status().is_converged);
}

#[test]
fn retried_pull_delays_no_repair() {
    let mut world = World::new(&["a"]);
    world.begin();
    let image: ImageReference = "registry.test/img/a:1".parse().expect("a valid reference");
    let failure = Failure { kind: FailureKind::Transient, text: "away".to_owned() };
    let kept = Pulled::Kept { id: world.content(&image), failure };
    world.send(Event::Pulled { image, outcome: kept });
    world.take_log();
    world.pulls_hang = true;
    world.advance(Duration::from_secs(2));
    world.containers.clear();
    world.send(Event::EventsLost);
    assert_eq!(world.take_log(), ["pull img/a", "create a"]);
}

#[test]
fn resync_of_an_operator_skips_all_retry_delays() {
    let mut world = World::new(&["a", "b", "c"]);
    world.broken_nodes.insert("a".to_owned());
    let at =
        |app: &mut App| app.nodes.get_mut(&name("c")).expect("c").node_type.image_uri = "registry.test/img/b:1".into();
    world.edit(at);
    world.broken_images.insert("img/b".to_owned());
    world.begin();
    world.cloud_is_down = true;
    world.send(Event::QueueLost);
    world.connect("b", "x");
    world.take_log();
    world.cloud_is_down = false;
    world.broken_nodes.clear();
    world.broken_images.clear();
    world.send(Event::Resync);
    let mut log = world.take_log();
    log.sort();
    assert_eq!(log, ["create a", "create c", "pull img/b", "restart b"]);
}

#[test]
fn failing_node_delays_no_other_and_is_retried() {
    let mut world = World::new(&["a", "b"]);
    world.broken_nodes.insert("a".to_owned());
    world.begin();
    assert_eq!(world.take_log(), ["pull img/a", "create a", "create b"]);
    assert!(world.is_ready);
    world.advance(Duration::from_secs(2));
    assert_eq!(world.take_log(), ["create a"]);
    world.broken_nodes.clear();
    world.advance(Duration::from_secs(5));
    assert_eq!(world.take_log(), ["create a"]);
    assert!(world.reconciler.status().is_converged);
}

#[test]
fn the_app_is_gone_only_when_two_snapshots_say_so() {
    let mut world = World::new(&["a"]);
    world.begin();
    world.take_log();
    world.is_gone = true;
    world.send(Event::Change(Change::AppRemoved));
    world.is_gone = false;
    world.advance(Duration::from_secs(60));
    assert_eq!((world.take_log(), world.finish), (vec![], None));
    world.is_gone = true;
    world.send(Event::Resync);
    assert_eq!(world.finish, None);
    world.advance(Duration::from_secs(6));
    assert_eq!((world.take_log(), world.finish), (vec!["stop a".to_owned()], Some(Finish::AppRemoved)));
}

#[test]
fn app_that_never_existed_here_is_an_error_and_no_removal() {
    let mut world = World::new(&[]);
    world.is_gone = true;
    world.begin();
    world.advance(Duration::from_secs(6));
    assert_eq!(world.finish, Some(Finish::NoSuchApp));
    let mut world = World::new(&["a"]);
    world.begin();
    let mut world = world.restart_daemon();
    world.is_gone = true;
    world.begin();
    world.advance(Duration::from_secs(6));
    assert_eq!(world.finish, Some(Finish::AppRemoved));
}

#[test]
fn stop_stops_all_nodes_and_leave_keeps_them() {
    let mut world = World::new(&["a", "b"]);
    world.begin();
    world.take_log();
    let mut other = world.restart_daemon();
    other.begin();
    other.take_log();
    other.send(Event::Stop(EndOfNodes::Leave));
    assert_eq!((other.take_log(), other.finish), (vec![], Some(Finish::Stopped)));
    let mut world = other.restart_daemon();
    world.begin();
    world.take_log();
    world.send(Event::Stop(EndOfNodes::Stop));
    assert_eq!(world.take_log(), ["stop a", "stop b"]);
    assert_eq!(world.finish, Some(Finish::Stopped));
}

#[test]
fn stop_before_anything_is_known_still_stops_what_runs() {
    let mut world = World::new(&["a"]);
    world.begin();
    let mut world = world.restart_daemon();
    world.take_log();
    world.send(Event::Stop(EndOfNodes::Stop));
    assert_eq!(world.take_log(), ["stop a"]);
    assert_eq!(world.finish, Some(Finish::Stopped));
}

#[test]
fn an_interrupted_replacement_is_finished() {
    let mut world = World::new(&["a"]);
    world.begin();
    let mut world = world.restart_daemon();
    let mut next = world.containers[0].clone();
    world.containers[0].labels.insert(managed_app_runtimes::labels::SPEC.to_owned(), "{}".to_owned());
    next.id = ContainerId("next".to_owned());
    next.name = "a.next".to_owned();
    next.state = ContainerState::Created;
    world.containers.push(next);
    world.take_log();
    world.begin();
    assert_eq!(world.take_log(), ["pull img/a", "replace a"]);
    assert_eq!(world.containers.len(), 1);
    assert_eq!(world.containers[0].id, ContainerId("next".to_owned()));
}

#[test]
fn equal_json_has_the_same_revision() {
    let world = World::new(&["a"]);
    let revision = |edit: &dyn Fn(&mut App)| {
        let mut app = world.app.clone();
        edit(&mut app);
        AppInputs::of(&app).revision(&app.nodes[&name("a")])
    };
    let config = |text: &'static str| revision(&move |app| app.config = Some(text.to_owned()));
    assert_eq!(config(r#"{"a":1,"b":[2]}"#), config(r#" {"b": [2], "a": 1}"#));
    let all = [
        revision(&|_| {}),
        config(r#"{"a":1}"#),
        config(r#"{"a":2}"#),
        revision(&|app| app.tenant.audit = true),
        revision(&|app| app.tenant.region = "r".to_owned()),
        revision(&|app| app.tenant.table = "t".to_owned()),
        revision(&|app| app.tenant.config = Some("1".to_owned())),
        revision(&|app| app.table_access = true),
        revision(&|app| app.nodes.get_mut(&name("a")).expect("a").is_stopped = true),
        revision(&|app| app.nodes.get_mut(&name("a")).expect("a").config = Some("1".to_owned())),
    ];
    for (index, revision) in all.iter().enumerate() {
        assert_eq!(all.iter().position(|other| other == revision), Some(index));
    }
}
