//! The HTTP client of the AWS SDK. TLS is rustls with ring. Plain http is allowed only to this host, to the addresses
//! of the instance and container credentials, and to a configured fake cloud. Requests to this host or to link-local
//! addresses never use a proxy, also in the other clients that are built here.
//!
//! Each request is checked, because an endpoint can come from the environment, a profile or the SDK.

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

/// Prefix of AWS's IPv6 addresses of the instance and container metadata.
const METADATA_V6: [u16; 2] = [0xfd00, 0x0ec2];

/// Time after which an idle connection is closed. At a start, each node creates its log stream at the same time on a
/// connection of its own, which takes about 30 kB.
const IDLE_CONNECTION_MAX: Duration = Duration::from_secs(20);

/// A client that uses the proxies of the environment, except for local addresses: see [`is_local`].
pub(super) fn http_client() -> SharedHttpClient {
    client(ProxyConfig::from_env())
}

fn client(proxies: ProxyConfig) -> SharedHttpClient {
    SharedHttpClient::new(Guarded { proxied: sdk_client(proxies), direct: sdk_client(ProxyConfig::disabled()) })
}

/// Not `build_https`, which ignores proxies, unlike the SDK's default client.
fn sdk_client(proxies: ProxyConfig) -> SharedHttpClient {
    Builder::new().build_with_connector_fn(move |settings, components| {
        let mut connector = Connector::builder().proxy_config(proxies.clone()).pool_idle_timeout(IDLE_CONNECTION_MAX);
        if let Some(settings) = settings {
            connector = connector.connector_settings(settings.clone());
        }
        connector.set_sleep_impl(components.and_then(|components| components.sleep_impl()));
        connector.tls_provider(Provider::Rustls(CryptoMode::Ring)).build()
    })
}

/// A client whose connectors refuse plain http and use no proxy for local addresses.
#[derive(Debug)]
struct Guarded {
    proxied: SharedHttpClient,
    direct: SharedHttpClient,
}

#[derive(Debug)]
struct GuardedConnector {
    proxied: SharedHttpConnector,
    direct: SharedHttpConnector,
}

impl HttpClient for Guarded {
    fn http_connector(&self, settings: &HttpConnectorSettings, components: &RuntimeComponents) -> SharedHttpConnector {
        let connector = |client: &SharedHttpClient| client.http_connector(settings, components);
        SharedHttpConnector::new(GuardedConnector {
            proxied: connector(&self.proxied),
            direct: connector(&self.direct),
        })
    }
}

impl HttpConnector for GuardedConnector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        if let Err(error) = check_scheme(request.uri()) {
            return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into())));
        }
        let is_local = Url::parse(request.uri()).is_ok_and(|url| is_local(&url));
        if is_local { self.direct.call(request) } else { self.proxied.call(request) }
    }
}

/// Whether a URL is on this host or link-local, such as the AWS metadata services. A proxy would send such a request on
/// its own host or link: it could receive this host's keys, or return the keys of its own role.
pub(crate) fn is_local(url: &Url) -> bool {
    let name = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    match name.parse() {
        Ok(IpAddr::V4(address)) => is_local_v4(address),
        Ok(IpAddr::V6(address)) => {
            let segments = address.segments();
            let is_metadata = segments[..2] == METADATA_V6;
            address.is_loopback()
                || address.is_unicast_link_local()
                || is_metadata
                || address.to_ipv4_mapped().is_some_and(is_local_v4)
        }
        Err(_) => name == "localhost" || name.ends_with(".localhost"),
    }
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    address.is_loopback() || address.is_link_local()
}

/// Builds a client without the SDK for `url`, with the same proxies as the SDK's client.
pub(crate) fn web_client(url: &Url) -> reqwest::ClientBuilder {
    let client = reqwest::Client::builder();
    if is_local(url) { client.no_proxy() } else { client }
}

/// Whether requests to `url` use a proxy of the environment.
pub(crate) fn is_proxied(url: &Url) -> bool {
    let uri = url.as_str().parse::<hyper::Uri>();
    !is_local(url) && uri.is_ok_and(|uri| Matcher::from_env().intercept(&uri).is_some())
}

/// The error contains neither path nor query, which may be secret.
fn check_scheme(uri: &str) -> Result<(), String> {
    if config::endpoint(uri).is_some() || is_metadata_url(uri) {
        return Ok(());
    }
    let host = Url::parse(uri).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default();
    Err(format!("plain http to {host:?} is not allowed; use https, or for tests MANAGED_APP_FAKE_CLOUD"))
}

/// Whether it is an address of the instance or container credentials, which have no TLS and are not routed.
fn is_metadata_url(uri: &str) -> bool {
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
            assert_eq!(check_scheme(good), Ok(()), "{good}");
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
            assert!(check_scheme(bad).is_err(), "{bad}");
        }
        let error = check_scheme("http://10.0.0.1/secret?token=secret").expect_err("it is not local");
        assert!(error.contains("10.0.0.1") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn local_addresses_use_no_proxy() {
        let direct = |url: &str| is_local(&Url::parse(url).expect("a URL"));
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
            assert!(direct(url), "{url}");
        }
        for url in [
            "https://sts.amazonaws.com/",
            "https://10.0.0.1/",
            "https://[fd00::1]/",
            "https://169.254.169.254.evil.example/",
            "https://localhost.evil.example/",
        ] {
            assert!(!direct(url), "{url}");
        }
    }
}
