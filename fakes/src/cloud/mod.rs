//! The fake EchoStream cloud at the wire level, service by service: AppSync, Cognito, SQS, ECR, CloudWatch Logs and
//! audit records. It shares no type with the daemon and writes its JSON by hand: only an independent implementation is
//! a check.

pub mod audit;
pub mod commands;
pub mod ecr;
pub mod faults;
pub mod logs;
pub mod messages;
pub mod services;
pub mod sigv4;
pub mod sqs;
pub mod state;

mod appsync;
mod awsjson;
mod builder;
mod cognito;
mod start;
mod switches;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use wiremock::MockServer;

pub use appsync::MalformedResponse;
pub use builder::Builder;
pub use messages::{Change, RemovalForm, Sent};
pub use services::{Fault, Service, Services};
pub use state::World;

use appsync::MalformedResponses;
use audit::AuditRecords;
use cognito::Pool;
use ecr::Registry;
use logs::CloudWatch;
use messages::Outbox;
use sigv4::Access;
use sqs::FifoQueues;
use state::History;

/// The AWS account of all queues.
const ACCOUNT: &str = "123456789012";
/// The node that sends changes to all change receivers of the tenant.
const CHANGE_ROUTER: &str = "App Change Router";
/// The message type of changes.
const CHANGE_MESSAGE_TYPE: &str = "echo.change";

/// A whole cloud with one tenant and one managed app, on 127.0.0.1, until it is dropped.
///
/// Use the commands of its users (`add_node`, `connect`, ...); see [`commands`]. Calls are checked as strictly as AWS
/// checks them: tokens, SRP proof, signatures.
pub struct FakeCloud {
    /// Injects failures and hangs into services, and counts their calls.
    pub services: Services,
    /// The queues behind SQS, with their fault injection and counters.
    pub queues: FifoQueues,
    /// The token services of ECR and ECR Public.
    pub registry: Registry,
    /// CloudWatch Logs. The groups of the daemon and of all nodes exist.
    pub cloudwatch: CloudWatch,
    /// The received audit records.
    pub audit: AuditRecords,
    log_group: String,
    shared: Arc<Shared>,
    server: MockServer,
    sqs: sqs::Server,
    env: BTreeMap<String, String>,
}

/// State that the services of one cloud share.
struct Shared {
    history: History,
    pool: Arc<Pool>,
    outbox: Outbox,
    malformed: MalformedResponses,
    services: Services,
    access: Access,
    queues: FifoQueues,
    credentials: Mutex<Credentials>,
    /// Delay of AppSync's responses.
    appsync_delay: Mutex<Option<Duration>>,
}

/// Credentials that were issued to the app.
#[derive(Default)]
struct Credentials {
    /// Overrides the lifetime that clients request.
    lifetime: Option<time::Duration>,
    given: Vec<String>,
}

impl FakeCloud {
    /// A cloud with default names.
    ///
    /// # Panics
    /// When 127.0.0.1 has no free port.
    pub async fn start() -> Self {
        Self::builder().start().await.expect("127.0.0.1 has free ports")
    }

    /// Settings for a cloud with other names.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The environment of a daemon for this app: the nine required variables, the endpoints, and the keys of the host's
    /// operator. Contains secrets.
    pub fn env(&self) -> BTreeMap<String, String> {
        self.env.clone()
    }

    /// Secret values: the password of the start, the operator's secret key, and the tokens and keys issued so far, as
    /// long as they are retained.
    pub fn secrets(&self) -> Vec<String> {
        let mut secrets = vec![self.env["PASSWORD"].clone()];
        secrets.extend(self.shared.pool.tokens());
        secrets.extend(self.shared.access.secrets());
        secrets
    }

    /// Endpoint of all services but SQS, as `http://127.0.0.1:40123`.
    pub fn endpoint(&self) -> String {
        self.server.uri()
    }

    /// Endpoint of SQS.
    pub fn sqs_endpoint(&self) -> String {
        self.sqs.endpoint()
    }

    /// The current state of the world.
    pub fn world(&self) -> Arc<World> {
        self.shared.history.now()
    }

    /// URL of the queue that carries changes to the app.
    pub fn change_queue(&self) -> String {
        self.world().change_edge.queue.clone()
    }

    /// Messages to the app that have not been deleted, in flight or not.
    pub fn pending_changes(&self) -> usize {
        self.queues.pending(&self.change_queue())
    }

    /// The log group of a node, in the tenant's region. AWS accepts no spaces and colons there; the replacement is that
    /// of the daemon, and of the operator who creates the group.
    pub fn node_log_group(&self, node: &str) -> String {
        managed_app_runtimes::names::log_group(&self.log_group, node)
    }

    /// The public keys of the user pool's tokens, as JSON that is valid Python too: the value of `COGNITO_JWKS` for
    /// pycognito, which otherwise requests them from AWS, whatever its endpoint.
    pub fn token_keys() -> String {
        cognito::keys().to_string()
    }

    /// The GraphQL schema of the fake, as text.
    pub fn graphql_schema() -> String {
        appsync::sdl()
    }
}

impl Shared {
    fn credentials(&self) -> std::sync::MutexGuard<'_, Credentials> {
        // Each statement leaves them consistent.
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_bytes<const LENGTH: usize>() -> [u8; LENGTH] {
    rand::random()
}

/// Random hexadecimal digits, two for each byte.
fn random_hex<const LENGTH: usize>() -> String {
    hex::encode(random_bytes::<LENGTH>())
}
