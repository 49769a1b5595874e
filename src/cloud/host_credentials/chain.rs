//! The SDK's default chain of credentials, link by link, to report which link had keys and why the others had none.
//! Caches no keys.

use std::fmt;
use std::time::Duration;

use aws_config::ecs::EcsCredentialsProvider;
use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::environment::region::EnvironmentVariableRegionProvider;
use aws_config::imds::credentials::ImdsCredentialsProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::{ProfileFileCredentialsProvider, ProfileFileRegionProvider};
use aws_config::provider_config::ProviderConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::web_identity_token::WebIdentityTokenCredentialsProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::credential_feature::AwsCredentialFeature as Feature;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};

use super::files::{Files, ProfilePaths};
use crate::config::process_environment;
use crate::text::{chain, excerpt};

/// Limit for one attempt of a call for keys.
const ATTEMPT_LIMIT: Duration = Duration::from_secs(5);

/// Prefix of the ids of temporary keys, which need a session token.
const TEMPORARY_PREFIX: &str = "ASIA";

/// Source of keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.
    Environment,
    /// A profile of the shared files; the text names the file or the method.
    Profile(String),
    /// AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN; the file.
    WebIdentity(String),
    /// The container credentials of ECS or EKS.
    Container,
    /// The role of the instance.
    Instance,
    /// Passed in by the program.
    Given,
}

impl fmt::Display for KeySource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Environment => f.write_str("environment"),
            Self::Profile(text) => f.write_str(text),
            Self::WebIdentity(file) => write!(f, "web identity, token file {file}"),
            Self::Container => f.write_str("container credentials (AWS_CONTAINER_CREDENTIALS_*)"),
            Self::Instance => f.write_str("instance role (IMDS)"),
            Self::Given => f.write_str("given by the program"),
        }
    }
}

/// A link of the chain without keys, with the reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Miss {
    pub(super) link_name: String,
    pub(super) reason: String,
}

/// The chain for one state of the shared files. Links cache state, such as tokens of the instance metadata, so the
/// chain is kept until the files change.
#[derive(Debug)]
pub(super) struct Chain {
    links: Vec<(Link, SharedCredentialsProvider)>,
    profile: String,
    paths: ProfilePaths,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Link {
    Environment,
    Profile,
    WebIdentity,
    Container,
    Instance,
    Given,
}

impl Chain {
    /// A chain with this provider only.
    pub(super) fn given(provider: SharedCredentialsProvider) -> Self {
        Self { links: vec![(Link::Given, provider)], profile: String::new(), paths: ProfilePaths::default() }
    }

    /// The default chain; `base` has the HTTP client and the endpoint settings.
    pub(super) async fn new(base: &SdkConfig, paths: &ProfilePaths, files: &Files) -> Self {
        let config = provider_config(base).await;
        let contents = EnvConfigFiles::builder()
            .with_contents(EnvConfigFileKind::Config, files.config.text.as_str())
            .with_contents(EnvConfigFileKind::Credentials, files.credentials.text.as_str());
        let environment = EnvironmentVariableCredentialsProvider::new();
        let profile = ProfileFileCredentialsProvider::builder().configure(&config).profile_files(contents.build());
        let web_identity = WebIdentityTokenCredentialsProvider::builder().configure(&config).build();
        let container = EcsCredentialsProvider::builder().configure(&config).build();
        let instance = ImdsCredentialsProvider::builder().configure(&config).build();
        Self {
            links: vec![
                (Link::Environment, SharedCredentialsProvider::new(environment)),
                (Link::Profile, SharedCredentialsProvider::new(profile.build())),
                (Link::WebIdentity, SharedCredentialsProvider::new(web_identity)),
                (Link::Container, SharedCredentialsProvider::new(container)),
                (Link::Instance, SharedCredentialsProvider::new(instance)),
            ],
            profile: process_environment("AWS_PROFILE").unwrap_or_else(|| "default".to_owned()),
            paths: paths.clone(),
        }
    }

    /// The keys of the first link that has some. A link that is configured and fails ends the search: the next one may
    /// have the keys of another owner.
    pub(super) async fn load(&self, files: &Files) -> Result<(Credentials, KeySource), Vec<Miss>> {
        let mut misses = Vec::new();
        for (link, provider) in &self.links {
            let loaded = provider.provide_credentials().await.map(without_empty_token);
            let loaded = loaded.and_then(|keys| complete(*link, keys));
            match loaded {
                Ok(keys) => {
                    let source = self.source(*link, &keys, files);
                    return Ok((keys, source));
                }
                Err(error) => {
                    let is_over = !matches!(error, CredentialsError::CredentialsNotLoaded(_));
                    misses.push(Miss { link_name: self.link_name(*link), reason: self.reason(*link, &error, files) });
                    if is_over {
                        break;
                    }
                }
            }
        }
        Err(misses)
    }

    fn link_name(&self, link: Link) -> String {
        let path = |path: &Option<std::path::PathBuf>, name: &str| {
            path.as_ref().map_or_else(|| format!("~/.aws/{name}"), |path| path.display().to_string())
        };
        match link {
            Link::Environment => "environment".to_owned(),
            Link::Profile => {
                let (credentials, config) = (&self.paths.credentials, &self.paths.config);
                let (credentials, config) = (path(credentials, "credentials"), path(config, "config"));
                format!("profile {} in {credentials} and {config}", self.profile)
            }
            Link::WebIdentity => "web identity".to_owned(),
            Link::Container => "container credentials".to_owned(),
            Link::Instance => "instance role (IMDS)".to_owned(),
            Link::Given => "given by the program".to_owned(),
        }
    }

