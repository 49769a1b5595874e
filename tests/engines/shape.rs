//! The spec of the container of a node, as the command of the engine shows it, and working ports and mounts.

use std::io::Read;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use managed_app_fakes::cloud::commands::{Mount, Node, Port};
use managed_app_runtimes::conformance::free_port;

use crate::engine::Engine;
use crate::engine_harness::{EngineHarness, NODE_PORT};
use crate::wait::eventually;

on_each_engine! {
    a_container_has_environment_and_labels_of_the_contract
    hardening_is_what_the_engine_shows_and_the_node_runs
    published_ports_answer
    a_taken_port_is_reported_and_used_when_it_is_free
    an_anonymous_volume_survives_restart_but_not_replacement
    a_named_volume_outlives_its_node
    a_bind_mount_is_visible_to_host_and_node
}

/// Limit of a connection to a published port.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

async fn a_container_has_environment_and_labels_of_the_contract(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    engine_harness.add("web-1", |n: Node| n.of_type("type one").image(&image).receives("hl7").sends("x12"));
    engine_harness.host.start();
    engine_harness.host.converged().await;
    let created = engine_harness.running("web-1").await;

    let name = engine_harness.name("web-1");
    let cloud = engine_harness.cloud().env();
    for variable in ["APPSYNC_ENDPOINT", "CLIENT_ID", "PASSWORD", "TENANT", "USER_POOL_ID", "USER_NAME"] {
        assert_eq!(created.env(variable), [cloud[variable].as_str()], "{variable}");
    }
    assert_eq!(created.env("NODE"), [name.as_str()]);
    assert_eq!(created.env("NAME"), [name.as_str()]);
    assert!(!created.label("stream.echo.managed-app.spec").expect("a record").contains("\"NAME\""));
    assert!(created.env("AWS_SECRET_ACCESS_KEY").is_empty(), "nodes do not get the keys of the host");
    assert_eq!(created.label("managed_node_type"), Some("type one"));
    assert_eq!(created.label("receive_message_type"), Some("hl7"));
    assert_eq!(created.label("send_message_type"), Some("x12"));
    assert!(!created.0["Config"]["Labels"].to_string().contains(&cloud["PASSWORD"]), "labels contain no secret");
    assert_eq!(created.0["Config"]["Hostname"], name.as_str());
    assert_eq!(created.0["HostConfig"]["RestartPolicy"]["Name"], "unless-stopped");
    assert_eq!(created.0["Config"]["StopTimeout"], 10, "the engine has the stop grace of the daemon");
    assert_eq!(created.networks(), [engine_harness.tag.as_str()]);
    let driver = if engine == Engine::Docker { "json-file" } else { "k8s-file" };
    assert_eq!(created.0["HostConfig"]["LogConfig"]["Type"], driver);
    let bridge = engine.run(&["network", "inspect", &engine_harness.tag]).await;
    assert!(bridge.to_lowercase().contains("\"driver\": \"bridge\""), "{bridge}");
    let output = engine.run(&["logs", created.id()]).await;
    assert!(output.contains(&format!("node {name} version {} started", engine_harness.version("1"))), "{output}");
}

async fn hardening_is_what_the_engine_shows_and_the_node_runs(engine: Engine) {
    let mut engine_harness = EngineHarness::with(engine, |builder| {
        builder
            .set("MANAGED_APP_NODE_NO_NEW_PRIVILEGES", "yes")
            .set("MANAGED_APP_NODE_DROP_CAPABILITIES", "NET_RAW, mknod")
            .set("MANAGED_APP_NODE_PIDS_MAX", "200")
            .set("MANAGED_APP_NODE_MEMORY_MAX", "64m")
    })
    .await;
    let [created] = engine_harness.started_with(["a"]).await;
    let host = &created.0["HostConfig"];
    assert!(host["SecurityOpt"].to_string().contains("no-new-privileges"), "{}", host["SecurityOpt"]);
    let dropped = host["CapDrop"].to_string().replace("CAP_", "");
    assert!(dropped.contains("\"NET_RAW\"") && dropped.contains("\"MKNOD\""), "{dropped}");
    assert_eq!((&host["PidsLimit"], &host["Memory"]), (&200.into(), &(64 << 20).into()));

    // Without these settings the node is replaced and has the defaults of the engine.
    for variable in ["NO_NEW_PRIVILEGES", "DROP_CAPABILITIES", "PIDS_MAX", "MEMORY_MAX"] {
        engine_harness.host.set(&format!("MANAGED_APP_NODE_{variable}"), "");
    }
    engine_harness.host.restart_daemon().await;
    let host = engine_harness.replaced("a", &created).await.0["HostConfig"].clone();
    assert!(!host["SecurityOpt"].to_string().contains("no-new-privileges"), "{}", host["SecurityOpt"]);
    assert_eq!(host["Memory"], 0);
}

