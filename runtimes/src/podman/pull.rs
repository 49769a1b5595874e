//! Pulls, over two endpoints of the same socket.
//!
//! libpod's own endpoint is silent while a layer is fetched: no progress, and no way to tell a slow layer from a dead
//! one. Podman's Docker-like endpoint tells bytes once a second, but cannot leave TLS verification out. So the latter
//! serves every registry but those on a loopback address, which libpod's serves (`tlsVerify=false`). Neither goes
//! through the crate: its stream reports errors as ordinary items and knows no limit.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::StreamExt as _;
use tokio::time::{Instant, timeout};

use super::convert::{self, encode};
use super::error::{Doing, pull_meaning};
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
    let doing = Doing { operation: "pull image", subject: &subject };
    let whole = async {
        let layers = read(socket, limits, doing, request(image, credentials), progress).await?;
        match layers.image {
            Some(id) => Ok(id),
            None => images::image(socket, limits, image).await?.ok_or_else(|| doing.nonsense("the image is not there")),
        }
    };
    let whole = timeout(limits.pull_total, whole).await;
    whole.unwrap_or_else(|_| Err(doing.error(ErrorKind::TimedOut).with_source("the limit of a whole pull has passed")))
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
    doing: Doing<'_>,
    request: Request,
    progress: ProgressFn<'_>,
) -> Result<Layers> {
    let silence = |_| doing.error(ErrorKind::TimedOut).with_source("nothing was heard for too long");
    let opened = timeout(limits.pull_silence, socket.open(doing, request)).await.map_err(silence)?;
    let mut body = opened.map_err(|error| in_registry_words(doing, error))?;
    let (mut lines, mut layers) = (Lines::default(), Layers::default());
    let mut reported: Option<Instant> = None;
    while let Some(piece) = timeout(limits.pull_silence, body.next()).await.map_err(silence)? {
        lines.push(&piece.map_err(|error| doing.connection(error.into()))?);
        while let Some(line) = lines.next() {
            layers.absorb(doing, &line.map_err(|malformed| doing.nonsense(malformed))?)?;
        }
        if reported.is_none_or(|at| at.elapsed() >= PROGRESS_INTERVAL) {
            progress(layers.progress());
            reported = Some(Instant::now());
        }
    }
    if !layers.is_complete() {
        return Err(doing.nonsense("the pull ended in the middle"));
    }
    progress(layers.progress());
    Ok(layers)
}

/// An error before the stream begins holds the registry's words too (Podman 5).
fn in_registry_words(doing: Doing<'_>, error: RuntimeError) -> RuntimeError {
    let words = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
    match pull_meaning(&words) {
        ErrorKind::Other => error,
        kind => doing.error(kind).with_source(words),
    }
}

/// What the lines of a pull have told so far.
#[derive(Debug, Default)]
pub(super) struct Layers {
    /// Bytes done and bytes in all, by layer.
    bytes: BTreeMap<String, (u64, u64)>,
    /// The image, where the lines name it whole (libpod's do).
    image: Option<ImageId>,
    /// Whether something was fetched to its end.
    has_end: bool,
}

impl Layers {
    /// Takes one line. Lines of an unknown shape are a sign of life and nothing more.
    pub(super) fn absorb(&mut self, doing: Doing<'_>, line: &[u8]) -> Result<()> {
        let line: PullLine = serde_json::from_slice(line).map_err(|error| doing.nonsense(error))?;
        if !line.error.is_empty() {
            return Err(doing.error(pull_meaning(&line.error)).with_source(line.error));
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
