//! Names that no engine would take as they are: they still become containers, each its own, and stay what they are in
//! labels and environment.

use std::collections::BTreeSet;

use crate::engine::Engine;
use crate::rig::Rig;
use crate::wait::until;

on_each_engine! {
    names_with_spaces_colons_and_two_hundred_characters_are_nodes_like_others
}

async fn names_with_spaces_colons_and_two_hundred_characters_are_nodes_like_others(engine: Engine) {
    let mut rig = Rig::with_app(engine, |tag| format!("{tag} Plant 7: Line ä")).await;
    let image = rig.push("node:1", "1").await;
    let long = "x".repeat(200 - rig.tag.len() - 1);
    let nodes = ["Lab 2: HL7 In", "Lab-2: HL7 In", "Überwachung", &long, "a_b.c"];
    for node in nodes {
        rig.add(node, |n| n.of_type("Type: 1").image(&image));
    }
    assert_eq!(rig.name(&long).len(), 200);
    rig.host.start();
    rig.host.converged().await;

    let mut hosts = BTreeSet::new();
    let mut before = Vec::new();
    for node in nodes {
        let made = rig.running(node).await;
        let name = rig.name(node);
        assert_eq!(made.env("NODE"), [name.as_str()]);
        assert_eq!(made.label("stream.echo.managed-app.node"), Some(name.as_str()));
        let host = made.0["Config"]["Hostname"].as_str().expect("it has a host name").to_owned();
        assert!(host.len() <= 63 && host.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{host}");
        hosts.insert(host);
        let networks = made.networks().into_iter().map(str::to_owned).collect::<Vec<_>>();
        assert!(networks.len() == 1 && networks[0].starts_with(&rig.tag), "{networks:?}");
        before.push(made);
    }
    assert_eq!(hosts.len(), nodes.len(), "{hosts:?}");
    assert_eq!(engine.containers(&rig.tag).await.len(), nodes.len());

    rig.cloud().connect(&rig.name(nodes[0]), &rig.name(&long));
    rig.restarted(nodes[0], &before[0]).await;
    rig.restarted(&long, &before[3]).await;
    rig.cloud().remove_node(&rig.name(nodes[1]));
    rig.gone(nodes[1]).await;
    until("the others run on", async || engine.containers(&rig.tag).await.len() == nodes.len() - 1).await;
    rig.assert_untouched(nodes[2], &before[2]).await;
}
