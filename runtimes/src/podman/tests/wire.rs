//! A scripted engine on a Unix socket: hangs, broken bodies, odd shapes, errors inside a 200.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::task::JoinHandle;

use super::tables::spec;
use crate::EngineInspection;
use crate::podman::PodmanRuntime;
use crate::{
    ContainerId, ContainerRuntime as _, ContainerState, ErrorKind, ImageReference, Limits, Owner, PullProgress,
    RegistryCredentials,
};

/// Long enough for a response on a busy machine.
const LIMITS: Limits = Limits {
    call: Duration::from_secs(2),
    stop_margin: Duration::from_secs(2),
    pull_silence: Duration::from_secs(2),
    pull_total: Duration::from_secs(4),
};
const PING: &str = "HTTP/1.1 200 OK\r\nApi-Version: 1.41\r\nLibpod-Api-Version: 9.9.9\r\nLibpod-Buildah-Version: 1\r\n\
                    Docker-Experimental: true\r\nCache-Control: no-cache\r\nPragma: no-cache\r\nContent-Length: 2\r\n\r\nOK";

type Script = Arc<Mutex<Vec<Response>>>;

/// The engine's response to a request whose line contains a text: chunks in order, then hang or close.
#[derive(Clone)]
pub(super) struct Response {
    pub(super) to: &'static str,
    pub(super) pieces: Vec<Vec<u8>>,
    pub(super) hangs: bool,
}

pub(super) fn answer(to: &'static str, status: u16, body: &str) -> Response {
    let text = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    Response { to, pieces: vec![text.into_bytes()], hangs: false }
}

/// A body that ends with the connection, sent in `pieces`.
pub(super) fn streamed(to: &'static str, pieces: &[&[u8]], hangs: bool) -> Response {
    let headers = b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n".to_vec();
    Response { to, pieces: std::iter::once(headers).chain(pieces.iter().map(|piece| piece.to_vec())).collect(), hangs }
}

