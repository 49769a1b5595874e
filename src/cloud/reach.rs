//! Tests for `check` step by step whether an endpoint of the cloud can be reached: name, connection, TLS, response.
//! Sends no credentials.

use std::fmt;
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use reqwest::{Url, redirect};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;

use super::transport;
use crate::text::{chain, excerpt};

/// Limit for each step.
const STEP_LIMIT: Duration = Duration::from_secs(8);

/// An endpoint that responded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reached {
    /// The address or proxy that was used, for display.
    pub way: String,
    /// Seconds by which this host's clock is ahead of the endpoint's, if its response has a date.
    pub clock_ahead_s: Option<i64>,
}

/// The step that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// The name has no address.
    Name,
    /// No connection to any of its addresses.
    Connection,
    /// No TLS connection or no response.
    Answer,
}

/// Why an endpoint cannot be reached. `Display` is one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unreached {
    /// The step that failed.
    pub step: Step,
    detail: String,
}

impl fmt::Display for Unreached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let step = match self.step {
            Step::Name => "DNS: the name has no address",
            Step::Connection => "TCP: no connection",
            Step::Answer => "TLS or HTTP: no answer",
        };
        write!(f, "{step}: {}", self.detail)
    }
}

impl std::error::Error for Unreached {}

/// Sends a request to `url`; any response is a success. With a proxy, the proxy resolves the name and connects, as for
/// the daemon's own calls.
pub async fn reach(url: &Url) -> Result<Reached, Unreached> {
    let way = if transport::is_proxied(url) { "through the proxy".to_owned() } else { connect(url).await?.to_string() };
    let clock_ahead_s = request(url).await?;
    Ok(Reached { way, clock_ahead_s })
}

/// The first address that accepts a connection.
async fn connect(url: &Url) -> Result<SocketAddr, Unreached> {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']');
    let port = url.port_or_known_default().unwrap_or(443);
    let name_error = |detail: String| Unreached { step: Step::Name, detail };
    let found = timeout(STEP_LIMIT, lookup_host((host, port))).await;
    let found = found.map_err(|_| name_error(format!("{host}: {}", timeout_text())))?;
    let addresses: Vec<_> = found.map_err(|error| name_error(excerpt(&format!("{host}: {error}"))))?.collect();
    let mut detail = format!("{host} has no addresses");
    for address in addresses {
        match timeout(STEP_LIMIT, TcpStream::connect(address)).await {
            Ok(Ok(_)) => return Ok(address),
            Ok(Err(error)) => detail = excerpt(&format!("{address}: {error}")),
            Err(_) => detail = format!("{address}: {}", timeout_text()),
        }
    }
    Err(Unreached { step: Step::Connection, detail })
}

fn timeout_text() -> String {
    format!("no response within {} s", STEP_LIMIT.as_secs())
}

async fn request(url: &Url) -> Result<Option<i64>, Unreached> {
    let failed = |error: reqwest::Error| Unreached { step: Step::Answer, detail: chain(&error) };
    let http = transport::web_client(url).timeout(STEP_LIMIT).redirect(redirect::Policy::none()).build();
    let sent_at = SystemTime::now();
    let response = http.map_err(failed)?.get(url.clone()).send().await.map_err(failed)?;
    // The cloud read its clock between request and response.
    let middle = sent_at + sent_at.elapsed().unwrap_or_default() / 2;
    let date = response.headers().get("date").and_then(|date| date.to_str().ok());
    Ok(date.and_then(|date| ahead(middle, date)))
}

/// In whole seconds, the resolution of HTTP dates.
fn ahead(here: SystemTime, date: &str) -> Option<i64> {
    let there = OffsetDateTime::parse(date, &Rfc2822).ok()?;
    // On average the date is half a second in the past.
    Some((OffsetDateTime::from(here) - there - time::Duration::milliseconds(500)).whole_seconds())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_are_compared_by_http_dates() {
        let here = SystemTime::UNIX_EPOCH + Duration::from_millis(1_000_000_500);
        assert_eq!(ahead(here, "Mon, 12 Jan 1970 13:46:40 GMT"), Some(0));
        assert_eq!(ahead(here, "Mon, 12 Jan 1970 13:36:40 GMT"), Some(600));
        assert_eq!(ahead(here, "Mon, 12 Jan 1970 14:46:40 GMT"), Some(-3600));
        assert_eq!(ahead(here, "yesterday"), None);
    }

    #[tokio::test]
    async fn the_failed_step_is_reported() {
        let step = async |url: &str| {
            let _ = rustls::crypto::ring::default_provider().install_default();
            reach(&Url::parse(url).expect("a URL")).await.map_err(|unreached| unreached.step)
        };
        assert_eq!(step("https://no-such-host.invalid/").await, Err(Step::Name));
        assert_eq!(step("https://127.0.0.1:9/").await, Err(Step::Connection));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let mut tasks = tokio::task::JoinSet::new();
        // Accepts connections without TLS.
        tasks.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                drop(stream)
            }
        });
        assert_eq!(step(&format!("https://127.0.0.1:{port}/")).await, Err(Step::Answer));
    }
}
