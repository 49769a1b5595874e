//! Output and events.

use std::time::Duration;

use futures_util::StreamExt;
use managed_app_runtimes::{Action, ContainerId, ContainerRuntime, LogChunk, LogSource};

use crate::harness::{Harness, OBEDIENT, docker, in_time};

/// End of the output of `TALK`: the engine's `json-file` stores text, and replaces a byte that is not UTF-8 with this.
const END: &[u8] = "\u{fffd}\0\n".as_bytes();

/// Three hundred lines without a pause, one to the other stream, a long one, one that is not text, and then no output.
const TALK: &str = r"
i=0; while [ $i -lt 300 ]; do echo line $i; i=$((i+1)); done
echo oops >&2
head -c 40000 /dev/zero | tr '\000' x; echo
printf '\377\000\n'
";

/// Output from `since` on, until each of `ends` was seen.
async fn take(harness: &Harness, id: &ContainerId, since: Option<&LogChunk>, ends: &[&[u8]]) -> Vec<LogChunk> {
    let mut logs = harness.runtime.logs(id, since.map(|chunk| chunk.at)).await.expect("a stream");
    let mut chunks: Vec<LogChunk> = Vec::new();
    while !ends.iter().all(|end| chunks.iter().any(|chunk| chunk.bytes == *end)) {
        chunks.push(in_time(logs.next()).await.expect("a chunk").expect("output"));
    }
    chunks
}

#[tokio::test]
async fn output_arrives_complete_in_order_and_from_a_given_time() {
    let harness = Harness::new("logs").await;
    let id = harness.started(&harness.spec("a", &format!("{TALK}{OBEDIENT}"))).await;
    // The two streams of a process reach the engine by two pipes, which have no common order.
    let chunks = take(&harness, &id, None, &[END, b"oops\n"]).await;
    let (errors, output): (Vec<_>, Vec<_>) = chunks.iter().partition(|chunk| chunk.source == LogSource::Stderr);
    assert_eq!(errors.iter().map(|chunk| chunk.bytes.as_ref()).collect::<Vec<_>>(), [b"oops\n"]);
    for (number, chunk) in output.iter().take(300).enumerate() {
        assert_eq!(chunk.bytes, format!("line {number}\n"));
    }
    assert!(output.is_sorted_by_key(|chunk| chunk.at));
    let long: Vec<_> = output[300..output.len() - 1].iter().map(|chunk| chunk.bytes.as_ref()).collect();
    assert!(long.len() > 1, "the engine splits long lines");
    assert_eq!(long.concat(), [vec![b'x'; 40_000], vec![b'\n']].concat());

    let again = take(&harness, &id, Some(output[150]), &[END]).await;
    let first = again.iter().find(|chunk| chunk.source == LogSource::Stdout).expect("output");
    assert_eq!(first, output[150]);
}

#[tokio::test]
async fn output_ends_with_the_container() {
    let harness = Harness::new("end").await;
    let id = harness
        .started(&harness.spec("a", &format!("trap 'echo bye; exit 3' TERM; echo hello; {}", &OBEDIENT[20..])))
        .await;
    let mut logs = harness.runtime.logs(&id, None).await.expect("a stream");
    assert_eq!(in_time(logs.next()).await.expect("a chunk").expect("output").bytes, "hello\n");
    harness.runtime.stop(&id, Duration::from_secs(10)).await.expect("a stop");
    assert_eq!(in_time(logs.next()).await.expect("a chunk").expect("output").bytes, "bye\n");
    assert!(in_time(logs.next()).await.is_none());
    // A stopped container returns its output and ends too.
    let kept: Vec<_> = in_time(harness.runtime.logs(&id, None).await.expect("a stream").collect()).await;
    assert_eq!(kept.len(), 2);
}

#[tokio::test]
async fn changes_by_others_are_reported() {
    let harness = Harness::new("events").await;
    let app = &harness.owner.app;
    let id = harness.runtime.create(&harness.spec("a", OBEDIENT)).await.expect("a container");
    let mut events = harness.runtime.events(&harness.owner).await.expect("a stream");
    let stranger = docker(&["run", "-d", "--network", app, "--name", &format!("{app}-x"), &harness.image.to_pull()]);
    let renamed = format!("{app}-renamed");
    docker(&["start", &id.0]);
    docker(&["exec", &id.0, "sleep", "0"]);
    docker(&["pause", &id.0]);
    docker(&["unpause", &id.0]);
    docker(&["rename", &id.0, &renamed]);
    docker(&["network", "disconnect", app, &id.0]);
    docker(&["rm", "-f", &stranger]);
    docker(&["rm", "-f", &id.0]);
    let mut told: Vec<Action> = Vec::new();
    while told.last() != Some(&Action::Removed) {
        let event = in_time(events.next()).await.expect("an event").expect("no error");
        assert_eq!(event.container, id);
        assert!(event.at.is_some());
        if event.action == Action::Renamed {
            assert_eq!(event.name, renamed);
        }
        told.push(event.action);
    }
    // The engine may report a network more than once.
    told.dedup();
    use Action::{Died, Network, Paused, Removed, Renamed, Started, Unpaused};
    assert_eq!(told, [Network, Started, Paused, Unpaused, Renamed, Network, Died, Removed]);
}

#[tokio::test]
async fn events_report_new_containers_including_legacy_ones() {
    let harness = Harness::new("created").await;
    let app = &harness.owner.app;
    let mut events = harness.runtime.events(&harness.owner).await.expect("a stream");
    let made = |name: &str, network: &str| {
        let name = format!("{app}-{name}");
        let label = "managed_node_type=x";
        let image = harness.image.to_pull();
        ContainerId(docker(&["create", "--name", &name, "--label", label, "--network", network, &image]))
    };
    made("elsewhere", "bridge");
    let legacy = made("legacy", app);
    let ours = harness.runtime.create(&harness.spec("ours", OBEDIENT)).await.expect("a container");
    for wanted in [legacy, ours] {
        let event = in_time(events.next()).await.expect("an event").expect("no error");
        assert_eq!((event.container, event.action), (wanted, Action::Created));
    }
}
