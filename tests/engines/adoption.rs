//! Containers that exist when a daemon starts: its own, stale ones, foreign ones, and those of the Python program.

use managed_app_fakes::cloud::commands::{Mount, Port};
use managed_app_runtimes::conformance::free_port;

use crate::engine::Engine;
use crate::engine_harness::{EngineHarness, NODE_PORT};
use crate::shape::greeting_at;
use crate::wait::until;

on_each_engine! {
    changes_while_no_daemon_runs_affect_only_their_nodes
    stopped_leftovers_are_started_again_in_their_containers
    a_daemon_that_lost_its_state_restarts_each_node_once
    strangers_are_left_alone_also_on_the_app_s_network
    a_stranger_that_holds_a_node_s_name_keeps_it_until_it_goes
    containers_of_the_python_program_are_taken_over
    a_node_of_the_python_program_keeps_its_name_port_and_data
}

async fn changes_while_no_daemon_runs_affect_only_their_nodes(engine: Engine) {
    let mut engine_harness = EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    let [same, stale, other, gone] = engine_harness.started_with(["same", "stale", "other", "gone"]).await;
    engine_harness.host.stop().await;
    let (name_stale, name_other, name_gone) =
        (engine_harness.name("stale"), engine_harness.name("other"), engine_harness.name("gone"));
    let ports = vec![Port::tcp(free_port(), NODE_PORT)];
    engine_harness.cloud().set_node_config(&name_stale, r#"{"speed":2}"#);
    engine_harness.cloud().change_ports(&name_other, ports);
    engine_harness.cloud().remove_node(&name_gone);
    engine_harness.add("new", |n| n.of_type("type"));
    engine_harness.host.start();
    engine_harness.host.converged().await;
    engine_harness.restarted("stale", &stale).await;
    engine_harness.replaced("other", &other).await;
    engine_harness.gone("gone").await;
    engine_harness.running("new").await;
    engine_harness.assert_untouched("same", &same).await;
    assert_eq!(engine_harness.host.journal.count("restart", &name_stale), 1, "the message causes no second restart");
    assert!(engine.find(gone.id()).await.is_none());
}

async fn stopped_leftovers_are_started_again_in_their_containers(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let before = engine_harness.started_with(["a", "b"]).await;
    engine_harness.host.restart_daemon().await;
    for (node, before) in ["a", "b"].iter().zip(&before) {
        engine_harness.restarted(node, before).await;
    }
    assert_eq!(engine.containers(&engine_harness.tag).await.len(), 2);
}

async fn a_daemon_that_lost_its_state_restarts_each_node_once(engine: Engine) {
    let mut engine_harness = EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    let [a] = engine_harness.started_with(["a"]).await;
    engine_harness.host.stop().await;
    std::fs::remove_dir_all(engine_harness.host.state_directory()).expect("there was a state");
    engine_harness.host.start();
    let a = engine_harness.restarted("a", &a).await;
    engine_harness.host.converged().await;
    engine_harness.host.restart_daemon().await;
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("a", &a).await;
}

async fn strangers_are_left_alone_also_on_the_app_s_network(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push_and_pull("stranger:1").await;
    engine.create_network(&engine_harness.tag).await;
    // Beside ours, with labels similar to ours.
    let nearly = "stream.echo.managed-app.app=another app";
    let labels: [&[&str]; 3] =
        [&[], &["--label", "role=database"], &["--label", nearly, "--label", "managed_node_type=x"]];
    let mut strangers = Vec::new();
    for (number, labels) in labels.iter().enumerate() {
        let name = engine_harness.name(&format!("stranger-{number}"));
        let run = ["run", "--detach", "--name", &name, "--network", &engine_harness.tag];
        engine.run(&[&run, *labels, &[&image]].concat()).await;
        strangers.push(engine.container(&name).await);
    }
    engine_harness.started_with(["a"]).await;
    engine_harness.cloud().remove_node(&engine_harness.name("a"));
    engine_harness.gone("a").await;
    engine_harness.host.stop().await;
    for stranger in strangers {
        let now = engine.container(stranger.id()).await;
        assert!(now.is_same_run(&stranger), "{:?} -> {:?}", stranger.run(), now.run());
    }
}

async fn a_stranger_that_holds_a_node_s_name_keeps_it_until_it_goes(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push_and_pull("stranger:1").await;
    let name = engine_harness.name("held");
    engine.run(&["run", "--detach", "--name", &name, &image]).await;
    let stranger = engine.container(&name).await;
    engine_harness.add("held", |n| n.of_type("other type").image(&image));
    engine_harness.started_beside(["a"]).await;
    let failure = |host: &crate::support::Host| host.node(&name).and_then(|node| node.failure);
    engine_harness.host.eventually("the conflict is reported", |host| failure(host).is_some()).await;
    assert!(
        failure(&engine_harness.host).is_some_and(|text| text.contains("name is taken")),
        "{:?}",
        failure(&engine_harness.host)
    );
    assert!(engine.container(&name).await.is_same_run(&stranger));
    engine.run(&["rm", "--force", stranger.id()]).await;
    let ours = engine_harness.running("held").await;
    assert_eq!(ours.label("stream.echo.managed-app.node"), Some(name.as_str()));
}

/// As the Python program leaves them: with its label, on the network of the app, with the name of the node, without our
/// labels.
async fn containers_of_the_python_program_are_taken_over(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push_and_pull("node:1").await;
    engine.create_network(&engine_harness.tag).await;
    let mut old = Vec::new();
    for node in ["runs", "stopped", "removed"] {
        let name = engine_harness.name(node);
        let label = ["--label", "managed_node_type=type", "--env", "NODE=x", "--volume", "/data"];
        engine
            .run(
                &[&["run", "--detach", "--name", &name, "--network", &engine_harness.tag], &label[..], &[&image]]
                    .concat(),
            )
            .await;
        old.push(engine.container(&name).await);
    }
    engine.run(&["stop", &engine_harness.name("stopped")]).await;
    for node in ["runs", "stopped"] {
        engine_harness.add(node, |n| n.of_type("type").image(&image).mount(Mount::anonymous("/data")));
    }
    engine_harness.host.start();
    for (node, old) in ["runs", "stopped"].iter().zip(&old) {
        let ours = engine_harness.replaced(node, old).await;
        assert_eq!(ours.label("stream.echo.managed-app.node"), Some(engine_harness.name(node).as_str()));
        assert_eq!(ours.networks(), [engine_harness.tag.as_str()]);
    }
    engine_harness.gone("removed").await;
    engine_harness.host.converged().await;
    until("two are left", async || engine.containers(&engine_harness.tag).await.len() == 2).await;
    for old in old {
        let volume = old.volume("/data");
        assert!(engine.try_run(&["volume", "inspect", &volume]).await.is_err(), "its volume is left");
    }
}

/// With all settings of a container of the Python program, including the host port that its successor needs.
async fn a_node_of_the_python_program_keeps_its_name_port_and_data(engine: Engine) {
    let mut engine_harness = EngineHarness::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    let image = engine_harness.push_and_pull("node:1").await;
    engine.create_network(&engine_harness.tag).await;
    let (name, volume, port) = (engine_harness.name("hl7"), engine_harness.name("data"), free_port());
    let (publish, mount, node) = (format!("{port}:{NODE_PORT}"), format!("{volume}:/data"), format!("NODE={name}"));
    let run = ["run", "--detach", "--restart", "unless-stopped", "--name", &name, "--hostname", &name];
    let options = ["--network", &engine_harness.tag, "--publish", &publish, "--volume", &mount, "--env", &node];
    let labels = ["--label", "managed_node_type=type", "--label", "send_message_type=text"];
    engine.run(&[&run[..], &options, &labels, &[&image]].concat()).await;
    let old = engine.container(&name).await;
    engine_harness
        .add("hl7", |n| n.of_type("type").image(&image).volume(&volume, "/data").tcp(port, NODE_PORT).sends("text"));

    engine_harness.host.start();
    let ours = engine_harness.replaced("hl7", &old).await;
    engine_harness.host.converged().await;
    assert_eq!(ours.volume("/data"), volume, "the data is the same");
    let greeting = format!("hello from {name} version {}\n", engine_harness.version("node:1"));
    assert_eq!(greeting_at(std::net::Ipv4Addr::LOCALHOST.into(), port).await, greeting);
    assert_eq!(engine.containers(&engine_harness.tag).await, [name], "one container, with the name of the node");

    engine_harness.host.restart_daemon().await;
    engine_harness.host.converged().await;
    engine_harness.assert_untouched("hl7", &ours).await;
}
