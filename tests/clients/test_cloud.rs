//! The two clouds for the calls of the daemon in `daemon_clients`.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use managed_app::cloud::{Account, Aws, AwsOptions, CloudError, CloudErrorKind, ControlPlane, EchoStream};
use managed_app::config::UserPoolId;
use managed_app::model::Snapshot;
use managed_app_fakes::FakeCloud;
use secrecy::SecretString;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Child;
use tokio::sync::watch;

use crate::script;

/// Limit for the start of moto, also on a busy machine.
const START_LIMIT: Duration = Duration::from_secs(120);

/// A running cloud.
pub struct TestCloud {
    /// User, pool and client of the account.
    pub account: Account,
    /// The correct password.
    pub password: String,
    /// AWS clients for this cloud.
    pub aws: Arc<Aws>,
    /// The region of the queue.
    pub region: String,
    /// URL of a FIFO queue without messages.
    pub queue: String,
    /// A log group in that region.
    pub log_group: String,
    /// Source of the credentials for the queue.
    pub control: Arc<dyn ControlPlane>,
    /// Stops when dropped.
    _cloud: Running,
}

enum Running {
    Fake { _cloud: Box<FakeCloud> },
    Moto { _process: Child },
}

/// Fixed credentials in place of AppSync.
#[derive(Debug)]
struct FixedCredentials(Credentials);

#[async_trait]
impl ControlPlane for FixedCredentials {
    async fn app(&self) -> Result<Snapshot, CloudError> {
        Err(CloudError::new(CloudErrorKind::Failed, "read the app"))
    }

    async fn aws_credentials(&self) -> Result<Credentials, CloudError> {
        Ok(self.0.clone())
    }
}

impl TestCloud {
    /// The fake cloud.
    pub async fn fake() -> Self {
        let cloud = FakeCloud::start().await;
        let env = cloud.env();
        let of = |name: &str| env[name].clone();
        let aws = aws(&cloud.endpoint(), &cloud.sqs_endpoint(), &of("AWS_ACCESS_KEY_ID"), &of("AWS_SECRET_ACCESS_KEY"));
        let account = Account {
            app: of("APP"),
            tenant: of("TENANT"),
            appsync_endpoint: of("APPSYNC_ENDPOINT"),
            user_pool_id: pool(&of("USER_POOL_ID")),
            client_id: of("CLIENT_ID"),
            user_name: of("USER_NAME"),
        };
        let log_group = of("LOG_GROUP_NAME");
        let (region, queue) = (cloud.world().tenant.region.clone(), cloud.change_queue());
        let password = of("PASSWORD");
        let control = Arc::new(client(&account, &password, &aws).await);
        Self {
            account,
            password,
            aws,
            region,
            queue,
            log_group,
            control,
            _cloud: Running::Fake { _cloud: Box::new(cloud) },
        }
    }

    /// moto, which has no AppSync: the credentials for the queue are fixed.
    pub async fn moto() -> Self {
        let mut process = script::python("moto_server.py").spawn().expect("the interpreter starts");
        let mut lines = BufReader::new(process.stdout.take().expect("it is piped")).lines();
        let line = tokio::time::timeout(START_LIMIT, lines.next_line()).await.expect("moto starts in time");
        let started: serde_json::Value =
            serde_json::from_str(&line.expect("text").expect("moto starts")).expect("it prints its endpoints");
        let of = |name: &str| started[name].as_str().expect(name).to_owned();
        let account = Account {
            app: "app".to_owned(),
            tenant: "tenant".to_owned(),
            appsync_endpoint: "http://127.0.0.1:9/graphql".to_owned(),
            user_pool_id: pool(&of("pool")),
            client_id: of("client"),
            user_name: of("user"),
        };
        let aws = aws(&of("endpoint"), &of("endpoint"), "testing", "testing");
        let control = Arc::new(FixedCredentials(Credentials::new("testing", "testing", None, None, "test")));
        let (password, region, queue, log_group) = (of("password"), of("region"), of("queue"), of("log_group"));
        Self { account, password, aws, region, queue, log_group, control, _cloud: Running::Moto { _process: process } }
    }
}

/// The control plane client of the daemon, with this password.
pub async fn client(account: &Account, password: &str, aws: &Arc<Aws>) -> EchoStream {
    let password = watch::Sender::new(SecretString::from(password)).subscribe();
    EchoStream::new(account, password, aws).await.expect("the endpoint is a URL")
}

fn aws(endpoint: &str, sqs_endpoint: &str, key: &str, secret: &str) -> Arc<Aws> {
    // A second installation is refused; the first one serves all tests of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let operator = Credentials::new(key, secret, None, None, "test");
    Arc::new(Aws::new(AwsOptions {
        endpoint_url: Some(endpoint.to_owned()),
        sqs_endpoint_url: Some(sqs_endpoint.to_owned()),
        host_credentials: Some(SharedCredentialsProvider::new(operator)),
    }))
}

fn pool(text: &str) -> UserPoolId {
    let (region, id) = text.split_once('_').expect("a pool id");
    UserPoolId { region: region.to_owned(), id: id.to_owned() }
}
