//! Pulls, over two endpoints of the same socket.
//!
//! libpod's own endpoint is silent while a layer is fetched: no progress, and no way to distinguish a slow layer from a
//! stalled one. Podman's Docker-like endpoint reports bytes once a second, but cannot skip TLS verification. So the
//! latter is used for every registry except those on a loopback address, which use libpod's (`tlsVerify=false`).
//! Neither goes through the crate: its stream reports errors as ordinary items and has no limit.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout};

use super::convert::{self, encode};
use super::error::{Context, pull_error_kind};
use super::images;
use super::socket::{COMPAT, LIBPOD, Request, Socket};
use super::streams::{Decoder as _, Lines};
use super::wire::PullLine;
use crate::{
    ErrorKind, ImageId, ImageReference, Limits, ProgressFn, PullProgress, RegistryCredentials, Result, RuntimeError,
};

/// The shortest time between two reports of progress.
const PROGRESS_INTERVAL: Duration = Duration::from_millis(250);

/// Pulls an image and returns the id of its content.
pub(super) async fn pull(
    socket: &Socket,
    limits: &Limits,
    image: &ImageReference,
    credentials: Option<&RegistryCredentials>,
    progress: ProgressFn<'_>,
) -> Result<ImageId> {
    let subject = image.to_string();
    let context = Context { operation: "pull image", subject: &subject };
    let whole = async {
        let layers = read(socket, limits, context, request(image, credentials), progress).await?;
        match layers.image {
            Some(id) => Ok(id),
            None => images::image(socket, limits, image)
                .await?
                .ok_or_else(|| context.invalid_response("the image is missing after the pull")),
        }
    };
    let whole = timeout(limits.pull_total, whole).await;
    whole.unwrap_or_else(|_| {
        Err(context.error(ErrorKind::TimedOut).with_source("the limit of a whole pull is exceeded"))
    })
}

fn request(image: &ImageReference, credentials: Option<&RegistryCredentials>) -> Request {
    let name = encode(&image.to_pull());
    let path = if convert::is_loopback(image.registry()) {
        format!("{LIBPOD}/images/pull?policy=always&tlsVerify=false&reference={name}")
    } else {
        format!("{COMPAT}/images/create?fromImage={name}")
    };
    Request::Pull(path, credentials.map(convert::registry_auth))
}

async fn read(
    socket: &Socket,
    limits: &Limits,
    context: Context<'_>,
    request: Request,
    progress: ProgressFn<'_>,
) -> Result<Layers> {
    let silence = |_| context.error(ErrorKind::TimedOut).with_source("no data for too long");
    let opened = timeout(limits.pull_silence, socket.open(context, request)).await.map_err(silence)?;
    let mut body = opened.map_err(|error| with_registry_error(context, error))?;
    let (mut lines, mut layers) = (Lines::default(), Layers::default());
    let mut reported: Option<Instant> = None;
    while let Some(piece) = timeout(limits.pull_silence, body.next()).await.map_err(silence)? {
        lines.push(&piece.map_err(|error| context.connection(error.into()))?);
        while let Some(line) = lines.next() {
            layers.update(context, &line.map_err(|malformed| context.invalid_response(malformed))?)?;
        }
        if reported.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL) {
            progress(layers.progress());
            reported = Some(Instant::now());
        }
    }
    if !layers.is_complete() {
        return Err(context.invalid_response("the pull ended early"));
    }
    progress(layers.progress());
    Ok(layers)
}

/// An error before the stream begins contains the registry's text too (Podman 5).
fn with_registry_error(context: Context<'_>, error: RuntimeError) -> RuntimeError {
    let text = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    match pull_error_kind(&text) {
        ErrorKind::Other => error,
        kind => context.error(kind).with_source(text),
    }
}

/// Progress of a pull, as its lines report it.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Bytes done and bytes in all, by layer.
    bytes: BTreeMap<String, (u64, u64)>,
    /// The image, if the lines contain its full id (libpod's do).
    image: Option<ImageId>,
    /// Whether a layer was fetched completely.
    has_end: bool,
}

impl Layers {
    /// Takes one line. Lines of an unknown shape only count as activity.
    pub(super) fn update(&mut self, context: Context<'_>, line: &[u8]) -> Result<()> {
        let line: PullLine = serde_json::from_slice(line).map_err(|error| context.invalid_response(error))?;
        if !line.error.is_empty() {
            return Err(context.error(pull_error_kind(&line.error)).with_source(line.error));
        }
        if line.status.is_empty() && !line.id.is_empty() {
            self.image = Some(convert::image_id(&line.id));
        }
        if line.status == "Download complete" {
            self.has_end = true;
            self.bytes.entry(line.id).and_modify(|(done, total)| *done = *total);
        } else if line.progress_detail.total > 0 {
            self.bytes.insert(line.id, (line.progress_detail.current, line.progress_detail.total));
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.image.is_some() || self.has_end
    }

    /// The sum over the layers.
    pub(super) fn progress(&self) -> PullProgress {
        let sum = |of: fn(&(u64, u64)) -> u64| self.bytes.values().map(of).fold(0, u64::saturating_add);
        PullProgress { done_bytes: sum(|bytes| bytes.0), total_bytes: sum(|bytes| bytes.1) }
    }
}
