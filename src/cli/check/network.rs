//! The steps of `check` about the network: each endpoint by DNS, TCP and TLS, and the offset of this host's clock.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::Url;

use super::super::query::Problem;
use super::super::report::Report;
use crate::cloud::{Aws, Reached, Service, Step, Unreached, reach};
use crate::config::Config;

/// Largest accepted clock offset. AWS rejects signatures, and Cognito sign-ins, that are five minutes off.
const CLOCK_OFF_S_MAX: i64 = 60;

/// The endpoints, each tried once: a fake cloud has all services at one endpoint.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    endpoints: BTreeMap<String, Endpoint>,
    /// Services without an endpoint, because the settings of endpoints contradict each other.
    invalid: Vec<String>,
}

#[derive(Debug)]
struct Endpoint {
    services: Vec<&'static str>,
    is_tried: bool,
}

impl Endpoints {
    /// Adds the endpoint that the SDK uses for a service of AWS in a region.
    pub(super) async fn add_aws(&mut self, aws: &Aws, service: Service, region: &str) {
        match aws.endpoint(service, region).await {
            Ok(url) => self.add(service.name(), &url),
            Err(reason) => self.invalid.push(format!("{} in {region}: {reason}", service.name())),
        }
    }

    fn add(&mut self, service: &'static str, url: &str) {
        let origin = Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization());
        let endpoint = self.endpoints.entry(origin).or_insert(Endpoint { services: Vec::new(), is_tried: false });
        if !endpoint.services.contains(&service) {
            endpoint.services.push(service);
        }
    }

    /// The endpoints that the settings determine.
    pub(super) async fn of(config: &Config, aws: &Aws) -> Self {
        let mut endpoints = Self::default();
        endpoints.add("AppSync", &config.appsync_endpoint);
        endpoints.add_aws(aws, Service::Cognito, &config.user_pool_id.region).await;
        endpoints.add_aws(aws, Service::CloudWatchLogs, &config.region).await;
        endpoints
    }

    /// Prints a line for each endpoint that was not tried yet. Returns how far the clock is ahead, by the first response.
    pub(super) async fn check(&mut self, report: &mut Report) -> Option<i64> {
        for found in self.invalid.drain(..) {
            let remedy =
                "check AWS_USE_FIPS_ENDPOINT, AWS_USE_DUALSTACK_ENDPOINT, AWS_ENDPOINT_URL and its service forms";
            report.problem("network", &Problem::wrong(found, remedy));
        }
        let new: Vec<_> = self.endpoints.iter_mut().filter(|(_, endpoint)| !endpoint.is_tried).collect();
        let tried = join_all(new.iter().map(|(origin, _)| attempt(origin))).await;
        let mut clock = None;
        for ((origin, endpoint), result) in new.into_iter().zip(tried) {
            endpoint.is_tried = true;
            let subject = format!("{} at {origin}", endpoint.services.join(", "));
            match result {
                Ok(reached) => {
                    report.ok("network", &format!("{subject}: answers ({})", reached.way));
                    // Of several clocks, that of AppSync counts.
                    if clock.is_none() || endpoint.services.contains(&"AppSync") {
                        clock = reached.clock_ahead_s;
                    }
                }
                Err(unreached) => {
                    let problem = Problem::unavailable(format!("{subject}: {unreached}"), remedy(&unreached));
                    report.problem("network", &problem);
                }
            }
        }
        clock
    }
}

async fn attempt(origin: &str) -> Result<Reached, Unreached> {
    reach(&Url::parse(origin).unwrap_or_else(|_| Url::parse("https://invalid/").expect("a literal URL"))).await
}

fn remedy(unreached: &Unreached) -> &'static str {
    match unreached.step {
        Step::Name => "check DNS on this host (/etc/resolv.conf, resolvectl status) and the regions in the settings",
        Step::Connection => "allow port 443 in the firewall for this host, or set HTTPS_PROXY",
        Step::Answer => {
            "if a proxy of your organisation uses its own certificate, set SSL_CERT_FILE to the file of its authority; \
             a wrong clock also makes certificates invalid"
        }
    }
}

/// Prints the line about the clock.
pub(super) fn check_clock(ahead_s: Option<i64>, report: &mut Report) {
    let Some(ahead_s) = ahead_s else { return report.skipped("clock", "no response of the cloud has a time") };
    let side = if ahead_s < 0 { "behind" } else { "ahead of" };
    let found = format!("this host is {} s {side} the cloud", ahead_s.unsigned_abs());
    if ahead_s.abs() <= CLOCK_OFF_S_MAX {
        return report.ok("clock", &found);
    }
    let remedy = "set it: timedatectl set-ntp true (AWS rejects requests that are five minutes off)";
    report.problem("clock", &Problem::wrong(found, remedy));
}
