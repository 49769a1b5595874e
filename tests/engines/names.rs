//! Names that engines do not accept: each node gets its own container, and labels and environment have the original
//! name.

use std::collections::BTreeSet;

use managed_app_fakes::cloud::commands::Port;
use managed_app_runtimes::conformance::free_port;

use crate::engine::Engine;
use crate::engine_harness::{EngineHarness, NODE_PORT};
use crate::wait::until;

on_each_engine! {
    nodes_may_have_names_with_spaces_colons_and_200_characters
    an_app_called_like_a_network_mode_has_a_network_of_its_own
    a_replaced_node_is_known_to_the_others_by_its_name
}

async fn nodes_may_have_names_with_spaces_colons_and_200_characters(engine: Engine) {
    let mut engine_harness = EngineHarness::with_app(engine, |tag| format!("{tag} Plant 7: Line ä")).await;
    let image = engine_harness.push("node:1", "1").await;
    let long = "x".repeat(200 - engine_harness.tag.len() - 1);
    let nodes = ["Lab 2: HL7 In", "Lab-2: HL7 In", "Überwachung", &long, "a_b.c"];
    for node in nodes {
        engine_harness.add(node, |n| n.of_type("Type: 1").image(&image));
    }
    assert_eq!(engine_harness.name(&long).len(), 200);
    engine_harness.host.start();
    engine_harness.host.converged().await;

    let mut hosts = BTreeSet::new();
    let mut before = Vec::new();
    for node in nodes {
        let created = engine_harness.running(node).await;
        let name = engine_harness.name(node);
        assert_eq!(created.env("NODE"), [name.as_str()]);
        assert_eq!(created.label("stream.echo.managed-app.node"), Some(name.as_str()));
        let host = created.0["Config"]["Hostname"].as_str().expect("it has a host name").to_owned();
        assert!(host.len() <= 63 && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{host}");
        hosts.insert(host);
        let networks = created.networks().into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert!(networks.len() == 1 && networks[0].starts_with(&engine_harness.tag), "{networks:?}");
        before.push(created);
    }
    assert_eq!(hosts.len(), nodes.len(), "{hosts:?}");
    assert_eq!(engine.containers(&engine_harness.tag).await.len(), nodes.len());

    engine_harness.cloud().connect(&engine_harness.name(nodes[0]), &engine_harness.name(&long));
    engine_harness.restarted(nodes[0], &before[0]).await;
    engine_harness.restarted(&long, &before[3]).await;
    engine_harness.cloud().remove_node(&engine_harness.name(nodes[1]));
    engine_harness.gone(nodes[1]).await;
    until("the others still run", async || engine.containers(&engine_harness.tag).await.len() == nodes.len() - 1).await;
    engine_harness.assert_untouched(nodes[2], &before[2]).await;
}

/// Also if the Python program ran its nodes in the network of the host, which Podman does not report.
async fn an_app_called_like_a_network_mode_has_a_network_of_its_own(engine: Engine) {
    const NETWORK: &str = "host-4740ae6347";
    let mut engine_harness = EngineHarness::with_app(engine, |_| "host".to_owned()).await;
    let image = engine_harness.push_and_pull("node:1").await;
    engine_harness.add("a", |n| n.of_type("type").image(&image));
    let old = if engine == Engine::Docker {
        let (name, label) = (engine_harness.name("a"), "managed_node_type=type");
        engine.run(&["run", "--detach", "--name", &name, "--network", "host", "--label", label, &image]).await;
        Some(engine_harness.container("a").await)
    } else {
        None
    };
    engine_harness.host.start();
    let now = match &old {
        Some(old) => engine_harness.replaced("a", old).await,
        None => engine_harness.running("a").await,
    };
    engine_harness.host.converged().await;
    assert_eq!(now.networks(), [NETWORK]);
    assert_ne!(now.0["HostConfig"]["NetworkMode"], "host");
    engine_harness.cloud().remove_node(&engine_harness.name("a"));
    engine_harness.gone("a").await;
    engine.run(&["network", "rm", NETWORK]).await;
}

/// A new container starts with a temporary name and is renamed; the name server of Podman does not learn the new name.
async fn a_replaced_node_is_known_to_the_others_by_its_name(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let [a, _] = engine_harness.started_with(["a", "b"]).await;
    engine_harness.cloud().change_ports(&engine_harness.name("a"), vec![Port::tcp(free_port(), NODE_PORT)]);
    engine_harness.replaced("a", &a).await;
    engine_harness.host.converged().await;
    let image = engine_harness.push_and_pull("peer:1").await;
    let (busybox, target) = ("/bin/busybox:/busybox:ro", engine_harness.name("a"));
    let ask = [
        "run",
        "--rm",
        "--network",
        &engine_harness.tag,
        "--volume",
        busybox,
        "--entrypoint",
        "/busybox",
        &image,
        "nslookup",
    ];
    until("the name is resolved", async || {
        engine.try_run(&[&ask[..], &[&target]].concat()).await.unwrap_or_else(|text| text).contains("Name:")
    })
    .await;
}
