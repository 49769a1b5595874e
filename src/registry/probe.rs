//! Tests for `check` each call of ECR that an engine makes when it pulls: one attempt for each permission, and the
//! manifest of an image, without a pull.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use managed_app_runtimes::{ImageReference, RegistryCredentials};
use reqwest::{RequestBuilder, Response, Url};
use serde_json::Value as Json;
use tokio::time::timeout;

use super::public;
use super::token::{self, PUBLIC_PERMISSION};
use super::{PUBLIC_LIMIT, PUBLIC_REGION, RegistryError, RegistryHost};
use crate::cloud::aws_error::AwsError;
use crate::cloud::transport::web_client;
use crate::cloud::{Aws, CloudErrorKind, registry_host};

const GET_IMAGE: &str = "ecr:BatchGetImage";
const CHECK_LAYER: &str = "ecr:BatchCheckLayerAvailability";
const GET_LAYER: &str = "ecr:GetDownloadUrlForLayer";
/// A digest without a layer. A call with it is refused because of a missing permission or, with the permission, because
/// of the missing layer.
const NO_LAYER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// Media types of manifests with platforms or a configuration.
pub(super) const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// The largest manifest or configuration of an image that is read.
const RESPONSE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An object that the registry does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The repository, permanently.
    Repository,
    /// The repository; a pull-through cache rule, which this host cannot read, may create it at the first pull.
    RepositoryYet,
    /// The tag or digest.
    Image,
}

/// The results for one image.
#[derive(Debug)]
pub struct ImageProbe {
    /// Each tested permission with its result.
    pub permissions: Vec<(&'static str, Result<(), RegistryError>)>,
    /// The missing object, for example the tag; `None` also if unknown.
    pub missing: Option<Missing>,
    /// Architectures by their names in image configurations (`amd64`, `arm64`); empty if unknown.
    pub architectures: Vec<String>,
}

/// Tests the registry of `image`. ECR Public needs `credentials`. In a private registry each permission is tested on
/// the repository. `None` for other registries, and for ECR Public without credentials.
pub async fn probe(aws: &Aws, image: &ImageReference, credentials: Option<&RegistryCredentials>) -> Option<ImageProbe> {
    match registry_host(image.registry())? {
        RegistryHost::Ecr { account, region } => {
            let client = aws.ecr(&region).await;
            let repository = Repository { client, account, name: image.repository().to_owned() };
            Some(private(&repository, image).await)
        }
        RegistryHost::EcrPublic => Some(public::probe(aws, image, credentials?).await),
    }
}

async fn private(repository: &Repository, image: &ImageReference) -> ImageProbe {
    let (manifest, layer, url) = tokio::join!(repository.manifest(image), repository.layer(), repository.url(NO_LAYER));
    let (got, missing, architectures) = match manifest {
        Ok(Ok(manifest)) => (Ok(()), None, repository.architectures(&manifest).await),
        Ok(Err(missing)) => (Ok(()), Some(missing), Vec::new()),
        Err(error) => (Err(error), None, Vec::new()),
    };
    let permissions = vec![(GET_IMAGE, got), (CHECK_LAYER, layer), (GET_LAYER, url.map(|_| ()))];
    ImageProbe { permissions, missing, architectures }
}

/// The second permission for the token, which AWS names in the error if it is missing.
const BEARER: &str = "sts:GetServiceBearerToken";

/// Requests a token of ECR Public. Returns the result of each of the two permissions, if the response shows it.
pub async fn public_token(aws: &Aws) -> Vec<(&'static str, Result<(), RegistryError>)> {
    let token = async { token::public(&aws.ecr_public(PUBLIC_REGION).await).await };
    let token = timeout(PUBLIC_LIMIT, token).await.unwrap_or_else(|_| Err(RegistryError::timed_out(PUBLIC_PERMISSION)));
    match token {
        Ok(_) => vec![(PUBLIC_PERMISSION, Ok(())), (BEARER, Ok(()))],
        // AWS checks the permission for the bearer token after the other one.
        Err(error) if error.to_string().contains(BEARER) => vec![(PUBLIC_PERMISSION, Ok(())), (BEARER, Err(error))],
        Err(error) => vec![(PUBLIC_PERMISSION, Err(error))],
    }
}

struct Repository {
    client: Client,
    account: String,
    name: String,
}

impl Repository {
    /// The manifest, or the missing object.
    async fn manifest(&self, image: &ImageReference) -> Result<Result<Json, Missing>, RegistryError> {
        let id = ImageIdentifier::builder();
        let id = match (image.digest(), image.tag()) {
            (Some(digest), _) => id.image_digest(digest),
            (None, tag) => id.image_tag(tag.unwrap_or("latest")),
        };
        let mut request = self.client.batch_get_image().registry_id(&self.account).repository_name(&self.name);
        for kind in MANIFESTS {
            request = request.accepted_media_types(kind);
        }
        match request.image_ids(id.build()).send().await.map_err(|error| AwsError::of(&error)) {
            Ok(output) => {
                let text = output.images().first().and_then(|image| image.image_manifest());
                Ok(text.and_then(|text| serde_json::from_str(text).ok()).ok_or(Missing::Image))
            }
            Err(error) if error.kind == CloudErrorKind::Absent => Ok(Err(Missing::RepositoryYet)),
            Err(error) => Err(RegistryError::of(error, GET_IMAGE)),
        }
    }

