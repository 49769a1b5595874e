//! Replacements: quarantine, order of moving ports, and nodes that may overlap.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use managed_app_runtimes::{
    Action, ContainerId, ContainerState, EngineEvent, Mount, MountSource, PortBinding, Protocol,
};

use super::world::{World, name, settings};
use crate::model::Change;
use crate::reconciler::*;

fn up(nodes: &[&str]) -> World {
    begun(World::new(nodes))
}

fn begun(mut world: World) -> World {
    world.begin();
    world.take_log();
    world
}

fn give_image(world: &mut World, node: &str, image: &str) {
    world.edit_node(node, |node| node.node_type.image_uri = format!("registry.test/img/{image}:1"));
    world.send(Event::Change(Change::Node(name(node))));
}

fn port(host_port: u16) -> PortBinding {
    let host_address = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    PortBinding { container_port: 80, protocol: Protocol::Tcp, host_address, host_port }
}

fn failure_of(world: &World, node: &str) -> Option<String> {
    let status = world.reconciler.status();
    status.nodes.into_iter().find(|found| found.name == name(node)).and_then(|found| found.failure)
}

/// Node `a` after the first failed attempt with image `b`, which does not stay up.
fn rolled_back() -> World {
    let mut world = up(&["a"]);
    world.crashing_images.insert("img/b".to_owned());
    give_image(&mut world, "a", "b");
    assert_eq!(world.take_log(), ["pull img/b", "replace a"]);
    world
}

#[test]
fn container_that_did_not_stay_up_is_retried_after_quarantine() {
    let mut world = rolled_back();
    assert_eq!(failure_of(&world, "a").as_deref(), Some("it did not stay up"));
    assert!(world.containers[0].state.is_running() && !world.reconciler.status().is_converged);
    world.send(Event::Resync);
    world.advance(QUARANTINE.mul_f64(0.7));
    assert_eq!(world.take_log(), [""; 0]);
    world.advance(QUARANTINE.mul_f64(0.6));
    assert_eq!(world.take_log(), ["replace a"]);
    world.crashing_images.clear();
    world.advance(QUARANTINE.mul_f64(1.3));
    assert_eq!(world.take_log(), ["replace a"]);
    assert_eq!(failure_of(&world, "a"), None);
    assert!(world.reconciler.status().is_converged);
}

#[test]
fn transient_rollbacks_are_retried_soon_and_then_quarantined() {
    let mut world = up(&["a"]);
    world.crashing_images.insert("img/b".to_owned());
    world.blame = FailureKind::Transient;
    give_image(&mut world, "a", "b");
    world.advance(QUARANTINE.mul_f64(0.7));
    assert_eq!(world.take_log(), ["pull img/b", "replace a", "replace a", "replace a"]);
    assert_eq!(failure_of(&world, "a").as_deref(), Some("it did not stay up"));
}

