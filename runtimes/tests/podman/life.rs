//! The life of a container: what `create` makes, what `restart` keeps, what `remove` takes.

use std::time::{Duration, Instant};

use managed_app_runtimes::conformance::free_port;
use managed_app_runtimes::{
    ContainerRuntime as _, ContainerState, ErrorKind, Mount, MountSource, Origin, PortBinding, Protocol,
};

use crate::rig::{LIMIT, OBEDIENT, Rig, STUBBORN, eventually};

fn mount(source: MountSource, target: &str) -> Mount {
    Mount { source, target: target.to_owned() }
}

#[tokio::test]
async fn every_field_of_a_spec_is_there() {
    let rig = Rig::new().await;
    let mut spec = rig.spec("all", "cat /host/passwd >/dev/null && echo bound; exec sleep 1000");
    let volume = rig.name("kept");
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
    let id = rig.engine.create(&spec).await.expect("created");
    assert_eq!(rig.inspect(&id, "{{.State.Status}} {{.Config.Hostname}}"), "created all");
    assert_eq!(rig.inspect(&id, "{{.HostConfig.RestartPolicy.Name}} {{.Config.StopTimeout}}"), "unless-stopped 30");
    assert_eq!(rig.inspect(&id, "{{.HostConfig.LogConfig.Type}} {{.HostConfig.LogConfig.Size}}"), "k8s-file 2MB");
    let ports = rig.inspect(&id, "{{json .HostConfig.PortBindings}}");
    assert!(
        ports.matches(&format!("\"{free}\"")).count() == 2 && ports.contains("127.0.0.1") && ports.contains("::1"),
        "{ports}"
    );
    let mounts = rig.inspect(&id, "{{range .Mounts}}{{.Type}}={{.Destination}} {{end}}");
    for expected in ["volume=/own", "volume=/named", "bind=/host"] {
        assert!(mounts.contains(expected), "{mounts}");
    }
    rig.engine.start(&id).await.expect("started");
    eventually("the bind mount is readable", || async { rig.podman(&["logs", &id.0]).contains("bound") }).await;
    let listed = rig.listed(&id).await.expect("listed");
    assert_eq!((listed.name, listed.state, listed.origin), (spec.name, ContainerState::Running, Origin::Labelled));
    assert_eq!(listed.networks, [rig.app.as_str()]);
    assert!(listed.image_id.0.starts_with("sha256:"), "{}", listed.image_id);
    assert_eq!(Some(listed.image_id), rig.engine.image(&spec.image).await.expect("looked up"));
}

#[tokio::test]
async fn verbs_may_be_repeated_and_keep_or_take_the_right_volumes() {
    let rig = Rig::new().await;
    let mut spec = rig.spec("life", OBEDIENT);
    let kept = rig.name("kept");
    spec.mounts = vec![mount(MountSource::Anonymous, "/own"), mount(MountSource::Volume(kept.clone()), "/named")];
    let id = rig.engine.create(&spec).await.expect("created");
    for _ in 0..2 {
        rig.engine.start(&id).await.expect("started");
    }
    let before = rig.listed(&id).await.expect("listed").started_at.expect("started");
    let own = "{{range .Mounts}}{{if eq .Destination \"/own\"}}{{.Name}}{{end}}{{end}}";
    let volume = rig.inspect(&id, own);
    rig.engine.restart(&id, LIMIT).await.expect("restarted");
    let after = rig.listed(&id).await.expect("listed by the same id");
    assert_eq!(after.state, ContainerState::Running);
    assert!(after.started_at.expect("started") > before, "the start time moves");
    assert_eq!(rig.inspect(&id, own), volume);
    eventually("its trap is set", || async { rig.podman(&["logs", &id.0]).matches("up").count() == 2 }).await;
    for _ in 0..2 {
        rig.engine.stop(&id, LIMIT).await.expect("stopped");
    }
    let stopped = rig.listed(&id).await.expect("listed").state;
    assert_eq!(stopped, ContainerState::Exited { code: Some(7) });
    rig.engine.restart(&id, LIMIT).await.expect("a stopped one is started");
    let start = Instant::now();
    for _ in 0..2 {
        rig.engine.remove(&id).await.expect("removed while it runs");
    }
    assert!(start.elapsed() < Duration::from_secs(25), "removal waited for the grace");
    let volumes = rig.podman(&["volume", "ls", "-q"]);
    assert!(!volumes.contains(&volume), "the anonymous volume stayed");
    assert!(volumes.contains(&kept), "the named volume went");
    assert!(rig.listed(&id).await.is_none());
}

