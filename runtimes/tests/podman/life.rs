//! The life of a container: the effects of `create`, `restart` and `remove`.

use std::time::{Duration, Instant};

use managed_app_runtimes::conformance::free_port;
use managed_app_runtimes::{
    ContainerRuntime as _, ContainerState, ErrorKind, Mount, MountSource, Origin, PortBinding, Protocol,
};

use crate::harness::{Harness, LIMIT, OBEDIENT, STUBBORN, eventually};

fn mount(source: MountSource, target: &str) -> Mount {
    Mount { source, target: target.to_owned() }
}

#[tokio::test]
async fn every_field_of_a_spec_is_there() {
    let harness = Harness::new().await;
    let mut spec = harness.spec("all", "cat /host/passwd >/dev/null && echo bound; exec sleep 1000");
    let volume = harness.name("kept");
    spec.mounts = vec![
        mount(MountSource::Anonymous, "/own"),
        mount(MountSource::Volume(volume.clone()), "/named"),
        mount(MountSource::Bind("/etc".to_owned()), "/host"),
    ];
    let port = |protocol, address: &str, host_port| PortBinding {
        container_port: 80,
        protocol,
        host_address: address.parse().expect("an address"),
        host_port,
    };
    let free = free_port();
    spec.ports = vec![port(Protocol::Tcp, "127.0.0.1", free), port(Protocol::Udp, "::1", free)];
    let id = harness.engine.create(&spec).await.expect("created");
    assert_eq!(harness.inspect(&id, "{{.State.Status}} {{.Config.Hostname}}"), "created all");
    assert_eq!(harness.inspect(&id, "{{.HostConfig.RestartPolicy.Name}} {{.Config.StopTimeout}}"), "unless-stopped 30");
    assert_eq!(harness.inspect(&id, "{{.HostConfig.LogConfig.Type}} {{.HostConfig.LogConfig.Size}}"), "k8s-file 2MB");
    let ports = harness.inspect(&id, "{{json .HostConfig.PortBindings}}");
    assert!(
        ports.matches(&format!("\"{free}\"")).count() == 2 && ports.contains("127.0.0.1") && ports.contains("::1"),
        "{ports}"
    );
    let mounts = harness.inspect(&id, "{{range .Mounts}}{{.Type}}={{.Destination}} {{end}}");
    for expected in ["volume=/own", "volume=/named", "bind=/host"] {
        assert!(mounts.contains(expected), "{mounts}");
    }
    harness.engine.start(&id).await.expect("started");
    eventually("the bind mount is readable", || async { harness.podman(&["logs", &id.0]).contains("bound") }).await;
    let listed = harness.listed(&id).await.expect("listed");
    assert_eq!((listed.name, listed.state, listed.origin), (spec.name, ContainerState::Running, Origin::Labelled));
    assert_eq!(listed.networks, [harness.app.as_str()]);
    assert!(listed.image_id.0.starts_with("sha256:"), "{}", listed.image_id);
    assert_eq!(Some(listed.image_id), harness.engine.image(&spec.image).await.expect("looked up"));
}

#[tokio::test]
async fn verbs_may_be_repeated_and_keep_or_take_the_right_volumes() {
    let harness = Harness::new().await;
    let mut spec = harness.spec("life", OBEDIENT);
    let kept = harness.name("kept");
    spec.mounts = vec![mount(MountSource::Anonymous, "/own"), mount(MountSource::Volume(kept.clone()), "/named")];
    let id = harness.engine.create(&spec).await.expect("created");
    for _ in 0..2 {
        harness.engine.start(&id).await.expect("started");
    }
    let before = harness.listed(&id).await.expect("listed").started_at.expect("started");
    let own = "{{range .Mounts}}{{if eq .Destination \"/own\"}}{{.Name}}{{end}}{{end}}";
    let volume = harness.inspect(&id, own);
    harness.engine.restart(&id, LIMIT).await.expect("restarted");
    let after = harness.listed(&id).await.expect("listed by the same id");
    assert_eq!(after.state, ContainerState::Running);
    assert!(after.started_at.expect("started") > before, "the start time moves");
    assert_eq!(harness.inspect(&id, own), volume);
    eventually("its trap is set", || async { harness.podman(&["logs", &id.0]).matches("up").count() == 2 }).await;
    for _ in 0..2 {
        harness.engine.stop(&id, LIMIT).await.expect("stopped");
    }
    let stopped = harness.listed(&id).await.expect("listed").state;
    assert_eq!(stopped, ContainerState::Exited { code: Some(7) });
    harness.engine.restart(&id, LIMIT).await.expect("a stopped one is started");
    let start = Instant::now();
    for _ in 0..2 {
        harness.engine.remove(&id).await.expect("removed while it runs");
    }
    assert!(start.elapsed() < Duration::from_secs(25), "removal waited for the grace");
    let volumes = harness.podman(&["volume", "ls", "-q"]);
    assert!(!volumes.contains(&volume), "the anonymous volume stayed");
    assert!(volumes.contains(&kept), "the named volume went");
    assert!(harness.listed(&id).await.is_none());
}

