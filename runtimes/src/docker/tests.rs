//! The backend against a scripted engine: hung headers, hung bodies, unknown values. Real engines cannot be made to do
//! this.

mod engine;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use futures_util::future::{BoxFuture, join_all};
use futures_util::{FutureExt, StreamExt};
use serde_json::json;

use self::engine::{Response, ScriptedEngine, chunks, json_lines};
use super::DockerRuntime;
use crate::EngineInspection;
use crate::labels;
use crate::{
    ContainerId, ContainerRuntime, ContainerState, ErrorKind, ImageReference, Limits, Owner, RegistryCredentials,
};

/// Long enough for a response on a busy machine.
const LIMIT: Duration = Duration::from_secs(2);
/// Much longer than every limit.
const PATIENCE: Duration = Duration::from_secs(60);

fn limits() -> Limits {
    Limits { call: LIMIT, stop_margin: LIMIT, pull_silence: LIMIT, pull_total: LIMIT * 4 }
}

fn owner() -> Owner {
    Owner { app: "app".to_owned(), tenant: "t".to_owned(), host: "h".to_owned() }
}

fn image() -> ImageReference {
    "a.b/n:1".parse().expect("a reference")
}

fn id() -> ContainerId {
    ContainerId("c1".to_owned())
}

fn element(id: &str, state: &str) -> serde_json::Value {
    let labels = json!({labels::APP: "app", labels::TENANT: "t", labels::HOST: "h"});
    json!({"Id": id, "Names": [format!("/{id}")], "ImageID": "sha256:1", "Labels": labels, "State": state})
}

/// A list of three of our containers, one in an unknown state, and of none of the Python program's.
fn three(path: &str) -> Option<Response> {
    if !path.starts_with("/containers/json") {
        return None;
    }
    let is_ours = path.contains("stream.echo.managed-app.app");
    let list = json!([element("c1", "running"), element("c2", "frobnicating"), element("c3", "exited")]);
    Some(Response::json(200, if is_ours { list } else { json!([]) }))
}

#[tokio::test]
async fn a_container_in_an_unknown_state_hides_no_other() {
    let engine = ScriptedEngine::start(|request| {
        three(&request.path).unwrap_or_else(|| match request.path.as_str() {
            "/containers/c1/json" => Response::json(200, json!({"State": {"Status": "running"}})),
            "/containers/c2/json" => Response::json(200, json!({"State": {"Status": "frobnicating"}})),
            _ => Response::json(500, json!({"message": "boom"})),
        })
    });
    let runtime = engine.runtime(limits());
    let states: Vec<ContainerState> =
        runtime.list(&owner()).await.expect("a list").into_iter().map(|container| container.state).collect();
    let unknown = ContainerState::Unknown("frobnicating".to_owned());
    assert_eq!(states, [ContainerState::Running, unknown, ContainerState::Exited { code: None }]);
}

#[tokio::test]
async fn a_hung_inspection_delays_but_hides_no_container() {
    let engine = ScriptedEngine::start(|request| {
        three(&request.path).unwrap_or_else(|| match request.path.as_str() {
            "/containers/c1/json" => Response::Hang,
            "/containers/c2/json" => Response::json(404, json!({"message": "No such container: c2"})),
            _ => Response::json(200, json!({"State": {"Status": "exited", "ExitCode": 3}})),
        })
    });
    let started = Instant::now();
    let found = engine.runtime(limits()).list(&owner()).await.expect("a list");
    assert!(started.elapsed() < PATIENCE);
    let found: Vec<_> = found.into_iter().map(|container| (container.name, container.state)).collect();
    let wanted =
        [("c1".to_owned(), ContainerState::Running), ("c3".to_owned(), ContainerState::Exited { code: Some(3) })];
    assert_eq!(found, wanted);
}