pub(super) struct Engine {
    pub(super) runtime: PodmanRuntime,
    script: Script,
    requests: Arc<Mutex<Vec<String>>>,
    server: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Engine {
    pub(super) async fn with(answers: Vec<Response>) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let path = folder.path().join("s");
        let listener = UnixListener::bind(&path).expect("a socket");
        let requests = Arc::new(Mutex::new(Vec::new()));
        let mut script = answers;
        script.push(answer("/networks/json", 200, r#"[{"name":"net"}]"#));
        script.push(Response { to: "/_ping", pieces: vec![PING.into()], hangs: false });
        script.push(answer("/info", 200, r#"{"host":{"security":{"rootless":true}}}"#));
        let script = Arc::new(Mutex::new(script));
        let server = tokio::spawn(serve(listener, Arc::clone(&script), Arc::clone(&requests)));
        let endpoint = format!("unix://{}", path.display());
        let runtime = PodmanRuntime::connect(&endpoint, LIMITS).await.expect("it answers");
        Self { runtime, script, requests, server, _folder: folder }
    }

    /// Adds a response that takes precedence over the earlier ones.
    pub(super) fn answer_first(&self, answer: Response) {
        self.script.lock().expect("no panic").insert(0, answer);
    }

    pub(super) fn asked(&self, text: &str) -> bool {
        self.requests.lock().expect("no panic").iter().any(|request| request.contains(text))
    }
}

async fn serve(listener: UnixListener, script: Script, requests: Arc<Mutex<Vec<String>>>) {
    let mut held = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        held.spawn(talk(stream, Arc::clone(&script), Arc::clone(&requests)));
    }
}

async fn talk(mut stream: UnixStream, script: Script, requests: Arc<Mutex<Vec<String>>>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut head).await.unwrap_or(0) == 0 {
            return;
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line = head.lines().next().unwrap_or_default().to_owned();
    requests.lock().expect("no panic").push(head);
    let found = script.lock().expect("no panic").iter().find(|answer| line.contains(answer.to)).cloned();
    let Some(answer) = found else { return };
    for piece in answer.pieces {
        if stream.write_all(&piece).await.is_err() {
            return;
        }
        tokio::task::yield_now().await;
    }
    if answer.hangs {
        std::future::pending::<()>().await;
    }
}

fn owner() -> Owner {
    Owner { app: "app".to_owned(), tenant: "t".to_owned(), host: "h".to_owned() }
}

pub(super) fn id() -> ContainerId {
    ContainerId("x".to_owned())
}

fn image() -> ImageReference {
    "a.b/c:d".parse().expect("a reference")
}

#[tokio::test]
async fn version_and_rootless_are_read() {
    let engine = Engine::with(vec![]).await;
    let info = engine.runtime.info().await.expect("it answers");
    assert_eq!((info.version.as_str(), info.has_awslogs), ("9.9.9", false));
    assert!(engine.runtime.host().await.expect("it answers").rootless);
}

#[tokio::test]
async fn a_hang_ends_within_the_limit() {
    let half = b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n[{".to_vec();
    for pieces in [vec![], vec![half]] {
        let hang = |to| Response { to, pieces: pieces.clone(), hangs: true };
        let engine = Engine::with(vec![hang("/containers"), hang("/images"), hang("/networks"), hang("/events")]).await;
        let start = Instant::now();
        let runtime = &engine.runtime;
        let (id, owner, image, spec) = (id(), owner(), image(), spec());
        // Concurrently, so that the waits overlap.
        let kinds = tokio::join!(
            async { runtime.list(&owner).await.expect_err("it hangs").kind() },
            async { runtime.create(&spec).await.expect_err("it hangs").kind() },
            async { runtime.stop(&id, Duration::ZERO).await.expect_err("it hangs").kind() },
            async { runtime.restart(&id, Duration::ZERO).await.expect_err("it hangs").kind() },
            async { runtime.remove(&id).await.expect_err("it hangs").kind() },
            async { runtime.image(&image).await.expect_err("it hangs").kind() },
            async { runtime.pull(&image, None, &|_| {}).await.expect_err("it hangs").kind() },
            async { runtime.ensure_network("n", &owner).await.expect_err("it hangs").kind() },
            async { runtime.logs(&id, None).await.map(|_| ()).expect_err("it hangs").kind() },
            async { runtime.events(&owner).await.map(|_| ()).expect_err("it hangs").kind() },
        );
        assert_eq!(<[ErrorKind; 10]>::from(kinds), [ErrorKind::TimedOut; 10]);
        assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn one_hung_or_invalid_container_does_not_hide_the_others() {
    let labels = serde_json::to_string(&owner().labels()).expect("JSON");
    let list = format!(
        r#"[7,{{"Id":"odd","State":"levitating","Labels":{labels},"Names":5}},
            {{"Id":"stuck","State":"running","Labels":{labels},"Names":["s"]}},
            {{"Id":"gone","State":"running","Labels":{labels}}},
            {{"Id":"well","State":"running","Labels":{labels}}}]"#
    );
    let engine = Engine::with(vec![
        answer("/containers/json", 200, &list),
        answer("/containers/odd/json", 500, "oops"),
        answer("/containers/gone/json", 404, r#"{"message":"no such container"}"#),
        answer("/containers/well/json", 200, r#"{"Name":"w","State":{"Status":"exited","ExitCode":4}}"#),
        Response { to: "/containers/stuck/json", pieces: vec![], hangs: true },
    ])
    .await;
    let found = engine.runtime.list(&owner()).await.expect("listed");
    let states: Vec<_> = found.iter().map(|one| (one.id.0.as_str(), one.name.as_str(), one.state.clone())).collect();
    let expected = [
        ("odd", "", ContainerState::Unknown("levitating".to_owned())),
        ("stuck", "s", ContainerState::Running),
        ("well", "w", ContainerState::Exited { code: Some(4) }),
    ];
    assert_eq!(states, expected);
}

#[tokio::test]
async fn a_pull_fails_inside_a_200_and_in_pieces() {
    let check = async |pieces: &[&[u8]], hangs: bool, kind: ErrorKind| {
        for (path, reference) in [("/images/create", "a.b/c:d"), ("/libpod/images/pull", "localhost/c:d")] {
            let engine = Engine::with(vec![streamed(path, pieces, hangs)]).await;
            let reference = reference.parse().expect("a reference");
            let error = engine.runtime.pull(&reference, None, &|_| {}).await.expect_err("it fails");
            assert_eq!(error.kind(), kind, "{:?}", std::error::Error::source(&error));
        }
    };
    check(&[b"{\"stream\":\"Trying\"}\n{\"err", b"or\":\"x: manifest unknown\"}\n"], false, ErrorKind::NotFound).await;
    check(&[b"{\"error\":\"toomanyrequests: slow down\"}\n"], true, ErrorKind::Throttled).await;
    check(&[b"{\"stream\":\"Trying\"}\n"], true, ErrorKind::TimedOut).await;
    check(&[b"{\"stream\":\"Trying\"}\n"], false, ErrorKind::Other).await;
    check(&[b"<html>\n"], false, ErrorKind::Other).await;
}

/// Podman 5 responds like this where Podman 4 responds with 200 and puts the error into the stream.
#[tokio::test]
async fn a_pull_fails_with_a_status_and_the_registrys_words() {
    let check = async |status: u16, message: &str, kind: ErrorKind| {
        let body = serde_json::json!({ "message": message }).to_string();
        let engine = Engine::with(vec![answer("/images/create", status, &body)]).await;
        let error = engine.runtime.pull(&image(), None, &|_| {}).await.expect_err("it fails");
        assert_eq!(error.kind(), kind, "{message}");
    };
    check(500, "manifest unknown: manifest unknown", ErrorKind::NotFound).await;
    check(404, "manifest unknown: manifest unknown", ErrorKind::NotFound).await;
    check(500, "unauthorized: authentication required", ErrorKind::Unauthorized).await;
    check(500, "toomanyrequests: Rate exceeded", ErrorKind::Throttled).await;
    check(500, "dial tcp: lookup a.b: no such host", ErrorKind::Other).await;
}

#[tokio::test]
async fn slow_pull_progress_ends_at_the_total_limit() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let listener = UnixListener::bind(folder.path().join("s")).expect("a socket");
    let server = tokio::spawn(async move {
        let mut held = tokio::task::JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            held.spawn(async move {
                let mut head = [0; 4096];
                let asked =
                    stream.read(&mut head).await.map(|length| String::from_utf8_lossy(&head[..length]).into_owned());
                let asked = asked.unwrap_or_default();
                if asked.contains("/_ping") {
                    let _ = stream.write_all(PING.as_bytes()).await;
                } else if asked.contains("/info") {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}").await;
                } else {
                    let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n").await;
                    while stream.write_all(b"{}\n").await.is_ok() {
                        tokio::time::sleep(LIMITS.pull_silence / 6).await;
                    }
                }
            });
        }
    });
    let endpoint = format!("unix://{}/s", folder.path().display());
    let runtime = PodmanRuntime::connect(&endpoint, LIMITS).await.expect("it answers");
    let error = runtime.pull(&image(), None, &|_| {}).await.expect_err("it never ends");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    server.abort();
}

#[tokio::test]
async fn a_pull_sends_credentials_and_reports_bytes() {
    let lines = concat!(
        r#"{"status":"Pulling fs layer","progressDetail":{},"id":"7a"}"#,
        "\n",
        r#"{"status":"Downloading","progressDetail":{"current":3,"total":9},"id":"7a"}"#,
        "\n",
        r#"{"status":"Downloading","progressDetail":{"current":1,"total":5},"id":"7b"}"#,
        "\n",
        r#"{"status":"Download complete","progressDetail":{},"id":"7a"}"#,
        "\n"
    );
    let found = answer("/images/a.b%2Fc%3Ad/json", 200, r#"{"Id":"ab"}"#);
    let engine = Engine::with(vec![streamed("/images/create", &[lines.as_bytes()], false), found]).await;
    let credentials = RegistryCredentials { username: "u".to_owned(), password: "hunter2".into() };
    let last = Mutex::new(PullProgress::default());
    let progress = |told| *last.lock().expect("no panic") = told;
    let id = engine.runtime.pull(&image(), Some(&credentials), &progress).await.expect("pulled");
    assert_eq!(id.0, "sha256:ab");
    assert_eq!(last.into_inner().expect("no panic"), PullProgress { done_bytes: 10, total_bytes: 14 });
    assert!(engine.asked("fromImage=a.b%2Fc%3Ad"));
    assert!(engine.asked("eyJ1c2VybmFtZSI6InUiLCJwYXNzd29yZCI6Imh1bnRlcjIifQ=="));
    assert!(!format!("{:?}", engine.runtime).contains("hunter2"));
}

#[tokio::test]
async fn a_registry_on_a_loopback_address_needs_no_certificate() {
    let body = b"{\"stream\":\"x\"}\n{\"images\":[\"ab\"],\"id\":\"ab\"}\n";
    let engine = Engine::with(vec![streamed("/libpod/images/pull", &[body], false)]).await;
    let reference = "127.0.0.1:5000/c:d".parse().expect("a reference");
    let id = engine.runtime.pull(&reference, None, &|_| {}).await.expect("pulled");
    assert_eq!(id.0, "sha256:ab");
    assert!(engine.asked("tlsVerify=false") && engine.asked("policy=always"));
}

#[tokio::test]
async fn a_paused_container_is_unpaused_before_it_is_stopped() {
    let engine = Engine::with(vec![
        answer("/containers/x/json", 200, r#"{"State":{"Status":"paused"}}"#),
        answer("/containers/x/unpause", 204, ""),
        answer("/containers/x/stop?timeout=3", 304, ""),
        answer("/containers/x/restart?timeout=3", 204, ""),
    ])
    .await;
    engine.runtime.stop(&id(), Duration::from_millis(2_001)).await.expect("stopped already is well");
    engine.runtime.restart(&id(), Duration::from_millis(2_001)).await.expect("restarted");
    assert!(engine.asked("/unpause"));
}

#[tokio::test]
async fn network_creation_is_retried_while_an_interface_vanishes() {
    let text = r#"{"message":"route ip+net: no such network interface: no such network interface"}"#;
    let engine = Engine::with(vec![answer("/networks/create", 500, text)]).await;
    let owner = Owner { app: "a".to_owned(), tenant: "t".to_owned(), host: "h".to_owned() };
    engine.runtime.ensure_network("a", &owner).await.expect_err("it never works");
    let requests = engine.requests.lock().expect("no panic");
    assert_eq!(requests.iter().filter(|request| request.contains("/networks/create")).count(), 4);
}

#[tokio::test]
async fn start_is_retried_while_the_name_server_restarts() {
    let text = r#"{"message":"netavark: error while applying dns entries: aardvark-dns failed to start: oops"}"#;
    let engine = Engine::with(vec![answer("/containers/x/start", 500, text)]).await;
    let error = engine.runtime.start(&id()).await.expect_err("it never works");
    assert_eq!(error.kind(), ErrorKind::Other);
    let requests = engine.requests.lock().expect("no panic");
    assert_eq!(requests.iter().filter(|request| request.contains("/start")).count(), 4);
}

#[tokio::test]
async fn events_of_unknown_shape_are_skipped() {
    let labels = serde_json::to_string(&owner().labels()).expect("JSON");
    let event = format!(r#"{{"Type":"container","Action":"start","Actor":{{"ID":"x","Attributes":{labels}}}}}"#);
    let stranger = r#"{"Type":"container","Action":"start","Actor":{"ID":"y","Attributes":{"l":"1"}}}"#;
    let body = format!("invalid\n[]\n{{\"Type\":3}}\n{stranger}\n{event}\n");
    let engine =
        Engine::with(vec![streamed("/events", &[body.as_bytes()], false), answer("/containers/json", 200, "[]")]).await;
    let seen: Vec<_> = engine.runtime.events(&owner()).await.expect("connected").collect().await;
    assert_eq!(seen.len(), 1, "{seen:?}");
    assert_eq!(seen[0].as_ref().expect("an event").container, id());
    assert!(engine.asked("since="));
}

/// The response of Podman 4.3.1 when it was killed during a creation, and the name becomes available again.
const LEFTOVER: &str = r#"{"cause":"that name is already in use","message":"creating container storage: the container name \"web\" is already in use by 225d. You have to remove that container to be able to reuse that name: that name is already in use","response":500}"#;

#[tokio::test]
async fn leftover_of_a_crashed_creation_is_removed_before_the_next() {
    let gone = r#"{"cause":"no such container","message":"no such container","response":404}"#;
    let check = async |is_in_doubt: bool, inspected: Response, is_removed: bool| {
        let script = vec![answer("/containers/create", 500, LEFTOVER), inspected, answer("DELETE", 200, "[]")];
        let engine = Engine::with(script).await;
        if is_in_doubt {
            engine.runtime.in_doubt().insert(spec().name);
        }
        // Here the engine repeats the response.
        let error = engine.runtime.create(&spec()).await.expect_err("the name is taken");
        assert_eq!((error.kind(), engine.asked("DELETE")), (ErrorKind::AlreadyExists, is_removed), "{is_in_doubt}");
    };
    check(true, answer("/node/json", 404, gone), true).await;
    check(false, answer("/node/json", 404, gone), false).await;
    // A container, even if of another owner.
    check(true, answer("/node/json", 200, r#"{"Id":"225d","Name":"web"}"#), false).await;
}

#[tokio::test]
async fn an_aborted_creation_leaves_its_name_in_doubt() {
    let closes = Response { to: "/containers/create", pieces: vec![], hangs: false };
    let engine = Engine::with(vec![closes]).await;
    let error = engine.runtime.create(&spec()).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::Unreachable);
    assert!(engine.runtime.in_doubt().contains(&spec().name));
    // The engine may still be working on it.
    let hangs = Response { to: "/containers/create", pieces: vec![], hangs: true };
    let engine = Engine::with(vec![hangs]).await;
    let error = engine.runtime.create(&spec()).await.expect_err("no answer");
    assert_eq!(error.kind(), ErrorKind::TimedOut);
    assert!(engine.runtime.in_doubt().is_empty());
}
