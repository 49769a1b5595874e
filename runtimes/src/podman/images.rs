//! Local images: lookup and removal.

use serde_json::Value;

use super::containers::json;
use super::convert::{self, encode};
use super::error::Context;
use super::socket::{Request, Socket};
use super::wire::{Filters, ImageInspect, ListItem};
use crate::{ErrorKind, ImageId, ImageReference, Limits, Result};

/// The id of a local image.
pub(super) async fn image(socket: &Socket, limits: &Limits, image: &ImageReference) -> Result<Option<ImageId>> {
    Ok(inspect(socket, limits, image).await?.map(|found| convert::image_id(&found.id)))
}

/// The architecture of a local image; `None` also when it declares none.
pub(super) async fn architecture(socket: &Socket, limits: &Limits, image: &ImageReference) -> Result<Option<String>> {
    let found = inspect(socket, limits, image).await?;
    Ok(found.map(|found| found.architecture).filter(|architecture| !architecture.is_empty()))
}

async fn inspect(socket: &Socket, limits: &Limits, image: &ImageReference) -> Result<Option<ImageInspect>> {
    let name = image.to_pull();
    let context = Context { operation: "look up image", subject: &name };
    let path = format!("/images/{}/json", encode(&name));
    match socket.json(context, limits.call, Request::Get(path)).await {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes an image with its tags. Never with `force`: Podman would remove the containers that use it.
///
/// Without force Podman rejects an image with several tags, so the tags are removed first, after a check that no
/// container uses the image.
pub(super) async fn remove_image(socket: &Socket, limits: &Limits, id: &ImageId) -> Result<()> {
    let context = Context { operation: "remove image", subject: &id.0 };
    let bare = encode(id.0.trim_start_matches("sha256:"));
    let delete = || socket.call(context, limits.call, Request::Delete(format!("/images/{bare}")));
    let removed = match delete().await {
        Err(error) if error.kind() == ErrorKind::Conflict && !is_used(socket, limits, context, id).await? => {
            socket.call(context, limits.call, Request::Post(format!("/images/{bare}/untag"), None)).await?;
            delete().await
        }
        other => other,
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn is_used(socket: &Socket, limits: &Limits, context: Context<'_>, id: &ImageId) -> Result<bool> {
    let filters: Filters<'_> = [("ancestor", vec![id.0.trim_start_matches("sha256:").to_owned()])].into();
    let path = format!("/containers/json?all=true&filters={}", encode(&json(&filters)));
    let items: Vec<Value> = socket.json(context, limits.call, Request::Get(path)).await?;
    let mut users = items.into_iter().filter_map(|item| serde_json::from_value::<ListItem>(item).ok());
    Ok(users.any(|user| convert::image_id(&user.image_id) == *id))
}