    async fn layer(&self) -> Result<(), RegistryError> {
        let request = self.client.batch_check_layer_availability().registry_id(&self.account);
        let sent = request.repository_name(&self.name).layer_digests(NO_LAYER).send().await;
        sent.map(|_| ()).or_else(|error| permission_result(AwsError::of(&error), CHECK_LAYER))
    }

    /// The download URL of a layer; `None` if the layer does not exist.
    async fn url(&self, digest: &str) -> Result<Option<String>, RegistryError> {
        let request = self.client.get_download_url_for_layer().registry_id(&self.account);
        let sent = request.repository_name(&self.name).layer_digest(digest).send().await;
        match sent {
            Ok(output) => Ok(output.download_url().map(str::to_owned)),
            Err(error) => permission_result(AwsError::of(&error), GET_LAYER).map(|()| None),
        }
    }

    /// The architectures of a list, otherwise the one of the configuration, which is a small blob.
    async fn architectures(&self, manifest: &Json) -> Vec<String> {
        let digest = match Platforms::of(manifest) {
            Platforms::Listed(architectures) => return architectures,
            Platforms::InConfiguration(digest) => digest,
        };
        let Ok(Some(url)) = self.url(&digest).await else { return Vec::new() };
        let Some(url) = Url::parse(&url).ok() else { return Vec::new() };
        let Ok(client) = web_client(&url).build() else { return Vec::new() };
        configured(client.get(url)).await
    }
}

/// Location of the architectures of an image.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Platforms {
    /// In the manifest, which is a list of images.
    Listed(Vec<String>),
    /// In the configuration with this digest, which is empty if the manifest is invalid.
    InConfiguration(String),
}

impl Platforms {
    pub(super) fn of(manifest: &Json) -> Self {
        let Some(list) = manifest["manifests"].as_array() else {
            return Self::InConfiguration(manifest["config"]["digest"].as_str().unwrap_or_default().to_owned());
        };
        let named = list.iter().filter_map(|entry| entry["platform"]["architecture"].as_str());
        // Attestations are listed with an unknown architecture.
        Self::Listed(named.filter(|name| !matches!(*name, "" | "unknown")).map(str::to_owned).collect())
    }
}

/// The architecture in the configuration at `request`; empty if it is not available.
pub(super) async fn configured(request: RequestBuilder) -> Vec<String> {
    let configuration = async { json(request.send().await.ok()?.error_for_status().ok()?).await };
    let configuration = configuration.await.unwrap_or_default();
    configuration["architecture"].as_str().filter(|name| !name.is_empty()).map(str::to_owned).into_iter().collect()
}

/// The JSON body of a response, unless it is larger than any manifest or configuration.
pub(super) async fn json(mut response: Response) -> Option<Json> {
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.ok()? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > RESPONSE_BYTES_MAX {
            return None;
        }
    }
    serde_json::from_slice(&bytes).ok()
}

/// A refusal for another reason shows that the permission exists.
fn permission_result(error: AwsError, permission: &'static str) -> Result<(), RegistryError> {
    match error.kind {
        CloudErrorKind::Absent | CloudErrorKind::AlreadyExists | CloudErrorKind::Invalid | CloudErrorKind::Refused => {
            Ok(())
        }
        _ => Err(RegistryError::of(error, permission)),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_images_names_its_architectures_and_no_attestation() {
        let entry = |architecture: &str| json!({ "platform": { "architecture": architecture, "os": "linux" } });
        let list = json!({ "manifests": [entry("amd64"), entry("unknown"), entry("arm64"), entry(""), {}] });
        assert_eq!(Platforms::of(&list), Platforms::Listed(vec!["amd64".to_owned(), "arm64".to_owned()]));
    }

    #[test]
    fn a_single_image_has_its_architecture_in_its_configuration() {
        let image = json!({ "config": { "digest": "sha256:1" }, "layers": [] });
        assert_eq!(Platforms::of(&image), Platforms::InConfiguration("sha256:1".to_owned()));
        assert_eq!(Platforms::of(&json!("nonsense")), Platforms::InConfiguration(String::new()));
    }
}