/// Every call that waits for a response, and the kind of its failure.
async fn kinds(runtime: &DockerRuntime) -> Vec<(&'static str, Option<ErrorKind>)> {
    fn kind<T>(result: crate::Result<T>) -> Option<ErrorKind> {
        result.err().map(|error| error.kind())
    }
    let grace = Duration::ZERO;
    let (owner, image, id) = (owner(), image(), id());
    // Concurrently, so that the waits overlap.
    let calls: Vec<BoxFuture<'_, (&'static str, Option<ErrorKind>)>> = vec![
        async { ("info", kind(runtime.info().await)) }.boxed(),
        async { ("host", kind(runtime.host().await)) }.boxed(),
        async { ("list", kind(runtime.list(&owner).await)) }.boxed(),
        async { ("ensure_network", kind(runtime.ensure_network("n", &owner).await)) }.boxed(),
        async { ("pull", kind(runtime.pull(&image, None, &|_| {}).await)) }.boxed(),
        async { ("image", kind(runtime.image(&image).await)) }.boxed(),
        async { ("start", kind(runtime.start(&id).await)) }.boxed(),
        async { ("stop", kind(runtime.stop(&id, grace).await)) }.boxed(),
        async { ("restart", kind(runtime.restart(&id, grace).await)) }.boxed(),
        async { ("rename", kind(runtime.rename(&id, "x").await)) }.boxed(),
        async { ("remove", kind(runtime.remove(&id).await)) }.boxed(),
        async { ("logs", kind(runtime.logs(&id, None).await)) }.boxed(),
        async { ("events", kind(runtime.events(&owner).await)) }.boxed(),
    ];
    join_all(calls).await
}

#[tokio::test]
async fn calls_to_an_engine_that_never_responds_time_out() {
    let engine = ScriptedEngine::start(|_| Response::Hang);
    let started = Instant::now();
    for (call, kind) in kinds(&engine.runtime(limits())).await {
        assert_eq!(kind, Some(ErrorKind::TimedOut), "{call}");
    }
    assert!(started.elapsed() < LIMIT + PATIENCE);
}

#[tokio::test]
async fn an_engine_without_a_socket_is_unreachable() {
    let engine = ScriptedEngine::start(|_| Response::Hang);
    let runtime = engine.runtime(limits());
    drop(engine);
    for (call, kind) in kinds(&runtime).await {
        assert_eq!(kind, Some(ErrorKind::Unreachable), "{call}");
    }
}

#[tokio::test]
async fn a_response_that_stalls_midway_times_out() {
    let engine = ScriptedEngine::start(|_| Response::Part(200, "{\"Id\":".into()));
    let runtime = engine.runtime(limits());
    for (call, kind) in kinds(&runtime).await {
        // A start or stop is complete when the headers arrive; output may be silent forever.
        let is_short = ["start", "stop", "restart", "rename", "remove", "logs"].contains(&call);
        assert_eq!(kind, (!is_short).then_some(ErrorKind::TimedOut), "{call}");
    }
}

#[tokio::test]
async fn an_error_inside_a_pull_stream_has_the_right_kind() {
    let cases = [
        ("manifest for a.b/n:1 not found: manifest unknown", ErrorKind::NotFound),
        ("unauthorized: authentication required", ErrorKind::Unauthorized),
        ("toomanyrequests: Rate exceeded", ErrorKind::Throttled),
        ("unexpected EOF", ErrorKind::Other),
    ];
    for (message, kind) in cases {
        let lines = json_lines(&[
            json!({"status": "Pulling from n", "id": "1"}),
            json!({"errorDetail": {"message": message}, "error": message}),
        ]);
        let engine = ScriptedEngine::start(move |_| Response::Whole(200, lines.clone()));
        let error = engine.runtime(limits()).pull(&image(), None, &|_| {}).await.expect_err(message);
        assert_eq!(error.kind(), kind, "{message}");
    }
}

#[tokio::test]
async fn credentials_with_any_characters_arrive_unchanged() {
    let engine = ScriptedEngine::start(|_| Response::json(500, json!({"message": "no basic auth credentials"})));
    let password = "~~~???>>>~?>";
    let credentials = RegistryCredentials { username: "AWS".to_owned(), password: password.to_owned().into() };
    let error = engine.runtime(limits()).pull(&image(), Some(&credentials), &|_| {}).await.expect_err("it is refused");
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let request = engine.requests().pop().expect("one request");
    assert_eq!(request.path.split('?').next(), Some("/images/create"));
    let header = URL_SAFE.decode(request.header("x-registry-auth").expect("the header")).expect("base64");
    let header: serde_json::Value = serde_json::from_slice(&header).expect("JSON");
    assert_eq!(header, json!({"username": "AWS", "password": password, "serveraddress": "a.b"}));
}