async fn published_ports_answer(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    let (local, open, datagrams) = (free_port(), free_port(), free_port());
    engine_harness.add("a", |n: Node| {
        n.image(&image)
            .port(Port::tcp(local, NODE_PORT).at("127.0.0.1"))
            .tcp(open, NODE_PORT)
            .port(Port::udp(datagrams, NODE_PORT))
    });
    engine_harness.host.start();
    engine_harness.host.converged().await;
    let greeting = format!("hello from {} version {}\n", engine_harness.name("a"), engine_harness.version("1"));
    assert_eq!(greeting_at(Ipv4Addr::LOCALHOST.into(), local).await, greeting);
    assert_eq!(greeting_at(Ipv4Addr::LOCALHOST.into(), open).await, greeting);
    if let Some(address) = other_address() {
        assert_eq!(greeting_at(address, open).await, greeting, "no address means all of them");
        assert!(greet(address, local).is_err(), "127.0.0.1 means no other address");
    }
    let ports = engine_harness.container("a").await.0["HostConfig"]["PortBindings"].clone();
    assert_eq!(ports[format!("{NODE_PORT}/udp")][0]["HostPort"], datagrams.to_string().as_str(), "{ports}");
    engine_harness.cloud().remove_node(&engine_harness.name("a"));
    engine_harness.gone("a").await;
    assert!(greet(Ipv4Addr::LOCALHOST.into(), open).is_err(), "the port is free again");
}

async fn a_taken_port_is_reported_and_used_when_it_is_free(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    let taken = TcpListener::bind((Ipv4Addr::UNSPECIFIED, free_port())).expect("it is free");
    let port = taken.local_addr().expect("it is bound").port();
    engine_harness.add("a", |n: Node| n.of_type("type").image(&image).tcp(port, NODE_PORT));
    engine_harness.add("b", |n: Node| n.of_type("type"));
    engine_harness.host.start();
    let (a, b) = (engine_harness.name("a"), engine_harness.name("b"));
    engine_harness
        .host
        .eventually("the conflict is reported", |host| host.node(&a).is_some_and(|node| node.failure.is_some()))
        .await;
    engine_harness.running("b").await;
    assert!(engine_harness.host.node(&b).is_some_and(|node| node.failure.is_none()));
    drop(taken);
    engine_harness.running("a").await;
    let greeting = greeting_at(Ipv4Addr::LOCALHOST.into(), port).await;
    assert!(greeting.contains(&a), "{greeting}");
}

async fn an_anonymous_volume_survives_restart_but_not_replacement(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    engine_harness.add("a", |n: Node| n.image(&image).mount(Mount::anonymous("/data")));
    engine_harness.host.start();
    engine_harness.host.converged().await;
    let first = engine_harness.running("a").await;
    let volume = first.volume("/data");

    engine_harness.cloud().set_node_config(&engine_harness.name("a"), "{}");
    let second = engine_harness.restarted("a", &first).await;
    assert_eq!(second.volume("/data"), volume);

    engine_harness
        .cloud()
        .change_mounts(&engine_harness.name("a"), vec![Mount::anonymous("/data"), Mount::anonymous("/more")]);
    let third = engine_harness.replaced("a", &second).await;
    assert_ne!(third.volume("/data"), volume);
    assert!(engine.try_run(&["volume", "inspect", &volume]).await.is_err(), "the first volume is left");
}

async fn a_named_volume_outlives_its_node(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    let volume = engine_harness.name("kept");
    engine_harness.add("a", |n: Node| n.image(&image).volume(&volume, "/data"));
    engine_harness.host.start();
    engine_harness.host.converged().await;
    assert_eq!(engine_harness.running("a").await.volume("/data"), volume);
    engine_harness.cloud().remove_node(&engine_harness.name("a"));
    engine_harness.gone("a").await;
    engine.run(&["volume", "inspect", &volume]).await;
}

async fn a_bind_mount_is_visible_to_host_and_node(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    let image = engine_harness.push("node:1", "1").await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("fact"), "seen by both").expect("the folder is ours");
    let path = folder.path().display().to_string();
    engine_harness.add("a", |n: Node| n.image(&image).volume(&path, "/host"));
    engine_harness.host.start();
    engine_harness.host.converged().await;
    let created = engine_harness.running("a").await;
    assert_eq!(created.mount("/host")["Type"], "bind");
    assert_eq!(created.mount("/host")["RW"], true);
    // The image contains no program to read the file, so the engine copies it.
    let copy = folder.path().join("copy").display().to_string();
    engine.run(&["cp", &format!("{}:/host/fact", created.id()), &copy]).await;
    assert_eq!(std::fs::read_to_string(copy).expect("it was copied"), "seen by both");
}

/// The greeting of a node; waits until it responds.
pub async fn greeting_at(address: IpAddr, port: u16) -> String {
    eventually(&format!("a greeting at {address}:{port}"), async || {
        greet(address, port).ok().filter(|text| !text.is_empty())
    })
    .await
}

/// Connects to a node and reads its greeting.
pub fn greet(address: IpAddr, port: u16) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, port), CONNECT_LIMIT)?;
    stream.set_read_timeout(Some(CONNECT_LIMIT))?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// A non-loopback address of this host, if it has one. Sends nothing: connecting a datagram socket only selects a
/// route.
fn other_address() -> Option<IpAddr> {
    let socket = std::net::UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9)).ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
