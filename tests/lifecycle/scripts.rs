//! Long random scripts of user actions and external changes. At the end of each script, the containers match the cloud.

use managed_app_fakes::cloud::World;
use managed_app_fakes::cloud::commands::{Mount, Node, Port};
use managed_app_runtimes::{ContainerSpec, MountSource, labels, names};
use std::time::Duration;

use crate::harness::{Harness, Plan, image};

/// Steps of one script.
const STEPS: usize = 60;
const NODES: [&str; 6] = ["a", "b: x", "c", "d", "e", "f"];
const IMAGES: [&str; 3] = ["registry.test/one:1", "registry.test/two:1", "registry.test/three:1"];

/// A deterministic random number generator (xorshift).
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 16) as usize % bound
    }

    fn one_of<'a>(&mut self, all: &[&'a str]) -> &'a str {
        all[self.below(all.len())]
    }
}

/// One step; steps that are not possible in the current state are skipped.
fn step(harness: &Harness, dice: &mut Dice) -> String {
    let cloud = &harness.cloud;
    let world = cloud.world();
    let (node, other) = (dice.one_of(&NODES), dice.one_of(&NODES));
    let number = dice.below(1_000);
    let is_there = world.nodes.contains_key(node);
    let what = dice.below(16);
    let did = match what {
        0 | 1 if !is_there => {
            let shaped = |n: Node| n.of_type(&format!("type {}", number % 3)).receives("hl7").volume("data", "/data");
            let image = world.node_types.get(&format!("type {}", number % 3)).cloned();
            let image = image.unwrap_or_else(|| IMAGES[number % 3].to_owned());
            cloud.add_node(node, |n| shaped(n).image(&image));
            "add"
        }
        2 if is_there => {
            cloud.remove_node(node);
            "remove"
        }
        3 | 4 if !world.edges.iter().any(|edge| edge.source == node && edge.target == other) => {
            cloud.connect(node, other);
            "connect"
        }
        5 if !world.edges.is_empty() => {
            let edge = &world.edges[number % world.edges.len()];
            cloud.disconnect(&edge.source, &edge.target);
            "disconnect"
        }
        6 if is_there => {
            let ports = (0..number % 3).map(|n| Port::tcp(port_of(node, n), 80)).collect();
            cloud.change_ports(node, ports);
            "ports"
        }
        7 if is_there => {
            cloud.change_mounts(node, vec![Mount::new("data", &format!("/data{}", number % 2))]);
            "mounts"
        }
        8 if is_there => {
            cloud.set_node_config(node, &format!(r#"{{"x":{}}}"#, number % 3));
            "config"
        }
        9 => {
            cloud.set_app_config(&format!(r#"{{"x":{}}}"#, number % 3));
            "app"
        }
        10 if world.message_types.contains_key("hl7") => {
            cloud.change_auditor("hl7", &format!("def auditor(**_): return {}", number % 3));
            "auditor"
        }
        11 if world.node_types.contains_key(&format!("type {}", number % 3)) => {
            cloud.set_image(&format!("type {}", number % 3), IMAGES[number % IMAGES.len()]);
            "image"
        }
        12 => {
            cloud.double_next(1);
            "double"
        }
        13 => {
            cloud.stale_reads(1);
            "stale"
        }
        // The container may not exist.
        14 => harness.memory.remove_externally(&names::container_name(node)).map_or("nothing", |()| "others remove"),
        15 => harness.memory.kill(&names::container_name(node)).map_or("nothing", |()| "others kill"),
        _ => "nothing",
    };
    format!("{did} {node}")
}

/// A host port of its own for each node.
fn port_of(node: &str, number: usize) -> u16 {
    let index = NODES.iter().position(|name| *name == node).expect("one of them");
    8000 + 10 * index as u16 + number as u16
}

/// The differences between the containers and the cloud.
fn differences(harness: &Harness) -> Vec<String> {
    let world = harness.cloud.world();
    let mut found = Vec::new();
    let wanted: Vec<String> = world.nodes.keys().cloned().collect();
    if harness.nodes_with_containers() != wanted {
        found.push(format!("containers of {:?}, nodes {wanted:?}", harness.nodes_with_containers()));
    }
    for (name, node) in &world.nodes {
        match harness.view(name) {
            Some(view) if view.container.state.is_running() => {
                let spec = view.spec.expect("the daemon created it");
                found.extend(spec_difference(name, &world, node, &spec));
            }
            _ => found.push(format!("{name} does not run")),
        }
    }
    found
}

fn spec_difference(name: &str, world: &World, node: &Node, spec: &ContainerSpec) -> Option<String> {
    let ports: Vec<u16> = spec.ports.iter().map(|port| port.host_port).collect();
    let wanted_ports: Vec<u16> = node.ports.iter().map(|port| port.host_port).collect();
    let is_right = spec.image == image(&world.node_types[&node.node_type])
        && ports == wanted_ports
        && spec.mounts.iter().map(|mount| &mount.target).eq(node.mounts.iter().map(|mount| &mount.target))
        && spec.mounts.iter().all(|mount| mount.source == MountSource::Volume("data".to_owned()))
        && spec.labels[labels::NODE] == name;
    (!is_right).then(|| format!("{name} has the spec {spec:?}, but the node is {node:?}"))
}

async fn run(seed: u64) {
    let plan = Plan::new().await.with(|_, memory| {
        for image_name in IMAGES {
            memory.publish_image(&image(image_name), image_name.as_bytes());
        }
    });
    // Messages that a killed daemon had received become visible soon.
    let plan = plan.with(|cloud, _| cloud.queues.set_visibility(&cloud.change_queue(), Duration::from_secs(1)));
    let mut harness = plan.host(|builder| builder.tune(|config| config.resync = Duration::from_secs(2))).up().await;
    let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
    let mut steps = Vec::new();
    for _ in 0..STEPS {
        steps.push(step(&harness, &mut dice));
        match dice.below(30) {
            0 => {
                steps.push("kill the daemon".to_owned());
                harness.kill().await;
                harness.start();
            }
            1..=9 => tokio::task::yield_now().await,
            10..=14 => harness.eventually("messages are received", |h| h.cloud.pending_changes() == 0).await,
            _ => {}
        }
    }
    let is_right = |harness: &Harness| harness.is_converged() && differences(harness).is_empty();
    let wait = harness.eventually("the containers match the cloud", |_| is_right(&harness));
    if tokio::time::timeout(Duration::from_secs(30), wait).await.is_err() {
        panic!("seed {seed}: {:?}\nafter {steps:?}\nactions {:?}", differences(&harness), harness.journal.actions());
    }
    // All nodes have read the current state: nothing restarts any more.
    harness.cloud.add_node("probe", |node| node.image(IMAGES[0]));
    harness.eventually("the probe runs", |_| harness.runs("probe")).await;
    harness.converged().await;
    harness.journal.clear();
    harness.probe("probe").await;
    assert_eq!(harness.journal.actions(), ["restart probe"], "seed {seed} after {steps:?}");
    harness.stop().await;
}

#[tokio::test]
async fn any_script_ends_with_what_the_cloud_says() {
    for seed in 1..=5 {
        run(seed).await;
    }
}

#[tokio::test]
async fn any_other_script_ends_with_what_the_cloud_says() {
    for seed in 6..=10 {
        run(seed).await;
    }
}