#[tokio::test]
async fn a_closed_connection_ends_a_followed_log_with_an_error() {
    let frame = chunks(&[(1, "2026-11-22T19:17:00.000000001Z one\n"), (2, "2026-11-22T19:17:00.000000002Z two\n")]);
    let engine = ScriptedEngine::start(move |_| Response::Part(200, frame.clone()));
    let runtime = engine.runtime(limits());
    let mut logs = runtime.logs(&id(), None).await.expect("a stream");
    let mut lines = Vec::new();
    for _ in 0..2 {
        lines.push(logs.next().await.expect("an item").expect("output").bytes);
    }
    assert_eq!(lines, ["one\n", "two\n"]);
    // Silence beyond every limit is valid.
    assert!(tokio::time::timeout(LIMIT * 2, logs.next()).await.is_err());
    engine.cut();
    let last = tokio::time::timeout(PATIENCE, logs.next()).await.expect("an item in time").expect("an error");
    assert_eq!(last.map(drop).map_err(|error| error.kind()), Err(ErrorKind::Unreachable));
    assert!(logs.next().await.is_none());
}

#[tokio::test]
async fn a_clock_that_is_set_back_hides_nothing() {
    let at = |second: u8, text: &str| format!("2026-11-22T19:17:{second:02}Z {text}\n");
    let lines = [at(1, "old"), at(5, "new"), at(2, "set back")];
    let frames = chunks(&lines.each_ref().map(|line| (1, line.as_str())));
    let engine = ScriptedEngine::start(move |_| Response::Part(200, frames.clone()));
    let since = time::macros::datetime!(2026-11-22 19:17:04 UTC);
    let logs = engine.runtime(limits()).logs(&id(), Some(since)).await.expect("a stream");
    let lines = logs.take(2).map(|item| item.expect("output").bytes).collect::<Vec<_>>();
    let lines = tokio::time::timeout(PATIENCE, lines).await.expect("two lines in time");
    assert_eq!(lines, ["new\n", "set back\n"]);
}

#[tokio::test]
async fn streams_fail_at_once_when_the_engine_refuses_them() {
    let engine = ScriptedEngine::start(|_| Response::json(404, json!({"message": "No such container: c1"})));
    let runtime = engine.runtime(limits());
    let kind = runtime.logs(&id(), None).await.err().map(|error| error.kind());
    assert_eq!(kind, Some(ErrorKind::NotFound));
    let kind = runtime.logs(&ContainerId("../x".to_owned()), None).await.err().map(|error| error.kind());
    assert_eq!((kind, engine.requests().len()), (Some(ErrorKind::NotFound), 1));
}

#[tokio::test]
async fn an_engine_that_is_too_old_is_refused() {
    let engine = ScriptedEngine::start(|_| Response::json(200, json!({"Version": "19.03", "ApiVersion": "1.40"})));
    let error = engine.runtime(limits()).info().await.expect_err("it is too old");
    assert_eq!(error.kind(), ErrorKind::Refused);
}

#[tokio::test]
async fn an_engine_on_a_local_port_is_reached() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let endpoint = format!("tcp://{}", listener.local_addr().expect("an address"));
    let runtime = DockerRuntime::connect(Some(&endpoint), limits()).expect("a good address");
    let serve = async {
        let (mut stream, _) = listener.accept().await.expect("a connection");
        tokio::io::AsyncReadExt::read(&mut stream, &mut [0; 1024]).await.expect("a request");
        let answer = b"HTTP/1.1 404 Scripted\r\ncontent-length: 0\r\n\r\n";
        tokio::io::AsyncWriteExt::write_all(&mut stream, answer).await.expect("a listener");
        stream
    };
    let image = image();
    let (found, _stream) = tokio::join!(runtime.image(&image), serve);
    assert_eq!(found.expect("an answer"), None);
}
