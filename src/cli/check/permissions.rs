//! The steps of `check` about permissions: a line for each permission that the AWS credentials of the host need.

use std::collections::BTreeMap;

use super::super::query::{AWS_CREDENTIALS, Problem};
use super::super::report::Report;
use crate::cloud::CloudErrorKind;
use crate::registry::RegistryError;

/// All permissions, in the order of docs/install.md.
pub(super) const ALL: [&str; 8] = [
    "ecr:GetAuthorizationToken",
    "ecr:BatchCheckLayerAvailability",
    "ecr:BatchGetImage",
    "ecr:GetDownloadUrlForLayer",
    "ecr-public:GetAuthorizationToken",
    "sts:GetServiceBearerToken",
    "logs:CreateLogStream",
    "logs:PutLogEvents",
];
/// Permissions that only raise a rate limit.
const OPTIONAL: [&str; 2] = ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"];

/// The result of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    /// AWS allowed the call.
    Granted,
    /// AWS denied the call, with this message.
    Denied(String),
    /// The attempt failed for another reason.
    Failed(Problem),
}

/// The attempts so far.
#[derive(Debug, Default)]
pub(super) struct Permissions(BTreeMap<&'static str, Vec<(String, Attempt)>>);

impl Permissions {
    /// Records an attempt on `subject`, a repository or a log group.
    pub(super) fn record(&mut self, permission: &'static str, subject: &str, attempt: Attempt) {
        self.0.entry(permission).or_default().push((subject.to_owned(), attempt));
    }

    /// Records an attempt at a registry.
    pub(super) fn record_registry(
        &mut self,
        permission: &'static str,
        subject: &str,
        result: &Result<(), RegistryError>,
    ) {
        self.record(permission, subject, result.as_ref().map_or_else(registry_attempt, |()| Attempt::Granted));
    }

    /// Prints the lines. `untried` is the reason for a permission without any attempt.
    pub(super) fn print(&self, report: &mut Report, untried: impl Fn(&str) -> String) {
        for permission in ALL {
            match self.0.get(permission) {
                None => report.skipped("permission", &format!("{permission}: {}", untried(permission))),
                Some(attempts) => print(report, permission, attempts),
            }
        }
    }
}

fn print(report: &mut Report, permission: &'static str, attempts: &[(String, Attempt)]) {
    let denied: Vec<_> = attempts
        .iter()
        .filter_map(|(subject, attempt)| match attempt {
            Attempt::Denied(message) => Some((subject.as_str(), message)),
            _ => None,
        })
        .collect();
    if let Some((_, message)) = denied.first() {
        let subjects = denied.iter().map(|(subject, _)| *subject).collect::<Vec<_>>().join(", ");
        let found = format!("{permission} is missing for {subjects}: {message}");
        if OPTIONAL.contains(&permission) {
            return report
                .skipped("permission", &format!("{found} (public images are pulled without, at a lower limit)"));
        }
        let remedy = format!("allow {permission} to the AWS credentials of this host");
        return report.problem("permission", &Problem::wrong(found, remedy));
    }
    for (subject, attempt) in attempts {
        if let Attempt::Failed(problem) = attempt {
            let found = format!("{permission} for {subject}: {}", problem.found);
            if OPTIONAL.contains(&permission) {
                return report.skipped("permission", &found);
            }
            return report.failed("permission", &found, problem.remedy.as_str(), problem.exit);
        }
    }
    let subjects = attempts.iter().map(|(subject, _)| subject.as_str()).collect::<Vec<_>>().join(", ");
    report.ok("permission", &format!("{permission} for {subjects}"));
}

fn registry_attempt(error: &RegistryError) -> Attempt {
    let message = error.to_string();
    match error.kind() {
        CloudErrorKind::Denied => Attempt::Denied(message),
        CloudErrorKind::NoCredentials => Attempt::Failed(Problem::no_aws_credentials()),
        CloudErrorKind::Expired => Attempt::Failed(Problem::wrong(message, AWS_CREDENTIALS)),
        _ => Attempt::Failed(Problem::unavailable(message, "check the network and proxies (HTTPS_PROXY)")),
    }
}
