//! The step of `check` about images: tests each reference and its credentials. Pulls nothing.

use std::collections::BTreeSet;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use managed_app_runtimes::ImageReference;

use super::super::query::{AWS_CREDENTIALS, Problem, within};
use super::super::report::Report;
use super::FoundEngine;
use super::permissions::Permissions;
use crate::cloud::{Aws, CloudErrorKind, registry_host};
use crate::model::App;
use crate::registry::{self, Missing, Registry, RegistryError, RegistryHost};

/// The longest wait for a registry's token.
const TOKEN_LIMIT: Duration = Duration::from_secs(30);
const REACH: &str = "check the network and proxies (HTTPS_PROXY), and that the region in the image's host exists";

/// Prints a line for each distinct image.
pub(super) async fn check(
    app: Option<&App>,
    engine: Option<&FoundEngine>,
    aws: &Arc<Aws>,
    permissions: &mut Permissions,
    report: &mut Report,
) {
    let Some(app) = app else { return report.skipped("images", "no app") };
    let images: BTreeSet<&str> = app.nodes.values().map(|node| node.node_type.image_uri.as_str()).collect();
    if images.is_empty() {
        return report.skipped("images", "the app has no nodes");
    }
    let registry = Registry::new(aws.clone());
    // Concurrent: images of one registry share one token.
    let tried = join_all(images.iter().map(|image| try_image(image, &registry, engine, aws))).await;
    for (image, (result, tried)) in images.into_iter().zip(tried) {
        for (permission, subject, result) in &tried {
            permissions.record_registry(permission, subject, result);
        }
        match result {
            Ok(Found::Good(found)) => report.ok("image", &format!("{image}: {found}")),
            Ok(Found::NoRepository) => report.skipped("image", &format!("{image}: {NO_REPOSITORY}")),
            Err(problem) => {
                report.failed("image", &format!("{image}: {}", problem.found), problem.remedy, problem.exit)
            }
        }
    }
}

/// The result for an image that is not a failure.
enum Found {
    /// It can be pulled.
    Good(String),
    /// Its repository does not exist yet.
    NoRepository,
}

const NO_REPOSITORY: &str = "its repository does not exist. If it belongs to a pull-through cache rule, the first pull creates it; \
                       otherwise the pull fails: check the image of its managed node type, or push it there";

/// Attempts: permission, subject and result.
type Attempts = Vec<(&'static str, String, Result<(), RegistryError>)>;

async fn try_image(
    text: &str,
    registry: &Registry,
    engine: Option<&FoundEngine>,
    aws: &Aws,
) -> (Result<Found, Problem>, Attempts) {
    let mut tried = Attempts::new();
    let image: ImageReference = match text.parse() {
        Ok(image) => image,
        Err(managed_app_runtimes::InvalidImageReference { reason, .. }) => {
            let remedy = "name the image in its managed node type as registry/repository:tag";
            return (Err(Problem::wrong(reason, remedy)), tried);
        }
    };
    let result = try_reference(&image, registry, engine, aws, &mut tried).await;
    (result, tried)
}

async fn try_reference(
    image: &ImageReference,
    registry: &Registry,
    engine: Option<&FoundEngine>,
    aws: &Aws,
    tried: &mut Attempts,
) -> Result<Found, Problem> {
    let host = registry_host(image.registry());
    let token = async { Ok::<_, Problem>(registry.credentials(image).await) };
    let credentials = within(TOKEN_LIMIT, REACH, token).await?;
    if let Some(RegistryHost::Ecr { .. }) = host {
        let got = credentials.as_ref().map(|_| ()).map_err(Clone::clone);
        tried.push(("ecr:GetAuthorizationToken", image.registry().to_owned(), got));
    }
    // Without this permission, the others can still be tried; without AWS credentials, none can.
    let denied = credentials.as_ref().is_err_and(|error| error.kind() == CloudErrorKind::Denied);
    let token = credentials.as_ref().ok().and_then(Option::as_ref);
    let mut probe = match credentials.is_ok() || denied {
        true => within(TOKEN_LIMIT, REACH, async { Ok(registry::probe(aws, image, token).await) }).await?,
        false => None,
    };
    for (permission, result) in probe.as_mut().map(|probe| take(&mut probe.permissions)).unwrap_or_default() {
        tried.push((permission, image.repository().to_owned(), result));
    }
    let credentials = credentials.map_err(|error| problem(&error))?;
    if let Some(missing) = probe.as_ref().and_then(|probe| probe.missing) {
        let remedy = "check the image of its managed node type, or push it there";
        return match missing {
            Missing::RepositoryYet => Ok(Found::NoRepository),
            Missing::Repository => Err(Problem::wrong("its registry lacks the repository", remedy)),
            Missing::Image => Err(Problem::wrong("its registry lacks the tag or digest", remedy)),
        };
    }
    // The registry reports the architectures of the next pull; without its response, the local copy counts.
    let architectures = match probe {
        Some(probe) if !probe.architectures.is_empty() => probe.architectures,
        _ => local_architecture(image, engine).await,
    };
    let platform = platform(&architectures, engine)?;
    let with = match (credentials.is_some(), host) {
        (true, _) => "pulled with a token of its registry",
        (false, Some(_)) => {
            "pulled without a token, with a lower rate limit; \
             ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken allow a token"
        }
        (false, None) => "pulled without credentials, as its registry is not Amazon ECR",
    };
    Ok(Found::Good(format!("{with}; {platform}{}", presence(image, engine).await)))
}

/// Text about the architecture; a failure if the image is not built for the host.
fn platform(architectures: &[String], engine: Option<&FoundEngine>) -> Result<String, Problem> {
    let Some(host) = engine.map(|engine| engine.host.architecture.as_str()).filter(|host| !host.is_empty()) else {
        return Ok(String::new());
    };
    match architectures {
        [] => Ok(String::new()),
        some if some.iter().any(|architecture| architecture == host) => Ok(format!("for {host}; ")),
        others => {
            let others = others.join(", ");
            let remedy = format!("push an image for {host}: docker buildx build --platform linux/{host}");
            Err(Problem::wrong(format!("it is for {others}, and this host is {host}"), remedy))
        }
    }
}

/// Architecture of the engine's local copy; empty if there is none.
async fn local_architecture(image: &ImageReference, engine: Option<&FoundEngine>) -> Vec<String> {
    let Some(engine) = engine else { return Vec::new() };
    engine.runtime.image_architecture(image).await.ok().flatten().into_iter().collect()
}

async fn presence(image: &ImageReference, engine: Option<&FoundEngine>) -> &'static str {
    let Some(engine) = engine else { return "no engine" };
    match engine.runtime.image(image).await {
        Ok(Some(_)) => "a local copy exists",
        Ok(None) => "not here yet",
        Err(_) => "the engine does not report whether a local copy exists",
    }
}

fn problem(error: &RegistryError) -> Problem {
    let found = error.to_string();
    let permission = error.permission();
    match error.kind() {
        CloudErrorKind::NoCredentials => Problem::no_aws_credentials(),
        CloudErrorKind::Expired => Problem::wrong(found, AWS_CREDENTIALS),
        CloudErrorKind::Denied => Problem::wrong(
            found,
            format!(
                "allow {permission} to the AWS credentials of this host, with ecr:BatchCheckLayerAvailability, \
                 ecr:BatchGetImage and ecr:GetDownloadUrlForLayer"
            ),
        ),
        CloudErrorKind::Throttled => Problem::unavailable(found, "try again in a minute"),
        _ => Problem::unavailable(found, REACH),
    }
}
