//! The HTTP client of the AWS SDK: TLS is rustls with ring, and nothing goes by plain http but to this host, to the
//! addresses from which a host of AWS gets its own credentials, and to a fake cloud that was named.
//!
//! It is asked for every request, since an endpoint may come from anywhere: the environment, a profile, the SDK itself.

use std::net::IpAddr;
use std::time::Duration;

use aws_smithy_http_client::proxy::ProxyConfig;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use aws_smithy_http_client::{Builder, Connector};
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;

use crate::config;

/// How long a connection is kept that nothing is asked on. At a start each node makes its log stream at the same moment, on a
/// connection of its own; these hold some 30 kB each.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(20);

/// Not `build_https`: that one ignores proxies, which the SDK's own default client honours.
pub(super) fn http_client() -> SharedHttpClient {
    SharedHttpClient::new(Guarded(Builder::new().build_with_connector_fn(|settings, components| {
        let mut connector =
            Connector::builder().proxy_config(ProxyConfig::from_env()).pool_idle_timeout(IDLE_CONNECTION_MAX);
        if let Some(settings) = settings {
            connector = connector.connector_settings(settings.clone());
        }
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    })))
}

/// A client whose connectors refuse plain http.
#[derive(Debug)]
struct Guarded(SharedHttpClient);

#[derive(Debug)]
struct GuardedConnector(SharedHttpConnector);

impl HttpClient for Guarded {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(GuardedConnector(self.0.http_connector(settings, components)))
    }
}

impl HttpConnector for GuardedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        match check(request.uri()) {
            Ok(()) => self.0.call(request),
            Err(error) => HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        }
    }
}

/// The error names neither path nor query: those may be secret.
fn check(uri: &str) -> Result<(), String> {
    if config::endpoint(uri).is_some() || gives_credentials(uri) {
        return Ok(());
    }
    let host = reqwest::Url::parse(uri).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    Err(format!("{host:?} is not called by plain http; use https, or for tests MANAGED_APP_FAKE_CLOUD"))
}

/// Addresses of the instance and container credentials, which know no TLS and are reached without a router.
fn gives_credentials(uri: &str) -> bool {
    let Some(url) = reqwest::Url::parse(uri).ok().filter(|url| url.scheme() == "http") else { return false };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.segments()[..2] == [0xfd00, 0x0ec2],
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_stays_on_this_host() {
        for good in [
            "https://sqs.eu-west-1.amazonaws.com/",
            "http://127.0.0.1:4566/path?a=b",
            "http://localhost:1/",
            "http://[::1]:1/",
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2/credentials",
            "http://[fd00:ec2::254]/latest",
        ] {
            assert_eq!(check(good), Ok(()), "{good}");
        }
        for bad in [
            "http://sqs.eu-west-1.amazonaws.com/",
            "http://10.0.0.1:4566/",
            "http://169.254.169.254.evil.example/",
            "http://[fd00::1]/",
            "http://localhost.evil.example/",
            "ftp://127.0.0.1/",
            "",
        ] {
            assert!(check(bad).is_err(), "{bad}");
        }
        let error = check("http://10.0.0.1/secret?token=secret").expect_err("it is far");
        assert!(error.contains("10.0.0.1") && !error.contains("secret"), "{error}");
    }
}
