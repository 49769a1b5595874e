//! Logs and events of a real Podman.

use std::time::Duration;

use futures_util::StreamExt as _;
use managed_app_runtimes::{Action, ContainerId, ContainerRuntime as _, EventStream, LogChunk, LogSource, LogStream};
use tokio::time::timeout;

use crate::harness::{Harness, LIMIT, OBEDIENT, eventually};

async fn whole(stream: LogStream) -> Vec<LogChunk> {
    let all = timeout(LIMIT, stream.collect::<Vec<_>>()).await.expect("the stream ends with the container");
    all.into_iter().map(|chunk| chunk.expect("a chunk")).collect()
}

fn text(chunks: &[LogChunk], source: LogSource) -> Vec<u8> {
    let of_source = chunks.iter().filter(|chunk| chunk.source == source);
    of_source.flat_map(|chunk| chunk.bytes.iter().copied()).collect()
}

#[tokio::test]
async fn logs_are_complete_and_end_with_the_container() {
    let harness = Harness::new().await;
    let script = "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; echo oops >&2; \
                  head -c 100000 /dev/zero | tr '\\0' x; echo; printf '\\377\\000\\001bin\\n'; trap 'exit 0' TERM; \
                  while :; do sleep 0.1; done";
    let id = harness.run("log", script).await;
    let stream = harness.engine.logs(&id, None).await.expect("logs");
    let collected = tokio::spawn(whole(stream));
    eventually("all is written", || async { harness.podman(&["logs", &id.0]).ends_with("bin") }).await;
    harness.engine.stop(&id, LIMIT).await.expect("stopped");
    let chunks = collected.await.expect("no panic");
    let mut expected: Vec<u8> = (0..500).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    expected.extend(std::iter::repeat_n(b'x', 100_000));
    expected.extend(b"\n\xff\0\x01bin\n");
    assert_eq!(text(&chunks, LogSource::Stdout), expected);
    assert_eq!(text(&chunks, LogSource::Stderr), b"oops\n");
    assert!(chunks.is_sorted_by_key(|chunk| chunk.at));
}

#[tokio::test]
async fn since_is_inclusive_and_skips_older_lines() {
    let harness = Harness::new().await;
    let id = harness.run("since", "echo old; sleep 2; echo new").await;
    // Podman may restart it before its end is observed; the stream then continues.
    let mut logs = harness.engine.logs(&id, None).await.expect("logs");
    let both = async {
        let mut all: Vec<LogChunk> = Vec::new();
        while !all.iter().any(|chunk| &chunk.bytes[..] == b"new\n") {
            all.push(logs.next().await.expect("the stream goes on").expect("a piece"));
        }
        all
    };
    let all = timeout(LIMIT, both).await.expect("both lines come");
    let old = all.iter().find(|chunk| &chunk.bytes[..] == b"old\n").expect("an old line").at;
    let new = all.iter().find(|chunk| &chunk.bytes[..] == b"new\n").expect("a new line").at;
    assert!(new > old);
    let mut again = harness.engine.logs(&id, Some(new)).await.expect("logs");
    let first = timeout(LIMIT, again.next()).await.expect("there is output").expect("the stream goes on");
    assert_eq!(first.expect("a piece").bytes, "new\n");
}

#[tokio::test]
async fn logs_of_a_silent_container_open_at_once() {
    let harness = Harness::new().await;
    let id = harness.run("silent", "trap 'exit 0' TERM; while :; do sleep 0.1; done").await;
    let opened = timeout(Duration::from_secs(5), harness.engine.logs(&id, None)).await.expect("not held up");
    let collected = tokio::spawn(whole(opened.expect("logs")));
    harness.engine.stop(&id, LIMIT).await.expect("stopped");
    assert!(collected.await.expect("no panic").is_empty());
}

async fn expect(events: &mut EventStream, id: &str, action: Action) {
    let seen = timeout(LIMIT, async {
        loop {
            let event = events.next().await.expect("the stream goes on").expect("an event");
            assert_eq!(event.container, ContainerId(id.to_owned()), "a stranger's event: {event:?}");
            if event.action == action {
                return event;
            }
        }
    });
    let event = seen.await.unwrap_or_else(|_| panic!("no {action:?} seen"));
    assert!(event.at.is_some() && !event.name.is_empty());
}

