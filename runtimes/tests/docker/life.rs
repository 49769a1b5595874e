//! Containers from creation to removal.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use managed_app_runtimes::ImageStore;
use managed_app_runtimes::conformance::free_port;
use managed_app_runtimes::{
    ContainerId, ContainerRuntime, ContainerState, EnvValue, ErrorKind, ImageId, Mount, MountSource, Origin,
    PortBinding, Protocol,
};
use serde_json::json;

use crate::harness::{Harness, OBEDIENT, STUBBORN, docker, eventually, inspect, kind, tcp};

const GRACE: Duration = Duration::from_secs(30);

fn mount(source: MountSource, target: &str) -> Mount {
    Mount { source, target: target.to_owned() }
}

#[tokio::test]
async fn every_field_of_a_spec_reaches_the_engine() {
    let harness = Harness::new("fields").await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().to_str().expect("a path of text").to_owned();
    let mut spec = harness.spec("full", OBEDIENT);
    spec.env.insert("SECRET".to_owned(), EnvValue::Secret("s=1 x".to_owned().into()));
    let port = |protocol, host: &str| PortBinding {
        container_port: 7,
        protocol,
        host_address: host.parse().expect("an address"),
        host_port: 40007,
    };
    spec.ports = vec![port(Protocol::Tcp, "0.0.0.0"), port(Protocol::Udp, "::1"), port(Protocol::Sctp, "127.0.0.1")];
    let volume = format!("{}-data", harness.owner.app);
    spec.mounts = vec![
        mount(MountSource::Anonymous, "/anonymous"),
        mount(MountSource::Volume(volume.clone()), "/named"),
        mount(MountSource::Bind(path.clone()), "/bound"),
    ];
    let id = harness.runtime.create(&spec).await.expect("a container");
    let found = inspect(&id);
    let (config, host) = (&found["Config"], &found["HostConfig"]);
    assert_eq!(config["Hostname"], "full");
    assert_eq!(config["StopTimeout"], 30);
    assert_eq!(config["Labels"]["stream.echo.managed-app.app"], harness.owner.app.as_str());
    assert!(config["Env"].as_array().expect("a list").contains(&json!("SECRET=s=1 x")));
    assert_eq!(host["RestartPolicy"]["Name"], "unless-stopped");
    assert_eq!(host["NetworkMode"], harness.owner.app.as_str());
    assert_eq!(host["LogConfig"]["Type"], "json-file");
    assert_eq!(host["LogConfig"]["Config"], json!({"max-size": "10000000", "max-file": "2"}));
    for (key, address) in [("7/tcp", "0.0.0.0"), ("7/udp", "::1"), ("7/sctp", "127.0.0.1")] {
        assert_eq!(host["PortBindings"][key], json!([{"HostIp": address, "HostPort": "40007"}]));
        assert_eq!(config["ExposedPorts"][key], json!({}));
    }
    let mut mounts: Vec<(&str, &str)> = found["Mounts"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|mount| (mount["Destination"].as_str().expect("a path"), mount["Source"].as_str().expect("a path")))
        .collect();
    mounts.sort_unstable();
    assert_eq!((mounts[0].0, mounts[1], mounts[2].0), ("/anonymous", ("/bound", path.as_str()), "/named"));
    assert!(mounts[2].1.contains(&volume) && !mounts[0].1.contains(&volume));
    docker(&["rm", "-fv", &id.0]);
}

