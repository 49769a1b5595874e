//! A CloudWatch that accepts all requests at once, or none, on its own threads, so that its costs are not measured. It
//! validates nothing, unlike the fake cloud of the tests.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// The endpoint, as long as the process lives.
#[derive(Debug)]
pub struct Sink {
    /// Its URL.
    pub url: String,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    is_away: AtomicBool,
    bytes: AtomicU64,
    requests: AtomicU64,
}

impl Sink {
    /// Listens on a free port of 127.0.0.1.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 has free ports");
        let url = format!("http://{}", listener.local_addr().expect("it has an address"));
        let shared = Arc::new(Shared::default());
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let shared = accepting.clone();
                std::thread::spawn(move || serve(&connection, &shared));
            }
        });
        Self { url, shared }
    }

    /// While `is_away` is set, responds with 503.
    pub fn set_away(&self, is_away: bool) {
        self.shared.is_away.store(is_away, Ordering::Relaxed);
    }

    /// Bytes of all bodies so far.
    pub fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Requests so far.
    pub fn requests(&self) -> u64 {
        self.shared.requests.load(Ordering::Relaxed)
    }
}

fn serve(connection: &TcpStream, shared: &Shared) {
    let mut reader = BufReader::with_capacity(256 * 1024, connection);
    while let Some(length) = head(&mut reader) {
        if std::io::copy(&mut (&mut reader).take(length), &mut std::io::sink()).is_err() {
            return;
        }
        shared.bytes.fetch_add(length, Ordering::Relaxed);
        shared.requests.fetch_add(1, Ordering::Relaxed);
        let (status, body) = match shared.is_away.load(Ordering::Relaxed) {
            true => ("503 Service Unavailable", r#"{"__type":"ServiceUnavailableException"}"#),
            false => ("200 OK", "{}"),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\ncontent-type: application/x-amz-json-1.1\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut writer = connection;
        if writer.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

/// Reads the head of a request and returns the length of its body. `None` at the end of the connection.
fn head(reader: &mut impl BufRead) -> Option<u64> {
    let mut length = 0;
    let mut line = String::new();
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return Some(length);
        }
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
    }
}
