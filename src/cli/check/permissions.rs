//! The steps of `check` about permissions: a line for each one that the host's AWS credentials need, tried by itself.

use std::collections::BTreeMap;

use super::super::query::{AWS_CREDENTIALS, Problem};
use super::super::report::Report;
use crate::registry::{RegistryError, RegistryErrorKind};

/// All of them, in the order of docs/install.md.
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
/// Those that only raise a limit.
const OPTIONAL: [&str; 2] = ["ecr-public:GetAuthorizationToken", "sts:GetServiceBearerToken"];

/// What became of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Attempt {
    /// The call may be made.
    Granted,
    /// It may not, with AWS's own words.
    Denied(String),
    /// It could not be found out.
    Failed(Problem),
}

/// What was tried so far.
#[derive(Debug, Default)]
pub(super) struct Permissions(BTreeMap<&'static str, Vec<(String, Attempt)>>);

impl Permissions {
    /// Notes an attempt on `subject`, a repository or a log group.
    pub(super) fn note(&mut self, permission: &'static str, subject: &str, attempt: Attempt) {
        self.0.entry(permission).or_default().push((subject.to_owned(), attempt));
    }

    /// Notes an attempt at a registry.
    pub(super) fn note_registry(
        &mut self,
        permission: &'static str,
        subject: &str,
        result: &Result<(), RegistryError>,
    ) {
        self.note(permission, subject, result.as_ref().map_or_else(of_registry, |()| Attempt::Granted));
    }

    /// The lines. `untried` says why a permission without any attempt was not tried.
    pub(super) fn tell(&self, report: &mut Report, untried: impl Fn(&str) -> String) {
        for permission in ALL {
            match self.0.get(permission) {
                None => report.skipped("permission", &format!("{permission}: {}", untried(permission))),
                Some(attempts) => tell(report, permission, attempts),
            }
        }
    }
}

fn tell(report: &mut Report, permission: &'static str, attempts: &[(String, Attempt)]) {
    let denied: Vec<_> = attempts
        .iter()
        .filter_map(|(subject, attempt)| match attempt {
            Attempt::Denied(words) => Some((subject.as_str(), words)),
            _ => None,
        })
        .collect();
    if let Some((_, words)) = denied.first() {
        let subjects = denied.iter().map(|(subject, _)| *subject).collect::<Vec<_>>().join(", ");
        let found = format!("{permission} is missing for {subjects}: {words}");
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

fn of_registry(error: &RegistryError) -> Attempt {
    let words = error.to_string();
    match error.kind() {
        RegistryErrorKind::AccessDenied => Attempt::Denied(words),
        RegistryErrorKind::NoCredentials => Attempt::Failed(Problem::no_aws_credentials()),
        RegistryErrorKind::Unauthorized => Attempt::Failed(Problem::wrong(words, AWS_CREDENTIALS)),
        _ => Attempt::Failed(Problem::unavailable(words, "check the network and proxies (HTTPS_PROXY)")),
    }
}