#[tokio::test]
async fn a_stubborn_process_is_killed_after_its_grace() {
    let harness = Harness::new().await;
    let id = harness.run("stubborn", STUBBORN).await;
    eventually("its trap is set", || async { harness.podman(&["logs", &id.0]).contains("up") }).await;
    for restart in [true, false] {
        let start = Instant::now();
        let grace = Duration::from_secs(2);
        if restart {
            harness.engine.restart(&id, grace).await.expect("restarted");
            eventually("it is up again", || async { harness.podman(&["logs", &id.0]).matches("up").count() == 2 })
                .await;
        } else {
            harness.engine.stop(&id, grace).await.expect("stopped");
        }
        let took = start.elapsed();
        assert!(took >= grace && took < Duration::from_secs(25), "restart {restart} took {took:?}");
    }
    assert_eq!(harness.listed(&id).await.expect("listed").state, ContainerState::Exited { code: Some(137) });
}

#[tokio::test]
async fn restart_waits_for_the_whole_grace() {
    let harness = Harness::new().await;
    let slow = "trap 'sleep 1.5; echo farewell; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    let id = harness.run("slow", slow).await;
    eventually("its trap is set", || async { harness.podman(&["logs", &id.0]).contains("up") }).await;
    harness.engine.restart(&id, LIMIT).await.expect("restarted");
    assert!(harness.podman(&["logs", &id.0]).contains("farewell"), "killed before it was done");
}

#[tokio::test]
async fn a_paused_container_is_stopped_restarted_and_removed() {
    let harness = Harness::new().await;
    let id = harness.run("paused", OBEDIENT).await;
    let pause = || async {
        harness.podman(&["pause", &id.0]);
        assert_eq!(harness.listed(&id).await.expect("listed").state, ContainerState::Paused);
    };
    pause().await;
    harness.engine.start(&id).await.expect("thawed");
    assert_eq!(harness.listed(&id).await.expect("listed").state, ContainerState::Running);
    pause().await;
    harness.engine.restart(&id, LIMIT).await.expect("restarted");
    assert_eq!(harness.listed(&id).await.expect("listed").state, ContainerState::Running);
    pause().await;
    harness.engine.stop(&id, LIMIT).await.expect("stopped");
    assert!(matches!(harness.listed(&id).await.expect("listed").state, ContainerState::Exited { .. }));
    harness.engine.start(&id).await.expect("started");
    pause().await;
    harness.engine.remove(&id).await.expect("removed");
    assert!(harness.listed(&id).await.is_none());
}

#[tokio::test]
async fn rename_handles_its_own_name_and_taken_ones() {
    let harness = Harness::new().await;
    let id = harness.run("first", OBEDIENT).await;
    let other = harness.engine.create(&harness.spec("other", OBEDIENT)).await.expect("created");
    harness.engine.rename(&id, &harness.name("first")).await.expect("its own name");
    let taken = harness.engine.rename(&id, &harness.name("other")).await.expect_err("the name is taken");
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    harness.engine.rename(&id, &harness.name("second")).await.expect("a free name");
    assert_eq!(harness.listed(&id).await.expect("listed").name, harness.name("second"));
    assert_eq!(harness.inspect(&other, "{{.Name}}"), harness.name("other"));
}

#[tokio::test]
async fn strangers_are_invisible_and_legacy_containers_are_seen() {
    let harness = Harness::new().await;
    let image = harness.image();
    let cli = |suffix: &str, arguments: &[&str]| {
        let name = harness.name(suffix);
        let all: Vec<&str> =
            ["create", "--name", &name].iter().chain(arguments).copied().chain([image.as_str()]).collect();
        harness.podman(&all)
    };
    let legacy = cli("legacy", &["--network", &harness.app, "--label", "managed_node_type=t"]);
    cli("elsewhere", &["--label", "managed_node_type=t"]);
    cli("plain", &["--network", &harness.app]);
    let mut foreign = harness.spec("foreign", OBEDIENT);
    foreign.labels.insert(managed_app_runtimes::labels::HOST.to_owned(), "another".to_owned());
    harness.engine.create(&foreign).await.expect("created");
    let ours = harness.engine.create(&harness.spec("ours", OBEDIENT)).await.expect("created");
    let mut seen: Vec<(String, Origin)> =
        harness.engine.list(&harness.owner).await.expect("listed").into_iter().map(|c| (c.id.0, c.origin)).collect();
    seen.sort_by_key(|(_, origin)| *origin == Origin::Legacy);
    assert_eq!(seen, [(ours.0, Origin::Labelled), (legacy, Origin::Legacy)]);
}
