//! ECR's information about images: every repository has every tag, unless a test changes that. Layers are not served,
//! except the configuration, which contains an image's architecture.
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::Registry;
use crate::cloud::awsjson::input;
use crate::cloud::faults::Failure;

const CONFIGURATION_PATH: &str = "/ecr-layers/";
/// Type of the only manifest.
pub(super) const MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// In the terms of image configurations.
pub(super) fn own_architecture() -> &'static str {
    if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" }
}

/// Serves configurations like S3: by their URL alone, without a signature in a header.
pub(super) async fn mount_configuration(server: &MockServer, registry: Registry) {
    Mock::given(method("GET"))
        .and(path_regex(format!("^{CONFIGURATION_PATH}")))
        .respond_with(move |_: &Request| ResponseTemplate::new(200).set_body_string(configuration(&registry)))
        .mount(server)
        .await;
}

/// The response of an operation on images; `None` for an unknown operation.
pub(super) fn answer(registry: &Registry, request: &Request, operation: &str) -> Option<Result<Json, Failure>> {
    let answer: fn(&Registry, &Request, &Json) -> Result<Json, Failure> = match operation {
        "BatchGetImage" => get_image,
        "BatchCheckLayerAvailability" => check_layers,
        "GetDownloadUrlForLayer" => layer_url,
        _ => return None,
    };
    Some(registry.faults().take_for("ecr", operation).and_then(|()| {
        let input = input(request)?;
        let repository = input["repositoryName"].as_str().unwrap_or_default();
        if registry.is_missing(repository) {
            return Err(Failure::new(400, "RepositoryNotFoundException", format!("no repository {repository}")));
        }
        answer(registry, request, &input)
    }))
}

pub(super) fn configuration(registry: &Registry) -> String {
    json!({ "architecture": registry.lock().architecture, "os": "linux" }).to_string()
}

pub(super) fn configuration_digest(registry: &Registry) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(configuration(registry).as_bytes())))
}

pub(super) fn manifest(registry: &Registry) -> Json {
    let config = json!({ "digest": configuration_digest(registry), "mediaType": "application/vnd.docker.container.image.v1+json" });
    json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": [] })
}

fn get_image(registry: &Registry, _: &Request, input: &Json) -> Result<Json, Failure> {
    let image = json!({
        "registryId": input["registryId"], "repositoryName": input["repositoryName"], "imageId": input["imageIds"][0],
        "imageManifest": manifest(registry).to_string(), "imageManifestMediaType": MANIFEST,
    });
    Ok(json!({ "images": [image], "failures": [] }))
}

/// No layer exists.
fn check_layers(_: &Registry, _: &Request, input: &Json) -> Result<Json, Failure> {
    let failure = |digest: &Json| json!({ "layerDigest": digest, "failureCode": "MissingLayerDigest" });
    let failures: Vec<Json> = input["layerDigests"].as_array().into_iter().flatten().map(failure).collect();
    Ok(json!({ "layers": [], "failures": failures }))
}

fn layer_url(registry: &Registry, request: &Request, input: &Json) -> Result<Json, Failure> {
    let digest = input["layerDigest"].as_str().unwrap_or_default();
    if digest != configuration_digest(registry) {
        return Err(Failure::new(400, "LayersNotFoundException", "the layer does not exist"));
    }
    let host = request.headers.get("host").and_then(|host| host.to_str().ok()).unwrap_or_default();
    Ok(json!({ "downloadUrl": format!("http://{host}{CONFIGURATION_PATH}{digest}"), "layerDigest": digest }))
}
