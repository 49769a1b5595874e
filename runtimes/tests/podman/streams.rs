//! Logs and events as Podman gives them.

use std::time::Duration;

use futures_util::StreamExt as _;
use managed_app_runtimes::{Action, ContainerId, ContainerRuntime as _, EventStream, LogChunk, LogSource, LogStream};
use tokio::time::timeout;

use crate::rig::{LIMIT, OBEDIENT, Rig, eventually};

async fn whole(stream: LogStream) -> Vec<LogChunk> {
    let all = timeout(LIMIT, stream.collect::<Vec<_>>()).await.expect("the stream ends with the container");
    all.into_iter().map(|chunk| chunk.expect("a chunk")).collect()
}

fn text(chunks: &[LogChunk], source: LogSource) -> Vec<u8> {
    let of_source = chunks.iter().filter(|chunk| chunk.source == source);
    of_source.flat_map(|chunk| chunk.bytes.iter().copied()).collect()
}

#[tokio::test]
async fn logs_keep_order_long_lines_and_binary_bytes_and_end_with_the_container() {
    let rig = Rig::new().await;
    let script = "i=0; while [ $i -lt 500 ]; do echo line $i; i=$((i+1)); done; echo oops >&2; \
                  head -c 100000 /dev/zero | tr '\\0' x; echo; printf '\\377\\000\\001bin\\n'; trap 'exit 0' TERM; \
                  while :; do sleep 0.1; done";
    let id = rig.run("log", script).await;
    let stream = rig.engine.logs(&id, None).await.expect("logs");
    let collected = tokio::spawn(whole(stream));
    eventually("all is written", || async { rig.podman(&["logs", &id.0]).ends_with("bin") }).await;
    rig.engine.stop(&id, LIMIT).await.expect("stopped");
    let chunks = collected.await.expect("no panic");
    let mut expected: Vec<u8> = (0..500).flat_map(|i| format!("line {i}\n").into_bytes()).collect();
    expected.extend(std::iter::repeat_n(b'x', 100_000));
    expected.extend(b"\n\xff\0\x01bin\n");
    assert_eq!(text(&chunks, LogSource::Stdout), expected);
    assert_eq!(text(&chunks, LogSource::Stderr), b"oops\n");
    assert!(chunks.is_sorted_by_key(|chunk| chunk.at));
}

#[tokio::test]
async fn since_is_inclusive_and_leaves_older_lines_out() {
    let rig = Rig::new().await;
    let id = rig.run("since", "echo old; sleep 2; echo new").await;
    // Podman may start it again before anybody sees that it has ended, and the stream goes on.
    let mut logs = rig.engine.logs(&id, None).await.expect("logs");
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
    let mut again = rig.engine.logs(&id, Some(new)).await.expect("logs");
    let first = timeout(LIMIT, again.next()).await.expect("there is output").expect("the stream goes on");
    assert_eq!(first.expect("a piece").bytes, "new\n");
}

