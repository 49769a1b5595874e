//! The latency from a change to a restart, compared with a raw restart of the engine. Prints the values; only an
//! extreme value fails.

use std::io::Write as _;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::engine::Engine;
use crate::engine_harness::EngineHarness;

on_each_engine! {
    a_change_becomes_a_restart_at_once
}

const ROUNDS: usize = 7;
/// Other tests keep the cores and the engine busy at the same time. A daemon that waits for its poll would take 20 s.
const CALL_LIMIT: Duration = Duration::from_secs(10);

async fn a_change_becomes_a_restart_at_once(engine: Engine) {
    let mut engine_harness = EngineHarness::new(engine).await;
    engine_harness.started_with(["a"]).await;
    let (name, stranger) = (engine_harness.name("a"), engine_harness.name("stranger"));
    engine
        .run(&[
            "run",
            "--detach",
            "--name",
            &stranger,
            "--network",
            &engine_harness.tag,
            &engine_harness.image("node:1"),
        ])
        .await;
    let (mut until_call, mut whole, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        engine_harness.host.converged().await;
        engine_harness.host.eventually("it polls", |host| host.cloud.queues.waiting() > 0).await;
        engine_harness.host.journal.clear();
        let sent = engine_harness.cloud().set_node_config(&name, &format!(r#"{{"round":{round}}}"#));
        let sent_at = sent.receivable_at.expect("it is not delayed");
        let is_done = |host: &crate::support::Host| host.journal.starts(&name) > 0;
        engine_harness.host.eventually("the restart is done", is_done).await;
        whole.push(sent_at.elapsed());
        let call = engine_harness.host.journal.last("restart", &name).expect("it was done");
        until_call.push(call.at.saturating_duration_since(sent_at));
        raw.push(raw_restart(engine, &stranger).await);
    }
    let [until_call, whole, raw] = [until_call, whole, raw].map(median);
    let line = format!(
        "{}: message to restart call {:.1} ms; message to restart done {:.0} ms; raw restart {:.0} ms (medians of {ROUNDS})\n",
        engine.name(),
        until_call.as_secs_f64() * 1e3,
        whole.as_secs_f64() * 1e3,
        raw.as_secs_f64() * 1e3,
    );
    // Not `print!`: the output of a passed test is captured.
    let _ = std::io::stderr().write_all(line.as_bytes());
    assert!(until_call < CALL_LIMIT, "{line}");
}

/// A restart by one HTTP request to the socket of the engine.
async fn raw_restart(engine: Engine, container: &str) -> Duration {
    let path = match engine {
        Engine::Docker => format!("/v1.41/containers/{container}/restart?t=10"),
        Engine::Podman => format!("/v4.0.0/libpod/containers/{container}/restart?timeout=10"),
    };
    let endpoint = engine.endpoint();
    let socket = endpoint.strip_prefix("unix://").expect("the engine listens on a Unix socket");
    let began = Instant::now();
    let mut stream = UnixStream::connect(socket).await.expect("the engine listens");
    let request = format!("POST {path} HTTP/1.1\r\nHost: engine\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the engine reads");
    let mut answer = String::new();
    let read = tokio::time::timeout(crate::support::LIMIT, stream.read_to_string(&mut answer)).await;
    read.expect("the engine answers in time").expect("the answer is text");
    assert!(answer.starts_with("HTTP/1.1 204"), "{answer}");
    began.elapsed()
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}
