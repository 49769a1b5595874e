//! Real attempts at each call that an engine makes of ECR when it pulls, for people who check a host: one attempt for each
//! permission, and what the registry says of an image without pulling it.

use aws_sdk_ecr::Client;
use aws_sdk_ecr::types::ImageIdentifier;
use managed_app_runtimes::{ImageReference, RegistryCredentials};
use reqwest::{RequestBuilder, Response, Url};
use serde_json::Value as Json;
use tokio::time::timeout;

use super::public;
use super::token::{self, PUBLIC_PERMISSION};
use super::{PUBLIC_LIMIT, PUBLIC_REGION, RegistryError, RegistryErrorKind, RegistryHost};
use crate::cloud::failure::{AwsErrorKind, Failure};
use crate::cloud::transport::web_client;
use crate::cloud::{Aws, registry_host};

const GET_IMAGE: &str = "ecr:BatchGetImage";
const CHECK_LAYER: &str = "ecr:BatchCheckLayerAvailability";
const GET_LAYER: &str = "ecr:GetDownloadUrlForLayer";
/// A digest that no layer has. A call about it is refused for lack of the layer, and before that for lack of the permission.
const NO_LAYER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";
/// Kinds of manifests that name their platforms or a configuration.
pub(super) const MANIFESTS: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];
/// The largest manifest or configuration of an image that is read.
const ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// What a registry does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// The repository, for good.
    Repository,
    /// The repository; a pull-through cache rule, which no permission of this host shows, may make it at the first pull.
    RepositoryYet,
    /// The tag or digest.
    Image,
}

/// What the attempts for one image found.
#[derive(Debug)]
pub struct ImageProbe {
    /// Each permission that was tried, and whether the call may be made.
    pub permissions: Vec<(&'static str, Result<(), RegistryError>)>,
    /// What the registry lacks, for example the tag; `None` also when that cannot be known.
    pub missing: Option<Missing>,
    /// Architectures as image configurations name them (`amd64`, `arm64`); empty when they cannot be known.
    pub architectures: Vec<String>,
}

/// Asks the registry of `image` about it, which needs `credentials` in the public gallery. In a private registry each
/// permission is tried on the repository. `None` when it is neither, or there are no credentials for the gallery.
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

/// The permission beside the one for the token itself, which AWS names when it lacks.
const BEARER: &str = "sts:GetServiceBearerToken";

/// Tries for a token of the public gallery: each of the two permissions that it needs, as far as the answer tells.
pub async fn public_token(aws: &Aws) -> Vec<(&'static str, Result<(), RegistryError>)> {
    let asked = async { token::public(&aws.ecr_public(PUBLIC_REGION).await).await };
    let asked = timeout(PUBLIC_LIMIT, asked).await.unwrap_or_else(|_| Err(RegistryError::timed_out(PUBLIC_PERMISSION)));
    match asked {
        Ok(_) => vec![(PUBLIC_PERMISSION, Ok(())), (BEARER, Ok(()))],
        // AWS looks at the bearer's permission after the other one.
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
    /// The manifest, or what is missing in its place.
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
        match request.image_ids(id.build()).send().await.map_err(|error| Failure::of(&error)) {
            Ok(answer) => {
                let text = answer.images().first().and_then(|image| image.image_manifest());
                Ok(text.and_then(|text| serde_json::from_str(text).ok()).ok_or(Missing::Image))
            }
            Err(failure) if failure.code == "RepositoryNotFoundException" => Ok(Err(Missing::RepositoryYet)),
            Err(failure) => Err(RegistryError::of(&failure, GET_IMAGE)),
        }
    }

    async fn layer(&self) -> Result<(), RegistryError> {
        let request = self.client.batch_check_layer_availability().registry_id(&self.account);
        let sent = request.repository_name(&self.name).layer_digests(NO_LAYER).send().await;
        sent.map(|_| ()).or_else(|error| may(&Failure::of(&error), CHECK_LAYER))
    }

    /// Where a layer can be fetched; `None` when there is no such layer.
    async fn url(&self, digest: &str) -> Result<Option<String>, RegistryError> {
        let request = self.client.get_download_url_for_layer().registry_id(&self.account);
        let sent = request.repository_name(&self.name).layer_digest(digest).send().await;
        match sent {
            Ok(answer) => Ok(answer.download_url().map(str::to_owned)),
            Err(error) => may(&Failure::of(&error), GET_LAYER).map(|()| None),
        }
    }

    /// Those of a list, else the one of the configuration, which is a small layer of its own.
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

/// Where the architectures of an image stand.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Platforms {
    /// In the manifest, which is a list of images.
    Listed(Vec<String>),
    /// In the configuration of this digest; it is empty in a manifest that is none.
    InConfiguration(String),
}

impl Platforms {
    pub(super) fn of(manifest: &Json) -> Self {
        let Some(list) = manifest["manifests"].as_array() else {
            return Self::InConfiguration(manifest["config"]["digest"].as_str().unwrap_or_default().to_owned());
        };
        let named = list.iter().filter_map(|entry| entry["platform"]["architecture"].as_str());
        // Attestations stand in lists as of an unknown architecture.
        Self::Listed(named.filter(|name| !matches!(*name, "" | "unknown")).map(str::to_owned).collect())
    }
}

/// The architecture in the configuration that `request` asks for; empty when it cannot be had or does not say.
pub(super) async fn configured(request: RequestBuilder) -> Vec<String> {
    let configuration = async { json(request.send().await.ok()?.error_for_status().ok()?).await };
    let configuration = configuration.await.unwrap_or_default();
    configuration["architecture"].as_str().filter(|name| !name.is_empty()).map(str::to_owned).into_iter().collect()
}

/// What an answer holds, unless it is larger than any manifest or configuration.
pub(super) async fn json(mut answer: Response) -> Option<Json> {
    let mut bytes = Vec::new();
    while let Some(chunk) = answer.chunk().await.ok()? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > ANSWER_BYTES_MAX {
            return None;
        }
    }
    serde_json::from_slice(&bytes).ok()
}

/// A refusal for another reason than a permission shows that the permission is there.
fn may(failure: &Failure, permission: &'static str) -> Result<(), RegistryError> {
    let error = RegistryError::of(failure, permission);
    match (error.kind(), failure.kind) {
        (RegistryErrorKind::AccessDenied | RegistryErrorKind::Unauthorized, _) => Err(error),
        (_, AwsErrorKind::Refused) => Ok(()),
        _ => Err(error),
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
    fn one_image_says_it_in_its_configuration() {
        let image = json!({ "config": { "digest": "sha256:1" }, "layers": [] });
        assert_eq!(Platforms::of(&image), Platforms::InConfiguration("sha256:1".to_owned()));
        assert_eq!(Platforms::of(&json!("nonsense")), Platforms::InConfiguration(String::new()));
    }
}
