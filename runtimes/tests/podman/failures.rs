//! Failures and their kinds: taken names and ports, missing objects, an absent engine.

use managed_app_runtimes::EngineInspection;
use managed_app_runtimes::conformance::free_port;
use managed_app_runtimes::podman::PodmanRuntime;
use managed_app_runtimes::{
    ContainerId, ContainerRuntime as _, ContainerState, EngineKind, ErrorKind, Limits, LogSettings, PortBinding,
    Protocol,
};

use crate::harness::{Harness, LIMIT, OBEDIENT, endpoint};

#[tokio::test]
async fn creation_names_what_is_missing_or_taken() {
    let harness = Harness::new().await;
    harness.engine.create(&harness.spec("one", OBEDIENT)).await.expect("created");
    let check = async |kind: ErrorKind, change: fn(&mut managed_app_runtimes::ContainerSpec)| {
        let mut spec = harness.spec("two", OBEDIENT);
        change(&mut spec);
        let error = harness.engine.create(&spec).await.expect_err("it must fail");
        assert_eq!(error.kind(), kind, "{error}: {:?}", std::error::Error::source(&error));
    };
    check(ErrorKind::AlreadyExists, |spec| spec.name = spec.name.replace("-two", "-one")).await;
    check(ErrorKind::NotFound, |spec| spec.image = "localhost/no-such-image:x".parse().expect("valid")).await;
    check(ErrorKind::NotFound, |spec| spec.network = "no-such-network".to_owned()).await;
    check(ErrorKind::Refused, |spec| {
        let text = || "x".to_owned();
        spec.logs = LogSettings::Awslogs {
            endpoint: None,
            group: text(),
            region: text(),
            stream: text(),
            multiline_pattern: text(),
            mode: Default::default(),
        };
    })
    .await;
    assert_eq!(harness.engine.list(&harness.owner).await.expect("listed").len(), 1);
}

#[tokio::test]
async fn a_taken_port_is_a_conflict_until_it_is_free() {
    let harness = Harness::new().await;
    for address in ["127.0.0.1", "::1"] {
        let holder = std::net::TcpListener::bind((address, free_port())).expect("it is free");
        let host_port = holder.local_addr().expect("an address").port();
        let mut spec = harness.spec(if address == "::1" { "six" } else { "four" }, OBEDIENT);
        let host_address = address.parse().expect("an address");
        spec.ports = vec![PortBinding { container_port: 80, protocol: Protocol::Tcp, host_address, host_port }];
        let id = harness.engine.create(&spec).await.expect("created");
        let error = harness.engine.start(&id).await.expect_err("the port is taken");
        assert_eq!(error.kind(), ErrorKind::Conflict, "{error}");
        assert_ne!(harness.listed(&id).await.expect("listed").state, ContainerState::Running);
        drop(holder);
        harness.engine.start(&id).await.expect("the port is free");
        assert_eq!(harness.listed(&id).await.expect("listed").state, ContainerState::Running);
        harness.engine.remove(&id).await.expect("removed");
    }
}

#[tokio::test]
async fn a_port_under_1024_is_refused_without_root() {
    let harness = Harness::new().await;
    let is_free = |port: &u16| std::net::TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let host_port = (900..1024).rev().find(is_free).unwrap_or(1023);
    let mut spec = harness.spec("low", OBEDIENT);
    let host_address = "127.0.0.1".parse().expect("an address");
    spec.ports = vec![PortBinding { container_port: 80, protocol: Protocol::Tcp, host_address, host_port }];
    let id = harness.engine.create(&spec).await.expect("created");
    let started = harness.engine.start(&id).await;
    if harness.engine.host().await.expect("it answers").rootless {
        let error = started.expect_err("root only");
        assert_eq!(error.kind(), ErrorKind::Refused);
        let source = std::error::Error::source(&error).expect("a source").to_string();
        assert!(source.contains("privileged port"), "{source}");
    } else {
        started.expect("root may");
    }
}

#[tokio::test]
async fn an_absent_container_is_not_found_or_ok() {
    let harness = Harness::bare().await;
    for id in [ContainerId("0".repeat(64)), ContainerId("a name/with? odd %things".to_owned())] {
        let kinds = [
            harness.engine.start(&id).await.expect_err("absent").kind(),
            harness.engine.stop(&id, LIMIT).await.expect_err("absent").kind(),
            harness.engine.restart(&id, LIMIT).await.expect_err("absent").kind(),
            harness.engine.rename(&id, "whatever").await.expect_err("absent").kind(),
            harness.engine.logs(&id, None).await.map(|_| ()).expect_err("absent").kind(),
        ];
        assert_eq!(kinds, [ErrorKind::NotFound; 5]);
        harness.engine.remove(&id).await.expect("an absent one is removed already");
    }
}

#[tokio::test]
async fn networks_are_created_once() {
    let harness = Harness::bare().await;
    let make = || harness.engine.ensure_network(&harness.app, &harness.owner);
    let (a, b, c) = tokio::join!(make(), make(), make());
    a.and(b).and(c).expect("all of them see the network");
    make().await.expect("once more");
    let found =
        harness.podman(&["network", "inspect", "--format", "{{.Driver}} {{.DNSEnabled}} {{.Labels}}", &harness.app]);
    assert!(found.starts_with("bridge true") && found.contains(&harness.app), "{found}");
}

#[tokio::test]
async fn the_engine_reports_its_kind_and_version() {
    let harness = Harness::bare().await;
    let info = harness.engine.info().await.expect("it answers");
    assert_eq!((info.kind, info.has_awslogs, info.endpoint), (EngineKind::Podman, false, endpoint()));
    let host = harness.engine.host().await.expect("it answers");
    assert!(info.version.starts_with(|c: char| c.is_ascii_digit()), "{}", info.version);
    assert_eq!(harness.podman(&["info", "--format", "{{.Host.Security.Rootless}}"]), host.rootless.to_string());
}

#[tokio::test]
async fn an_absent_podman_is_unreachable() {
    let check = async |endpoint: &str, kind: ErrorKind| {
        let error = PodmanRuntime::connect(endpoint, Limits::default()).await.expect_err("no engine listens");
        assert_eq!(error.kind(), kind, "{error}");
    };
    check("unix:///no/such/podman.sock", ErrorKind::Unreachable).await;
    check("tcp://127.0.0.1:1", ErrorKind::Refused).await;
    check("unix://relative", ErrorKind::Refused).await;
}