#[tokio::test]
async fn logs_of_a_silent_container_are_there_at_once() {
    let rig = Rig::new().await;
    let id = rig.run("silent", "trap 'exit 0' TERM; while :; do sleep 0.1; done").await;
    let opened = timeout(Duration::from_secs(5), rig.engine.logs(&id, None)).await.expect("not held up");
    let collected = tokio::spawn(whole(opened.expect("logs")));
    rig.engine.stop(&id, LIMIT).await.expect("stopped");
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
async fn changes_made_by_others_are_seen_and_strangers_are_not() {
    let rig = Rig::new().await;
    let id = rig.engine.create(&rig.spec("ours", OBEDIENT)).await.expect("created");
    let mut events = rig.engine.events(&rig.owner).await.expect("connected");
    let (image, stranger) = (rig.image(), rig.name("stranger"));
    let network = ["--network", &rig.app, "-e", "RUN=exec sleep 9"];
    rig.podman(&["create", "--name", &stranger, network[0], network[1], network[2], network[3], &image]);
    rig.start_by_command(&stranger).await;
    rig.start_by_command(&id.0).await;
    expect(&mut events, &id.0, Action::Started).await;
    rig.podman(&["pause", &id.0]);
    expect(&mut events, &id.0, Action::Paused).await;
    rig.podman(&["unpause", &id.0]);
    expect(&mut events, &id.0, Action::Unpaused).await;
    rig.podman(&["network", "disconnect", &rig.app, &id.0]);
    expect(&mut events, &id.0, Action::Network).await;
    rig.podman(&["rename", &id.0, &rig.name("renamed")]);
    expect(&mut events, &id.0, Action::Renamed).await;
    rig.podman(&["kill", &id.0]);
    expect(&mut events, &id.0, Action::Died).await;
    rig.podman(&["network", "disconnect", &rig.app, &stranger]);
    rig.podman(&["rm", "-f", "-t", "0", &stranger]);
    rig.podman(&["rm", "-f", "-t", "0", &id.0]);
    expect(&mut events, &id.0, Action::Removed).await;
}

#[tokio::test]
async fn legacy_containers_have_events_from_birth_to_removal() {
    let rig = Rig::new().await;
    let (image, name) = (rig.image(), rig.name("legacy"));
    let create = |name: &str| {
        let label = "managed_node_type=t";
        rig.podman(&[
            "create",
            "--name",
            name,
            "--network",
            &rig.app,
            "--label",
            label,
            "-e",
            "RUN=exec sleep 9",
            &image,
        ])
    };
    let old = create(&name);
    let mut events = rig.engine.events(&rig.owner).await.expect("connected");
    rig.podman(&["rm", "-f", "-t", "0", &old]);
    expect(&mut events, &old, Action::Removed).await;
    let new = create(&name);
    expect(&mut events, &new, Action::Created).await;
    rig.start_by_command(&new).await;
    expect(&mut events, &new, Action::Started).await;
    rig.podman(&["network", "disconnect", &rig.app, &new]);
    expect(&mut events, &new, Action::Network).await;
}

#[tokio::test]
async fn an_event_right_after_the_subscription_is_not_lost() {
    let rig = Rig::new().await;
    for round in 0..5 {
        let mut events = rig.engine.events(&rig.owner).await.expect("connected");
        let id = rig.engine.create(&rig.spec(&format!("quick{round}"), OBEDIENT)).await.expect("created");
        expect(&mut events, &id.0, Action::Created).await;
        drop(events);
        rig.engine.remove(&id).await.expect("removed");
    }
}

/// Podman starts its file of events anew after a megabyte; each event carries the labels of its container.
#[tokio::test]
async fn events_go_on_and_come_once_when_podman_starts_its_file_of_them_anew() {
    let rig = Rig::new().await;
    let id = rig.engine.create(&rig.spec("ours", OBEDIENT)).await.expect("created");
    let (image, stranger) = (rig.image(), rig.name("stranger"));
    let labels = std::env::temp_dir().join(rig.name("labels"));
    let lines: String = (0..3).map(|i| format!("big{i}={}\n", "x".repeat(40_000))).collect();
    std::fs::write(&labels, lines).expect("a file of labels");
    let label_file = labels.to_str().expect("text");
    rig.podman(&["create", "--name", &stranger, "--network", &rig.app, "--label-file", label_file, &image]);
    let mut events = rig.engine.events(&rig.owner).await.expect("connected");
    for turn in 0..15 {
        rig.podman(&["rename", &stranger, &format!("{stranger}x")]);
        rig.podman(&["rename", &format!("{stranger}x"), &stranger]);
        let name = rig.name(&format!("ours{turn}"));
        rig.podman(&["rename", &id.0, &name]);
        let next = timeout(LIMIT, events.next()).await.unwrap_or_else(|_| panic!("no event of rename {turn}"));
        let event = next.expect("the stream goes on").expect("an event");
        assert_eq!((event.container, event.action, event.name), (id.clone(), Action::Renamed, name));
    }
    assert!(timeout(Duration::from_secs(1), events.next()).await.is_err(), "an event came twice");
    std::fs::remove_file(labels).expect("removed");
}
