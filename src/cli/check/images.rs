//! The step of `check` about images: each reference, and what it would be pulled with. Pulls nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use managed_app_runtimes::ImageReference;

use super::super::inquiry::{AWS_CREDENTIALS, Problem, within};
use super::super::report::Report;
use super::Engine;
use crate::cloud::Aws;
use crate::model::App;
use crate::registry::{Registry, RegistryError, RegistryErrorKind, RegistryHost};

/// The longest wait for a registry's token.
const TOKEN_LIMIT: Duration = Duration::from_secs(30);
const REACH: &str = "check the network and proxies (HTTPS_PROXY), and that the region in the image's host exists";

/// A line for each distinct image.
pub(super) async fn check(app: Option<&App>, engine: Option<&Engine>, aws: &Arc<Aws>, report: &mut Report) {
    let Some(app) = app else { return report.skipped("images", "no app") };
    let images: BTreeSet<&str> = app.nodes.values().map(|node| node.node_type.image_uri.as_str()).collect();
    if images.is_empty() {
        return report.skipped("images", "the app has no nodes");
    }
    let registry = Registry::new(aws.clone());
    // All at once: images of one registry share one token.
    let tried = join_all(images.iter().map(|image| try_image(image, &registry, engine))).await;
    for (image, result) in images.into_iter().zip(tried) {
        match result {
            Ok(found) => report.ok("image", &format!("{image}: {found}")),
            Err(problem) => {
                report.failed("image", &format!("{image}: {}", problem.found), problem.remedy, problem.exit)
            }
        }
    }
}

async fn try_image(text: &str, registry: &Registry, engine: Option<&Engine>) -> Result<String, Problem> {
    let image: ImageReference = text.parse().map_err(|error: managed_app_runtimes::InvalidImageReference| {
        Problem::wrong(error.reason, "name the image in its managed node type as registry/repository:tag")
    })?;
    let token = async { registry.credentials(&image).await.map_err(|error| problem(&error)) };
    let credentials = within(TOKEN_LIMIT, REACH, token).await?;
    let with = match (credentials.is_some(), RegistryHost::parse(image.registry())) {
        (true, _) => "pulled with a token of its registry",
        (false, Some(_)) => {
            "pulled without a token, which works with a lower limit; \
             ecr-public:GetAuthorizationToken and sts:GetServiceBearerToken would give one"
        }
        (false, None) => "pulled without credentials, as its registry is not Amazon ECR",
    };
    Ok(format!("{with}; {}", presence(&image, engine).await))
}

async fn presence(image: &ImageReference, engine: Option<&Engine>) -> &'static str {
    let Some(engine) = engine else { return "no engine to look in" };
    match engine.runtime.image(image).await {
        Ok(Some(_)) => "a copy is here",
        Ok(None) => "not here yet",
        Err(_) => "the engine does not say whether a copy is here",
    }
}

fn problem(error: &RegistryError) -> Problem {
    let found = error.to_string();
    let permission = error.permission();
    match error.kind() {
        RegistryErrorKind::NoCredentials => Problem::no_aws_credentials(),
        RegistryErrorKind::Unauthorized => Problem::wrong(found, AWS_CREDENTIALS),
        RegistryErrorKind::AccessDenied => Problem::wrong(
            found,
            format!(
                "allow {permission} to the AWS credentials of this host, with ecr:BatchCheckLayerAvailability, \
                 ecr:BatchGetImage and ecr:GetDownloadUrlForLayer"
            ),
        ),
        RegistryErrorKind::Throttled => Problem::unavailable(found, "try again in a minute"),
        _ => Problem::unavailable(found, REACH),
    }
}
