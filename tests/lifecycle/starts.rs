//! Starts of the daemon without containers, with its own, with foreign ones, and with those of the Python program.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use managed_app_fakes::cloud::commands::{Node, Port};
use managed_app_fakes::memory::View;
use managed_app_runtimes::{Owner, Protocol, labels, names};

use crate::harness::{Harness, IMAGE, Plan, image};

/// A host whose daemon leaves its nodes running when it ends.
async fn leaving(nodes: &[&str]) -> Plan {
    Plan::new().await.nodes(nodes).set("MANAGED_APP_ON_EXIT", "leave")
}

fn labelled(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// The identity of a run, which must not change for an untouched container.
fn run(view: Option<View>) -> (String, u64, Option<time::OffsetDateTime>, bool) {
    let view = view.expect("the container exists");
    (view.container.id.0, view.starts, view.container.started_at, view.container.state.is_running())
}

#[tokio::test]
async fn on_an_empty_host_network_and_containers_are_created() {
    let harness = Plan::new().await.nodes(&["a", "b"]).start();
    harness.converged().await;
    let network = names::network_name(&harness.owner().app);
    assert_eq!(harness.memory.networks(), [network]);
    assert!(harness.runs("a") && harness.runs("b"));
    assert_eq!(harness.journal.count("pull", IMAGE), 1, "both use one pull");
}

#[tokio::test]
async fn without_nodes_the_start_is_over_at_once() {
    let harness = Plan::new().await.start();
    harness.converged().await;
    assert_eq!(harness.journal.actions(), [""; 0]);
    harness.cloud.add_node("a", |node| node.image(IMAGE));
    harness.eventually("a runs", |_| harness.runs("a")).await;
}

#[tokio::test]
async fn matching_leftovers_run_on_untouched() {
    let mut harness = leaving(&["a", "b: with a space"]).await.up().await;
    let before = ["a", "b: with a space"].map(|node| run(harness.view(node)));
    harness.restart_daemon().await;
    harness.expect(&["pull registry.test/node:1"]).await;
    harness.probe("a").await;
    assert_eq!(run(harness.view("b: with a space")), before[1]);
    assert_eq!(run(harness.view("a")).0, before[0].0);
}

#[tokio::test]
async fn leftovers_of_a_killed_daemon_run_on_untouched() {
    let mut harness = Harness::with(&["a", "b"]).await;
    let before = ["a", "b"].map(|node| run(harness.view(node)));
    harness.kill().await;
    harness.start();
    harness.expect(&["pull registry.test/node:1"]).await;
    assert_eq!(["a", "b"].map(|node| run(harness.view(node))), before);
}

#[tokio::test]
async fn stopped_leftovers_are_started_not_recreated() {
    let mut harness = Harness::with(&["a", "b"]).await;
    harness.stop().await;
    harness.journal.clear();
    harness.start();
    harness.expect(&["pull registry.test/node:1", "start a", "start b"]).await;
}

#[tokio::test]
async fn changes_meanwhile_restart_only_the_stale_nodes() {
    let mut harness = leaving(&["a", "b", "c"]).await.up().await;
    harness.stop().await;
    harness.cloud.quietly(|world| world.connect("a", "b"));
    harness.journal.clear();
    harness.start();
    harness.expect(&["pull registry.test/node:1", "restart a", "restart b"]).await;
}

#[tokio::test]
async fn a_spec_change_meanwhile_replaces_the_container() {
    let mut harness = leaving(&["a", "b"]).await.up().await;
    let (a, b) = (run(harness.view("a")), run(harness.view("b")));
    harness.stop().await;
    harness.cloud.quietly(|world| world.change_node("a", |node| node.ports = vec![Port::tcp(8080, 80)]));
    harness.start();
    harness.converged().await;
    assert_ne!(run(harness.view("a")).0, a.0);
    assert_eq!(run(harness.view("b")), b);
    assert_eq!(harness.nodes_with_containers(), ["a", "b"]);
}

#[tokio::test]
async fn without_its_state_file_the_daemon_restarts_each_node_once() {
    let mut harness = leaving(&["a", "b"]).await.up().await;
    harness.stop().await;
    std::fs::write(harness.state_directory().join("state.json"), "{ not json").expect("the folder is ours");
    harness.journal.clear();
    harness.start();
    harness.expect(&["pull registry.test/node:1", "restart a", "restart b"]).await;
    harness.restart_daemon().await;
    harness.journal.clear();
    harness.converged().await;
    assert_eq!((harness.journal.starts("a"), harness.journal.starts("b")), (0, 0));
}

#[tokio::test]
async fn containers_of_nodes_removed_meanwhile_are_removed() {
    let mut harness = leaving(&["a", "b", "c"]).await.up().await;
    harness.stop().await;
    harness.cloud.quietly(|world| [world.remove_node("a"), world.remove_node("c")]);
    harness.journal.clear();
    harness.start();
    harness.expect(&["pull registry.test/node:1", "stop a", "remove a", "stop c", "remove c"]).await;
    assert_eq!(harness.nodes_with_containers(), ["b"]);
}

#[tokio::test]
async fn strangers_are_never_touched() {
    let mut harness = Plan::new().await.nodes(&["a"]).off();
    let other_host = Owner { host: "host-2".to_owned(), ..harness.owner() };
    let of_other_host = other_host.labels().into_iter().chain(labelled(&[(labels::NODE, "a")])).collect();
    let network = names::network_name(&harness.owner().app);
    let strangers = [
        ("web", labelled(&[]), "bridge"),
        ("guest", labelled(&[("purpose", "tests")]), network.as_str()),
        ("python-of-another-app", labelled(&[(labels::MANAGED_NODE_TYPE, "x")]), "bridge"),
        ("a-of-another-host", of_other_host, network.as_str()),
    ];
    for (name, labels, network) in strangers.clone() {
        harness.memory.add_stranger(name, labels, &[network]).expect("the name is free");
    }
    let lives = |harness: &Harness| strangers.clone().map(|(name, ..)| run(harness.memory.container(name)));
    let before = lives(&harness);
    harness.start();
    harness.converged().await;
    harness.cloud.set_audit(true);
    harness.cloud.remove_node("a");
    harness.eventually("a is gone", |_| harness.view("a").is_none()).await;
    harness.stop().await;
    assert_eq!(lives(&harness), before);
}

#[tokio::test]
async fn a_stranger_with_our_name_is_reported_and_delays_no_other() {
    let plan = Plan::new().await.nodes(&["web", "other"]);
    let plan = plan.with(|_, memory| drop(memory.add_stranger("web", labelled(&[]), &["bridge"])));
    let harness = plan.start();
    harness.eventually("the other runs", |_| harness.runs("other")).await;
    harness.eventually("it is reported", |host| host.node("web").is_some_and(|n| n.failure.is_some())).await;
    let stranger = harness.memory.container("web").expect("it is there");
    assert!(stranger.container.state.is_running() && stranger.spec.is_none());
    assert_eq!(harness.nodes_with_containers(), ["other"]);
    harness.memory.remove_externally("web").expect("it is there");
    harness
        .eventually("ours runs", |_| harness.view("web").is_some_and(|v| v.spec.is_some()) && harness.runs("web"))
        .await;
    harness.converged().await;
    assert_eq!(harness.node("web").and_then(|node| node.failure), None);
}

#[tokio::test]
async fn a_taken_port_is_reported_and_delays_no_other() {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let plan = Plan::new().await.node("web", Node::default().image(IMAGE).tcp(8080, 80)).nodes(&["other"]);
    let harness = plan.with(|_, memory| memory.occupy_port(any, Protocol::Tcp, 8080)).start();
    harness.eventually("the other runs", |_| harness.runs("other")).await;
    harness.eventually("it is reported", |host| host.node("web").is_some_and(|n| n.failure.is_some())).await;
    harness.memory.free_port(Protocol::Tcp, 8080);
    harness.converged().await;
    assert!(harness.runs("web"));
}

#[tokio::test]
async fn containers_of_the_python_program_are_taken_over() {
    let python = |node_type: &str| labelled(&[(labels::MANAGED_NODE_TYPE, node_type)]);
    let plan = Plan::of_plain_name().await.nodes(&["router", "parser"]);
    let harness = plan
        .with(|_, memory| {
            for name in ["router", "left over"] {
                memory.add_stranger(name, python("router:type"), &["plant-7"]).expect("the name is free");
            }
            memory.add_stranger("parser", python("parser:type"), &["plant-7"]).expect("the name is free");
            memory.kill("parser").expect("it is there");
        })
        .start();
    harness.converged().await;
    assert_eq!(harness.nodes_with_containers(), ["parser", "router"]);
    assert_eq!(harness.memory.containers().len(), 2, "the container without a node is removed");
    assert!(harness.runs("router") && harness.runs("parser"));
}

#[tokio::test]
async fn a_python_program_container_runs_until_its_image_is_pulled() {
    let python = labelled(&[(labels::MANAGED_NODE_TYPE, "router:type")]);
    let harness = Plan::of_plain_name()
        .await
        .nodes(&["router"])
        .with(|_, memory| {
            memory.unpublish_image(&image(IMAGE));
            memory.add_stranger("router", python, &["plant-7"]).expect("the name is free");
        })
        .start();
    harness.eventually("it is reported", |host| host.node("router").is_some_and(|n| n.failure.is_some())).await;
    assert_eq!(run(harness.memory.container("router")).1, 1);
    assert!(harness.runs("router"));
}
