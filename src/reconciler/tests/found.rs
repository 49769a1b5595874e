//! Findings of the simulation, each reduced to a few steps: snapshots older than a change, lists without the answer,
//! and engine events during an operation.

use std::sync::Arc;
use std::time::Duration;

use managed_app_runtimes::{
    Action, Container, ContainerId, ContainerState, EngineEvent, ImageReference, Mount, MountSource,
};

use super::world::{World, name};
use crate::model::{App, Change, Snapshot};
use crate::reconciler::*;

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn begun(nodes: &[&str]) -> World {
    let mut world = World::new(nodes);
    world.begin();
    world.advance(seconds(30));
    world.take_log();
    world
}

/// Starts an operation and leaves it running.
fn show(world: &mut World, app: &App) -> Vec<Effect> {
    world.reconciler.on(Event::Snapshot(Ok(Snapshot::App(Arc::new(app.clone())))), world.now)
}

fn asks_for_list(world: &World, effects: &[Effect]) -> bool {
    let soon = world.reconciler.deadline().is_some_and(|at| at <= world.now + seconds(1));
    effects.iter().any(|effect| matches!(effect, Effect::List)) || soon
}

#[test]
fn removed_app_in_an_older_snapshot_is_checked_again() {
    let mut world = begun(&["a"]);
    world.send(Event::Change(Change::AppRemoved));
    world.is_gone = true;
    world.advance(seconds(15));
    assert_eq!(world.finish, Some(Finish::AppRemoved));
}

#[test]
fn change_of_a_node_in_a_gap_is_checked_again() {
    for hide in [
        |app: &mut App| app.is_complete = false,
        |app: &mut App| {
            app.invalid_nodes.insert(name("a"), "odd".to_owned());
        },
    ] {
        let mut world = begun(&["a"]);
        let whole = world.app.clone();
        world.edit(|app| {
            app.nodes.clear();
            hide(app);
        });
        world.send(Event::Change(Change::NodeType("type".to_owned())));
        world.edit(|app| *app = whole);
        world.connect("a", "x");
        world.advance(seconds(3));
        assert!(world.take_log().contains(&"restart a".to_owned()));
    }
}

#[test]
fn second_of_two_quick_changes_is_applied_too() {
    let mut world = begun(&["a"]);
    world.connect("a", "x");
    world.send(Event::Change(Change::Node(name("a"))));
    assert_eq!(world.take_log(), ["restart a"]);
    world.connect("a", "y");
    world.advance(seconds(20));
    assert_eq!(world.take_log(), ["restart a"]);
}

#[test]
fn removed_node_in_an_older_snapshot_is_removed_again() {
    let mut world = begun(&["a", "b"]);
    let before = world.app.clone();
    world.edit(|app| app.nodes.retain(|node, _| *node != name("a")));
    let after = world.app.clone();
    world.send(Event::Change(Change::NodeRemoved(name("a"))));
    world.edit(|app| *app = before);
    world.send(Event::QueueLost);
    world.edit(|app| *app = after);
    world.advance(seconds(20));
    assert_eq!(world.take_log().last().map(String::as_str), Some("remove a"));
}

#[test]
fn second_resync_corrects_an_outdated_first_snapshot() {
    let mut world = World::new(&["a"]);
    world.begin();
    world.take_log();
    world.connect("a", "x");
    world.advance(seconds(25));
    assert_eq!(world.take_log(), ["restart a"]);
}

#[test]
fn nothing_is_started_beside_a_container_of_unknown_state() {
    for is_cloud_down in [false, true] {
        let mut world = begun(&["a"]);
        let next =
            Container { name: "a-next".to_owned(), state: ContainerState::Created, ..world.containers[0].clone() };
        world.containers[0].state = ContainerState::Unknown("odd".to_owned());
        world.containers[0].labels.insert(managed_app_runtimes::labels::SPEC.to_owned(), "{}".to_owned());
        world.containers.push(Container { id: managed_app_runtimes::ContainerId("next".to_owned()), ..next });
        world.cloud_is_down = is_cloud_down;
        let mut world = world.restart_daemon();
        world.begin();
        let log = world.take_log();
        assert!(!log.contains(&"start a".to_owned()), "{log:?}");
    }
}