#[tokio::test]
async fn a_stubborn_process_is_killed_after_its_grace() {
    let rig = Rig::new().await;
    let id = rig.run("stubborn", STUBBORN).await;
    eventually("its trap is set", || async { rig.podman(&["logs", &id.0]).contains("up") }).await;
    for restart in [true, false] {
        let start = Instant::now();
        let grace = Duration::from_secs(2);
        if restart {
            rig.engine.restart(&id, grace).await.expect("restarted");
            eventually("it is up again", || async { rig.podman(&["logs", &id.0]).matches("up").count() == 2 }).await;
        } else {
            rig.engine.stop(&id, grace).await.expect("stopped");
        }
        let took = start.elapsed();
        assert!(took >= grace && took < Duration::from_secs(25), "restart {restart} took {took:?}");
    }
    assert_eq!(rig.listed(&id).await.expect("listed").state, ContainerState::Exited { code: Some(137) });
}

#[tokio::test]
async fn restart_gives_the_process_its_whole_grace() {
    let rig = Rig::new().await;
    let slow = "trap 'sleep 1.5; echo farewell; exit 0' TERM; echo up; while :; do sleep 0.1; done";
    let id = rig.run("slow", slow).await;
    eventually("its trap is set", || async { rig.podman(&["logs", &id.0]).contains("up") }).await;
    rig.engine.restart(&id, LIMIT).await.expect("restarted");
    assert!(rig.podman(&["logs", &id.0]).contains("farewell"), "killed before it was done");
}

#[tokio::test]
async fn a_paused_container_is_stopped_restarted_and_removed() {
    let rig = Rig::new().await;
    let id = rig.run("paused", OBEDIENT).await;
    let pause = || async {
        rig.podman(&["pause", &id.0]);
        assert_eq!(rig.listed(&id).await.expect("listed").state, ContainerState::Paused);
    };
    pause().await;
    rig.engine.start(&id).await.expect("thawed");
    assert_eq!(rig.listed(&id).await.expect("listed").state, ContainerState::Running);
    pause().await;
    rig.engine.restart(&id, LIMIT).await.expect("restarted");
    assert_eq!(rig.listed(&id).await.expect("listed").state, ContainerState::Running);
    pause().await;
    rig.engine.stop(&id, LIMIT).await.expect("stopped");
    assert!(matches!(rig.listed(&id).await.expect("listed").state, ContainerState::Exited { .. }));
    rig.engine.start(&id).await.expect("started");
    pause().await;
    rig.engine.remove(&id).await.expect("removed");
    assert!(rig.listed(&id).await.is_none());
}

#[tokio::test]
async fn rename_knows_its_own_name_and_taken_ones() {
    let rig = Rig::new().await;
    let id = rig.run("first", OBEDIENT).await;
    let other = rig.engine.create(&rig.spec("other", OBEDIENT)).await.expect("created");
    rig.engine.rename(&id, &rig.name("first")).await.expect("its own name");
    let taken = rig.engine.rename(&id, &rig.name("other")).await.expect_err("the name is taken");
    assert_eq!(taken.kind(), ErrorKind::AlreadyExists);
    rig.engine.rename(&id, &rig.name("second")).await.expect("a free name");
    assert_eq!(rig.listed(&id).await.expect("listed").name, rig.name("second"));
    assert_eq!(rig.inspect(&other, "{{.Name}}"), rig.name("other"));
}

#[tokio::test]
async fn strangers_are_invisible_and_legacy_containers_are_seen() {
    let rig = Rig::new().await;
    let image = rig.image();
    let cli = |suffix: &str, arguments: &[&str]| {
        let name = rig.name(suffix);
        let all: Vec<&str> =
            ["create", "--name", &name].iter().chain(arguments).copied().chain([image.as_str()]).collect();
        rig.podman(&all)
    };
    let legacy = cli("legacy", &["--network", &rig.app, "--label", "managed_node_type=t"]);
    cli("elsewhere", &["--label", "managed_node_type=t"]);
    cli("plain", &["--network", &rig.app]);
    let mut foreign = rig.spec("foreign", OBEDIENT);
    foreign.labels.insert(managed_app_runtimes::labels::HOST.to_owned(), "another".to_owned());
    rig.engine.create(&foreign).await.expect("created");
    let ours = rig.engine.create(&rig.spec("ours", OBEDIENT)).await.expect("created");
    let mut seen: Vec<(String, Origin)> =
        rig.engine.list(&rig.owner).await.expect("listed").into_iter().map(|c| (c.id.0, c.origin)).collect();
    seen.sort_by_key(|(_, origin)| *origin == Origin::Legacy);
    assert_eq!(seen, [(ours.0, Origin::Labelled), (legacy, Origin::Legacy)]);
}
