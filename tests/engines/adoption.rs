//! What a daemon does with containers that are there when it starts: its own, those that have become stale, those of
//! strangers, and those of the Python program.

use managed_app_fakes::cloud::words::{Mount, Port};
use managed_app_runtimes::conformance::free_port;

use crate::engine::Engine;
use crate::rig::{NODE_PORT, Rig};
use crate::shape::greeting_at;
use crate::wait::until;

on_each_engine! {
    nodes_that_changed_while_nobody_looked_are_put_right_and_others_left_alone
    stopped_leftovers_are_started_again_in_their_containers
    a_daemon_that_lost_its_state_restarts_each_node_once
    strangers_are_left_alone_also_on_the_app_s_network
    a_stranger_that_holds_a_node_s_name_keeps_it_until_it_goes
    containers_of_the_python_program_are_taken_over
    a_node_of_the_python_program_keeps_its_name_port_and_data
}

async fn nodes_that_changed_while_nobody_looked_are_put_right_and_others_left_alone(engine: Engine) {
    let mut rig = Rig::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    let [same, stale, other, gone] = rig.started_with(["same", "stale", "other", "gone"]).await;
    rig.host.stop().await;
    let (name_stale, name_other, name_gone) = (rig.name("stale"), rig.name("other"), rig.name("gone"));
    let ports = vec![Port::tcp(free_port(), NODE_PORT)];
    rig.cloud().set_node_config(&name_stale, r#"{"speed":2}"#);
    rig.cloud().change_ports(&name_other, ports);
    rig.cloud().remove_node(&name_gone);
    rig.add("new", |n| n.of_type("type"));
    rig.host.start();
    rig.host.converged().await;
    rig.restarted("stale", &stale).await;
    rig.replaced("other", &other).await;
    rig.gone("gone").await;
    rig.running("new").await;
    rig.assert_untouched("same", &same).await;
    assert_eq!(rig.host.journal.count("restart", &name_stale), 1, "its message finds the work done");
    assert!(engine.find(gone.id()).await.is_none());
}

async fn stopped_leftovers_are_started_again_in_their_containers(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let before = rig.started_with(["a", "b"]).await;
    rig.host.restart_daemon().await;
    for (node, before) in ["a", "b"].iter().zip(&before) {
        rig.restarted(node, before).await;
    }
    assert_eq!(engine.containers(&rig.tag).await.len(), 2);
}

async fn a_daemon_that_lost_its_state_restarts_each_node_once(engine: Engine) {
    let mut rig = Rig::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    let [a] = rig.started_with(["a"]).await;
    rig.host.stop().await;
    std::fs::remove_dir_all(rig.host.state_directory()).expect("there was a state");
    rig.host.start();
    let a = rig.restarted("a", &a).await;
    rig.host.converged().await;
    rig.host.restart_daemon().await;
    rig.host.converged().await;
    rig.assert_untouched("a", &a).await;
}

async fn strangers_are_left_alone_also_on_the_app_s_network(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let image = rig.push_and_pull("stranger:1").await;
    engine.run(&["network", "create", &rig.tag]).await;
    // Beside ours, with labels that are nearly ours.
    let nearly = "stream.echo.managed-app.app=another app";
    let labels: [&[&str]; 3] =
        [&[], &["--label", "role=database"], &["--label", nearly, "--label", "managed_node_type=x"]];
    let mut strangers = Vec::new();
    for (number, labels) in labels.iter().enumerate() {
        let name = rig.name(&format!("stranger-{number}"));
        let run = ["run", "--detach", "--name", &name, "--network", &rig.tag];
        engine.run(&[&run, *labels, &[&image]].concat()).await;
        strangers.push(engine.container(&name).await);
    }
    rig.started_with(["a"]).await;
    rig.cloud().remove_node(&rig.name("a"));
    rig.gone("a").await;
    rig.host.stop().await;
    for stranger in strangers {
        let now = engine.container(stranger.id()).await;
        assert!(now.is_same_run(&stranger), "{:?} -> {:?}", stranger.run(), now.run());
    }
}

async fn a_stranger_that_holds_a_node_s_name_keeps_it_until_it_goes(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let image = rig.push_and_pull("stranger:1").await;
    let name = rig.name("held");
    engine.run(&["run", "--detach", "--name", &name, &image]).await;
    let stranger = engine.container(&name).await;
    rig.add("held", |n| n.of_type("other type").image(&image));
    rig.started_beside(["a"]).await;
    let failure = |host: &crate::support::Host| host.node(&name).and_then(|node| node.failure);
    rig.host.eventually("the clash is said", |host| failure(host).is_some()).await;
    assert!(failure(&rig.host).is_some_and(|text| text.contains("name is taken")), "{:?}", failure(&rig.host));
    assert!(engine.container(&name).await.is_same_run(&stranger));
    engine.run(&["rm", "--force", stranger.id()]).await;
    let ours = rig.running("held").await;
    assert_eq!(ours.label("stream.echo.managed-app.node"), Some(name.as_str()));
}

/// As the Python program leaves them: its label, the app's network, the node's name, and nothing of ours.
async fn containers_of_the_python_program_are_taken_over(engine: Engine) {
    let mut rig = Rig::new(engine).await;
    let image = rig.push_and_pull("node:1").await;
    engine.run(&["network", "create", &rig.tag]).await;
    let mut old = Vec::new();
    for node in ["runs", "stopped", "removed"] {
        let name = rig.name(node);
        let label = ["--label", "managed_node_type=type", "--env", "NODE=x", "--volume", "/data"];
        engine
            .run(&[&["run", "--detach", "--name", &name, "--network", &rig.tag], &label[..], &[&image]].concat())
            .await;
        old.push(engine.container(&name).await);
    }
    engine.run(&["stop", &rig.name("stopped")]).await;
    for node in ["runs", "stopped"] {
        rig.add(node, |n| n.of_type("type").image(&image).mount(Mount::anonymous("/data")));
    }
    rig.host.start();
    for (node, old) in ["runs", "stopped"].iter().zip(&old) {
        let ours = rig.replaced(node, old).await;
        assert_eq!(ours.label("stream.echo.managed-app.node"), Some(rig.name(node).as_str()));
        assert_eq!(ours.networks(), [rig.tag.as_str()]);
    }
    rig.gone("removed").await;
    rig.host.converged().await;
    until("two are left", async || engine.containers(&rig.tag).await.len() == 2).await;
    for old in old {
        let volume = old.volume("/data");
        assert!(engine.try_run(&["volume", "inspect", &volume]).await.is_err(), "its volume is left");
    }
}

/// With all that the Python program gives a container, also the host port that its successor needs.
async fn a_node_of_the_python_program_keeps_its_name_port_and_data(engine: Engine) {
    let mut rig = Rig::with(engine, |builder| builder.set("MANAGED_APP_ON_EXIT", "leave")).await;
    let image = rig.push_and_pull("node:1").await;
    engine.run(&["network", "create", &rig.tag]).await;
    let (name, volume, port) = (rig.name("hl7"), rig.name("data"), free_port());
    let (publish, mount, node) = (format!("{port}:{NODE_PORT}"), format!("{volume}:/data"), format!("NODE={name}"));
    let run = ["run", "--detach", "--restart", "unless-stopped", "--name", &name, "--hostname", &name];
    let place = ["--network", &rig.tag, "--publish", &publish, "--volume", &mount, "--env", &node];
    let labels = ["--label", "managed_node_type=type", "--label", "send_message_type=text"];
    engine.run(&[&run[..], &place, &labels, &[&image]].concat()).await;
    let old = engine.container(&name).await;
    rig.add("hl7", |n| n.of_type("type").image(&image).volume(&volume, "/data").tcp(port, NODE_PORT).sends("text"));

    rig.host.start();
    let ours = rig.replaced("hl7", &old).await;
    rig.host.converged().await;
    assert_eq!(ours.volume("/data"), volume, "the data is the same");
    let greeting = format!("hello from {name} version {}\n", rig.version("node:1"));
    assert_eq!(greeting_at(std::net::Ipv4Addr::LOCALHOST.into(), port).await, greeting);
    assert_eq!(engine.containers(&rig.tag).await, [name], "one container, under the node's own name");

    rig.host.restart_daemon().await;
    rig.host.converged().await;
    rig.assert_untouched("hl7", &ours).await;
}
