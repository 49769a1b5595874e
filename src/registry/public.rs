//! Reads the manifest of an image in ECR Public and, for the architecture, its configuration, with the registry API
//! that engines use. Fetches no layers.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use managed_app_runtimes::{ImageReference, RegistryCredentials};
use reqwest::header::ACCEPT;
use reqwest::{Client, RequestBuilder, StatusCode, Url};
use secrecy::ExposeSecret;
use serde_json::Value as Json;

use super::probe::{ImageProbe, MANIFESTS, Missing, Platforms, configured, json};
use crate::cloud::Aws;
use crate::cloud::transport::web_client;

/// Tests no permissions: only the token needs some.
pub(super) async fn probe(aws: &Aws, image: &ImageReference, credentials: &RegistryCredentials) -> ImageProbe {
    // With a configured endpoint, ECR Public is there too.
    let host = aws.endpoint_url().await.unwrap_or_else(|| format!("https://{}", image.registry()));
    let unknown = ImageProbe { permissions: Vec::new(), missing: None, architectures: Vec::new() };
    let client = Url::parse(&host).ok().and_then(|url| web_client(&url).build().ok());
    let Some(client) = client else { return unknown };
    let repository = PublicRepository {
        client,
        repository: format!("{}/v2/{}", host.trim_end_matches('/'), image.repository()),
        token: STANDARD.encode(format!("{}:{}", credentials.username, credentials.password.expose_secret())),
    };
    let (missing, architectures) = match repository.manifest(image).await {
        Manifest::Found(manifest) => (None, repository.architectures(&manifest).await),
        Manifest::Missing(missing) => (Some(missing), Vec::new()),
        Manifest::Unknown => (None, Vec::new()),
    };
    ImageProbe { permissions: Vec::new(), missing, architectures }
}

enum Manifest {
    Found(Json),
    /// The repository or image does not exist.
    Missing(Missing),
    /// No response, or an unexpected one.
    Unknown,
}

struct PublicRepository {
    client: Client,
    repository: String,
    token: String,
}

impl PublicRepository {
    fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}/{path}", self.repository)).bearer_auth(&self.token)
    }

    async fn manifest(&self, image: &ImageReference) -> Manifest {
        let reference = image.digest().or(image.tag()).unwrap_or("latest");
        let request = self.get(&format!("manifests/{reference}")).header(ACCEPT, MANIFESTS.join(", "));
        let Ok(response) = request.send().await else { return Manifest::Unknown };
        let status = response.status();
        let Some(body) = json(response).await else { return Manifest::Unknown };
        match (status, body["errors"][0]["code"].as_str()) {
            (status, _) if status.is_success() => Manifest::Found(body),
            (StatusCode::NOT_FOUND, Some("NAME_UNKNOWN")) => Manifest::Missing(Missing::Repository),
            (StatusCode::NOT_FOUND, Some("MANIFEST_UNKNOWN")) => Manifest::Missing(Missing::Image),
            _ => Manifest::Unknown,
        }
    }

    async fn architectures(&self, manifest: &Json) -> Vec<String> {
        match Platforms::of(manifest) {
            Platforms::Listed(architectures) => architectures,
            Platforms::InConfiguration(digest) => configured(self.get(&format!("blobs/{digest}"))).await,
        }
    }
}
