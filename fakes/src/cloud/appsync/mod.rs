//! AppSync on the wire: one POST endpoint that checks the access token, executes any query over the fake's own schema,
//! and returns errors in AppSync's format. `schema` resolves fields, `malformed` corrupts responses.

mod malformed;
mod nodes;
mod parts;
mod remote;
mod scalars;
mod schema;

use std::future::Future;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use async_graphql::{EmptyMutation, EmptySubscription, Schema, Variables};
use serde_json::{Value, json};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::Shared;
use super::services::{APPSYNC_PATH, Service, stalled};

pub use malformed::MalformedResponse;
pub(super) use malformed::MalformedResponses;

type AppSync = Schema<schema::Query, EmptyMutation, EmptySubscription>;

/// Effects of fields on the call that resolves them.
#[derive(Clone, Default)]
struct Call(Arc<Mutex<CallEffects>>);

#[derive(Default)]
struct CallEffects {
    /// A field requires that the call never gets a response.
    is_stalled: bool,
    counts: Vec<(Service, &'static str)>,
}

impl Call {
    fn stalls(&self) {
        self.effects().is_stalled = true;
    }

    /// Counts at the end of the call, when its response is created.
    fn counts(&self, service: Service, operation: &'static str) {
        self.effects().counts.push((service, operation));
    }

    fn effects(&self) -> MutexGuard<'_, CallEffects> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Serves the schema over the state of this cloud.
pub(super) async fn mount(server: &MockServer, shared: Arc<Shared>) {
    let schema = Schema::build(schema::Query, EmptyMutation, EmptySubscription)
        .register_output_type::<nodes::Node>()
        .data(Arc::clone(&shared))
        .finish();
    Mock::given(method("POST"))
        .and(path(APPSYNC_PATH))
        .respond_with(move |request: &Request| answer(&schema, &shared, request))
        .mount(server)
        .await;
}

/// The schema as text, for clients that want a file.
pub(super) fn sdl() -> String {
    Schema::build(schema::Query, EmptyMutation, EmptySubscription).register_output_type::<nodes::Node>().finish().sdl()
}

fn answer(schema: &AppSync, shared: &Shared, request: &Request) -> ResponseTemplate {
    let call = Call::default();
    let answer = execute(schema, shared, request, &call);
    for (service, operation) in std::mem::take(&mut call.effects().counts) {
        shared.services.count(service, operation);
    }
    answer
}

fn execute(schema: &AppSync, shared: &Shared, request: &Request, call: &Call) -> ResponseTemplate {
    let token = request.headers.get("authorization").and_then(|token| token.to_str().ok()).unwrap_or_default();
    let authorized = match token {
        "" => Err("Missing authorization header"),
        token => shared.pool.check_access_token(token),
    };
    if let Err(message) = authorized {
        return refuse(401, "UnauthorizedException", message);
    }
    if request.body.is_empty() {
        return refuse(400, "MalformedHttpRequestException", "Request body is empty.");
    }
    let Some(query) = read(request) else {
        return refuse(400, "MalformedHttpRequestException", "Unable to parse GraphQL query.");
    };
    let mut body = in_appsync_form(finish(schema.execute(query.data(call.clone()))));
    if call.effects().is_stalled {
        return stalled();
    }
    shared.malformed.apply(&mut body);
    let template = ResponseTemplate::new(200).set_body_json(body);
    match shared.appsync_delay() {
        Some(delay) => template.set_delay(delay),
        None => template,
    }
}

fn read(request: &Request) -> Option<async_graphql::Request> {
    let body: Value = request.body_json().ok()?;
    let mut query = async_graphql::Request::new(body["query"].as_str()?);
    if let Some(name) = body["operationName"].as_str() {
        query = query.operation_name(name);
    }
    Some(query.variables(Variables::from_json(body["variables"].clone())))
}

fn refuse(status: u16, error_type: &str, message: &str) -> ResponseTemplate {
    ResponseTemplate::new(status)
        .insert_header("x-amzn-errortype", error_type)
        .set_body_json(json!({"errors": [{"errorType": error_type, "message": message}]}))
}

/// Errors in AppSync's format.
fn in_appsync_form(response: async_graphql::Response) -> Value {
    let errors: Vec<_> = response.errors.iter().map(appsync_error).collect();
    let mut body = json!({"data": response.data});
    if !errors.is_empty() {
        body["errors"] = Value::Array(errors);
    }
    body
}

fn appsync_error(error: &async_graphql::ServerError) -> Value {
    let locations: Vec<_> = error.locations.iter().map(|at| json!({"line": at.line, "column": at.column})).collect();
    let error_type = error.extensions.as_ref().and_then(|extensions| extensions.get("errorType"));
    json!({
        "path": error.path, "data": null, "errorType": error_type.cloned().unwrap_or_default(), "errorInfo": null,
        "locations": locations, "message": error.message,
    })
}

/// Runs a future that never waits for external events: the fields read memory only. It may yield for fairness among
/// many fields, so it is polled until it is ready.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return output;
        }
    }
}
