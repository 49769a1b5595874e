//! Injected failures and hangs of services, and counters of calls. A gate in front of all mocks of the wiremock server
//! receives each request first; it identifies the service of a request and nothing else.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::json;
use wiremock::{Match, Mock, MockServer, Request, Respond, ResponseTemplate};

/// Duration of a stalled call: longer than any client waits. wiremock cannot resume a response, so a stalled call never
/// gets one, even after the stall is released.
const STALL: Duration = Duration::from_secs(3600);
/// The path of AppSync.
pub(super) const APPSYNC_PATH: &str = "/graphql";
/// The end of the path of a user pool's keys.
pub(super) const KEYS_PATH: &str = "/.well-known/jwks.json";

/// A service of the cloud. SQS has its own server and its own fault injection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Service {
    /// AppSync. Operations: `POST` for each request, `GetApp` and `GetNode` for each such field in a response.
    AppSync,
    /// The field `GetAwsCredentials` of AppSync, which can fail separately. Operation: `GetAwsCredentials`.
    Credentials,
    /// Cognito. Operations: `InitiateAuth`, `RespondToAuthChallenge`, and `GET` of the keys.
    Cognito,
    /// ECR. Operation: `GetAuthorizationToken`.
    Ecr,
    /// ECR Public. Operation: `GetAuthorizationToken`.
    EcrPublic,
    /// CloudWatch Logs. Operations: `CreateLogStream`, `PutLogEvents`, and so on.
    CloudWatch,
    /// The endpoint for audit records. Operation: `POST`.
    Audit,
}

/// Effect on a call instead of its response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// This HTTP status with an error body in the format of the service.
    Status(u16),
    /// No response at all: the client must time out.
    Stall,
}

/// The faults and counters; a cheap handle.
#[derive(Debug, Clone, Default)]
pub struct Services(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    armed: BTreeMap<Service, Armed>,
    calls: BTreeMap<(Service, String), usize>,
    /// The gate's decision about the request that wiremock passes to it next.
    decided: Option<(Service, Fault)>,
}

#[derive(Debug)]
struct Armed {
    fault: Fault,
    /// `None` is every operation.
    operation: Option<&'static str>,
    /// `None` is until released.
    times: Option<usize>,
}

impl Services {
    /// The next `times` calls of a service fail with this fault.
    pub fn fail_next(&self, service: Service, times: usize, fault: Fault) {
        self.arm(service, Armed { fault, operation: None, times: Some(times) });
    }

    /// The next `times` calls of one operation fail with this fault; other operations of the service work.
    pub fn fail_next_of(&self, service: Service, operation: &'static str, times: usize, fault: Fault) {
        self.arm(service, Armed { fault, operation: Some(operation), times: Some(times) });
    }

    /// All calls of a service fail with this fault until it is released.
    pub fn fail_until_released(&self, service: Service, fault: Fault) {
        self.arm(service, Armed { fault, operation: None, times: None });
    }

    /// The service works again, for calls from now on.
    pub fn release(&self, service: Service) {
        self.lock().armed.remove(&service);
    }

    /// Number of calls of an operation, failed calls included. A call is counted when its fault is decided: a change by
    /// a test after it has seen the number does not affect the response any more.
    pub fn calls(&self, service: Service, operation: &str) -> usize {
        self.lock().calls.get(&(service, operation.to_owned())).copied().unwrap_or(0)
    }

    pub(super) fn count(&self, service: Service, operation: &str) {
        *self.lock().calls.entry((service, operation.to_owned())).or_default() += 1;
    }

    /// Takes the fault of this call, if there is one.
    pub(super) fn take(&self, service: Service, operation: &str) -> Option<Fault> {
        let mut state = self.lock();
        let armed = state.armed.get_mut(&service)?;
        if armed.operation.is_some_and(|only| only != operation) || armed.times == Some(0) {
            return None;
        }
        armed.times = armed.times.map(|times| times - 1);
        Some(armed.fault)
    }

    /// Mounts the gate in front of all other mocks.
    pub(super) async fn mount(&self, server: &MockServer) {
        Mock::given(Gate(self.clone())).respond_with(Gate(self.clone())).with_priority(1).mount(server).await;
    }

    fn arm(&self, service: Service, armed: Armed) {
        self.lock().armed.insert(service, armed);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters: consistent after every statement.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Matches requests that must fail. wiremock calls `matches` and then `respond` for one request under one lock.
struct Gate(Services);

impl Match for Gate {
    fn matches(&self, request: &Request) -> bool {
        let (service, operation) = classify(request);
        let fault = self.0.take(service, &operation);
        self.0.count(service, &operation);
        self.0.lock().decided = fault.map(|fault| (service, fault));
        fault.is_some()
    }
}

impl Respond for Gate {
    fn respond(&self, _: &Request) -> ResponseTemplate {
        match self.0.lock().decided.take() {
            Some((service, Fault::Status(status))) => refusal(service, status),
            _ => stalled(),
        }
    }
}

/// A response that never arrives.
pub(super) fn stalled() -> ResponseTemplate {
    ResponseTemplate::new(503).set_delay(STALL)
}

fn classify(request: &Request) -> (Service, String) {
    if let Some(target) = request.headers.get("x-amz-target").and_then(|target| target.to_str().ok()) {
        let (service, operation) = target.split_once('.').unwrap_or((target, ""));
        let service = match service {
            "AWSCognitoIdentityProviderService" => Service::Cognito,
            "SpencerFrontendService" => Service::EcrPublic,
            "Logs_20140328" => Service::CloudWatch,
            _ => Service::Ecr,
        };
        return (service, operation.to_owned());
    }
    let service = match request.url.path() {
        APPSYNC_PATH => Service::AppSync,
        path if path.ends_with(KEYS_PATH) => Service::Cognito,
        _ => Service::Audit,
    };
    (service, request.method.to_string())
}

fn refusal(service: Service, status: u16) -> ResponseTemplate {
    let code = match status {
        400 => "ThrottlingException",
        429 => "TooManyRequestsException",
        503 => "ServiceUnavailableException",
        _ => "InternalFailure",
    };
    let template = ResponseTemplate::new(status);
    match service {
        Service::AppSync | Service::Credentials => {
            template.set_body_json(json!({"errors": [{"errorType": code, "message": "injected by the test"}]}))
        }
        Service::Audit => template.set_body_json(json!({"message": "injected by the test"})),
        _ => aws_error(status, code, "injected by the test"),
    }
}

/// An error of a service with AWS JSON 1.1.
pub(super) fn aws_error(status: u16, code: &str, message: &str) -> ResponseTemplate {
    let body = json!({"__type": code, "message": message}).to_string();
    ResponseTemplate::new(status)
        .insert_header("x-amzn-errortype", format!("{code}:"))
        .set_body_raw(body, "application/x-amz-json-1.1")
}