#[tokio::test]
async fn external_changes_are_reported_and_strangers_are_not() {
    let harness = Harness::new().await;
    let id = harness.engine.create(&harness.spec("ours", OBEDIENT)).await.expect("created");
    let mut events = harness.engine.events(&harness.owner).await.expect("connected");
    let (image, stranger) = (harness.image(), harness.name("stranger"));
    let network = ["--network", &harness.app, "-e", "RUN=exec sleep 9"];
    harness.podman(&["create", "--name", &stranger, network[0], network[1], network[2], network[3], &image]);
    harness.start_by_command(&stranger).await;
    harness.start_by_command(&id.0).await;
    expect(&mut events, &id.0, Action::Started).await;
    harness.podman(&["pause", &id.0]);
    expect(&mut events, &id.0, Action::Paused).await;
    harness.podman(&["unpause", &id.0]);
    expect(&mut events, &id.0, Action::Unpaused).await;
    harness.podman(&["network", "disconnect", &harness.app, &id.0]);
    expect(&mut events, &id.0, Action::Network).await;
    harness.podman(&["rename", &id.0, &harness.name("renamed")]);
    expect(&mut events, &id.0, Action::Renamed).await;
    harness.podman(&["kill", &id.0]);
    expect(&mut events, &id.0, Action::Died).await;
    harness.podman(&["network", "disconnect", &harness.app, &stranger]);
    harness.podman(&["rm", "-f", "-t", "0", &stranger]);
    harness.podman(&["rm", "-f", "-t", "0", &id.0]);
    expect(&mut events, &id.0, Action::Removed).await;
}

#[tokio::test]
async fn legacy_containers_have_events_from_creation_to_removal() {
    let harness = Harness::new().await;
    let (image, name) = (harness.image(), harness.name("legacy"));
    let create = |name: &str| {
        let label = "managed_node_type=t";
        harness.podman(&[
            "create",
            "--name",
            name,
            "--network",
            &harness.app,
            "--label",
            label,
            "-e",
            "RUN=exec sleep 9",
            &image,
        ])
    };
    let old = create(&name);
    let mut events = harness.engine.events(&harness.owner).await.expect("connected");
    harness.podman(&["rm", "-f", "-t", "0", &old]);
    expect(&mut events, &old, Action::Removed).await;
    let new = create(&name);
    expect(&mut events, &new, Action::Created).await;
    harness.start_by_command(&new).await;
    expect(&mut events, &new, Action::Started).await;
    harness.podman(&["network", "disconnect", &harness.app, &new]);
    expect(&mut events, &new, Action::Network).await;
}

#[tokio::test]
async fn an_event_right_after_the_subscription_is_not_lost() {
    let harness = Harness::new().await;
    for round in 0..5 {
        let mut events = harness.engine.events(&harness.owner).await.expect("connected");
        let id = harness.engine.create(&harness.spec(&format!("quick{round}"), OBEDIENT)).await.expect("created");
        expect(&mut events, &id.0, Action::Created).await;
        drop(events);
        harness.engine.remove(&id).await.expect("removed");
    }
}

/// Podman truncates its file of events after a megabyte; each event contains the labels of its container.
#[tokio::test]
async fn events_continue_once_each_after_podman_truncates_its_file() {
    let harness = Harness::new().await;
    let id = harness.engine.create(&harness.spec("ours", OBEDIENT)).await.expect("created");
    let (image, stranger) = (harness.image(), harness.name("stranger"));
    let labels = std::env::temp_dir().join(harness.name("labels"));
    let lines: String = (0..3).map(|i| format!("big{i}={}\n", "x".repeat(40_000))).collect();
    std::fs::write(&labels, lines).expect("a file of labels");
    let label_file = labels.to_str().expect("text");
    harness.podman(&["create", "--name", &stranger, "--network", &harness.app, "--label-file", label_file, &image]);
    let mut events = harness.engine.events(&harness.owner).await.expect("connected");
    for turn in 0..15 {
        harness.podman(&["rename", &stranger, &format!("{stranger}x")]);
        harness.podman(&["rename", &format!("{stranger}x"), &stranger]);
        let name = harness.name(&format!("ours{turn}"));
        harness.podman(&["rename", &id.0, &name]);
        let next = timeout(LIMIT, events.next()).await.unwrap_or_else(|_| panic!("no event of rename {turn}"));
        let event = next.expect("the stream goes on").expect("an event");
        assert_eq!((event.container, event.action, event.name), (id.clone(), Action::Renamed, name));
    }
    assert!(timeout(Duration::from_secs(1), events.next()).await.is_err(), "an event came twice");
    std::fs::remove_file(labels).expect("removed");
}
