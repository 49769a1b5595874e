//! Lists the effective settings with their sources and without secrets, for support.

use std::fmt;
use std::io;
use std::path::Path;

use super::Flags;
use super::error::Origin;
use super::settings::{SETTINGS, Setting, Shown};
use super::sources::{EnvFile, Sources};

/// Variables of libraries whose values are not secret; for others only the names are shown.
const PLAIN: [&str; 13] = [
    "HOME",
    "AWS_REGION",
    "AWS_PROFILE",
    "AWS_ENDPOINT_URL",
    "AWS_CONFIG_FILE",
    "AWS_SHARED_CREDENTIALS_FILE",
    "AWS_ROLE_ARN",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT",
    "AWS_EC2_METADATA_DISABLED",
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
];
/// Variables of libraries that contain, or may contain, secrets.
const SECRET: [&str; 12] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    // Their paths are sufficient to get the keys of a task.
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
    "HTTPS_PROXY",
    "https_proxy",
    "HTTP_PROXY",
    "http_proxy",
    "ALL_PROXY",
    "all_proxy",
];

/// The settings of a run.
#[derive(Debug, Clone, Default)]
pub struct Listing {
    /// One line for each setting: name, value or `(not shown)`, source.
    pub lines: Vec<String>,
    /// Values that must not be shown anywhere.
    pub secrets: Vec<String>,
    /// Sources of those variables of the AWS SDK that are set, for people.
    pub aws: Vec<(&'static str, String)>,
}

/// Displays a source.
struct DisplayOrigin<'a>(&'a Origin, &'a Setting);

impl fmt::Display for DisplayOrigin<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.describe(self.1, f)
    }
}

/// Lists what [`super::Config::load`] would read.
pub fn listing(flags: &Flags, environment: impl Fn(&str) -> Option<String>) -> Listing {
    listing_with(flags, environment, |path| std::fs::read_to_string(path))
}

fn listing_with(
    flags: &Flags,
    environment: impl Fn(&str) -> Option<String>,
    read: impl Fn(&Path) -> io::Result<String>,
) -> Listing {
    let file = EnvFile::read(flags.env_file.as_deref(), read);
    let sources = Sources::new(flags, &environment, file);
    let mut listing = Listing::default();
    for setting in SETTINGS {
        let line = match sources.find(setting) {
            None => format!("{} is not set", setting.variable),
            Some((value, origin)) if setting.shown == Shown::Never => {
                listing.secrets.push(value);
                format!("{} (not shown), from {}", setting.variable, DisplayOrigin(&origin, setting))
            }
            Some((value, origin)) => {
                format!("{}={value:?}, from {}", setting.variable, DisplayOrigin(&origin, setting))
            }
        };
        listing.lines.push(line);
    }
    for name in PLAIN {
        if let Some(value) = sources.process_only(name) {
            let from = library_source(&sources, &mut listing, name, &value);
            listing.lines.push(format!("{name}={value:?}, from {from}"));
        }
    }
    for name in SECRET {
        if let Some(value) = sources.process_only(name) {
            let from = library_source(&sources, &mut listing, name, &value);
            listing.lines.push(format!("{name} (not shown), from {from}"));
            listing.secrets.extend(secrets_of(&value));
        }
    }
    listing
}

fn library_source(sources: &Sources<'_>, listing: &mut Listing, name: &'static str, value: &str) -> String {
    let from = match sources.library_origin(name, value) {
        Origin::EnvFile { path, line } => format!("{} line {line}", path.display()),
        _ => "the environment".to_owned(),
    };
    if name.starts_with("AWS_") {
        listing.aws.push((name, from.clone()));
    }
    from
}

/// The value itself, or the password of a URL.
fn secrets_of(value: &str) -> Vec<String> {
    match reqwest::Url::parse(value) {
        Ok(url) if url.has_host() => url.password().map(str::to_owned).into_iter().collect(),
        _ => vec![value.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_listed_with_sources_and_without_secrets() {
        let environment = |name: &str| {
            let given = [
                ("PASSWORD", "hunter2"),
                ("LOGGING_LEVEL", "DEBUG"),
                ("AWS_SECRET_ACCESS_KEY", "key-of-the-host"),
                ("HTTPS_PROXY", "http://me:proxy-word@proxy:3128"),
                ("AWS_REGION", "eu-west-1"),
                // As after the second execution with the library variables of the file.
                ("AWS_PROFILE", "plant"),
            ];
            given.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        };
        let mut flags = Flags::default();
        flags.env_file = Some("/env".into());
        flags.set("APP", "my app");
        let listing =
            listing_with(&flags, environment, |_| Ok("TENANT=acme\nAWS_PROFILE=plant\nAWS_REGION=other\n".to_owned()));
        let text = listing.lines.join("\n");
        for line in [
            "APP=\"my app\", from the flag --app",
            "TENANT=\"acme\", from /env line 1",
            "LOGGING_LEVEL=\"DEBUG\", from the environment",
            "PASSWORD (not shown), from the environment",
            "AWS_REGION=\"eu-west-1\", from the environment",
            "AWS_PROFILE=\"plant\", from /env line 2",
            "AWS_SECRET_ACCESS_KEY (not shown), from the environment",
            "CLIENT_ID is not set",
        ] {
            assert!(listing.lines.iter().any(|found| found == line), "{line}: {text}");
        }
        assert_eq!(listing.secrets, ["hunter2", "key-of-the-host", "proxy-word"]);
        assert!(listing.secrets.iter().all(|secret| !text.contains(secret)), "{text}");
    }
}
