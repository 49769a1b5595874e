//! Paths, the listeners that serve them, and headers. Handlers read only memory, and never wait.

use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::header::{
    ALLOW, CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue,
    REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use futures_util::{Stream, StreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast::{Receiver, error::RecvError};

use crate::status::recorder::{Line, Recorder};
use crate::status::{metrics, page};

/// Interval of keep-alives on a stream of events, so that both sides detect a dead connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
/// Delay before a client of events connects again.
const RECONNECT_AFTER: Duration = Duration::from_secs(2);
/// Headers of each response.
const HEADERS: [(HeaderName, HeaderValue); 4] = [
    (CACHE_CONTROL, HeaderValue::from_static("no-store")),
    (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
    (REFERRER_POLICY, HeaderValue::from_static("no-referrer")),
    (CONTENT_SECURITY_POLICY, HeaderValue::from_static(page::POLICY)),
];

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

/// The paths of a listener.
pub(super) fn routes(listener: Listener, recorder: Arc<Recorder>) -> Router {
    let mut routes = Router::new();
    if listener.content != Content::Page {
        routes = routes.route("/metrics", get(metrics_text));
    }
    if listener.content != Content::Metrics {
        routes =
            routes.route("/v1/status", get(status)).route("/v1/history", get(history)).route("/v1/events", get(events));
    }
    if listener.content == Content::Page {
        for (path, kind, content) in page::ASSETS {
            routes = routes.route(path, get(move || async move { ([(CONTENT_TYPE, kind)], content) }));
        }
    }
    let guard = from_fn(move |request, next| guard(listener.address, request, next));
    routes.fallback(not_found).layer(guard).with_state(recorder)
}

/// Rejects requests that change something or come from another site, and adds the headers.
async fn guard(address: Option<SocketAddr>, request: Request, next: Next) -> Response {
    let host = request.headers().get(HOST).and_then(|host| host.to_str().ok());
    let is_foreign = address
        .filter(|address| address.ip().is_loopback())
        .is_some_and(|address| !host.is_some_and(|host| is_ours(host, address)));
    let mut response = if is_foreign {
        // Another site whose name resolves to this address (DNS rebinding) must not read the page.
        (StatusCode::MISDIRECTED_REQUEST, "use the address of this host in the URL\n").into_response()
    } else if matches!(*request.method(), Method::GET | Method::HEAD) {
        next.run(request).await
    } else {
        let text = "only GET is allowed: this interface is read-only\n";
        (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], text).into_response()
    };
    response.headers_mut().extend(HEADERS);
    response
}

/// Whether `host` is a loopback address or `localhost`, with or without the port.
fn is_ours(host: &str, address: SocketAddr) -> bool {
    let port = format!(":{}", address.port());
    let name = host.strip_suffix(port.as_str()).unwrap_or(host);
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || bare.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
}

async fn not_found() -> (StatusCode, &'static str) {
    (StatusCode::NOT_FOUND, "not found; paths: /v1/status, /v1/history?node=NAME, /v1/events, /metrics\n")
}

async fn metrics_text(State(recorder): State<Arc<Recorder>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], recorder.metrics_text())
}

async fn status(State(recorder): State<Arc<Recorder>>) -> Response {
    json(&recorder.report())
}

#[derive(Deserialize)]
struct HistoryQuery {
    node: Option<String>,
}

async fn history(State(recorder): State<Arc<Recorder>>, Query(query): Query<HistoryQuery>) -> Response {
    let Some(node) = query.node else {
        return (StatusCode::BAD_REQUEST, "parameter node is missing: /v1/history?node=NAME\n").into_response();
    };
    match recorder.history(&node) {
        Some(history) => json(&history),
        None => (StatusCode::NOT_FOUND, "no such node\n").into_response(),
    }
}

#[derive(Deserialize)]
struct EventsQuery {
    after: Option<String>,
}

/// Server-sent events. `Last-Event-ID` or `?after=` also returns missed events.
async fn events(
    State(recorder): State<Arc<Recorder>>,
    Query(query): Query<EventsQuery>,
    headers: HeaderMap,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = header.or(query.after.as_deref()).and_then(|id| id.parse().ok());
    let (missed, receiver) = recorder.follow(after);
    let missed: Vec<Event> = missed.iter().map(|line| event(line)).collect();
    let begin = stream::iter([Event::default().retry(RECONNECT_AFTER)]).chain(stream::iter(missed));
    let now =
        stream::unfold(receiver, |mut receiver| async move { Some((next_event(&mut receiver).await?, receiver)) });
    Sse::new(begin.chain(now).map(Ok)).keep_alive(KeepAlive::new().interval(KEEP_ALIVE).text("keep-alive"))
}

/// The next event; `None` at the end of the daemon. Cancel-safe.
async fn next_event(receiver: &mut Receiver<Arc<Line>>) -> Option<Event> {
    match receiver.recv().await {
        Ok(line) => Some(event(&line)),
        Err(RecvError::Lagged(count)) => Some(Event::default().event("lost").data(count.to_string())),
        Err(RecvError::Closed) => None,
    }
}

fn event(line: &Line) -> Event {
    Event::default().id(line.id.to_string()).data(&line.json)
}

fn json(value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).expect("strings and numbers are always JSON");
    ([(CONTENT_TYPE, "application/json")], text + "\n").into_response()
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
