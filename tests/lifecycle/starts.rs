//! What the daemon finds when it starts: nothing, its own containers, those of strangers, those of the Python program.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use managed_app_fakes::cloud::words::{Node, Port};
use managed_app_fakes::memory::View;
use managed_app_runtimes::{Owner, Protocol, labels, names};

use crate::site::{IMAGE, Plan, Site, image};

/// A site whose daemon leaves its nodes running when it ends.
async fn leaving(nodes: &[&str]) -> Plan {
    Plan::new().await.nodes(nodes).set("MANAGED_APP_ON_EXIT", "leave")
}

fn labelled(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|&(key, value)| (key.to_owned(), value.to_owned())).collect()
}

/// What must stay as it is about a container that is left alone.
fn life(view: Option<View>) -> (String, u64, Option<time::OffsetDateTime>, bool) {
    let view = view.expect("the container is there");
    (view.container.id.0, view.starts, view.container.started_at, view.container.state.is_running())
}

#[tokio::test]
async fn with_nothing_network_and_containers_are_made() {
    let site = Plan::new().await.nodes(&["a", "b"]).start();
    site.converged().await;
    let network = names::network_name(&site.owner().app);
    assert_eq!(site.memory.networks(), [network]);
    assert!(site.runs("a") && site.runs("b"));
    assert_eq!(site.journal.count("pull", IMAGE), 1, "one pull serves both");
}

#[tokio::test]
async fn without_nodes_the_start_is_over_at_once() {
    let site = Plan::new().await.start();
    site.converged().await;
    assert_eq!(site.journal.acts(), [""; 0]);
    site.cloud.add_node("a", |node| node.image(IMAGE));
    site.eventually("a runs", |_| site.runs("a")).await;
}

#[tokio::test]
async fn matching_leftovers_run_on_untouched() {
    let mut site = leaving(&["a", "b: with a space"]).await.up().await;
    let before = ["a", "b: with a space"].map(|node| life(site.view(node)));
    site.restart_daemon().await;
    site.expect(&["pull registry.test/node:1"]).await;
    site.probe("a").await;
    assert_eq!(life(site.view("b: with a space")), before[1]);
    assert_eq!(life(site.view("a")).0, before[0].0);
}

#[tokio::test]
async fn leftovers_of_a_killed_daemon_run_on_untouched() {
    let mut site = Site::with(&["a", "b"]).await;
    let before = ["a", "b"].map(|node| life(site.view(node)));
    site.kill().await;
    site.start();
    site.expect(&["pull registry.test/node:1"]).await;
    assert_eq!(["a", "b"].map(|node| life(site.view(node))), before);
}

#[tokio::test]
async fn stopped_leftovers_are_started_not_made_anew() {
    let mut site = Site::with(&["a", "b"]).await;
    site.stop().await;
    site.journal.clear();
    site.start();
    site.expect(&["pull registry.test/node:1", "start a", "start b"]).await;
}

#[tokio::test]
async fn what_changed_meanwhile_restarts_the_stale_nodes_only() {
    let mut site = leaving(&["a", "b", "c"]).await.up().await;
    site.stop().await;
    site.cloud.quietly(|world| world.connect("a", "b"));
    site.journal.clear();
    site.start();
    site.expect(&["pull registry.test/node:1", "restart a", "restart b"]).await;
}

#[tokio::test]
async fn what_a_container_is_made_of_changed_meanwhile_recreates_it() {
    let mut site = leaving(&["a", "b"]).await.up().await;
    let (a, b) = (life(site.view("a")), life(site.view("b")));
    site.stop().await;
    site.cloud.quietly(|world| world.change_node("a", |node| node.ports = vec![Port::tcp(8080, 80)]));
    site.start();
    site.converged().await;
    assert_ne!(life(site.view("a")).0, a.0);
    assert_eq!(life(site.view("b")), b);
    assert_eq!(site.nodes_with_containers(), ["a", "b"]);
}

#[tokio::test]
async fn without_its_state_file_the_daemon_restarts_each_node_once() {
    let mut site = leaving(&["a", "b"]).await.up().await;
    site.stop().await;
    std::fs::write(site.state_directory().join("state.json"), "{ not json").expect("the folder is ours");
    site.journal.clear();
    site.start();
    site.expect(&["pull registry.test/node:1", "restart a", "restart b"]).await;
    site.restart_daemon().await;
    site.journal.clear();
    site.converged().await;
    assert_eq!((site.journal.starts("a"), site.journal.starts("b")), (0, 0));
}

