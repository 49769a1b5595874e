//! Local images: lookup and removal. Pulls nothing.

use bollard::errors::Error;
use bollard::models::ImageInspect;
use bollard::query_parameters::RemoveImageOptionsBuilder;
use serde_json::json;

use super::client::{Client, encoded, within};
use super::responses::{Listed, image_id};
use crate::{ErrorKind, ImageId, ImageReference, Result, RuntimeError};

const INSPECT: &str = "inspect image";

/// The id of a local image.
pub(super) async fn local_id(client: &Client, image: &ImageReference) -> Result<Option<ImageId>> {
    let Some(inspected) = inspect(client, image).await? else { return Ok(None) };
    let lost = || RuntimeError::new(ErrorKind::Other, INSPECT, image.to_pull()).with_source("the image has no id");
    let id = inspected.id.filter(|id| !id.is_empty());
    Ok(Some(image_id(id.ok_or_else(lost)?)))
}

/// The architecture of a local image; `None` also when it declares none.
pub(super) async fn architecture(client: &Client, image: &ImageReference) -> Result<Option<String>> {
    let inspected = inspect(client, image).await?;
    Ok(inspected.and_then(|inspected| inspected.architecture).filter(|architecture| !architecture.is_empty()))
}

async fn inspect(client: &Client, image: &ImageReference) -> Result<Option<ImageInspect>> {
    let name = image.to_pull();
    match within(client.limits.call, INSPECT, &name, client.docker.inspect_image(&name)).await {
        Ok(inspected) => Ok(Some(inspected)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes an image by id with all its names, unless a container uses it.
///
/// The engine's own rule is too weak: without force it rejects an image with two repositories, with force it removes an
/// image that a stopped container uses.
pub(super) async fn remove_image(client: &Client, id: &ImageId) -> Result<()> {
    const OPERATION: &str = "remove image";
    let limit = client.limits.call;
    let removal = async {
        let image = match client.docker.inspect_image(&id.0).await {
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => return Ok(()),
            image => image?,
        };
        let filters = json!({"ancestor": [&id.0]}).to_string();
        let path = format!("/containers/json?all=1&filters={}", encoded(&filters));
        let users: Vec<Listed> = client.get(&path).await?;
        if let Some(user) = users.into_iter().find(|user| image_id(user.image_id.clone()) == *id) {
            let message = format!("it is used by container {}", user.id);
            return Err(Error::DockerResponseServerError { status_code: 409, message });
        }
        let names = image.repo_tags.unwrap_or_default().into_iter().chain(image.repo_digests.unwrap_or_default());
        for name in names.filter(|name| !name.starts_with('<')).chain([id.0.clone()]) {
            let options = RemoveImageOptionsBuilder::new().build();
            match client.docker.remove_image(&name, Some(options), None).await {
                // The removal of the last name removes the image.
                Ok(_) | Err(Error::DockerResponseServerError { status_code: 404, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    };
    within(limit, OPERATION, &id.0, removal).await
}
