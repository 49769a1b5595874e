//! Output of a scripted engine.

use std::time::Duration;

use futures_util::StreamExt as _;

use super::wire::{Engine, Response, answer, id, streamed};
use crate::podman::position::tests::OFFSET;
use crate::{ContainerRuntime as _, ErrorKind};

const LIMIT: Duration = Duration::from_secs(30);

#[tokio::test]
async fn a_broken_stream_ends_with_one_error() {
    // A whole line and the start of another.
    let cut = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3d\r\n\
        \x01\0\0\0\0\0\0\x172026-11-22T22:00:55Z x\n\x01\0\0\0\0\0\0\x162026-11-22T22:00:55Z y\r\n";
    let engine = Engine::with(vec![
        answer("/containers/x/json", 200, "{}"),
        Response { to: "/containers/x/logs", pieces: vec![cut.to_vec()], hangs: false },
    ])
    .await;
    let items: Vec<_> = engine.runtime.logs(&id(), None).await.expect("logs").collect().await;
    assert_eq!(&items[0].as_ref().expect("a chunk").bytes[..], b"x\n");
    assert_eq!(items[1].as_ref().expect_err("the cut").kind(), ErrorKind::Unreachable);
    assert_eq!(items.len(), 2);
}

#[tokio::test]
async fn followed_output_is_only_a_signal_and_chunks_are_joined() {
    let one: &[u8] = b"\x01\0\0\0\0\0\0\x192026-11-22T22:00:55Z one\n";
    let tw: &[u8] = b"\x01\0\0\0\0\0\0\x172026-11-22T22:00:55Z tw";
    let o: &[u8] = b"\x01\0\0\0\0\0\0\x172026-11-22T22:00:55Z o\n";
    for status in ["running", "stopping", "exited"] {
        let engine = Engine::with(vec![
            answer("/containers/x/json", 200, &format!(r#"{{"State":{{"Status":"{status}"}}}}"#)),
            streamed("follow=true", &[one, one], true),
            streamed("follow=false", &[one, tw, o, one], false),
        ])
        .await;
        let logs = engine.runtime.logs(&id(), None).await.expect("logs");
        let lines = logs.take(3).map(|item| item.expect("a chunk").bytes).collect::<Vec<_>>();
        let lines = tokio::time::timeout(Duration::from_secs(10), lines).await.expect("there are three");
        assert_eq!(lines, ["one\n", "two\n", "one\n"], "{status}");
    }
}

#[tokio::test]
async fn a_clock_that_is_set_back_hides_nothing() {
    let before: &[u8] = b"\x01\0\0\0\0\0\0\x1c2026-11-22T22:00:55Z before\n";
    let after: &[u8] = b"\x01\0\0\0\0\0\0\x1b2026-11-22T22:00:50Z after\n";
    let engine = Engine::with(vec![
        answer("/containers/x/json", 200, r#"{"State":{"Status":"running"}}"#),
        streamed("follow=true", &[], true),
        // The second of the newest line and later lines.
        streamed("since=2026-11-22T22%3A00%3A54.999999999Z", &[before], false),
        streamed("follow=false", &[before], false),
    ])
    .await;
    let mut logs = engine.runtime.logs(&id(), None).await.expect("logs");
    let mut next = async || {
        let item = tokio::time::timeout(LIMIT, logs.next()).await.expect("it comes");
        item.expect("the stream goes on").expect("a chunk").bytes
    };
    assert_eq!(next().await, "before\n");
    OFFSET.set(time::Duration::seconds(-5));
    engine.answer_first(streamed("timestamps=true&follow=false", &[before, after], false));
    assert_eq!(next().await, "after\n");
}

#[tokio::test]
async fn only_the_last_lines_of_a_long_log_are_requested() {
    let [a, b, c]: [&[u8]; 3] = [
        b"\x01\0\0\0\0\0\0\x172026-11-22T22:00:55Z a\n",
        b"\x01\0\0\0\0\0\0\x172026-11-22T22:00:56Z b\n",
        b"\x01\0\0\0\0\0\0\x172026-11-22T22:00:57Z c\n",
    ];
    let since = "since=2026-11-22T22%3A00%3A55.999999999Z";
    let broken = r#"{"cause":"'2026-11-22T1' is not a valid container log line","response":500}"#;
    // The last lines contain all new output, or are too few to decide, or fail to load.
    let cases = [
        (streamed("tail=", &[a, b, c], false), false),
        (streamed("tail=", &[b, c], false), true),
        (streamed("tail=", &[], false), true),
        (answer("tail=", 500, broken), true),
    ];
    for (number, (last, asks_for_all)) in cases.into_iter().enumerate() {
        let engine = Engine::with(vec![
            answer("/containers/x/json", 200, r#"{"State":{"Status":"running"}}"#),
            streamed("follow=true", &[], true),
            last,
            streamed(since, &[b, c], false),
            streamed("follow=false", &[a, b, c], false),
        ])
        .await;
        let logs = engine.runtime.logs(&id(), None).await.expect("logs");
        let lines = logs.take(3).map(|item| item.expect("a chunk").bytes).collect::<Vec<_>>();
        assert_eq!(tokio::time::timeout(LIMIT, lines).await.expect("there are three"), ["a\n", "b\n", "c\n"]);
        assert_eq!((engine.asked("tail="), engine.asked(since)), (true, asks_for_all), "{number}");
    }
}