#[tokio::test]
async fn a_container_passes_through_its_whole_life() {
    let harness = Harness::new("life").await;
    let mut spec = harness.spec("node", &format!("echo x >> /data/starts; {OBEDIENT}"));
    let named = format!("{}-kept", harness.owner.app);
    spec.mounts = vec![mount(MountSource::Anonymous, "/data"), mount(MountSource::Volume(named.clone()), "/kept")];
    let id = harness.runtime.create(&spec).await.expect("a container");
    let found = harness.found(&id).await.expect("it is listed");
    assert_eq!((found.state, found.started_at, found.origin), (ContainerState::Created, None, Origin::Labelled));
    assert_eq!((found.name, found.networks), (spec.name.clone(), vec![harness.owner.app.clone()]));
    assert_eq!(Some(found.image_id), harness.runtime.image(&harness.image).await.expect("an answer"));

    harness.runtime.start(&id).await.expect("a start");
    let first = harness.found(&id).await.expect("it is listed");
    assert_eq!(first.state, ContainerState::Running);
    harness.runtime.start(&id).await.expect("a second start");
    assert_eq!(harness.found(&id).await, Some(first.clone()));

    let starts = async || docker(&["exec", &id.0, "cat", "/data/starts"]).lines().count();
    eventually("the first start is noted", async || starts().await == 1).await;
    harness.runtime.restart(&id, GRACE).await.expect("a restart");
    eventually("the second start is noted in the same volume", async || starts().await == 2).await;
    let second = harness.found(&id).await.expect("it is listed");
    assert!(second.started_at > first.started_at && first.started_at.is_some());

    let other = format!("{}-other", spec.name);
    harness.runtime.rename(&id, &spec.name).await.expect("its own name");
    harness.runtime.rename(&id, &other).await.expect("a free name");
    assert_eq!(harness.found(&id).await.map(|container| container.name), Some(other));

    harness.runtime.stop(&id, GRACE).await.expect("a stop");
    harness.runtime.stop(&id, GRACE).await.expect("a second stop");
    assert_eq!(harness.found(&id).await.map(|found| found.state), Some(ContainerState::Exited { code: Some(3) }));
    harness.runtime.restart(&id, GRACE).await.expect("a restart of a stopped one");

    let mounts = inspect(&id)["Mounts"].as_array().expect("a list").clone();
    let anonymous = mounts.iter().find(|mount| mount["Destination"] == "/data").expect("the mount")["Name"].clone();
    harness.runtime.remove(&id).await.expect("a removal of a running one");
    harness.runtime.remove(&id).await.expect("a second removal");
    assert_eq!(harness.found(&id).await, None);
    let volumes = docker(&["volume", "ls", "-q"]);
    assert!(!volumes.lines().any(|name| name == anonymous.as_str().expect("a name")));
    assert!(volumes.lines().any(|name| name == named));
}

