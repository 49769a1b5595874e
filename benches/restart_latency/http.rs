//! Plain HTTP on the socket of an engine: the baseline of all measurements.

use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tokio::time::timeout;

/// Limit of the wait for one response.
const ANSWER_LIMIT: Duration = Duration::from_secs(120);

/// The socket of an engine. Each request uses a new connection, as in the daemon.
#[derive(Debug, Clone)]
pub struct Socket(pub PathBuf);

/// A response of an engine.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; null if it is not JSON.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Socket {
    /// Sends a request and reads the whole response.
    pub async fn call(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> Answer {
        let exchange = async {
            let mut stream = self.send(method, path, headers, body).await;
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).await.expect("the engine answers");
            parse(&bytes)
        };
        let answer = timeout(ANSWER_LIMIT, exchange).await;
        answer.unwrap_or_else(|_| panic!("no answer within {ANSWER_LIMIT:?} to {method} {path}"))
    }

    /// Opens an endless response as lines of text, including lines that are not part of the body.
    pub async fn lines(&self, path: &str) -> Lines<BufReader<OwnedReadHalf>> {
        let (reader, writer) = self.send("GET", path, "", b"").await.into_split();
        // Closing this half would look like a disconnect.
        writer.forget();
        BufReader::new(reader).lines()
    }

    async fn send(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> UnixStream {
        let mut stream = UnixStream::connect(&self.0).await.expect("the engine listens");
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: engine\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n"
        );
        stream.write_all(head.as_bytes()).await.expect("the engine reads");
        stream.write_all(body).await.expect("the engine reads");
        stream
    }
}

fn parse(bytes: &[u8]) -> Answer {
    let end = find(bytes, b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8_lossy(&bytes[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("an answer has a status");
    let body = &bytes[end + 4..];
    let is_chunked = head.contains("transfer-encoding: chunked");
    Answer { status, body: if is_chunked { joined(body) } else { body.to_vec() } }
}

fn joined(mut rest: &[u8]) -> Vec<u8> {
    let mut whole = Vec::new();
    while let Some(end) = find(rest, b"\r\n") {
        let size = usize::from_str_radix(String::from_utf8_lossy(&rest[..end]).trim(), 16).unwrap_or(0);
        if size == 0 {
            break;
        }
        whole.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    whole
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}
