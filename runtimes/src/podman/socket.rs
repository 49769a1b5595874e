//! One engine's socket: requests with a deadline over headers *and* body. Knows HTTP but not containers.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use containers_api::conn::hyper::{Body, Client, Response};
use containers_api::conn::{AUTH_HEADER, Headers, Payload, RequestClient, Transport, get_unix_connector};
use futures_util::StreamExt as _;
use podman_api::Podman;
use podman_api::conn::Error as ConnError;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use super::error::Context;
use crate::{ErrorKind, Result};

/// Root of libpod's own calls. Podman 4 and 5 both support it.
pub(super) const LIBPOD: &str = "/v4.0.0/libpod";
/// Root of the Docker-compatible calls.
pub(super) const COMPAT: &str = "/v1.40";
/// Largest response that is read; a list of a thousand containers has a few megabytes.
const BODY_BYTES_MAX: usize = 64 << 20;

/// A request that bypasses the crate. Paths are relative to libpod's root and already encoded.
pub(super) enum Request {
    /// `GET path`.
    Get(String),
    /// `POST path` with a JSON body, or with none.
    Post(String, Option<String>),
    /// `POST path`, from the socket's root, with the value of `X-Registry-Auth`. Contains a secret.
    Pull(String, Option<String>),
    /// `DELETE path`.
    Delete(String),
}

/// Two clients of one socket: for the crate's typed calls and for our own. Every request has its own connection, so
/// that a call that hangs affects no other and a restarted engine is reached at once.
#[derive(Debug, Clone)]
pub(super) struct Socket {
    /// For the typed calls; wrap them in [`typed`].
    pub(super) podman: Podman,
    raw: Arc<RequestClient<ConnError>>,
}

impl Socket {
    /// A socket at `path`. Connects with each request, not here.
    pub(super) fn new(path: &Path) -> Self {
        let client = Client::builder().pool_max_idle_per_host(0).build(get_unix_connector());
        let transport = Transport::Unix { client, path: path.to_owned() };
        // The caller checks statuses: the crate's check turns 304 into an error and reads bodies without a limit.
        let raw = RequestClient::new(transport, Box::new(|response| Box::pin(std::future::ready(Ok(response)))));
        Self { podman: Podman::unix(path), raw: Arc::new(raw) }
    }

    /// Sends `request` and reads the whole response within `limit`. Statuses from 400 on are errors; 304 is not.
    pub(super) async fn call(&self, context: Context<'_>, limit: Duration, request: Request) -> Result<Bytes> {
        let exchange = async {
            let response = self.send(context, request).await?;
            let status = response.status().as_u16();
            let body = read(context, response.into_body()).await?;
            if status < 400 { Ok(body) } else { Err(context.fault(status, &fault_text(&body))) }
        };
        timeout(limit, exchange).await.unwrap_or_else(|_| Err(context.error(ErrorKind::TimedOut)))
    }

    /// The same, with the response parsed as JSON.
    pub(super) async fn json<T: DeserializeOwned>(
        &self,
        context: Context<'_>,
        limit: Duration,
        request: Request,
    ) -> Result<T> {
        let body = self.call(context, limit, request).await?;
        serde_json::from_slice(&body).map_err(|error| context.invalid_response(error))
    }

    /// Sends `request` and returns the body as a stream. Has no timeout: callers apply their own.
    pub(super) async fn open(&self, context: Context<'_>, request: Request) -> Result<Body> {
        let response = self.send(context, request).await?;
        let status = response.status().as_u16();
        if status < 400 {
            return Ok(response.into_body());
        }
        let body = read(context, response.into_body()).await?;
        Err(context.fault(status, &fault_text(&body)))
    }

    async fn send(&self, context: Context<'_>, request: Request) -> Result<Response<Body>> {
        let response = match request {
            Request::Get(path) => self.raw.get(at(&path)).await,
            Request::Delete(path) => self.raw.delete(at(&path)).await,
            Request::Post(path, Some(json)) => self.raw.post(at(&path), Payload::Json(json), Headers::none()).await,
            Request::Post(path, None) => self.raw.post(at(&path), Payload::empty(), Headers::none()).await,
            Request::Pull(path, auth) => {
                let headers = auth.map(|auth| Headers::single(AUTH_HEADER, auth));
                self.raw.post(path, Payload::empty(), headers).await
            }
        };
        response.map_err(|error| context.connection(error))
    }
}

/// Awaits a typed call of the crate for at most `limit`.
pub(super) async fn typed<T>(
    context: Context<'_>,
    limit: Duration,
    call: impl Future<Output = podman_api::Result<T>>,
) -> Result<T> {
    match timeout(limit, call).await {
        Ok(result) => result.map_err(|error| context.crate_error(error)),
        Err(_) => Err(context.error(ErrorKind::TimedOut)),
    }
}

fn at(path: &str) -> String {
    format!("{LIBPOD}{path}")
}

async fn read(context: Context<'_>, mut body: Body) -> Result<Bytes> {
    let mut bytes = Vec::new();
    while let Some(piece) = body.next().await {
        let piece = piece.map_err(|error| context.connection(error.into()))?;
        if bytes.len() + piece.len() > BODY_BYTES_MAX {
            return Err(context.invalid_response("the response is longer than 64 MiB"));
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes.into())
}

/// The text of a failure: `{"message": …, "cause": …}`, or the body as it is.
fn fault_text(body: &[u8]) -> String {
    serde_json::from_slice::<serde_json::Value>(body)
        .ok()
        .and_then(|value| value.get("message")?.as_str().map(str::to_owned))
        .unwrap_or_else(|| String::from_utf8_lossy(body).into_owned())
}