#[tokio::test]
async fn taken_missing_and_invalid_names_have_different_errors() {
    let harness = Harness::new("kinds").await;
    let spec = harness.spec("a", OBEDIENT);
    let id = harness.runtime.create(&spec).await.expect("a container");
    assert_eq!(kind(harness.runtime.create(&spec).await), Some(ErrorKind::AlreadyExists));
    let other = harness.runtime.create(&harness.spec("b", OBEDIENT)).await.expect("a container");
    assert_eq!(kind(harness.runtime.rename(&other, &spec.name).await), Some(ErrorKind::AlreadyExists));

    let mut bad = harness.spec("c", OBEDIENT);
    bad.image = "harness.invalid/absent:1".parse().expect("a reference");
    assert_eq!(kind(harness.runtime.create(&bad).await), Some(ErrorKind::NotFound));
    assert_eq!(harness.runtime.image(&bad.image).await.expect("an answer"), None);
    bad = harness.spec("c", OBEDIENT);
    bad.network = harness.owner.app[..4].to_owned();
    assert_eq!(kind(harness.runtime.create(&bad).await), Some(ErrorKind::NotFound));
    bad = harness.spec("c", OBEDIENT);
    bad.mounts = vec![mount(MountSource::Bind("/absent/folder".to_owned()), "/x")];
    assert_eq!(kind(harness.runtime.create(&bad).await), Some(ErrorKind::Refused));
    bad.mounts = vec![mount(MountSource::Anonymous, "not/absolute")];
    assert_eq!(kind(harness.runtime.create(&bad).await), Some(ErrorKind::Refused));

    let nobody = ContainerId("0123456789ab".repeat(5));
    assert_eq!(kind(harness.runtime.start(&nobody).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(harness.runtime.stop(&nobody, GRACE).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(harness.runtime.restart(&nobody, GRACE).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(harness.runtime.rename(&nobody, "x").await), Some(ErrorKind::NotFound));
    assert_eq!(kind(harness.runtime.logs(&nobody, None).await), Some(ErrorKind::NotFound));
    assert_eq!(kind(harness.runtime.remove(&nobody).await), None);
    assert_eq!(harness.runtime.list(&harness.owner).await.map(|list| list.len()).ok(), Some(2));
    harness.runtime.remove(&id).await.expect("a removal");
}

#[tokio::test]
async fn a_taken_port_is_a_conflict_until_it_is_free() {
    let harness = Harness::new("port").await;
    let holder = TcpListener::bind(("127.0.0.1", free_port())).expect("it is free");
    let mut spec = harness.spec("a", OBEDIENT);
    spec.ports = vec![tcp(80, holder.local_addr().expect("an address").port())];
    let id = harness.runtime.create(&spec).await.expect("a container");
    assert_eq!(kind(harness.runtime.start(&id).await), Some(ErrorKind::Conflict));
    assert!(!harness.found(&id).await.expect("it is listed").state.is_running());
    drop(holder);
    harness.runtime.start(&id).await.expect("a start");
    // A port of another container.
    spec.name.push('b');
    let second = harness.runtime.create(&spec).await.expect("a container");
    assert_eq!(kind(harness.runtime.start(&second).await), Some(ErrorKind::Conflict));
}

#[tokio::test]
async fn a_missing_program_is_refused() {
    let harness = Harness::new("refused").await;
    crate::harness::import(&harness.image.to_pull(), &[r#"ENTRYPOINT ["/absent"]"#]);
    let id = harness.runtime.create(&harness.spec("a", "")).await.expect("a container");
    assert_eq!(kind(harness.runtime.start(&id).await), Some(ErrorKind::Refused));
}

#[tokio::test]
async fn a_stubborn_program_is_killed_after_its_grace() {
    let harness = Harness::new("stubborn").await;
    let id = harness.started(&harness.spec("a", &format!("echo ready; {STUBBORN}"))).await;
    eventually("its trap is set", async || docker(&["logs", &id.0]) == "ready").await;
    let started = Instant::now();
    harness.runtime.stop(&id, Duration::from_millis(900)).await.expect("a stop");
    assert!((Duration::from_millis(900)..GRACE).contains(&started.elapsed()), "{:?}", started.elapsed());
    assert_eq!(harness.found(&id).await.map(|found| found.state), Some(ContainerState::Exited { code: Some(137) }));
}

#[tokio::test]
async fn a_paused_container_is_stopped() {
    let harness = Harness::new("paused").await;
    let id = harness.started(&harness.spec("a", OBEDIENT)).await;
    docker(&["pause", &id.0]);
    assert_eq!(harness.found(&id).await.map(|found| found.state), Some(ContainerState::Paused));
    let started = Instant::now();
    harness.runtime.stop(&id, GRACE).await.expect("a stop");
    assert!(started.elapsed() < GRACE, "the stop signal reached it");
    assert_eq!(harness.found(&id).await.map(|found| found.state), Some(ContainerState::Exited { code: Some(3) }));
    harness.runtime.start(&id).await.expect("a start");
    docker(&["pause", &id.0]);
    harness.runtime.restart(&id, GRACE).await.expect("a restart of a paused one");
    assert_eq!(harness.found(&id).await.map(|found| found.state), Some(ContainerState::Running));
    docker(&["pause", &id.0]);
    harness.runtime.remove(&id).await.expect("a removal of a paused one");
}

#[tokio::test]
async fn strangers_are_invisible_and_the_python_programs_are_not() {
    let harness = Harness::new("whose").await;
    let (app, image) = (&harness.owner.app, harness.image.to_pull());
    let made = |name: &str, label: &str, network: &str| {
        let name = format!("{app}-{name}");
        ContainerId(docker(&["create", "--name", &name, "--label", label, "--network", network, &image]))
    };
    made("stranger", "a=b", app);
    made("elsewhere", "managed_node_type=x", "bridge");
    made("other-host", &format!("stream.echo.managed-app.app={app}"), app);
    let legacy = made("legacy", "managed_node_type=x", app);
    let found = harness.runtime.list(&harness.owner).await.expect("a list");
    assert_eq!(found.iter().map(|container| &container.id).collect::<Vec<_>>(), [&legacy]);
    assert_eq!(found[0].origin, Origin::Legacy);
}

#[tokio::test]
async fn networks_created_concurrently_are_one() {
    let harness = Harness::new("net").await;
    let name = format!("{}-n", harness.owner.app);
    let ensure = || harness.runtime.ensure_network(&name, &harness.owner);
    let (a, b, c) = futures_util::join!(ensure(), ensure(), ensure());
    assert_eq!([kind(a), kind(b), kind(c)], [None; 3]);
    let found = docker(&["network", "ls", "--filter", &format!("name={name}"), "--format", "{{.Driver}}"]);
    assert_eq!(found, "bridge");
}

#[tokio::test]
async fn an_unused_image_is_removed_with_all_its_names() {
    let harness = Harness::new("rmi").await;
    docker(&["tag", &harness.image.to_pull(), &format!("harness.invalid/second/{}:2", harness.owner.app)]);
    docker(&["tag", &harness.image.to_pull(), &format!("harness.invalid/{}:3", harness.owner.app)]);
    let image = harness.runtime.image(&harness.image).await.expect("an answer").expect("it is there");
    let id = harness.runtime.create(&harness.spec("a", OBEDIENT)).await.expect("a container");
    assert_eq!(kind(harness.runtime.remove_image(&image).await), Some(ErrorKind::Conflict));
    assert_eq!(
        docker(&["images", "-q", "--no-trunc", &format!("harness.invalid/{}", harness.owner.app)]).lines().count(),
        2
    );
    harness.runtime.remove(&id).await.expect("a removal");
    harness.runtime.remove_image(&image).await.expect("a removal");
    assert_eq!(harness.runtime.image(&harness.image).await.expect("an answer"), None);
    harness.runtime.remove_image(&image).await.expect("a second removal");
    let absent = ImageId(format!("sha256:{}", "0".repeat(64)));
    harness.runtime.remove_image(&absent).await.expect("an absent image");
}
