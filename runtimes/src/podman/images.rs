//! Images: pull, look up, remove.
//!
//! Pulls go round the crate: its stream borrows the client, reports errors as ordinary items, and knows neither a
//! header of its own nor a limit.

use futures_util::StreamExt as _;
use serde_json::Value;
use tokio::time::timeout;

use super::containers::json;
use super::convert::{self, encode};
use super::error::{Doing, pull_meaning};
use super::socket::{Request, Socket};
use super::streams::{Decoder as _, Lines};
use super::wire::{Filters, ImageInspect, ListItem, PullLine};
use crate::{
    ErrorKind, ImageId, ImageReference, Limits, ProgressFn, PullProgress, RegistryCredentials, Result, RuntimeError,
};

/// Pulls an image and returns the id of its content.
pub(super) async fn pull(
    socket: &Socket,
    limits: &Limits,
    image: &ImageReference,
    credentials: Option<&RegistryCredentials>,
    progress: ProgressFn<'_>,
) -> Result<ImageId> {
    let subject = image.to_string();
    let doing = Doing { operation: "pull image", subject: &subject };
    let request = pull_request(image, credentials);
    let pulled = timeout(limits.pull_total, read_pull(socket, limits, doing, request, progress)).await;
    pulled.unwrap_or_else(|_| Err(doing.error(ErrorKind::TimedOut).with_source("the limit of the whole pull")))
}

fn pull_request(image: &ImageReference, credentials: Option<&RegistryCredentials>) -> Request {
    let verify = !convert::is_loopback(image.registry());
    let path = format!("/images/pull?policy=always&tlsVerify={verify}&reference={}", encode(&image.to_pull()));
    match credentials {
        Some(credentials) => Request::PostAuth(path, convert::registry_auth(credentials)),
        None => Request::Post(path, None),
    }
}

async fn read_pull(
    socket: &Socket,
    limits: &Limits,
    doing: Doing<'_>,
    request: Request,
    progress: ProgressFn<'_>,
) -> Result<ImageId> {
    let silence = || doing.error(ErrorKind::TimedOut).with_source("nothing was heard for too long");
    let mut body = timeout(limits.pull_silence, socket.open(doing, request)).await.map_err(|_| silence())??;
    let mut lines = Lines::default();
    let mut id = String::new();
    while let Some(piece) = timeout(limits.pull_silence, body.next()).await.map_err(|_| silence())? {
        lines.push(&piece.map_err(|error| doing.connection(error.into()))?);
        while let Some(line) = lines.next() {
            let line = line.map_err(|malformed| doing.nonsense(malformed))?;
            read_pull_line(doing, &line, &mut id)?;
        }
        progress(PullProgress::default());
    }
    if id.is_empty() { Err(doing.nonsense("the pull ended without an image id")) } else { Ok(convert::image_id(&id)) }
}

/// A line is progress, an error, or names the image; unknown ones are progress.
fn read_pull_line(doing: Doing<'_>, line: &[u8], id: &mut String) -> Result<()> {
    let line: PullLine = serde_json::from_slice(line).map_err(|error| doing.nonsense(error))?;
    if !line.error.is_empty() {
        return Err(pull_error(doing, line.error));
    }
    if !line.id.is_empty() {
        *id = line.id;
    }
    Ok(())
}

fn pull_error(doing: Doing<'_>, text: String) -> RuntimeError {
    doing.error(pull_meaning(&text)).with_source(text)
}

/// The id of a local image.
pub(super) async fn image(socket: &Socket, limits: &Limits, image: &ImageReference) -> Result<Option<ImageId>> {
    let name = image.to_pull();
    let doing = Doing { operation: "look up image", subject: &name };
    let path = format!("/images/{}/json", encode(&name));
    match socket.json::<ImageInspect>(doing, limits.call, Request::Get(path)).await {
        Ok(found) => Ok(Some(convert::image_id(&found.id))),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// Removes an image with its tags. Never with `force`: Podman would remove the containers that use it.
///
/// Without force Podman refuses an image with several tags, so these go first, after a look that no container uses it.
pub(super) async fn remove_image(socket: &Socket, limits: &Limits, id: &ImageId) -> Result<()> {
    let doing = Doing { operation: "remove image", subject: &id.0 };
    let bare = encode(id.0.trim_start_matches("sha256:"));
    let delete = || socket.call(doing, limits.call, Request::Delete(format!("/images/{bare}")));
    let removed = match delete().await {
        Err(error) if error.kind() == ErrorKind::Conflict && !is_used(socket, limits, doing, id).await? => {
            socket.call(doing, limits.call, Request::Post(format!("/images/{bare}/untag"), None)).await?;
            delete().await
        }
        other => other,
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other.map(|_| ()),
    }
}

async fn is_used(socket: &Socket, limits: &Limits, doing: Doing<'_>, id: &ImageId) -> Result<bool> {
    let filters: Filters<'_> = [("ancestor", vec![id.0.trim_start_matches("sha256:").to_owned()])].into();
    let path = format!("/containers/json?all=true&filters={}", encode(&json(&filters)));
    let items: Vec<Value> = socket.json(doing, limits.call, Request::Get(path)).await?;
    let mut users = items.into_iter().filter_map(|item| serde_json::from_value::<ListItem>(item).ok());
    Ok(users.any(|user| convert::image_id(&user.image_id) == *id))
}
