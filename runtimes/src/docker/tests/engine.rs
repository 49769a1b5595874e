//! A server on a Unix socket with scripted responses. Speaks just enough HTTP; knows nothing of Docker.

use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio_util::sync::CancellationToken;

use crate::Limits;
use crate::docker::DockerRuntime;

/// A received request.
#[derive(Debug, Clone, Default)]
pub(super) struct Request {
    /// Path with its query.
    pub(super) path: String,
    headers: Vec<(String, String)>,
}

impl Request {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

/// A response.
#[derive(Debug, Clone)]
pub(super) enum Response {
    /// Never responds.
    Hang,
    /// A complete response.
    Whole(u16, Vec<u8>),
    /// Headers and the start of a body that never ends.
    Part(u16, Vec<u8>),
}

impl Response {
    pub(super) fn json(status: u16, body: Value) -> Self {
        Self::Whole(status, body.to_string().into_bytes())
    }
}

/// The server; stopped when dropped.
pub(super) struct ScriptedEngine {
    folder: TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
    end: CancellationToken,
}

impl ScriptedEngine {
    pub(super) fn start(script: impl Fn(&Request) -> Response + Send + Sync + 'static) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let listener = UnixListener::bind(folder.path().join("engine.sock")).expect("a socket");
        let engine = Self { folder, requests: Arc::default(), end: CancellationToken::new() };
        let (requests, end, script) = (engine.requests.clone(), engine.end.clone(), Arc::new(script));
        tokio::spawn(engine.end.clone().run_until_cancelled_owned(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (requests, script) = (requests.clone(), script.clone());
                tokio::spawn(end.clone().run_until_cancelled_owned(async move {
                    let mut stream = BufReader::new(stream);
                    let request = read(&mut stream).await;
                    requests.lock().expect("no holder panics").push(request.clone());
                    answer(stream.into_inner(), script(&request)).await;
                }));
            }
        }));
        engine
    }

    pub(super) fn runtime(&self, limits: Limits) -> DockerRuntime {
        let endpoint = format!("unix://{}", self.folder.path().join("engine.sock").display());
        DockerRuntime::connect(Some(&endpoint), limits).expect("a good address")
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.requests.lock().expect("no holder panics").clone()
    }

    /// Closes every connection.
    pub(super) fn cut(&self) {
        self.end.cancel();
    }
}

impl Drop for ScriptedEngine {
    fn drop(&mut self) {
        self.cut();
    }
}

async fn read(stream: &mut BufReader<UnixStream>) -> Request {
    let mut request = Request::default();
    let mut line = String::new();
    stream.read_line(&mut line).await.expect("a request");
    request.path = line.split(' ').nth(1).unwrap_or_default().to_owned();
    loop {
        line.clear();
        stream.read_line(&mut line).await.expect("a header");
        match line.trim_end().split_once(": ") {
            Some((key, value)) => request.headers.push((key.to_owned(), value.to_owned())),
            None => break,
        }
    }
    let length = request.header("content-length").map_or(0, |length| length.parse().expect("a length"));
    stream.read_exact(&mut vec![0; length]).await.expect("a body");
    request
}

async fn answer(mut stream: UnixStream, answer: Response) {
    let (status, body, length) = match answer {
        Response::Hang => return std::future::pending().await,
        Response::Whole(status, body) => (status, body, None),
        Response::Part(status, body) => (status, body, Some("transfer-encoding: chunked")),
    };
    let length_line = length.map_or_else(|| format!("content-length: {}", body.len()), str::to_owned);
    let head = format!("HTTP/1.1 {status} Scripted\r\n{length_line}\r\n\r\n");
    stream.write_all(head.as_bytes()).await.expect("a listener");
    if length.is_some() {
        let size = format!("{:x}\r\n", body.len());
        stream.write_all(&[size.as_bytes(), &body, b"\r\n"].concat()).await.expect("a listener");
        return std::future::pending().await;
    }
    // The client may have closed the connection.
    let _ = stream.write_all(&body).await;
}

/// Lines of JSON, as the engine streams them.
pub(super) fn json_lines(values: &[Value]) -> Vec<u8> {
    values.iter().flat_map(|value| format!("{value}\r\n").into_bytes()).collect()
}

/// Output in the engine's frames: stream (1 or 2), length, text.
pub(super) fn chunks(frames: &[(u8, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (stream, text) in frames {
        let length = u32::try_from(text.len()).expect("a short text");
        bytes.extend([*stream, 0, 0, 0].into_iter().chain(length.to_be_bytes()).chain(text.bytes()));
    }
    bytes
}
