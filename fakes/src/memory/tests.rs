//! Tests beyond the conformance suite: virtual time, external actions, the journal, size.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt;
use managed_app_runtimes::{
    Action, ContainerId, ContainerRuntime, ContainerSpec, ContainerState, ErrorKind, ImageReference, LogSettings,
    LogSource, Mount, MountSource, Owner, PortBinding, Protocol, RegistryCredentials,
};
use tokio::time::Instant;

use super::{Behaviour, InMemoryRuntime, Latencies};

fn owner() -> Owner {
    Owner { app: "app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() }
}

fn image() -> ImageReference {
    "registry.test/node:1".parse().expect("a valid reference")
}

fn spec(name: &str) -> ContainerSpec {
    ContainerSpec {
        name: name.to_owned(),
        hostname: name.to_owned(),
        image: image(),
        env: BTreeMap::new(),
        labels: owner().labels(),
        network: "app".to_owned(),
        aliases: [].into(),
        ports: Vec::new(),
        mounts: Vec::new(),
        logs: LogSettings::Engine { file_bytes_max: 1 << 20, files_max: 2 },
        stop_grace: Duration::from_secs(10),
        hardening: Default::default(),
    }
}

async fn engine() -> InMemoryRuntime {
    let engine = InMemoryRuntime::new();
    engine.load_image(&image(), b"node");
    engine.ensure_network("app", &owner()).await.expect("network");
    engine
}

async fn run(engine: &InMemoryRuntime, name: &str) -> ContainerId {
    let id = engine.create(&spec(name)).await.expect("create");
    engine.start(&id).await.expect("start");
    id
}

fn state(engine: &InMemoryRuntime, name: &str) -> ContainerState {
    engine.container(name).expect("a container of that name").container.state
}

#[tokio::test(start_paused = true)]
async fn a_stubborn_process_is_killed_after_the_grace_in_virtual_time() {
    let engine = engine().await;
    engine.set_behaviour("web", Behaviour::IgnoresStop);
    let id = run(&engine, "web").await;
    let begin = Instant::now();
    engine.stop(&id, Duration::from_secs(7)).await.expect("stop");
    assert_eq!(begin.elapsed().as_secs(), 7);
    assert_eq!(state(&engine, "web"), ContainerState::Exited { code: Some(137) });
}

#[tokio::test(start_paused = true)]
async fn a_stop_completes_after_its_caller_is_dropped() {
    let engine = engine().await;
    engine.set_behaviour("web", Behaviour::IgnoresStop);
    let id = run(&engine, "web").await;
    let stop = engine.stop(&id, Duration::from_secs(5));
    assert!(tokio::time::timeout(Duration::from_secs(1), stop).await.is_err());
    assert!(state(&engine, "web").is_running());
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(!state(&engine, "web").is_running());
}

#[tokio::test(start_paused = true)]
async fn a_crash_loop_restarts_with_growing_delays_and_events() {
    let engine = engine().await;
    engine.set_behaviour("web", Behaviour::CrashLoops { code: 3, after: Duration::ZERO });
    let mut events = engine.events(&owner()).await.expect("events");
    let id = run(&engine, "web").await;
    let mut starts = Vec::new();
    while starts.len() < 4 {
        let event = events.next().await.expect("open").expect("an event");
        if event.action == Action::Started {
            starts.push(event.at.expect("a time"));
        }
    }
    let pauses: Vec<i128> = starts.windows(2).map(|w| (w[1] - w[0]).whole_milliseconds()).collect();
    assert_eq!(pauses, [100, 200, 400]);
    assert_eq!(state(&engine, "web"), ContainerState::Restarting);
    engine.stop(&id, Duration::ZERO).await.expect("stop");
    tokio::time::sleep(Duration::from_secs(100)).await;
    assert!(!state(&engine, "web").is_running());
    assert_eq!(engine.container("web").expect("still there").starts, 4);
}

#[tokio::test]
async fn a_process_that_exits_at_once_stays_down_with_its_code() {
    let engine = engine().await;
    engine.set_behaviour_of_image(&image(), Behaviour::Exits { code: 9, after: Duration::ZERO });
    run(&engine, "web").await;
    assert_eq!(state(&engine, "web"), ContainerState::Exited { code: Some(9) });
}

#[tokio::test(start_paused = true)]
async fn latencies_are_applied_and_pull_progress_is_reported() {
    let engine = engine().await;
    engine.publish_image(&image(), &[7; 1000]);
    engine.set_latencies(Latencies { pull: Duration::from_secs(5), ..Latencies::default() });
    let seen = std::sync::Mutex::new(Vec::new());
    let begin = Instant::now();
    let note = |progress: managed_app_runtimes::PullProgress| {
        seen.lock().expect("not poisoned").push(progress.done_bytes);
    };
    engine.pull(&image(), None, &note).await.expect("pull");
    assert_eq!(begin.elapsed().as_secs(), 5);
    let seen = seen.into_inner().expect("not poisoned");
    assert!(seen.is_sorted() && seen.len() == 11 && seen.last() == Some(&1000), "{seen:?}");
}

#[tokio::test(start_paused = true)]
async fn registries_refuse_throttle_and_stall() {
    let engine = engine().await;
    engine.publish_image(&image(), b"x");
    engine.require_credentials("registry.test", "AWS", "right");
    let credentials = |password: &str| RegistryCredentials { username: "AWS".to_owned(), password: password.into() };
    let pull = async |password: Option<&str>| {
        let credentials = password.map(credentials);
        engine.pull(&image(), credentials.as_ref(), &|_| ()).await.map_err(|error| error.kind())
    };
    assert_eq!(pull(None).await, Err(ErrorKind::Unauthorized));
    assert_eq!(pull(Some("wrong")).await, Err(ErrorKind::Unauthorized));
    engine.throttle_registry("registry.test", 1);
    assert_eq!(pull(Some("right")).await, Err(ErrorKind::Throttled));
    engine.stall_pulls(&image(), true);
    assert_eq!(pull(Some("right")).await, Err(ErrorKind::TimedOut));
    engine.stall_pulls(&image(), false);
    assert!(pull(Some("right")).await.is_ok());
}

#[tokio::test]
async fn ports_collide_by_address_and_protocol() {
    let engine = engine().await;
    let with_port = |name: &str, address: &str, protocol| {
        let host_address = address.parse().expect("an address");
        let mut spec = spec(name);
        spec.ports = vec![PortBinding { container_port: 80, protocol, host_address, host_port: 8080 }];
        spec
    };
    let start = async |spec: &ContainerSpec| {
        let id = engine.create(spec).await.expect("create");
        engine.start(&id).await.map_err(|error| error.kind())
    };
    assert_eq!(start(&with_port("n1", "127.0.0.1", Protocol::Tcp)).await, Ok(()));
    assert_eq!(start(&with_port("n2", "127.0.0.2", Protocol::Tcp)).await, Ok(()));
    assert_eq!(start(&with_port("n3", "0.0.0.0", Protocol::Udp)).await, Ok(()));
    assert_eq!(start(&with_port("n4", "0.0.0.0", Protocol::Tcp)).await, Err(ErrorKind::Conflict));
    engine.kill("n1").expect("kill");
    engine.kill("n2").expect("kill");
    let id = engine.container("n4").expect("n4").container.id;
    assert!(engine.start(&id).await.is_ok());
}

#[tokio::test]
async fn external_actions_are_visible_and_not_in_the_journal() {
    let engine = engine().await;
    run(&engine, "web").await;
    engine.clear_journal();
    engine.pause("web").expect("pause");
    assert_eq!(state(&engine, "web"), ContainerState::Paused);
    engine.disconnect("web", "app").expect("disconnect");
    engine.rename_externally("web", "other").expect("rename");
    assert!(engine.container("other").expect("renamed").container.networks.is_empty());
    engine.remove_externally("other").expect("remove");
    assert!(engine.containers().is_empty());
    assert_eq!(engine.kill("web").map_err(|error| error.kind()), Err(ErrorKind::NotFound));
    assert!(engine.journal().is_empty());
}

#[tokio::test]
async fn named_volumes_stay_and_anonymous_ones_are_removed() {
    let engine = engine().await;
    let mut spec = spec("web");
    let mount = |source, target: &str| Mount { source, target: target.to_owned() };
    spec.mounts = vec![mount(MountSource::Anonymous, "/a"), mount(MountSource::Volume("data".to_owned()), "/b")];
    let id = engine.create(&spec).await.expect("create");
    engine.restart(&id, Duration::ZERO).await.expect("restart");
    assert_eq!(engine.volumes().len(), 2);
    engine.remove(&id).await.expect("remove");
    assert_eq!(engine.volumes(), ["data"]);
}

#[tokio::test(start_paused = true)]
async fn a_hung_engine_times_out_and_a_stopped_one_is_unreachable() {
    let engine = engine().await;
    let mut events = engine.events(&owner()).await.expect("events");
    engine.hang();
    assert_eq!(engine.list(&owner()).await.map_err(|error| error.kind()), Err(ErrorKind::TimedOut));
    engine.go_down();
    assert_eq!(engine.info().await.map_err(|error| error.kind()), Err(ErrorKind::Unreachable));
    assert!(events.next().await.is_none());
    engine.come_back();
    assert!(engine.info().await.is_ok());
}

#[tokio::test]
async fn output_is_kept_per_run_and_followed() {
    let engine = engine().await;
    engine.set_output("web", vec![(LogSource::Stderr, "hello\n".into())]);
    let id = run(&engine, "web").await;
    let mut logs = engine.logs(&id, None).await.expect("logs");
    engine.print("web", "one").expect("print");
    engine.restart(&id, Duration::ZERO).await.expect("restart");
    engine.print("web", "two").expect("print");
    let mut lines = Vec::new();
    while let Some(chunk) = logs.next().await {
        lines.push(String::from_utf8(chunk.expect("a chunk").bytes.to_vec()).expect("text"));
    }
    assert_eq!(lines, ["hello\n", "one\n"], "the stream ends with the run it followed");
}

#[tokio::test]
async fn ten_thousand_containers_are_cheap() {
    let engine = engine().await;
    let begin = std::time::Instant::now();
    for number in 0..10_000 {
        run(&engine, &format!("node-{number}")).await;
    }
    engine.add_stranger("stranger", BTreeMap::new(), &["app"]).expect("stranger");
    assert_eq!(engine.list(&owner()).await.expect("list").len(), 10_000);
    let grace = Duration::from_secs(1);
    let containers = engine.list(&owner()).await.expect("list");
    futures_util::future::try_join_all(containers.iter().map(|c| engine.stop(&c.id, grace))).await.expect("stop");
    assert!(begin.elapsed() < Duration::from_secs(60), "took {:?}", begin.elapsed());
    assert_eq!(engine.calls("start", "node-77"), 1);
}
