//! One port for the whole fake cloud: handles control requests, and forwards all other requests unchanged to the service
//! that they are for.

use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use managed_app_fakes::FakeCloud;
use tokio::net::TcpListener;

use super::commands::Command;
use super::seed::Seed;
use super::{Problem, address, reply};
use crate::host::{Signal, Signals};

/// Path of control requests.
pub(super) const CONTROL_PATH: &str = "/fake-cloud/command";
/// Limit of a request body, above the largest request of AWS.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Time limit of a response, above the longest poll of SQS.
const RESPONSE_LIMIT: Duration = Duration::from_secs(60);
/// The AWS keys of the operator, constant so that an environment stays valid after a restart.
const OPERATOR_KEY: (&str, &str) = ("AKIAFAKECLOUDFAKE", "fake-cloud-fake-cloud-fake-cloud");

struct Gateway {
    cloud: FakeCloud,
    http: reqwest::Client,
}

/// Serves until SIGINT or SIGTERM.
pub(super) async fn serve(listen: SocketAddr, advertise: Option<String>, seed: Option<&Path>) -> Result<(), Problem> {
    let seed = seed.map(Seed::read).transpose()?.unwrap_or_default();
    let listener = TcpListener::bind(listen).await;
    let listener = listener.map_err(|error| Problem::unavailable(format!("listen on {listen}: {error}")))?;
    let bound = listener.local_addr().map_err(|error| Problem::unavailable(format!("listen on {listen}: {error}")))?;
    let base = address::base(bound, advertise.as_deref())?;
    let cloud = seed.builder().endpoint(&base).operator_key(OPERATOR_KEY.0, OPERATOR_KEY.1).start().await;
    let cloud = cloud.map_err(|error| Problem::unavailable(format!("start the services: {error}")))?;
    seed.apply(&cloud)?;
    let http = reqwest::Client::builder().no_proxy().timeout(RESPONSE_LIMIT).build();
    let http = http.map_err(|error| Problem::unavailable(format!("create an HTTP client: {error}")))?;
    let mut signals = Signals::listen().map_err(|error| Problem::unavailable(format!("follow signals: {error}")))?;
    let router = Router::new()
        .route(CONTROL_PATH, post(command))
        .fallback(forward)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Arc::new(Gateway { cloud, http }));
    // Unlike `println!`, this does not panic when standard output is closed.
    let _ = writeln!(std::io::stdout(), "{}", usage_text(&base, bound));
    // Both arms are cancel-safe: a client in a poll only loses this poll.
    tokio::select! {
        served = axum::serve(listener, router) => {
            served.map_err(|error| Problem::unavailable(format!("serve on {bound}: {error}")))
        }
        () = ended(&mut signals) => Ok(()),
    }
}

async fn ended(signals: &mut Signals) {
    while signals.next().await == Signal::Hangup {}
}

fn usage_text(base: &str, bound: SocketAddr) -> String {
    let at = if bound.to_string() == super::DEFAULT_ADDRESS {
        String::new()
    } else {
        format!(" --at {}", base.trim_start_matches("http://"))
    };
    format!(
        "A fake EchoStream cloud at {base}. In another terminal:\n\
         \x20 echostream-managed-app fake-cloud{at} env > fake.env    # the environment of a daemon\n\
         \x20 echostream-managed-app run --env-file fake.env\n\
         \x20 echostream-managed-app fake-cloud{at} add-node my-node --image localhost/my-node:1\n\
         \x20 echostream-managed-app fake-cloud{at} env --node my-node    # for `docker run --env-file`\n\
         \x20 echostream-managed-app fake-cloud --help    # all commands"
    )
}

async fn command(State(gateway): State<Arc<Gateway>>, body: Bytes) -> Response {
    let Ok(command) = serde_json::from_slice::<Command>(&body) else {
        return (StatusCode::BAD_REQUEST, "this is not a command of this version").into_response();
    };
    match reply::reply(&gateway.cloud, &command).await {
        Ok(text) => text.into_response(),
        Err(reason) => (StatusCode::UNPROCESSABLE_ENTITY, reason).into_response(),
    }
}

async fn forward(
    State(gateway): State<Arc<Gateway>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_sqs = headers.get("x-amz-target").is_some_and(|target| target.as_bytes().starts_with(b"AmazonSQS."));
    let service = if is_sqs { gateway.cloud.sqs_endpoint() } else { gateway.cloud.endpoint() };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT] {
        headers.remove(name);
    }
    let sent = gateway.http.request(method, format!("{service}{path}")).headers(headers).body(body).send().await;
    match sent {
        Ok(answer) => forward_response(answer).await,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("the fake service does not answer: {error}")).into_response(),
    }
}

async fn forward_response(answer: reqwest::Response) -> Response {
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    match answer.bytes().await {
        Ok(body) => (status, headers, Body::from(body)).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("the fake service broke off: {error}")).into_response(),
    }
}