#[test]
fn exit_right_after_a_start_is_detected() {
    let engine_event = |world: &World, action| {
        let id = world.containers[0].id.clone();
        Event::Engine(EngineEvent {
            container: id,
            name: world.containers[0].name.clone(),
            action,
            at: None,
            exit_code: None,
        })
    };
    let cases = [
        (vec![Action::Died, Action::Started], false),
        (vec![Action::Died, Action::Started, Action::Died], true),
        (vec![Action::Network, Action::Started], true),
    ];
    for (actions, is_list_wanted) in cases {
        let mut world = begun(&["a"]);
        world.connect("a", "x");
        let app = world.app.clone();
        let effects = show(&mut world, &app);
        let revision = effects.iter().find_map(|effect| match effect {
            Effect::Operate { operation: Operation::Restart { revision, .. }, .. } => Some(revision.clone()),
            _ => None,
        });
        for action in actions {
            let event = engine_event(&world, action);
            assert!(world.reconciler.on(event, world.now).is_empty());
        }
        let outcome = Outcome::Started { id: world.containers[0].id.clone(), revision };
        let effects = world.reconciler.on(Event::Finished { node: name("a"), outcome }, world.now);
        assert_eq!(asks_for_list(&world, &effects), is_list_wanted);
    }
}

#[test]
fn node_that_was_invalid_during_its_creation_is_created_once() {
    let mut world = World::new(&["a"]);
    let app = world.app.clone();
    let mut odd = app.clone();
    odd.nodes.clear();
    odd.invalid_nodes.insert(name("a"), "odd".to_owned());
    world.reconciler.on(Event::Begin, world.now);
    world.reconciler.on(Event::Listed(Ok(vec![])), world.now);
    show(&mut world, &app);
    let image: ImageReference = app.nodes[&name("a")].node_type.image_uri.parse().expect("a valid reference");
    let outcome = Pulled::Fresh(world.content(&image));
    let effects = world.reconciler.on(Event::Pulled { image, outcome }, world.now);
    show(&mut world, &odd);
    let created: Vec<Event> = effects.into_iter().filter_map(|effect| world.execute(effect)).collect();
    assert_eq!(world.take_log(), ["create a"]);
    for event in created {
        world.reconciler.on(event, world.now);
    }
    world.send(Event::Snapshot(Ok(Snapshot::App(Arc::new(app)))));
    assert_eq!(world.take_log(), ["pull img/a"]);
}

#[test]
fn lost_response_leaves_no_failure() {
    let mut world = World::new(&["a"]);
    world.lost_responses = 1;
    world.begin();
    world.advance(seconds(5));
    let status = world.reconciler.status();
    assert!(status.is_converged && status.nodes.iter().all(|node| node.failure.is_none()), "{status:?}");
}

#[test]
fn stop_lists_again_after_an_earlier_failed_list() {
    let mut world = begun(&["a"]);
    world.connect("a", "x");
    let app = world.app.clone();
    show(&mut world, &app);
    world.reconciler.on(Event::EventsLost, world.now);
    let failure = Failure { kind: FailureKind::Permanent, text: "away".to_owned() };
    world.reconciler.on(Event::Listed(Err(failure)), world.now);
    world.now += seconds(1);
    let effects = world.reconciler.on(Event::Stop(EndOfNodes::Stop), world.now);
    assert!(asks_for_list(&world, &effects));
    let effects = world.reconciler.on(Event::Finished { node: name("a"), outcome: Outcome::Abandoned }, world.now);
    assert!(effects.iter().all(|effect| !matches!(effect, Effect::Finish(_))), "{effects:?}");
}

#[test]
fn containers_of_an_abandoned_replacement_are_stopped() {
    let mut world = begun(&["a"]);
    world.edit_node("a", |node| {
        node.mounts = vec![Mount { source: MountSource::Anonymous, target: "/data".to_owned() }];
    });
    let app = world.app.clone();
    let effects = show(&mut world, &app);
    assert!(effects.iter().any(|effect| matches!(effect, Effect::Operate { .. })), "{effects:?}");
    // The daemon ends during the replacement window.
    let next = Container { id: ContainerId("next".to_owned()), name: "next".to_owned(), ..world.containers[0].clone() };
    world.containers[0].state = ContainerState::Exited { code: Some(0) };
    world.containers.push(next);
    for effect in world.reconciler.on(Event::Stop(EndOfNodes::Stop), world.now) {
        let answer = world.execute(effect).expect("a list");
        world.send(answer);
    }
    world.send(Event::Finished { node: name("a"), outcome: Outcome::Abandoned });
    assert_eq!(world.finish, Some(Finish::Stopped));
    assert!(world.containers.iter().all(|container| !container.state.is_running()), "{:?}", world.containers);
}

#[test]
fn container_of_unknown_state_is_stopped_at_the_end() {
    let mut world = begun(&["a"]);
    world.containers[0].state = ContainerState::Unknown("odd".to_owned());
    world.send(Event::EventsLost);
    world.take_log();
    world.send(Event::Stop(EndOfNodes::Stop));
    assert_eq!((world.take_log(), world.finish), (vec!["stop a".to_owned()], Some(Finish::Stopped)));
}
