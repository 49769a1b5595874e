//! The step of `check` about the AWS credentials of the host: their source, their expiry, and whether the service finds
//! the same ones. Prints only the end of the key ID.

use std::time::{Duration, SystemTime};

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::super::query::{AWS_CREDENTIALS, Problem, within};
use super::super::report::Report;
use super::has_image;
use crate::cloud::{Aws, KeySource, KeysSeen};
use crate::config::{Config, Listing, home_by_passwd, process_environment};
use crate::model::App;
use crate::registry::RegistryHost;

/// The longest wait for the source of the credentials.
const LIMIT: Duration = Duration::from_secs(40);
const SUBJECT: &str = "AWS credentials";
/// Variables that select the credentials.
const DECISIVE: [&str; 8] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
];

/// Prints a line with the source. Missing credentials are a failure only where they are needed.
pub(super) async fn check(config: &Config, app: Option<&App>, listing: &Listing, aws: &Aws, report: &mut Report) {
    let keys = aws.host_credentials().await;
    let seen = async { Ok::<_, Problem>(keys.seen().await) };
    let seen = match within(LIMIT, "check ~/.aws and the host's role", seen).await {
        Ok(seen) => seen,
        Err(problem) => return report.problem(SUBJECT, &problem),
    };
    match seen {
        Ok(seen) => report.ok(SUBJECT, &describe(&seen, listing)),
        Err(none) => {
            let found = format!("none; sources in their order: {none}");
            let is_needed = config.daemon_logs
                || app.is_some_and(|app| has_image(app, |host| matches!(host, RegistryHost::Ecr { .. })));
            match is_needed {
                true => report.problem(SUBJECT, &Problem::wrong(found, AWS_CREDENTIALS)),
                false => report.skipped(SUBJECT, &found),
            }
        }
    }
}

fn describe(seen: &KeysSeen, listing: &Listing) -> String {
    let source = match (&seen.source, origin("AWS_ACCESS_KEY_ID", listing)) {
        (KeySource::Environment, Some(origin)) if origin != "the environment" => {
            format!("environment file {origin}")
        }
        (source, _) => source.to_string(),
    };
    let mut parts = vec![source, format!("key ...{}", seen.id_end), expiry_text(seen)];
    parts.extend(differences(listing));
    parts.join("; ")
}

fn expiry_text(seen: &KeysSeen) -> String {
    if let Some(expiry) = seen.expiry {
        let at = OffsetDateTime::from(expiry).format(&Rfc3339).unwrap_or_default();
        let verb = if expiry > SystemTime::now() { "expires" } else { "expired" };
        return format!("{verb} {at}, renewed before that");
    }
    match (&seen.source, seen.is_temporary) {
        (KeySource::Profile(text), _) if text.starts_with("shared ") => {
            "expiry not in the file; read again when the file changes".to_owned()
        }
        (KeySource::Environment, true) => {
            "temporary: they expire with their session, and the environment of a process does not change".to_owned()
        }
        _ => "no expiry".to_owned(),
    }
}

/// Differences between this run and a service that systemd starts.
fn differences(listing: &Listing) -> Vec<String> {
    let mut differences = Vec::new();
    let (home, own) = (process_environment("HOME"), home_by_passwd());
    if let (Some(home), Some(own)) = (home, own)
        && own.to_string_lossy() != home
    {
        let own = own.display();
        differences.push(format!("HOME is {home} in this run; a service without HOME reads {own}/.aws"));
    }
    let foreign = DECISIVE.iter().filter(|name| origin(name, listing) == Some("the environment"));
    let foreign: Vec<_> = foreign.copied().collect();
    if !foreign.is_empty() {
        let names = foreign.join(", ");
        differences.push(format!("{names} from the environment of this run; a service has only what its unit sets"));
    }
    differences
}

fn origin<'a>(variable: &str, listing: &'a Listing) -> Option<&'a str> {
    listing.aws.iter().find(|(name, _)| *name == variable).map(|(_, origin)| origin.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(source: KeySource, expiry: Option<SystemTime>, is_temporary: bool) -> KeysSeen {
        KeysSeen { source, id_end: "WXYZ".to_owned(), expiry, is_temporary }
    }

    #[test]
    fn credentials_are_printed_with_source_and_expiry() {
        let file = KeySource::Profile("shared credentials file /root/.aws/credentials, profile default".to_owned());
        let text = expiry_text(&seen(file, None, true));
        assert_eq!(text, "expiry not in the file; read again when the file changes");
        let past = SystemTime::UNIX_EPOCH + Duration::from_secs(1);
        assert!(expiry_text(&seen(KeySource::Instance, Some(past), true)).starts_with("expired 1970-01-01T00:00:01Z"));
        assert_eq!(expiry_text(&seen(KeySource::Environment, None, false)), "no expiry");
        assert!(expiry_text(&seen(KeySource::Environment, None, true)).starts_with("temporary"));
    }

    #[test]
    fn keys_from_env_file_and_environment_are_distinguished() {
        let mut listing = Listing::default();
        listing.aws.push(("AWS_ACCESS_KEY_ID", "/etc/app.env line 7".to_owned()));
        let text = describe(&seen(KeySource::Environment, None, false), &listing);
        assert!(text.starts_with("environment file /etc/app.env line 7; key ...WXYZ; no expiry"), "{text}");
        listing.aws[0].1 = "the environment".to_owned();
        let text = describe(&seen(KeySource::Environment, None, false), &listing);
        assert!(text.starts_with("environment; key ...WXYZ"), "{text}");
        assert!(text.contains("AWS_ACCESS_KEY_ID from the environment of this run"), "{text}");
    }
}
