//! The fake EchoStream cloud, service by service, on the wire: AppSync, Cognito, SQS, ECR, CloudWatch Logs and audit
//! records. It shares no type with the daemon and writes its JSON by hand: writing it twice is what makes it a check.

pub mod audit;
pub mod ecr;
pub mod faults;
pub mod logs;
pub mod messages;
pub mod services;
pub mod sigv4;
pub mod sqs;
pub mod state;
pub mod words;

mod appsync;
mod awsjson;
mod builder;
mod cognito;
mod hex;
mod switches;

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};

use wiremock::MockServer;

pub use appsync::Spoiled;
pub use builder::Builder;
pub use messages::{Change, RemovalForm, Sent};
pub use services::{Fault, Service, Services};
pub use state::World;

use appsync::SpoiledAnswers;
use audit::AuditRecords;
use cognito::{Lifetimes, Pool, Settings};
use ecr::Registry;
use logs::CloudWatch;
use messages::Outbox;
use sigv4::{Access, Scope};
use sqs::FifoQueues;
use state::History;

/// The AWS account of all queues.
const ACCOUNT: &str = "123456789012";
/// The node that sends changes to all change receivers of the tenant.
const CHANGE_ROUTER: &str = "App Change Router";
/// The message type of changes.
const CHANGE_MESSAGE_TYPE: &str = "echo.change";
/// The part of the user pool's id after the region.
const POOL: &str = "FakePool7";
const CLIENT_ID: &str = "7fakeclientfakeclientfake";

/// A whole cloud with one tenant and one managed app, on 127.0.0.1, for as long as it lives.
///
/// Drive it in the words of its users (`add_node`, `connect`, ...); see [`words`]. A call that this cloud answers is
/// checked as strictly as AWS checks it: tokens, SRP proof, signatures.
pub struct FakeCloud {
    /// Makes services fail or hang, and counts their calls.
    pub services: Services,
    /// The queues behind SQS, with their fault switches and counters.
    pub queues: FifoQueues,
    /// The token services of ECR and ECR Public.
    pub registry: Registry,
    /// CloudWatch Logs. The groups of the daemon and of all nodes exist.
    pub cloudwatch: CloudWatch,
    /// The audit records that came in.
    pub audit: AuditRecords,
    log_group: String,
    shared: Arc<Shared>,
    server: MockServer,
    sqs: sqs::Server,
    env: BTreeMap<String, String>,
}

/// What the services of one cloud share.
struct Shared {
    history: History,
    pool: Arc<Pool>,
    outbox: Outbox,
    spoiled: SpoiledAnswers,
    services: Services,
    access: Access,
    queues: FifoQueues,
    credentials: Mutex<Credentials>,
}

/// Credentials that the app was given.
#[derive(Default)]
struct Credentials {
    /// Overrides what clients ask for.
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

    /// Settings for another one.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// The environment of a daemon for this app: the nine required variables, the endpoints, and the keys of the
    /// host's operator. Holds secrets.
    pub fn env(&self) -> BTreeMap<String, String> {
        self.env.clone()
    }

    /// Endpoint of all services but SQS, as `http://127.0.0.1:40123`.
    pub fn endpoint(&self) -> String {
        self.server.uri()
    }

    /// Endpoint of SQS.
    pub fn sqs_endpoint(&self) -> String {
        self.sqs.endpoint()
    }

    /// The world as it is.
    pub fn world(&self) -> Arc<World> {
        self.shared.history.now()
    }

    /// URL of the queue that carries changes to the app.
    pub fn change_queue(&self) -> String {
        self.world().change_edge.queue.clone()
    }

    /// Messages to the app that nobody has deleted yet, in flight or not.
    pub fn pending_changes(&self) -> usize {
        self.queues.pending(&self.change_queue())
    }

    /// The log group of a node, in the tenant's region.
    pub fn node_log_group(&self, node: &str) -> String {
        format!("{}/node/{node}", self.log_group)
    }

    /// The GraphQL schema of the fake, as text.
    pub fn graphql_schema() -> String {
        appsync::sdl()
    }
}

