//! Helpers for tests of several modules with a fake cloud.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use managed_app_fakes::FakeCloud;
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use super::{Account, Aws, AwsOptions, EchoStream};
use crate::config::UserPoolId;

/// Limit for events that a test waits for.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// A client of a fake cloud, with the handles to change its password and its AWS.
pub(crate) struct Client {
    pub(crate) cloud: Arc<EchoStream>,
    pub(crate) aws: Arc<Aws>,
    pub(crate) password: watch::Sender<SecretString>,
}

/// A client for the user of the fake, with the right password.
pub(crate) async fn client(fake: &FakeCloud) -> Client {
    client_with(fake, |_| {}).await
}

/// As [`client`], with a changed environment.
pub(crate) async fn client_with(fake: &FakeCloud, change: impl FnOnce(&mut BTreeMap<String, String>)) -> Client {
    let mut env = fake.env();
    change(&mut env);
    let aws = aws(fake);
    let (region, id) = env["USER_POOL_ID"].split_once('_').expect("a pool id");
    let account = Account {
        app: env["APP"].clone(),
        tenant: env["TENANT"].clone(),
        appsync_endpoint: env["APPSYNC_ENDPOINT"].clone(),
        user_pool_id: UserPoolId { region: region.to_owned(), id: id.to_owned() },
        client_id: env["CLIENT_ID"].clone(),
        user_name: env["USER_NAME"].clone(),
    };
    let password = watch::Sender::new(SecretString::from(env["PASSWORD"].clone()));
    let cloud = EchoStream::new(&account, password.subscribe(), &aws).await.expect("the endpoint is a URL");
    Client { cloud: Arc::new(cloud), aws, password }
}

/// AWS clients of the fake, with the keys of its operator.
pub(crate) fn aws(fake: &FakeCloud) -> Arc<Aws> {
    let env = fake.env();
    let keys = Credentials::new(&env["AWS_ACCESS_KEY_ID"], &env["AWS_SECRET_ACCESS_KEY"], None, None, "fake");
    aws_at(&fake.endpoint(), &fake.sqs_endpoint(), keys)
}

/// AWS clients with these endpoints.
pub(crate) fn aws_at(endpoint: &str, sqs_endpoint: &str, keys: Credentials) -> Arc<Aws> {
    // Fails in all but the first test of the process; all install the same.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Arc::new(Aws::new(AwsOptions {
        endpoint_url: Some(endpoint.to_owned()),
        sqs_endpoint_url: Some(sqs_endpoint.to_owned()),
        host_credentials: Some(SharedCredentialsProvider::new(keys)),
    }))
}

/// Waits until a condition is true.
///
/// # Panics
/// If it is not true within [`SOON`].
pub(crate) async fn eventually(what: &str, mut is_true: impl FnMut() -> bool) {
    let limit = Instant::now() + SOON;
    while !is_true() {
        assert!(Instant::now() < limit, "not within {SOON:?}: {what}");
        sleep(Duration::from_millis(2)).await;
    }
}