#[test]
fn quarantine_ends_when_the_inputs_change() {
    let mut world = rolled_back();
    world.connect("a", "x");
    world.send(Event::Change(Change::Edge(vec![name("a")])));
    assert_eq!(world.take_log(), ["replace a"], "once");
    assert_eq!(failure_of(&world, "a").as_deref(), Some("it did not stay up"));
    world.containers[0].state = ContainerState::Exited { code: Some(1) };
    world.send(Event::EventsLost);
    assert_eq!(world.take_log(), ["start a"]);
    world.crashing_images.clear();
    world.edit_node("a", |node| node.config = Some(r#"{"cure":1}"#.to_owned()));
    world.send(Event::Change(Change::Node(name("a"))));
    assert_eq!((world.take_log(), failure_of(&world, "a")), (vec!["replace a".to_owned()], None));
    assert!(world.reconciler.status().is_converged);
}

#[test]
fn kept_old_container_restarts_when_its_inputs_change() {
    let mut world = begun(World::new(&["a"]).with_settings(Settings { overlap: true, ..settings() }));
    world.crashing_images.insert("img/b".to_owned());
    give_image(&mut world, "a", "b");
    assert_eq!(world.take_log(), ["pull img/b", "replace a startfirst"]);
    world.connect("a", "x");
    world.send(Event::Change(Change::Edge(vec![name("a")])));
    assert_eq!(world.take_log(), ["replace a startfirst", "restart a"]);
    assert_eq!(failure_of(&world, "a").as_deref(), Some("it did not stay up"));
}

#[test]
fn another_spec_ends_the_quarantine() {
    let mut world = rolled_back();
    give_image(&mut world, "a", "c");
    assert_eq!(world.take_log(), ["pull img/c", "replace a"]);
    assert!(world.reconciler.status().is_converged);
    let mut world = rolled_back();
    give_image(&mut world, "a", "a");
    assert_eq!((world.take_log(), failure_of(&world, "a")), (vec!["pull img/a".to_owned()], None));
}

#[test]
fn quarantine_does_not_apply_without_an_old_container() {
    let mut world = rolled_back();
    world.containers.clear();
    world.send(Event::EventsLost);
    assert_eq!(world.take_log(), ["create a"]);
}

#[test]
fn start_is_complete_after_a_rollback() {
    let mut world = up(&["a", "b"]).restart_daemon();
    world.crashing_images.insert("img/b".to_owned());
    world.edit_node("a", |node| node.node_type.image_uri = "registry.test/img/b:1".to_owned());
    world.begin();
    assert!(world.is_ready);
    assert_eq!(world.take_log(), ["pull img/a", "pull img/b", "replace a"]);
}

#[test]
fn port_moves_from_one_node_to_another_in_order() {
    let mut world = World::new(&["a", "b"]);
    world.edit_node("b", |node| node.ports = vec![port(8080)]);
    let mut world = begun(world);
    world.edit_node("a", |node| node.ports = vec![port(8080)]);
    world.send(Event::Change(Change::Node(name("a"))));
    assert_eq!(world.take_log(), [""; 0]);
    assert_eq!(failure_of(&world, "a").as_deref(), Some("host port 8080/tcp is still held by node \"b\""));
    world.edit_node("b", |node| node.ports.clear());
    world.send(Event::Change(Change::Node(name("b"))));
    assert_eq!(world.take_log(), ["replace b", "replace a"]);
    assert!(world.reconciler.status().is_converged);
}

#[test]
fn nodes_that_wait_for_ports_in_a_cycle_move_together() {
    let mut world = World::new(&["a", "b", "c", "d"]);
    for (node, number) in [("a", 1), ("b", 2), ("c", 3)] {
        world.edit_node(node, |node| node.ports = vec![port(number)]);
    }
    let mut world = begun(world);
    for (node, number) in [("a", 2), ("b", 3), ("c", 1), ("d", 4)] {
        world.edit_node(node, |node| node.ports = vec![port(number)]);
    }
    world.send(Event::Resync);
    assert_eq!(world.take_log(), ["replace a", "replace b", "replace c", "replace d"]);
    assert!(world.reconciler.status().is_converged);
}

/// A replacement of one node alone would stop it in vain.
#[test]
fn nodes_that_swap_ports_wait_until_each_can_be_replaced() {
    let mut world = World::new(&["a", "b"]);
    for (node, number) in [("a", 1), ("b", 2)] {
        world.edit_node(node, |node| node.ports = vec![port(number)]);
    }
    let mut world = begun(world);
    for (node, number) in [("a", 2), ("b", 1)] {
        world.edit_node(node, |node| node.ports = vec![port(number)]);
    }
    world.edit_node("b", |node| node.node_type.image_uri = "registry.test/img/b:1".to_owned());
    world.broken_images.insert("img/b".to_owned());
    world.send(Event::Resync);
    assert_eq!(world.take_log(), ["pull img/b"]);
    assert_eq!(failure_of(&world, "a").as_deref(), Some("host port 2/tcp is still held by node \"b\""));
    world.broken_images.clear();
    world.send(Event::Resync);
    assert_eq!(world.take_log(), ["pull img/b", "replace b", "replace a"]);
    assert!(world.reconciler.status().is_converged);
}

#[test]
fn a_node_that_takes_the_port_of_a_removed_one_waits_for_it() {
    let mut world = World::new(&["b"]);
    world.edit_node("b", |node| node.ports = vec![port(1)]);
    let mut world = begun(world);
    let mut a = world.app.nodes[&name("b")].clone();
    a.name = name("a");
    world.app.nodes = std::iter::once((name("a"), a)).collect();
    world.send(Event::Resync);
    assert_eq!(world.take_log(), ["remove b", "pull img/a", "create a"]);
}

#[test]
fn overlap_requires_a_node_without_ports_and_mounts() {
    let mut world = World::new(&["a", "b", "c"]).with_settings(Settings { overlap: true, ..settings() });
    world.edit_node("b", |node| node.ports = vec![port(1)]);
    world.edit_node("c", |node| {
        node.mounts = vec![Mount { source: MountSource::Anonymous, target: "/data".to_owned() }];
    });
    let mut world = begun(world);
    world.edit(|app| {
        for node in app.nodes.values_mut() {
            node.node_type.image_uri = "registry.test/img/b:1".to_owned();
        }
    });
    world.send(Event::Resync);
    let log = world.take_log();
    let replaced: Vec<_> = log.iter().filter(|line| line.starts_with("replace")).collect();
    assert_eq!(replaced, ["replace a startfirst", "replace b", "replace c"]);
}

#[test]
fn crash_loop_of_a_first_container_is_left_to_the_engine() {
    let mut world = up(&["a"]);
    let engine_event = |action, exit_code| {
        let container = ContainerId("c1".to_owned());
        Event::Engine(EngineEvent { container, name: "a".to_owned(), action, at: None, exit_code })
    };
    for round in 1..=12_u32 {
        world.containers[0].state = ContainerState::Restarting;
        world.containers[0].restarts = Some(round.into());
        world.send(engine_event(Action::Died, Some(139)));
        let status = world.reconciler.status();
        assert_eq!(status.nodes[0].crash_loop.as_ref().map(|found| found.count), Some(round).filter(|r| *r >= 3));
        assert_eq!(status.is_converged, round < 3);
        world.advance(Duration::from_secs(1));
        world.containers[0].state = ContainerState::Running;
        world.send(engine_event(Action::Started, None));
        world.advance(Duration::from_secs(1));
        assert_eq!(world.reconciler.status().is_converged, round < 3, "not between two ends either");
    }
    assert_eq!((world.take_log(), failure_of(&world, "a")), (vec![], None));
    let status = world.reconciler.status();
    assert_eq!(status.nodes[0].engine_restarts, Some(12));
    assert!(status.summary().contains("1 failing"), "{}", status.summary());
    let shown = status.nodes[0].crash_loop.as_ref().map(ToString::to_string);
    assert_eq!(shown.as_deref(), Some("crash loop: exited 139 (SIGSEGV) 12 times in 22 s"));
    world.advance(OVER_AFTER);
    assert!(world.reconciler.status().is_converged && world.reconciler.status().nodes[0].crash_loop.is_none());
    let reported = world.crash_loops.iter().map(|(node, notice)| match notice {
        CrashLoopNotice::GoingOn(found) => format!("{node} {}", found.count),
        CrashLoopNotice::Over { count } => format!("{node} over {count}"),
    });
    assert_eq!(reported.collect::<Vec<_>>(), ["a 3", "a 10", "a over 12"]);
}

#[test]
fn stopped_invalid_node_is_no_longer_in_a_crash_loop() {
    let mut world = up(&["a"]);
    for round in 1..=3 {
        world.containers[0].state = ContainerState::Restarting;
        world.containers[0].restarts = Some(round);
        world.send(Event::EventsLost);
        world.advance(Duration::from_secs(1));
    }
    world.edit(|app| {
        app.nodes.clear();
        app.invalid_nodes.insert(name("a"), "odd".to_owned());
    });
    world.send(Event::Resync);
    assert!(crash_loop_of(&world).is_some() && !world.reconciler.status().is_converged, "the engine restarts it");
    world.containers[0].state = ContainerState::Exited { code: Some(255) };
    world.send(Event::EventsLost);
    world.advance(Duration::from_secs(1));
    assert!(world.reconciler.status().is_converged, "{:?}", world.reconciler.status());
}

#[test]
fn disconnected_container_is_replaced() {
    let mut world = up(&["a", "b"]);
    world.containers[0].networks.clear();
    world.send(Event::EventsLost);
    assert_eq!(world.take_log(), ["replace a"]);
    assert!(world.reconciler.status().is_converged);
}

#[test]
fn dead_or_removing_container_is_replaced() {
    for state in [ContainerState::Dead, ContainerState::Removing] {
        let mut world = up(&["a", "b"]);
        world.containers[0].state = state;
        world.send(Event::EventsLost);
        assert_eq!(world.take_log(), ["replace a"]);
        assert!(world.reconciler.status().is_converged);
    }
}

fn crash_loop_of(world: &World) -> Option<CrashLoop> {
    world.reconciler.status().nodes[0].crash_loop.clone()
}

#[test]
fn crash_loop_is_started_with_growing_delays_and_reported() {
    let mut world = up(&["a", "b"]);
    world.advance(Duration::from_secs(60));
    world.take_log();
    let mut pauses = Vec::new();
    for round in 0..16 {
        assert_eq!(crash_loop_of(&world).is_some(), round >= 3, "{round}");
        world.containers[0].state = ContainerState::Exited { code: Some(1) };
        let ended = world.now;
        world.send(Event::EventsLost);
        world.connect("b", "x");
        world.send(Event::Change(Change::Edge(vec![name("b")])));
        let mut log = world.take_log();
        assert!(log.contains(&"restart b".to_owned()), "others are not held up: {log:?}");
        while !log.contains(&"start a".to_owned()) {
            world.advance(Duration::from_millis(100));
            log = world.take_log();
        }
        pauses.push(world.now - ended);
    }
    assert!(pauses[..4].iter().all(|pause| *pause < Duration::from_secs(1)), "{pauses:?}");
    assert!(pauses[15] >= Duration::from_secs(60) && pauses[15] < Duration::from_secs(62), "{pauses:?}");
    world.advance(Duration::from_secs(11));
    world.containers[0].state = ContainerState::Exited { code: Some(1) };
    world.send(Event::EventsLost);
    assert_eq!(world.take_log(), ["start a"], "at once");
    world.advance(OVER_AFTER);
    assert_eq!(crash_loop_of(&world), None);
}

#[test]
fn engine_restarts_are_a_crash_loop_in_any_container_state() {
    let mut world = up(&["a"]);
    for second in 1..=4 {
        world.containers[0].started_at = Some(time::OffsetDateTime::UNIX_EPOCH + Duration::from_secs(second));
        world.send(Event::EventsLost);
        world.advance(Duration::from_secs(1));
    }
    assert_eq!(world.take_log(), [""; 0]);
    assert!(crash_loop_of(&world).is_some());
    world.advance(OVER_AFTER);
    assert_eq!(crash_loop_of(&world), None);
}

#[test]
fn port_of_a_container_in_creation_counts_as_held() {
    let mut world = up(&["a", "b"]);
    let show = |world: &mut World| {
        let app = std::sync::Arc::new(world.app.clone());
        world.reconciler.on(Event::Snapshot(Ok(crate::model::Snapshot::App(app))), world.now)
    };
    let is_begun = |effects: &[Effect]| effects.iter().any(|effect| matches!(effect, Effect::Operate { .. }));
    world.edit_node("b", |node| node.ports = vec![port(1)]);
    assert!(is_begun(&show(&mut world)));
    world.edit_node("a", |node| node.ports = vec![port(1)]);
    world.edit_node("b", |node| node.ports.clear());
    assert!(!is_begun(&show(&mut world)));
    assert_eq!(failure_of(&world, "a").as_deref(), Some("host port 1/tcp is still held by node \"b\""));
}
