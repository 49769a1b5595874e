//! The steps of `check` about the way to the cloud: each place by DNS, TCP and TLS, and how far this host's clock is off.

use std::collections::BTreeMap;

use futures_util::future::join_all;
use reqwest::Url;

use super::super::inquiry::Problem;
use super::super::report::Report;
use crate::cloud::{Reached, Step, Unreached, reach};
use crate::config::{Config, process_environment};

/// A clock is said to be wrong from here on. AWS refuses signatures from five minutes on, Cognito sign-ins too.
const CLOCK_OFF_S_MAX: i64 = 60;

/// The places that were tried, so that none is tried twice: a fake cloud has all services at one.
#[derive(Debug, Default)]
pub(super) struct Places(BTreeMap<String, Place>);

#[derive(Debug)]
struct Place {
    services: Vec<&'static str>,
    is_tried: bool,
}

impl Places {
    /// Adds a service of AWS in a region: where the SDK will look for it.
    pub(super) fn add_aws(&mut self, service: &'static str, id: &str, host: &str, region: &str) {
        let given = process_environment(&format!("AWS_ENDPOINT_URL_{id}"));
        let given = given.or_else(|| process_environment("AWS_ENDPOINT_URL")).filter(|url| !url.is_empty());
        let suffix = if region.starts_with("cn-") { "amazonaws.com.cn" } else { "amazonaws.com" };
        self.add(service, &given.unwrap_or_else(|| format!("https://{host}.{region}.{suffix}/")));
    }

    fn add(&mut self, service: &'static str, url: &str) {
        let origin = Url::parse(url).map_or_else(|_| url.to_owned(), |url| url.origin().ascii_serialization());
        let place = self.0.entry(origin).or_insert(Place { services: Vec::new(), is_tried: false });
        if !place.services.contains(&service) {
            place.services.push(service);
        }
    }

    /// Those that are known before anything was asked.
    pub(super) fn of(config: &Config) -> Self {
        let mut places = Self::default();
        places.add("AppSync", &config.appsync_endpoint);
        places.add_aws("Cognito", "COGNITO_IDENTITY_PROVIDER", "cognito-idp", &config.user_pool_id.region);
        places.add_aws("CloudWatch Logs", "CLOUDWATCH_LOGS", "logs", &config.region);
        places
    }

    /// A line for each place that was not tried yet; how far the clock is ahead, as the first answer tells.
    pub(super) async fn check(&mut self, report: &mut Report) -> Option<i64> {
        let new: Vec<_> = self.0.iter_mut().filter(|(_, place)| !place.is_tried).collect();
        let tried = join_all(new.iter().map(|(origin, _)| attempt(origin))).await;
        let mut clock = None;
        for ((origin, place), result) in new.into_iter().zip(tried) {
            place.is_tried = true;
            let who = format!("{} at {origin}", place.services.join(", "));
            match result {
                Ok(reached) => {
                    report.ok("network", &format!("{who}: answers ({})", reached.way));
                    // Of several clocks the one that signs people in and out counts.
                    if clock.is_none() || place.services.contains(&"AppSync") {
                        clock = reached.clock_ahead_s;
                    }
                }
                Err(unreached) => {
                    let problem = Problem::unavailable(format!("{who}: {unreached}"), remedy(&unreached));
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
        Step::Connection => "let this host reach it through the firewall (port 443), or set HTTPS_PROXY",
        Step::Answer => {
            "if a proxy of yours answers with a certificate of its own, name that authority's file in SSL_CERT_FILE; \
             a wrong clock spoils certificates too"
        }
    }
}

/// The line about the clock.
pub(super) fn check_clock(ahead_s: Option<i64>, report: &mut Report) {
    let Some(ahead_s) = ahead_s else { return report.skipped("clock", "no answer of the cloud tells the time") };
    let side = if ahead_s < 0 { "behind" } else { "ahead of" };
    let found = format!("this host is {} s {side} the cloud", ahead_s.unsigned_abs());
    if ahead_s.abs() <= CLOCK_OFF_S_MAX {
        return report.ok("clock", &found);
    }
    let remedy = "set it: timedatectl set-ntp true (AWS refuses what is five minutes off)";
    report.problem("clock", &Problem::wrong(found, remedy));
}
