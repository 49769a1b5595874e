//! The connection to the engine: address, deadlines, workarounds for bollard. Knows no operation.
//!
//! Works around three limits of bollard 0.21. It does not report when the headers of a streamed response arrived: our
//! own transport below it records that. Its timeout covers headers only, in whole seconds: [`within`] covers a whole
//! call. It decodes lists into closed enums, so that one unknown value loses the whole list: [`Client::get`] decodes
//! into our own types.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bollard::errors::Error;
use bollard::{API_DEFAULT_VERSION, BollardRequest, Docker};
use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use hyper_util::client::legacy::Client as HttpClient;
use hyper_util::client::legacy::connect::{Connect, HttpConnector};
use hyper_util::rt::TokioExecutor;
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::de::DeserializeOwned;
use tokio::sync::Notify;

use super::endpoint::Endpoint;
use super::error::translate;
use crate::{ErrorKind, Limits, Result, RuntimeError};

/// The timeout for bollard, in seconds: longer than any of [`Limits`], which apply instead.
const BOLLARD_TIMEOUT_S: u64 = 7 * 24 * 3600;

/// The longest response that is read into memory; a list of thousands of containers has a few megabytes.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A stream of bollard, boxed so that it can be stored.
pub(super) type Raw<T> = Pin<Box<dyn Stream<Item = Result<T, Error>> + Send>>;

/// The engine, as all operations use it.
#[derive(Debug)]
pub(super) struct Client {
    pub(super) docker: Docker,
    pub(super) limits: Limits,
    pub(super) endpoint: Endpoint,
}

/// Attached to a request; the transport wakes it when a successful response has begun.
#[derive(Clone)]
struct ResponseBegun(Arc<Notify>);

impl Client {
    /// Prepares the connection; sends nothing yet.
    pub(super) fn new(endpoint: Endpoint, limits: Limits) -> Result<Self> {
        let docker = match &endpoint {
            // The host part of such a URI is the path in hexadecimal.
            Endpoint::Unix(path) => {
                over(hyperlocal::UnixConnector, &format!("unix://{}", hex::encode(path.to_string_lossy().as_bytes())))
            }
            Endpoint::Http(address) => over(HttpConnector::new(), &format!("http://{address}")),
        };
        let docker = docker.map_err(|error| translate("connect to the engine", &endpoint.to_string(), error))?;
        Ok(Self { docker, limits, endpoint })
    }

    /// Requests `path` (with its query, percent-encoded) and decodes the JSON response.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Error> {
        // The only call of bollard that returns a raw body; the path is replaced.
        let mut body = pin!(aimed(&self.docker, path.to_owned(), None).export_container("any"));
        let mut bytes = Vec::new();
        while let Some(chunk) = body.try_next().await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > ANSWER_BYTES_MAX {
                return Err(Error::IOError { err: std::io::Error::other("the response is too long") });
            }
        }
        Ok(serde_json::from_slice(&bytes)?)
    }

    /// Opens a stream at `path` and returns once the engine has begun its response, or with the engine's error.
    ///
    /// `open` makes the request by a call of bollard that decodes the right type; the path of that request is replaced.
    pub(super) async fn open<T: Send + 'static, S>(
        &self,
        operation: &'static str,
        subject: &str,
        path: String,
        open: impl FnOnce(Docker) -> S + Send,
    ) -> Result<Raw<T>>
    where
        S: Stream<Item = Result<T, Error>> + Send + 'static,
    {
        let begun = Arc::new(Notify::new());
        let mut items: Raw<T> = Box::pin(open(aimed(&self.docker, path, Some(ResponseBegun(begun.clone())))).fuse());
        let first = within(self.limits.call, operation, subject, async {
            tokio::select! {
                biased;
                item = items.next() => item.transpose(),
                () = begun.notified() => Ok(None),
            }
        })
        .await?;
        Ok(Box::pin(stream::iter(first.map(Ok)).chain(items)))
    }
}

/// A client of bollard over `connector`. Connections are not pooled, so that a restart of the engine leaves no stale
/// one.
fn over<C>(connector: C, address: &str) -> Result<Docker, Error>
where
    C: Connect + Clone + Send + Sync + 'static,
{
    let http = HttpClient::builder(TokioExecutor::new()).pool_max_idle_per_host(0).build(connector);
    let transport = move |request: BollardRequest| {
        let http = http.clone();
        async move {
            let begun = request.extensions().get::<ResponseBegun>().cloned();
            let response = http.request(request).await?;
            if let Some(ResponseBegun(begun)) = begun.filter(|_| response.status().is_success()) {
                begun.notify_one();
            }
            Ok(response)
        }
    };
    Docker::connect_with_custom_transport(transport, Some(address), BOLLARD_TIMEOUT_S, API_DEFAULT_VERSION)
}

/// A client whose next request goes to `path`, whatever call makes it.
fn aimed(docker: &Docker, path: String, begun: Option<ResponseBegun>) -> Docker {
    docker.clone().with_request_modifier(move |mut request| {
        let uri = request.uri();
        let (scheme, host) = (uri.scheme_str().unwrap_or_default(), uri.authority().map_or("", |host| host.as_str()));
        let uri = format!("{scheme}://{host}{path}").parse();
        *request.uri_mut() = uri.expect("paths are made of ids and percent-encoded text");
        if let Some(begun) = &begun {
            request.extensions_mut().insert(begun.clone());
        }
        request
    })
}

/// Waits for `call` for at most `limit`; an error or a timeout becomes the error of `operation` on `subject`.
pub(super) async fn within<T>(
    limit: Duration,
    operation: &'static str,
    subject: &str,
    call: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T> {
    match tokio::time::timeout(limit, call).await {
        Ok(answer) => answer.map_err(|error| translate(operation, subject, error)),
        Err(_) => {
            let text = format!("no response within {limit:?}");
            Err(RuntimeError::new(ErrorKind::TimedOut, operation, subject).with_source(text))
        }
    }
}

/// Characters that a query may contain as they are.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// `text` percent-encoded for a query.
pub(super) fn encoded(text: &str) -> String {
    utf8_percent_encode(text, UNRESERVED).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_percent_encoded() {
        assert_eq!(encoded("a=b&c d\"ä~"), "a%3Db%26c%20d%22%C3%A4~");
    }
}
