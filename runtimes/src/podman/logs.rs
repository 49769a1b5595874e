//! The output of one container as a stream.
//!
//! Three of Podman's ways are smoothed here. The headers come only with the first line, so nobody waits for them, and
//! an inspection finds out whether the container is there. Following leaves lines out from the container's end on, in
//! the middle too (half of 30,000 where the reader was slow, 4.3.1 and 5.4.2), so that what came is believed when the
//! container still runs after that, and the rest is read without following. A line is cut wherever a buffer of the engine
//! ended, so pieces are joined again.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use containers_api::conn::hyper::Body;
use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use super::containers::inspect;
use super::convert::encode;
use super::error::Doing;
use super::socket::{Request, Socket};
use super::streams::{Decoder, Frames};
use super::wire::Inspect;
use crate::logfile::{self, Format, Watches};
use crate::{ContainerId, ErrorKind, Limits, LogChunk, LogSource, LogStream, Result};

/// Verb phrase of every error here.
const OPERATION: &str = "read logs of container";
/// How long the request gets to reach the engine before the stream is handed out.
const OPENING_WAIT: Duration = Duration::from_millis(50);
/// The state of a container that got the stop signal and still runs. To those who follow it, Podman takes it for ended.
const STOPPING: &str = "stopping";
/// Pause before an engine that was away, or a container that is being stopped, is asked again.
const WAIT_PAUSE: Duration = Duration::from_secs(1);
/// What comes within this time, and up to this size, is believed or not in one.
const BATCH_TIME: Duration = Duration::from_millis(100);
const BATCH_BYTES: usize = 256 << 10;
/// Pieces are joined up to this length; a longer line comes in parts.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Output from `since` on, then follows; from the engine's own file where that can be read.
pub(super) async fn logs(
    socket: &Socket,
    limits: &Limits,
    watches: &Watches,
    id: &ContainerId,
    since: Option<OffsetDateTime>,
) -> Result<LogStream> {
    let found = inspect(socket, limits.call, OPERATION, id).await?;
    let kept = &found.host_config.log_config;
    if kept.r#type == "k8s-file" && !kept.path.is_empty() {
        let (waiting, waited, is_over) = (socket.clone(), id.clone(), is_over(&found));
        let has_ended = move |limit| {
            if is_over { ready(true).boxed() } else { has_ended(waiting.clone(), waited.clone(), limit).boxed() }
        };
        let path = kept.path.clone().into();
        match logfile::follow(watches.clone(), id.0.clone(), path, Format::K8s, since, Box::new(has_ended)).await {
            Ok(stream) => return Ok(stream),
            Err(error) => tracing::debug!(container = %id, %error, "the engine's log file cannot be read; asking it"),
        }
    }
    asked(socket, limits, id, since, &found).await
}

/// Whether the container's process has ended and conmon has written all of its output, or it is gone, within `limit`. An
/// engine that is away is waited for: the file is written without it.
async fn has_ended(socket: Socket, id: ContainerId, limit: Duration) -> bool {
    let path = format!("/containers/{}/wait?condition=stopped&condition=exited&interval=500ms", encode(&id.0));
    let doing = Doing { operation: "wait for the end of container", subject: &id.0 };
    loop {
        match socket.call(doing, limit, Request::Post(path.clone(), None)).await {
            Ok(_) => return true,
            Err(error) if error.kind() == ErrorKind::NotFound => return true,
            Err(error) if error.kind() == ErrorKind::TimedOut => return false,
            Err(_) => sleep(WAIT_PAUSE).await,
        }
    }
}

/// The same, from the engine, of a container that was just `found`.
async fn asked(
    socket: &Socket,
    limits: &Limits,
    id: &ContainerId,
    since: Option<OffsetDateTime>,
    found: &Inspect,
) -> Result<LogStream> {
    let mut reader = Reader {
        socket: socket.clone(),
        limit: limits.call,
        id: id.clone(),
        path: path(id, since),
        started_at: found.state.started_at.clone(),
        phase: Phase::Ending,
        frames: Frames::default(),
        unsure: Vec::new(),
        sure: 0,
        skip: 0,
        held: [None, None],
        ready: VecDeque::new(),
    };
    if is_followed(found) {
        let mut opening = reader.open(true);
        reader.phase = match timeout(OPENING_WAIT, &mut opening).await {
            Ok(body) => Phase::Following(body?),
            Err(_) => Phase::Opening(opening),
        };
    }
    Ok(Box::pin(stream::unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) })))
}

/// Whether the process of this container has ended, and conmon has written all of its output.
fn is_over(found: &Inspect) -> bool {
    matches!(found.state.status.as_str(), "exited" | "stopped")
}

/// Whether Podman leaves nothing out when this container is followed.
fn is_followed(found: &Inspect) -> bool {
    matches!(found.state.status.as_str(), "running" | "paused")
}

/// `since` of the engine leaves out lines of that very moment, so it is asked for a nanosecond more.
pub(super) fn path(id: &ContainerId, since: Option<OffsetDateTime>) -> String {
    let since = since
        .and_then(|since| since.checked_sub(Duration::from_nanos(1).try_into().ok()?))
        .and_then(|since| since.to_offset(time::UtcOffset::UTC).format(&Rfc3339).ok())
        .map_or_else(String::new, |since| format!("&since={}", encode(&since)));
    format!("/containers/{}/logs?stdout=true&stderr=true&timestamps=true{since}", encode(&id.0))
}

