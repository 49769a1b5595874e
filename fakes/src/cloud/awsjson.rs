//! Owns the common parts of the fakes of AWS JSON 1.1 services: dispatch by target, responses and errors.
use serde::Deserialize;
use serde_json::{Value as Json, json};
use time::OffsetDateTime;
use wiremock::{Request, ResponseTemplate};

use super::faults::{Failure, Faults};
use super::sigv4::{Access, HostCall, Refusal, claimed_key, claimed_region};

const CONTENT_TYPE: &str = "application/x-amz-json-1.1";

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::new(400, refusal.json_code(), refusal.to_string())
    }
}

/// The operation of a request to the service with this target prefix, dot included.
pub(super) fn operation<'a>(request: &'a Request, prefix: &str) -> Option<&'a str> {
    let post = request.method.as_str() == "POST";
    let target = request.headers.get("x-amz-target").filter(|_| post)?;
    target.to_str().ok()?.strip_prefix(prefix)
}

/// The JSON body of a request.
pub(super) fn input(request: &Request) -> Result<Json, Failure> {
    let unreadable = |_| Failure::new(400, "SerializationException", "the body is not JSON");
    serde_json::from_slice(&request.body).map_err(unreadable)
}

/// The fields that identify a call; the rest, which can be a megabyte of log events, is skipped.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Subject {
    registry_ids: Vec<String>,
    log_group_name: String,
}

/// Records a call with the host's keys and its response.
pub(super) fn record(
    access: &Access,
    request: &Request,
    (service, operation): (&'static str, &str),
    outcome: &Result<Json, Failure>,
) {
    let Subject { registry_ids, log_group_name } = serde_json::from_slice(&request.body).unwrap_or_default();
    access.record(HostCall {
        at: OffsetDateTime::now_utc(),
        service,
        region: claimed_region(&request.headers).unwrap_or_default().to_owned(),
        operation: operation.to_owned(),
        subject: if registry_ids.is_empty() { log_group_name } else { registry_ids.join("+") },
        key: claimed_key(&request.headers).unwrap_or_default().to_owned(),
        error: outcome.as_ref().err().map(|failure| failure.code.clone()),
    });
}

/// The rejection of a parameter.
pub(super) fn invalid(message: impl Into<String>) -> Failure {
    Failure::new(400, "InvalidParameterException", message)
}

/// Converts the result into a response, delayed if fault injection requires it.
pub(super) fn respond(outcome: Result<Json, Failure>, faults: &Faults) -> ResponseTemplate {
    let (status, json) = match outcome {
        Ok(json) => (200, json),
        Err(failure) => (failure.status, json!({ "__type": failure.code, "message": failure.message })),
    };
    let response = ResponseTemplate::new(status).set_body_raw(json.to_string(), CONTENT_TYPE);
    match faults.delay() {
        Some(delay) => response.set_delay(delay),
        None => response,
    }
}