impl Builder {
    /// Starts the cloud. Errors are those of binding a port.
    pub async fn start(self) -> io::Result<FakeCloud> {
        let server = MockServer::builder().disable_request_recording().start().await;
        let access = Access::new();
        let queues = FifoQueues::new(&self.region);
        let sqs = sqs::serve(queues.clone(), access.clone()).await?;
        let services = Services::default();
        let shared = Arc::new(Shared {
            history: History::new(self.world(&server, queues.create("change-receiver-1.fifo"))),
            pool: Arc::new(Pool::new(self.pool_settings())),
            outbox: Outbox::new(queues.clone()),
            spoiled: SpoiledAnswers::default(),
            services: services.clone(),
            access: access.clone(),
            queues: queues.clone(),
            credentials: Mutex::default(),
        });
        services.mount(&server).await;
        cognito::mount(&server, Arc::clone(&shared.pool)).await;
        appsync::mount(&server, Arc::clone(&shared)).await;
        let registry = ecr::mount(&server, access.clone()).await;
        let audit = audit::mount(&server, access.clone(), &self.region).await;
        let cloudwatch = logs::mount(&server, access.clone()).await;
        for region in [&self.region, &self.default_region] {
            cloudwatch.create_group(region, &self.log_group);
        }
        let env = self.env(&server, &sqs, &access);
        let log_group = self.log_group;
        Ok(FakeCloud { services, queues, registry, cloudwatch, audit, log_group, shared, server, sqs, env })
    }

    fn world(&self, server: &MockServer, change_queue: String) -> World {
        let tenant = state::Tenant {
            name: self.tenant.clone(),
            region: self.region.clone(),
            config: None,
            audit: false,
            table: format!("tenant_{}", self.tenant.replace(' ', "_")),
        };
        let app = state::App {
            name: self.app.clone(),
            config: None,
            table_access: false,
            audit_records_endpoint: format!("{}/audit", server.uri()),
        };
        World::new(tenant, app, change_queue)
    }

    fn pool_id(&self) -> String {
        format!("{}_{POOL}", self.pool_region)
    }

    fn pool_settings(&self) -> Settings {
        Settings {
            pool_id: self.pool_id(),
            client_id: CLIENT_ID.to_owned(),
            user: self.user.clone(),
            srp_id: self.srp_id.clone().unwrap_or_else(|| self.user.clone()),
            password: self.password.clone(),
            lifetimes: Lifetimes { access: self.token_lifetime, refresh: self.refresh_lifetime },
        }
    }

    fn env(&self, server: &MockServer, sqs: &sqs::Server, access: &Access) -> BTreeMap<String, String> {
        let (key_id, secret) = (format!("AKIA{}", random_hex::<8>().to_uppercase()), random_hex::<20>());
        access.allow(&key_id, &secret, None, Scope::Operator, None);
        let appsync = format!("{}{}", server.uri(), services::APPSYNC_PATH);
        [
            ("APP", self.app.clone()),
            ("APPSYNC_ENDPOINT", appsync),
            ("AWS_DEFAULT_REGION", self.default_region.clone()),
            ("CLIENT_ID", CLIENT_ID.to_owned()),
            ("LOG_GROUP_NAME", self.log_group.clone()),
            ("PASSWORD", self.password.clone()),
            ("TENANT", self.tenant.clone()),
            ("USER_NAME", self.user.clone()),
            ("USER_POOL_ID", self.pool_id()),
            ("AWS_ENDPOINT_URL", server.uri()),
            ("AWS_ENDPOINT_URL_SQS", sqs.endpoint()),
            ("AWS_ACCESS_KEY_ID", key_id),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

impl Shared {
    fn credentials(&self) -> std::sync::MutexGuard<'_, Credentials> {
        // Each statement leaves them whole.
        self.credentials.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn random_bytes<const LENGTH: usize>() -> [u8; LENGTH] {
    rand::random()
}

/// Random hexadecimal digits, two for each byte.
fn random_hex<const LENGTH: usize>() -> String {
    hex::hex(&random_bytes::<LENGTH>())
}
