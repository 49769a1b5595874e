//! The settings of the daemon for a fake cloud: its AWS endpoints and the AWS keys of the host.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use aws_credential_types::Credentials;
use aws_credential_types::provider::SharedCredentialsProvider;
use managed_app::cloud::{Aws, AwsOptions};
use managed_app::config::{Config, Flags};
use managed_app_fakes::FakeCloud;

/// AWS clients for this fake cloud.
pub fn aws(cloud: &FakeCloud) -> Arc<Aws> {
    // A second installation is refused; the first one serves all tests of the process.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let env = cloud.env();
    let key = |name: &str| env[name].clone();
    let operator = Credentials::new(key("AWS_ACCESS_KEY_ID"), key("AWS_SECRET_ACCESS_KEY"), None, None, "test");
    Arc::new(Aws::new(AwsOptions {
        endpoint_url: Some(cloud.endpoint()),
        sqs_endpoint_url: Some(cloud.sqs_endpoint()),
        host_credentials: Some(SharedCredentialsProvider::new(operator)),
    }))
}

/// The configuration from these variables. Reads no file.
pub fn config(variables: &BTreeMap<String, String>) -> Config {
    let no_files = |_: &std::path::Path| Err(io::Error::from(io::ErrorKind::NotFound));
    Config::load_with(&Flags::default(), |name| variables.get(name).cloned(), no_files)
        .unwrap_or_else(|errors| panic!("the settings of a test are wrong:\n{errors}"))
}