#[tokio::test]
async fn nodes_removed_meanwhile_go() {
    let mut site = leaving(&["a", "b", "c"]).await.up().await;
    site.stop().await;
    site.cloud.quietly(|world| [world.remove_node("a"), world.remove_node("c")]);
    site.journal.clear();
    site.start();
    site.expect(&["pull registry.test/node:1", "stop a", "remove a", "stop c", "remove c"]).await;
    assert_eq!(site.nodes_with_containers(), ["b"]);
}

#[tokio::test]
async fn strangers_are_never_touched() {
    let mut site = Plan::new().await.nodes(&["a"]).off();
    let other_host = Owner { host: "host-2".to_owned(), ..site.owner() };
    let of_other_host = other_host.labels().into_iter().chain(labelled(&[(labels::NODE, "a")])).collect();
    let network = names::network_name(&site.owner().app);
    let strangers = [
        ("web", labelled(&[]), "bridge"),
        ("guest", labelled(&[("purpose", "tests")]), network.as_str()),
        ("python-of-another-app", labelled(&[(labels::MANAGED_NODE_TYPE, "x")]), "bridge"),
        ("a-of-another-host", of_other_host, network.as_str()),
    ];
    for (name, labels, network) in strangers.clone() {
        site.memory.add_stranger(name, labels, &[network]).expect("the name is free");
    }
    let lives = |site: &Site| strangers.clone().map(|(name, ..)| life(site.memory.container(name)));
    let before = lives(&site);
    site.start();
    site.converged().await;
    site.cloud.set_audit(true);
    site.cloud.remove_node("a");
    site.eventually("a is gone", |_| site.view("a").is_none()).await;
    site.stop().await;
    assert_eq!(lives(&site), before);
}

#[tokio::test]
async fn a_stranger_with_our_name_is_reported_and_holds_up_no_other() {
    let plan = Plan::new().await.nodes(&["web", "other"]);
    let plan = plan.with(|_, memory| drop(memory.add_stranger("web", labelled(&[]), &["bridge"])));
    let site = plan.start();
    site.eventually("the other runs", |_| site.runs("other")).await;
    site.eventually("it is reported", |host| host.node("web").is_some_and(|n| n.failure.is_some())).await;
    let stranger = site.memory.container("web").expect("it is there");
    assert!(stranger.container.state.is_running() && stranger.spec.is_none());
    assert_eq!(site.nodes_with_containers(), ["other"]);
    site.memory.remove_behind_back("web").expect("it is there");
    site.eventually("ours runs", |_| site.view("web").is_some_and(|v| v.spec.is_some()) && site.runs("web")).await;
    site.converged().await;
    assert_eq!(site.node("web").and_then(|node| node.failure), None);
}

#[tokio::test]
async fn a_taken_port_is_reported_and_holds_up_no_other() {
    let any = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let plan = Plan::new().await.node("web", Node::default().image(IMAGE).tcp(8080, 80)).nodes(&["other"]);
    let site = plan.with(|_, memory| memory.occupy_port(any, Protocol::Tcp, 8080)).start();
    site.eventually("the other runs", |_| site.runs("other")).await;
    site.eventually("it is reported", |host| host.node("web").is_some_and(|n| n.failure.is_some())).await;
    site.memory.free_port(Protocol::Tcp, 8080);
    site.converged().await;
    assert!(site.runs("web"));
}

#[tokio::test]
async fn containers_of_the_python_program_are_taken_over() {
    let python = |node_type: &str| labelled(&[(labels::MANAGED_NODE_TYPE, node_type)]);
    let plan = Plan::of_plain_name().await.nodes(&["router", "parser"]);
    let site = plan
        .with(|_, memory| {
            for name in ["router", "left over"] {
                memory.add_stranger(name, python("router:type"), &["plant-7"]).expect("the name is free");
            }
            memory.add_stranger("parser", python("parser:type"), &["plant-7"]).expect("the name is free");
            memory.kill("parser").expect("it is there");
        })
        .start();
    site.converged().await;
    assert_eq!(site.nodes_with_containers(), ["parser", "router"]);
    assert_eq!(site.memory.containers().len(), 2, "the one without a node is gone");
    assert!(site.runs("router") && site.runs("parser"));
}

#[tokio::test]
async fn a_container_of_the_python_program_runs_until_its_image_is_there() {
    let python = labelled(&[(labels::MANAGED_NODE_TYPE, "router:type")]);
    let site = Plan::of_plain_name()
        .await
        .nodes(&["router"])
        .with(|_, memory| {
            memory.unpublish_image(&image(IMAGE));
            memory.add_stranger("router", python, &["plant-7"]).expect("the name is free");
        })
        .start();
    site.eventually("it is reported", |host| host.node("router").is_some_and(|n| n.failure.is_some())).await;
    assert_eq!(life(site.memory.container("router")).1, 1);
    assert!(site.runs("router"));
}
