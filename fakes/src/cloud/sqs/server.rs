//! Owns the HTTP side: signature, faults, one operation, response. It does not know the operations.
use std::io;
use std::net::Ipv4Addr;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::serve::ListenerExt;
use serde_json::{Value as Json, json};
use tokio::net::TcpListener;
use tokio::sync::watch;

use super::error::SqsError;
use super::operations;
use super::queues::FifoQueues;
use crate::cloud::sigv4::{Access, Parts, Scope};

/// Ten messages of 1 MiB as JSON, with a margin.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
const TARGET_PREFIX: &str = "AmazonSQS.";

/// The queues on the wire; dropping it frees the port and ends all waiting calls with 503.
#[derive(Debug)]
pub struct Server {
    endpoint: String,
    closed: watch::Sender<bool>,
}

impl Server {
    /// The endpoint for AWS clients, as `http://127.0.0.1:40123`.
    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.closed.send_replace(true);
    }
}

#[derive(Clone)]
struct Service {
    queues: FifoQueues,
    access: Access,
    closed: watch::Receiver<bool>,
}

/// Serves the queues on a free port of 127.0.0.1, to credentials of [`Scope::App`].
///
/// Queue URLs from now on contain this server's address. Errors are those of binding the port.
pub async fn serve(queues: FifoQueues, access: Access) -> io::Result<Server> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let endpoint = format!("http://{}", listener.local_addr()?);
    queues.set_endpoint(&endpoint);
    let (closed, until_closed) = watch::channel(false);
    let app = Router::new()
        .fallback(post(answer))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Service { queues, access, closed: until_closed.clone() });
    let listener = listener.tap_io(|stream| {
        // Without it, responses are only delayed.
        let _ = stream.set_nodelay(true);
    });
    // Ends by itself when `Server` is dropped.
    tokio::spawn(axum::serve(listener, app).with_graceful_shutdown(is_closed(until_closed)).into_future());
    Ok(Server { endpoint, closed })
}

async fn answer(State(service): State<Service>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let closed = is_closed(service.closed.clone());
    // Both arms are cancel-safe: a dropped call has taken no message.
    let outcome = tokio::select! {
        outcome = run(&service, &uri, &headers, &body) => outcome,
        () = closed => Err(SqsError::closed()),
    };
    match outcome {
        Ok(json) => respond(StatusCode::OK, &json).into_response(),
        Err(error) => refuse(&error, &headers),
    }
}

async fn is_closed(mut closed: watch::Receiver<bool>) {
    // An error means that the sender was dropped, and the server with it.
    let _ = closed.wait_for(|closed| *closed).await;
}

async fn run(service: &Service, uri: &Uri, headers: &HeaderMap, body: &[u8]) -> Result<Json, SqsError> {
    let target = headers.get("x-amz-target").and_then(|value| value.to_str().ok());
    let operation = target.and_then(|target| target.strip_prefix(TARGET_PREFIX));
    let operation = operation.ok_or_else(SqsError::unknown_operation)?;
    let queues = &service.queues;
    queues.count_call(operation);
    if let Some(failure) = queues.0.faults.take_failure() {
        return Err(failure);
    }
    queues.0.faults.until_released().await;
    let parts = Parts { method: "POST", path: uri.path(), query: uri.query().unwrap_or(""), headers };
    service.access.verify(&parts, body, "sqs", &queues.0.region, Scope::App)?;
    if headers.get("content-type").is_none_or(|kind| kind != "application/x-amz-json-1.0") {
        return Err(SqsError::unreadable("the content type must be application/x-amz-json-1.0"));
    }
    let input = serde_json::from_slice(body).map_err(|_| SqsError::unreadable("the body is not JSON"))?;
    operations::run(queues, operation, &input).await
}

fn refuse(error: &SqsError, headers: &HeaderMap) -> Response {
    let status = StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = respond(status, &json!({ "__type": error.shape, "message": error.message }));
    if headers.get("x-amzn-query-mode").is_some_and(|mode| mode == "true") {
        let side = if status.is_server_error() { "Receiver" } else { "Sender" };
        if let Ok(value) = HeaderValue::from_str(&format!("{};{side}", error.query_code)) {
            response.headers_mut().insert("x-amzn-query-error", value);
        }
    }
    response
}

fn respond(status: StatusCode, json: &Json) -> Response {
    let request_id = format!("{:032x}", rand::random::<u128>());
    let headers = [("content-type", "application/x-amz-json-1.0"), ("x-amzn-requestid", request_id.as_str())];
    (status, headers, json.to_string()).into_response()
}
