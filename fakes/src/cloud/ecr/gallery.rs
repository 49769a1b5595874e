//! ECR Public's registry with the API of a pull: manifests and configurations, for requests with the current token.
//! Repositories, tags and layers are those of [`super::images`].
use serde_json::json;
use wiremock::matchers::{method, path_regex};
use wiremock::{Mock, MockServer, Request, ResponseTemplate};

use super::{Registry, images};

/// Serves the public registry below `/v2/`.
pub(super) async fn mount(server: &MockServer, registry: Registry) {
    Mock::given(method("GET"))
        .and(path_regex("^/v2/.+/(manifests|blobs)/[^/]+$"))
        .respond_with(move |request: &Request| answer(&registry, request))
        .mount(server)
        .await;
}

fn answer(registry: &Registry, request: &Request) -> ResponseTemplate {
    let authorization = request.headers.get("authorization").and_then(|value| value.to_str().ok());
    if authorization != Some(&format!("Bearer {}", registry.encoded_token())) {
        return refusal(401, "UNAUTHORIZED");
    }
    let mut parts = request.url.path().trim_start_matches("/v2/").rsplitn(3, '/');
    let (reference, kind) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if registry.is_missing(parts.next().unwrap_or_default()) {
        return refusal(404, "NAME_UNKNOWN");
    }
    match kind {
        "manifests" => {
            ResponseTemplate::new(200).set_body_raw(images::manifest(registry).to_string(), images::MANIFEST)
        }
        _ if reference == images::configuration_digest(registry) => {
            ResponseTemplate::new(200).set_body_string(images::configuration(registry))
        }
        _ => refusal(404, "BLOB_UNKNOWN"),
    }
}

fn refusal(status: u16, code: &str) -> ResponseTemplate {
    ResponseTemplate::new(status).set_body_json(json!({ "errors": [{ "code": code, "message": "no" }] }))
}
