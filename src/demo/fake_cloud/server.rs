//! One port before the whole fake cloud: control calls are answered here, and all else is handed on unchanged to the
//! service that it is for.

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

/// Where words are posted.
pub(super) const CONTROL_PATH: &str = "/fake-cloud/command";
/// The largest request of AWS, with room to spare.
const REQUEST_BYTES_MAX: usize = 16 * 1024 * 1024;
/// The longest an answer may take: above the longest poll of SQS.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
/// The key that the host's operator has, always the same so that an environment stays good over a restart.
const OPERATOR_KEY: (&str, &str) = ("AKIAFAKECLOUDFAKE", "fake-cloud-fake-cloud-fake-cloud");

struct Front {
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
    seed.plant(&cloud)?;
    let http = reqwest::Client::builder().no_proxy().timeout(ANSWER_LIMIT).build();
    let http = http.map_err(|error| Problem::unavailable(format!("make a client: {error}")))?;
    let mut signals = Signals::listen().map_err(|error| Problem::unavailable(format!("follow signals: {error}")))?;
    let router = Router::new()
        .route(CONTROL_PATH, post(command))
        .fallback(hand_on)
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(Arc::new(Front { cloud, http }));
    // Nobody has to read it. `println!` would panic then.
    let _ = writeln!(std::io::stdout(), "{}", welcome(&base, bound));
    // Both arms are cancel-safe: who waits in a poll loses nothing but the poll.
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

fn welcome(base: &str, bound: SocketAddr) -> String {
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

async fn command(State(front): State<Arc<Front>>, body: Bytes) -> Response {
    let Ok(command) = serde_json::from_slice::<Command>(&body) else {
        return (StatusCode::BAD_REQUEST, "this is not a command of this version").into_response();
    };
    match reply::reply(&front.cloud, &command).await {
        Ok(text) => text.into_response(),
        Err(reason) => (StatusCode::UNPROCESSABLE_ENTITY, reason).into_response(),
    }
}

async fn hand_on(
    State(front): State<Arc<Front>>,
    method: Method,
    uri: Uri,
    mut headers: HeaderMap,
    body: Bytes,
) -> Response {
    let is_sqs = headers.get("x-amz-target").is_some_and(|target| target.as_bytes().starts_with(b"AmazonSQS."));
    let service = if is_sqs { front.cloud.sqs_endpoint() } else { front.cloud.endpoint() };
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::EXPECT] {
        headers.remove(name);
    }
    let sent = front.http.request(method, format!("{service}{path}")).headers(headers).body(body).send().await;
    match sent {
        Ok(answer) => handed_back(answer).await,
        Err(error) => (StatusCode::BAD_GATEWAY, format!("the fake service does not answer: {error}")).into_response(),
    }
}

async fn handed_back(answer: reqwest::Response) -> Response {
    let (status, mut headers) = (answer.status(), answer.headers().clone());
    for name in [header::CONNECTION, header::CONTENT_LENGTH, header::TRANSFER_ENCODING] {
        headers.remove(name);
    }
    match answer.bytes().await {
        Ok(body) => (status, headers, Body::from(body)).into_response(),
        Err(error) => (StatusCode::BAD_GATEWAY, format!("the fake service broke off: {error}")).into_response(),
    }
}
