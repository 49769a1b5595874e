//! Routing and responses: paths, the listeners that serve them, and headers.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderValue, REFERRER_POLICY,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Method, Request, Response, StatusCode};
use serde::Serialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio::time::timeout;

use crate::status::recorder::{Line, Recorder};
use crate::status::{metrics, page};

/// A response.
pub(super) type HttpResponse = Response<BoxBody<Bytes, Infallible>>;

/// Interval of keep-alives on a stream of events, so that both sides detect a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// Content of a listener.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// All paths except the page: every user who can open the status socket may read them.
    Socket,
    /// Metrics.
    Metrics,
    /// The page and the paths that it reads.
    Page,
}

/// A listener.
#[derive(Debug, Clone, Copy)]
pub(super) struct Listener {
    pub(super) content: Content,
    /// The TCP address; `None` for the socket.
    pub(super) address: Option<SocketAddr>,
}

impl Listener {
    pub(super) fn name(self) -> &'static str {
        match self.content {
            Content::Socket => "the status",
            Content::Metrics => "metrics",
            Content::Page => "the status page",
        }
    }
}

/// Responds to a request. Reads only memory, and never waits.
pub(super) fn respond(request: &Request<Incoming>, served_at: Listener, recorder: &Arc<Recorder>) -> HttpResponse {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    if let Some(address) = served_at.address.filter(|address| address.ip().is_loopback())
        && !host.is_some_and(|host| is_ours(host, address))
    {
        // Another site whose name resolves to this address (DNS rebinding) must not read the page.
        return plain(StatusCode::MISDIRECTED_REQUEST, "use the address of this host in the URL\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET is allowed: this interface is read-only\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    route(request, served_at, recorder)
}

fn route(request: &Request<Incoming>, served_at: Listener, recorder: &Arc<Recorder>) -> HttpResponse {
    let is_page = served_at.content == Content::Page;
    let is_metrics = served_at.content == Content::Metrics;
    match request.uri().path() {
        "/metrics" if !is_page => text(metrics::CONTENT_TYPE, recorder.metrics_text()),
        "/v1/status" if !is_metrics => json(&recorder.report()),
        "/v1/history" if !is_metrics => history(request, recorder),
        "/v1/events" if !is_metrics => events(request, recorder),
        path if is_page => match page::asset(path) {
            Some((kind, content)) => text(kind, content.as_bytes()),
            None => unknown(),
        },
        _ => unknown(),
    }
}

fn unknown() -> HttpResponse {
    plain(StatusCode::NOT_FOUND, "not found; paths: /v1/status, /v1/history?node=NAME, /v1/events, /metrics\n")
}

/// Whether `host` is a loopback address or `localhost`, with or without the port.
fn is_ours(host: &str, address: SocketAddr) -> bool {
    let port = format!(":{}", address.port());
    let name = host.strip_suffix(port.as_str()).unwrap_or(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
}

fn history(request: &Request<Incoming>, recorder: &Recorder) -> HttpResponse {
    let Some(node) = query(request, "node") else {
        return plain(StatusCode::BAD_REQUEST, "parameter node is missing: /v1/history?node=NAME\n");
    };
    match recorder.history(&node) {
        Some(history) => json(&history),
        None => plain(StatusCode::NOT_FOUND, "no such node\n"),
    }
}

fn query(request: &Request<Incoming>, name: &str) -> Option<String> {
    // Only the query counts; the rest makes it a valid URL.
    let url = reqwest::Url::parse(&format!("http://host/?{}", request.uri().query()?)).ok()?;
    url.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
}

/// Server-sent events. `Last-Event-ID` or `?after=` also returns missed events.
fn events(request: &Request<Incoming>, recorder: &Arc<Recorder>) -> HttpResponse {
    let header = request.headers().get("last-event-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    let after = header.or_else(|| query(request, "after")).and_then(|id| id.parse().ok());
    let (missed, receiver) = recorder.follow(after);
    let begin = VecDeque::from([Bytes::from_static(b"retry: 2000\n\n")]);
    let waiting: VecDeque<Bytes> = begin.into_iter().chain(missed.iter().map(|line| frame(line))).collect();
    let frames = stream::unfold((waiting, receiver), |(mut waiting, mut receiver)| async move {
        let next = match waiting.pop_front() {
            Some(next) => next,
            None => next_frame(&mut receiver).await?,
        };
        Some((Ok::<_, Infallible>(Frame::data(next)), (waiting, receiver)))
    });
    response("text/event-stream", StreamBody::new(frames).boxed())
}

/// The next event as a frame, or a keep-alive. Cancel-safe.
async fn next_frame(receiver: &mut Receiver<Arc<Line>>) -> Option<Bytes> {
    match timeout(KEEP_ALIVE, receiver.recv()).await {
        Ok(Ok(line)) => Some(frame(&line)),
        Ok(Err(RecvError::Lagged(count))) => Some(Bytes::from(format!("event: lost\ndata: {count}\n\n"))),
        Ok(Err(RecvError::Closed)) => None,
        Err(_) => Some(Bytes::from_static(b": keep-alive\n\n")),
    }
}

fn frame(line: &Line) -> Bytes {
    Bytes::from(format!("id: {}\ndata: {}\n\n", line.id, line.json))
}

fn json(value: &impl Serialize) -> HttpResponse {
    let mut bytes = serde_json::to_vec(value).expect("strings and numbers are always JSON");
    bytes.push(b'\n');
    text("application/json", bytes)
}

fn text(kind: &'static str, content: impl Into<Vec<u8>>) -> HttpResponse {
    response(kind, Full::new(Bytes::from(content.into())).boxed())
}

fn plain(code: StatusCode, content: &'static str) -> HttpResponse {
    let mut response = text("text/plain; charset=utf-8", content);
    *response.status_mut() = code;
    response
}

fn response(kind: &'static str, body: BoxBody<Bytes, Infallible>) -> HttpResponse {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_host_name_for_this_address_is_rejected() {
        let address: SocketAddr = "127.0.0.1:8080".parse().expect("an address");
        for host in ["127.0.0.1:8080", "localhost:8080", "LOCALHOST:8080", "[::1]:8080", "127.0.0.1"] {
            assert!(is_ours(host, address), "{host}");
        }
        for host in ["evil.example:8080", "localhost.evil.example:8080", "10.0.0.1:8080", "", ":8080", "127.0.0.1:81"] {
            assert!(!is_ours(host, address), "{host}");
        }
    }
}
