//! Startup of the services of one cloud: shared state, order of mounting, and the environment of a daemon.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use wiremock::MockServer;

use super::appsync::{self, MalformedResponses};
use super::cognito::{self, Lifetimes, Pool, Settings};
use super::messages::Outbox;
use super::services::{self, Services};
use super::sigv4::{Access, Scope};
use super::sqs::{self, FifoQueues};
use super::state::{self, History};
use super::{Builder, FakeCloud, Shared, World, audit, ecr, logs, random_hex};

/// The part of the user pool's id after the region.
const POOL: &str = "FakePool7";
const CLIENT_ID: &str = "7fakeclientfakeclientfake";

impl Builder {
    /// Starts the cloud. Errors are those of binding a port.
    pub async fn start(self) -> io::Result<FakeCloud> {
        let server = MockServer::builder().disable_request_recording().start().await;
        let access = Access::new();
        let queues = FifoQueues::new(&self.region);
        let sqs = sqs::serve(queues.clone(), access.clone()).await?;
        if let Some(endpoint) = &self.endpoint {
            queues.set_endpoint(endpoint);
        }
        let services = Services::default();
        let shared = Arc::new(Shared {
            history: History::new(self.world(&server, queues.create("change-receiver-1.fifo"))),
            pool: Arc::new(Pool::new(self.pool_settings())),
            outbox: Outbox::new(queues.clone()),
            malformed: MalformedResponses::default(),
            services: services.clone(),
            access: access.clone(),
            queues: queues.clone(),
            credentials: Mutex::default(),
            appsync_delay: Mutex::default(),
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
            audit_records_endpoint: format!("{}/audit", self.client_endpoint(server)),
        };
        World::new(tenant, app, change_queue, self.endpoint.as_deref())
    }

    /// The address of all services but SQS for clients.
    fn client_endpoint(&self, server: &MockServer) -> String {
        self.endpoint.clone().unwrap_or_else(|| server.uri())
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
        let random = || (format!("AKIA{}", random_hex::<8>().to_uppercase()), random_hex::<20>());
        let (key_id, secret) = self.operator_key.clone().unwrap_or_else(random);
        access.allow(&key_id, &secret, None, Scope::Operator, None);
        let appsync = format!("{}{}", self.client_endpoint(server), services::APPSYNC_PATH);
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
            // Nodes of a fake cloud use images of any registry.
            ("MANAGED_APP_ALLOWED_REGISTRIES", "*".to_owned()),
            ("AWS_ENDPOINT_URL", self.client_endpoint(server)),
            ("AWS_ENDPOINT_URL_SQS", self.endpoint.clone().unwrap_or_else(|| sqs.endpoint())),
            ("AWS_ACCESS_KEY_ID", key_id),
            ("AWS_SECRET_ACCESS_KEY", secret),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
