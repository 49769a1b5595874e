//! The HTTP client of the AWS SDK: TLS is rustls with ring, and nothing goes by plain http but to this host, to the
//! addresses from which a host of AWS gets its own credentials, and to a fake cloud that was named. What is on this host or
//! its link never goes through a proxy, here and in the clients of others that begin here.
//!
//! It is asked for every request, since an endpoint may come from anywhere: the environment, a profile, the SDK itself.

use std::net::{IpAddr, Ipv4Addr};
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

use hyper_util::client::proxy::matcher::Matcher;
use reqwest::Url;

use crate::config;

/// The beginning of AWS's IPv6 addresses of the instance and container metadata.
const METADATA_V6: [u16; 2] = [0xfd00, 0x0ec2];

/// How long a connection is kept that nothing is asked on. At a start each node makes its log stream at the same moment, on a
/// connection of its own; these hold some 30 kB each.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(20);

/// A client that goes through the proxies of the environment, but for places that no proxy can reach: see [`is_near`].
pub(super) fn http_client() -> SharedHttpClient {
    client(ProxyConfig::from_env())
}

fn client(proxies: ProxyConfig) -> SharedHttpClient {
    SharedHttpClient::new(Guarded { far: built(proxies), near: built(ProxyConfig::disabled()) })
}

/// Not `build_https`: that one ignores proxies, which the SDK's own default client honours.
fn built(proxies: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxies.clone()).pool_idle_timeout(IDLE_CONNECTION_MAX);
        if let Some(settings) = settings {
            connector = connector.connector_settings(settings.clone());
        }
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    })
}

/// A client whose connectors refuse plain http, and know which places have no proxy before them.
#[derive(Debug)]
struct Guarded {
    far: SharedHttpClient,
    near: SharedHttpClient,
}

#[derive(Debug)]
struct GuardedConnector {
    far: SharedHttpConnector,
    near: SharedHttpConnector,
}

impl HttpClient for Guarded {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(GuardedConnector { far: connector(&self.far), near: connector(&self.near) })
    }
}

impl HttpConnector for GuardedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if let Err(error) = check(request.uri()) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
        }
        let is_near = Url::parse(request.uri()).is_ok_and(|url| is_near(&url));
        if is_near { self.near.call(request) } else { self.far.call(request) }
    }
}

/// Whether a place is this host, or on its link, where a host of AWS gets its keys. A proxy has a host and a link of its
/// own: to ask it would give it our keys at worst, and the keys of its role at best.
pub(crate) fn is_near(url: &Url) -> bool {
    let name = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match name.parse() {
        Ok(IpAddr::V4(address)) => is_near_v4(address),
        Ok(IpAddr::V6(address)) => {
            let segments = address.segments();
            let is_metadata = segments[..2] == METADATA_V6;
            address.is_loopback()
                || address.is_unicast_link_local()
                || is_metadata
                || address.to_ipv4_mapped().is_some_and(is_near_v4)
        }
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_link_local()
}

/// Begins a client of something that is not AWS's, at or below `url`: proxies are honoured as by the SDK's.
pub(crate) fn web_client(url: &Url) -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder();
    if is_near(url) { client.no_proxy() } else { client }
}

/// Whether requests to `url` go to a proxy of the environment.
pub(crate) fn is_proxied(url: &Url) -> bool {
    let uri = url.as_str().parse::<hyper::Uri>();
    !is_near(url) && uri.is_ok_and(|uri| Matcher::from_env().intercept(&uri).is_some())
}

/// The error names neither path nor query: those may be secret.
fn check(uri: &str) -> Result<(), String> {
    if config::endpoint(uri).is_some() || gives_credentials(uri) {
        return Ok(());
    }
    let host = Url::parse(uri).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    Err(format!("{host:?} is not called by plain http; use https, or for tests MANAGED_APP_FAKE_CLOUD"))
}

/// Addresses of the instance and container credentials, which know no TLS and are reached without a router.
fn gives_credentials(uri: &str) -> bool {
    let Some(url) = Url::parse(uri).ok().filter(|url| url.scheme() == "http") else { return false };
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match host.parse() {
        Ok(IpAddr::V4(address)) => address.is_link_local(),
        Ok(IpAddr::V6(address)) => address.segments()[..2] == METADATA_V6,
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

    #[test]
    fn this_host_and_its_link_have_no_proxy_before_them() {
        let near = |url: &str| is_near(&Url::parse(url).expect("a URL"));
        for url in [
            "http://169.254.169.254/latest/api/token",
            "http://169.254.170.2/v2/credentials",
            "http://169.254.170.23/v1/credentials",
            "http://[fd00:ec2::254]/",
            "http://[fd00:ec2::23]/",
            "http://[fe80::1]/",
            "https://127.8.9.1:4510/",
            "https://[::1]/",
            "https://[::ffff:127.0.0.1]/",
            "https://localhost/",
            "https://cloud.localhost/",
        ] {
            assert!(near(url), "{url}");
        }
        for url in [
            "https://sts.amazonaws.com/",
            "https://10.0.0.1/",
            "https://[fd00::1]/",
            "https://169.254.169.254.evil.example/",
            "https://localhost.evil.example/",
        ] {
            assert!(!near(url), "{url}");
        }
    }
}
