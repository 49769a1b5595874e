//! GraphQL over HTTP to AppSync: one POST, limited in time and size, with the session's token. Independent of
//! operations.

use std::time::Duration;

use graphql_client::GraphQLQuery;
use reqwest::{Client, Response, StatusCode, Url, header, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::time::{sleep, timeout};

use super::session::Session;
use super::transport::web_client;
use super::{CloudError, CloudErrorKind};
use crate::text::{chain, excerpt};

/// Limit for opening a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Limit for the headers, and for each pause within the body. AppSync itself times out after 30 s.
const SILENCE_LIMIT: Duration = Duration::from_secs(35);

/// Limit for one request and its response.
const REQUEST_LIMIT: Duration = Duration::from_secs(60);

/// Limit for one call with sign-in and quick retries.
const CALL_LIMIT: Duration = Duration::from_secs(120);

/// Largest response that is read, bytes. AppSync's limit is 5 MB.
const BODY_MAX: usize = 32 * 1024 * 1024;

/// Quick retries within one call; the caller backs off after that.
const RETRIES_MAX: u32 = 2;

/// Delay before the first quick retry, without jitter; doubled for the second.
const RETRY_DELAY: Duration = Duration::from_millis(200);

/// Limit of GraphQL errors in one error text.
const ERRORS_SHOWN_MAX: usize = 3;

/// The transport to one endpoint.
#[derive(Debug)]
pub(super) struct AppSync {
    http: Client,
    endpoint: Url,
    session: Session,
}

/// Why one attempt failed.
enum CallError {
    /// The token is not accepted.
    Unauthorized(CloudError),
    /// A quick retry may help.
    Transient(CloudError),
    /// A quick retry does not help.
    Permanent(CloudError),
}

#[derive(Deserialize)]
struct Errors {
    #[serde(default)]
    errors: Value,
}

/// AppSync's form of an error; `graphql_client` has no `errorType`, so errors are read here.
#[derive(Default, Deserialize)]
struct WireError {
    #[serde(default)]
    message: Option<String>,
    #[serde(default, rename = "errorType")]
    error_type: Option<String>,
}

#[derive(Deserialize)]
struct Data<T> {
    data: Option<T>,
}

impl AppSync {
    /// Makes no call. Fails if the endpoint is not a URL or the HTTP client cannot be built.
    pub(super) fn new(endpoint: &str, session: Session) -> Result<Self, CloudError> {
        let fail = |error: String| {
            CloudError::new(CloudErrorKind::InvalidResponse, "prepare the HTTP client").with_source(error)
        };
        let endpoint = Url::parse(endpoint).map_err(|error| fail(error.to_string()))?;
        let http = web_client(&endpoint)
            .connect_timeout(CONNECT_LIMIT)
            .read_timeout(SILENCE_LIMIT)
            .timeout(REQUEST_LIMIT)
            // The token must not follow a redirect.
            .redirect(redirect::Policy::none())
            .build()
            .map_err(|error| fail(chain(&error)))?;
        Ok(Self { http, endpoint, session })
    }

    /// The session whose token it sends.
    pub(super) fn session(&self) -> &Session {
        &self.session
    }

    /// Runs one operation. A response with errors or without data is an error: partial data is never used.
    pub(super) async fn call<Q: GraphQLQuery>(
        &self,
        operation: &'static str,
        variables: Q::Variables,
    ) -> Result<Q::ResponseData, CloudError> {
        let body = serde_json::to_string(&Q::build_query(variables)).map_err(|_| {
            CloudError::new(CloudErrorKind::InvalidResponse, operation).with_source("the query has no JSON form")
        })?;
        timeout(CALL_LIMIT, self.with_retries(operation, &body))
            .await
            .unwrap_or_else(|_| Err(CloudError::new(CloudErrorKind::TimedOut, operation)))
    }

    async fn with_retries<T: DeserializeOwned>(&self, operation: &'static str, body: &str) -> Result<T, CloudError> {
        let mut retries = 0;
        let mut is_token_renewed = false;
        loop {
            let token = self.session.token().await?;
            match self.attempt(operation, body, &token).await {
                Ok(data) => return Ok(data),
                Err(CallError::Unauthorized(error)) if is_token_renewed => {
                    self.session.sign_out();
                    return Err(error);
                }
                Err(CallError::Unauthorized(_)) => {
                    is_token_renewed = true;
                    self.session.reject(&token);
                }
                Err(CallError::Transient(error)) if retries < RETRIES_MAX => {
                    tracing::debug!(attempt = retries + 1, error = %chain(&error), "retrying a call to the cloud");
                    sleep(RETRY_DELAY * 2_u32.pow(retries) + RETRY_DELAY.mul_f64(rand::random::<f64>())).await;
                    retries += 1;
                }
                Err(CallError::Transient(error) | CallError::Permanent(error)) => return Err(error),
            }
        }
    }

    async fn attempt<T: DeserializeOwned>(
        &self,
        operation: &'static str,
        body: &str,
        token: &SecretString,
    ) -> Result<T, CallError> {
        let mut authorization = header::HeaderValue::from_str(token.expose_secret()).map_err(|_| {
            CallError::Permanent(error(
                CloudErrorKind::InvalidResponse,
                operation,
                "the token is not a valid header value",
            ))
        })?;
        authorization.set_sensitive(true);
        let response = self
            .http
            .post(self.endpoint.clone())
            .header(header::AUTHORIZATION, authorization)
            .header(header::CONTENT_TYPE, "application/json")
            .body(body.to_owned())
            .send()
            .await
            .map_err(|cause| transport_error(operation, &cause))?;
        let status = response.status();
        let body = read(response, operation).await?;
        parse_response(operation, status, &body)
    }
}

async fn read(mut response: Response, operation: &'static str) -> Result<Vec<u8>, CallError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|cause| transport_error(operation, &cause))? {
        if body.len() + chunk.len() > BODY_MAX {
            return Err(CallError::Permanent(error(
                CloudErrorKind::InvalidResponse,
                operation,
                "the response is larger than 32 MiB",
            )));
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn transport_error(operation: &'static str, cause: &reqwest::Error) -> CallError {
    let text = chain(cause);
    if cause.is_timeout() {
        // No quick retry: the time limit is used up.
        return CallError::Permanent(error(CloudErrorKind::TimedOut, operation, text));
    }
    CallError::Transient(error(CloudErrorKind::Unreachable, operation, text))
}

/// Converts a complete response.
fn parse_response<T: DeserializeOwned>(
    operation: &'static str,
    status: StatusCode,
    body: &[u8],
) -> Result<T, CallError> {
    let errors = errors_in(body);
    let text = describe(&errors).unwrap_or_else(|| format!("status {}", status.as_u16()));
    let of_type = |found: &WireError| CloudErrorKind::of_code(found.error_type.as_deref()?);
    let of_status = CloudErrorKind::of_status(status.as_u16());
    let kinds: Vec<CloudErrorKind> = errors.iter().filter_map(of_type).chain(of_status).collect();
    if kinds.contains(&CloudErrorKind::Expired) {
        return Err(CallError::Unauthorized(error(CloudErrorKind::Denied, operation, text)));
    }
    for kind in [CloudErrorKind::Throttled, CloudErrorKind::Failed] {
        if kinds.contains(&kind) {
            return Err(CallError::Transient(error(kind, operation, text)));
        }
    }
    if !status.is_success() || !errors.is_empty() {
        return Err(CallError::Permanent(error(CloudErrorKind::Failed, operation, text)));
    }
    // Only the position of the error is shown: the text may contain credentials.
    let data: Data<T> = serde_json::from_slice(body).map_err(|cause| {
        let text = format!("unexpected JSON (line {}, column {})", cause.line(), cause.column());
        CallError::Permanent(error(CloudErrorKind::InvalidResponse, operation, text))
    })?;
    data.data.ok_or_else(|| {
        CallError::Permanent(error(
            CloudErrorKind::InvalidResponse,
            operation,
            "the response has neither data nor errors",
        ))
    })
}

/// All entries of `errors` count, also those of an unknown form.
fn errors_in(body: &[u8]) -> Vec<WireError> {
    let one = |value| serde_json::from_value(value).unwrap_or_default();
    match serde_json::from_slice::<Errors>(body).map(|response| response.errors) {
        Err(_) | Ok(Value::Null) => Vec::new(),
        Ok(Value::Array(errors)) => errors.into_iter().map(one).collect(),
        Ok(other) => vec![one(other)],
    }
}

fn describe(errors: &[WireError]) -> Option<String> {
    let texts: Vec<String> = errors.iter().take(ERRORS_SHOWN_MAX).map(WireError::text).collect();
    if texts.is_empty() { None } else { Some(excerpt(&texts.join("; "))) }
}

impl WireError {
    fn text(&self) -> String {
        let message = self.message.as_deref().unwrap_or("no message");
        self.error_type.as_ref().map_or_else(|| message.to_owned(), |error_type| format!("{error_type}: {message}"))
    }
}

fn error(kind: CloudErrorKind, operation: &'static str, source: impl Into<String>) -> CloudError {
    CloudError::new(kind, operation).with_source(source.into())
}

#[cfg(test)]
mod tests;