    fn reason(&self, link: Link, error: &CredentialsError, files: &Files) -> String {
        let mut parts = Vec::new();
        if link == Link::Profile {
            if self.paths.credentials.is_none() || self.paths.config.is_none() {
                parts
                    .push("there is no home directory: HOME is not set, and the user database has no entry".to_owned());
            }
            for (path, file) in [(&self.paths.credentials, &files.credentials), (&self.paths.config, &files.config)] {
                let Some(path) = path else { continue };
                match (&file.problem, file.exists) {
                    (Some(problem), _) => parts.push(excerpt(&format!("{}: {problem}", path.display()))),
                    (None, false) => parts.push(format!("{} does not exist", path.display())),
                    (None, true) => {}
                }
            }
        }
        let is_absent = link == Link::Profile && !files.credentials.exists && !files.config.exists;
        if parts.is_empty() || !is_absent {
            parts.push(explain(link, error));
        }
        parts.join(", ")
    }

    fn source(&self, link: Link, keys: &Credentials, files: &Files) -> KeySource {
        match link {
            Link::Environment => KeySource::Environment,
            Link::Profile => KeySource::Profile(self.profile_source(keys, files)),
            Link::WebIdentity => {
                KeySource::WebIdentity(process_environment("AWS_WEB_IDENTITY_TOKEN_FILE").unwrap_or_default())
            }
            Link::Container => KeySource::Container,
            Link::Instance => KeySource::Instance,
            Link::Given => KeySource::Given,
        }
    }

    /// The kind of the profile, which the SDK records with the keys.
    fn profile_source(&self, keys: &Credentials, files: &Files) -> String {
        let profile = &self.profile;
        let features = keys.get_property::<Vec<Feature>>().map_or(&[][..], Vec::as_slice);
        let has = |feature: Feature| features.contains(&feature);
        if has(Feature::CredentialsProcess) {
            return format!("credential_process of profile {profile}");
        }
        if has(Feature::CredentialsProfileStsWebIdToken) {
            return format!("web identity of profile {profile}");
        }
        if has(Feature::CredentialsImds) || has(Feature::CredentialsHttp) || has(Feature::CredentialsEnvVars) {
            return format!("credential_source of profile {profile}");
        }
        if keys.expiry().is_some() {
            return format!("role of profile {profile}");
        }
        let (name, path) = match files.credentials.text.contains(keys.access_key_id()) {
            true => ("shared credentials file", &self.paths.credentials),
            false => ("shared config file", &self.paths.config),
        };
        let path = path.as_ref().map_or_else(String::new, |path| format!(" {}", path.display()));
        format!("{name}{path}, profile {profile}")
    }
}

/// An empty session token counts as none: if it is sent, the signature is invalid.
fn without_empty_token(keys: Credentials) -> Credentials {
    if keys.session_token() != Some("") {
        return keys;
    }
    let mut cleaned = Credentials::new(keys.access_key_id(), keys.secret_access_key(), None, keys.expiry(), "HostKeys");
    if let Some(features) = keys.get_property::<Vec<Feature>>() {
        cleaned.set_property(features.clone());
    }
    cleaned
}

/// Incomplete keys count as none: the file may be half-written.
fn complete(link: Link, keys: Credentials) -> Result<Credentials, CredentialsError> {
    let is_temporary = keys.access_key_id().starts_with(TEMPORARY_PREFIX);
    let lacks = match () {
        () if keys.access_key_id().is_empty() => "the key id",
        () if keys.secret_access_key().is_empty() => "the secret key",
        () if link == Link::Profile && is_temporary && keys.session_token().is_none() => {
            "the session token, which a temporary key needs"
        }
        () => return Ok(keys),
    };
    Err(CredentialsError::invalid_configuration(format!("{lacks} is missing")))
}

/// The SDK's error text, except where it is about build options of this program.
fn explain(link: Link, error: &CredentialsError) -> String {
    let text = chain(error);
    if text.contains("cargo feature") {
        return "the profile uses IAM Identity Center (sso_*) or `aws login`, which need a person at a browser and are \
                not supported; use keys, role_arn or credential_process"
            .to_owned();
    }
    match (link, error) {
        (Link::Environment, CredentialsError::CredentialsNotLoaded(_)) => {
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY are not both set".to_owned()
        }
        (Link::WebIdentity, CredentialsError::CredentialsNotLoaded(_)) => {
            "AWS_WEB_IDENTITY_TOKEN_FILE and AWS_ROLE_ARN are not both set".to_owned()
        }
        (Link::Container, CredentialsError::CredentialsNotLoaded(_)) => {
            "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and AWS_CONTAINER_CREDENTIALS_FULL_URI are not set".to_owned()
        }
        (Link::Instance, CredentialsError::CredentialsNotLoaded(_)) if text.contains("disabled") => {
            "AWS_EC2_METADATA_DISABLED is true".to_owned()
        }
        (Link::Profile, CredentialsError::CredentialsNotLoaded(_)) => {
            "the profile has no keys or does not exist".to_owned()
        }
        _ => text,
    }
}

/// Its region is used for STS.
async fn provider_config(base: &SdkConfig) -> ProviderConfig {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(ATTEMPT_LIMIT).build();
    let mut config = ProviderConfig::without_region()
        .with_behavior_version(Some(BehaviorVersion::latest()))
        .with_use_fips(base.use_fips())
        .with_use_dual_stack(base.use_dual_stack())
        .with_timeout_config(timeouts);
    if let Some(http_client) = base.http_client() {
        config = config.with_http_client(http_client);
    }
    let region = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
        .or_else(ProfileFileRegionProvider::builder().configure(&config).build())
        .or_else(Region::from_static("us-east-1"))
        .region()
        .await;
    config.with_region(region)
}