enum Phase {
    /// The request is on its way.
    Opening(BoxFuture<'static, Result<Body>>),
    /// Reads what is written, as it is written.
    Following(Body),
    /// Waits for the container's end.
    Ending,
    /// Reads everything again for what following left out.
    Rest(Body),
    Ended,
}

struct Reader {
    socket: Socket,
    limit: Duration,
    id: ContainerId,
    path: String,
    /// When it was started, for the time that is followed.
    started_at: String,
    phase: Phase,
    frames: Frames,
    /// Came while following, perhaps after the container's end.
    unsure: Vec<LogChunk>,
    /// Frames that came before the container's end.
    sure: usize,
    /// Frames of the rest that came before.
    skip: usize,
    /// The start of a line, for each source.
    held: [Option<LogChunk>; 2],
    ready: VecDeque<Result<LogChunk>>,
}

impl Reader {
    async fn next(&mut self) -> Option<Result<LogChunk>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            match std::mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Opening(opening) => match opening.await {
                    Ok(body) => self.phase = Phase::Following(body),
                    Err(error) => self.end(Some(error)),
                },
                Phase::Following(body) => self.follow(body).await,
                Phase::Ending => self.open_rest().await,
                Phase::Rest(mut body) => match timeout(self.limit, body.next()).await {
                    Ok(Some(piece)) => {
                        let taken = self.take(piece);
                        self.believe();
                        match taken {
                            Ok(_) => self.phase = Phase::Rest(body),
                            Err(error) => self.end(Some(error)),
                        }
                    }
                    Ok(None) => self.end(None),
                    Err(_) => self.end(Some(self.doing().error(ErrorKind::TimedOut))),
                },
                Phase::Ended => return None,
            }
        }
    }

    /// Takes what comes within a moment, and hands it on when the container still runs after it.
    async fn follow(&mut self, mut body: Body) {
        let Some(mut piece) = body.next().await else { return self.phase = Phase::Ending };
        let until = Instant::now() + BATCH_TIME;
        let mut bytes = 0;
        loop {
            match self.take(piece) {
                Ok(length) => bytes += length,
                Err(error) => return self.end(Some(error)),
            }
            if bytes >= BATCH_BYTES {
                break;
            }
            match timeout_at(until, body.next()).await {
                Ok(Some(next)) => piece = next,
                Ok(None) => return self.phase = Phase::Ending,
                Err(_) => break,
            }
        }
        match inspect(&self.socket, self.limit, OPERATION, &self.id).await {
            Ok(found) if is_followed(&found) && found.state.started_at == self.started_at => self.believe(),
            Ok(_) => return self.phase = Phase::Ending,
            // Of a container that is gone this is all there is.
            Err(error) if error.kind() == ErrorKind::NotFound => self.believe(),
            Err(error) => return self.end(Some(error)),
        }
        self.phase = Phase::Following(body);
    }

    /// Takes a piece of the body and tells its length.
    fn take(&mut self, piece: Result<Bytes, containers_api::conn::hyper::Error>) -> Result<usize> {
        let piece = piece.map_err(|error| self.doing().connection(error.into()))?;
        self.frames.push(&piece);
        while let Some(frame) = self.frames.next() {
            self.unsure.push(frame.map_err(|malformed| self.doing().nonsense(malformed))?);
        }
        Ok(piece.len())
    }

    fn believe(&mut self) {
        for chunk in std::mem::take(&mut self.unsure) {
            if self.skip > 0 {
                self.skip -= 1;
            } else {
                self.sure += 1;
                self.join(chunk);
            }
        }
    }

    /// Holds the start of a line back until its end comes, or it is long.
    fn join(&mut self, chunk: LogChunk) {
        let held = &mut self.held[usize::from(chunk.source == LogSource::Stderr)];
        let whole = match held.take() {
            Some(start) => {
                let mut bytes = BytesMut::from(start.bytes);
                bytes.extend_from_slice(&chunk.bytes);
                LogChunk { bytes: bytes.freeze(), ..chunk }
            }
            None => chunk,
        };
        if whole.bytes.ends_with(b"\n") || whole.bytes.len() >= LINE_BYTES_MAX {
            self.ready.push_back(Ok(whole));
        } else {
            *held = Some(whole);
        }
    }

    /// Once it has ended; a container that is gone has no rest.
    async fn open_rest(&mut self) {
        let found = inspect(&self.socket, self.limit, OPERATION, &self.id).await;
        if found.as_ref().is_ok_and(|found| found.state.status == STOPPING) {
            sleep(WAIT_PAUSE).await;
            return self.phase = Phase::Ending;
        }
        let opened = match found {
            Ok(_) => timeout(self.limit, self.open(false)).await,
            Err(error) => Ok(Err(error)),
        };
        match opened.unwrap_or_else(|_| Err(self.doing().error(ErrorKind::TimedOut))) {
            Ok(body) => {
                (self.skip, self.frames) = (self.sure, Frames::default());
                self.unsure.clear();
                self.phase = Phase::Rest(body);
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.believe();
                self.end(None);
            }
            Err(error) => self.end(Some(error)),
        }
    }

    fn open(&self, follows: bool) -> BoxFuture<'static, Result<Body>> {
        let (socket, id, path) = (self.socket.clone(), self.id.0.clone(), format!("{}&follow={follows}", self.path));
        async move { socket.open(Doing { operation: OPERATION, subject: &id }, Request::Get(path)).await }.boxed()
    }

    fn end(&mut self, error: Option<crate::RuntimeError>) {
        self.phase = Phase::Ended;
        self.ready.extend(self.held.iter_mut().filter_map(Option::take).map(Ok));
        self.ready.extend(error.map(Err));
    }

    fn doing(&self) -> Doing<'_> {
        Doing { operation: OPERATION, subject: &self.id.0 }
    }
}
