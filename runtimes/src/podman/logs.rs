//! The output of one container as a stream.
//!
//! Three of Podman's ways are smoothed here. The headers come only with the first line, so nobody waits for them, and
//! an inspection finds out whether the container is there. Following stops with the container, sometimes before the
//! last lines (seen on 4.3.1), so the rest is read once more without following. A line is cut wherever a buffer of the
//! engine ended, so pieces are joined again.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use containers_api::conn::hyper::Body;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt as _, StreamExt as _, stream};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{sleep, timeout};

use super::containers::inspect;
use super::convert::encode;
use super::error::Doing;
use super::socket::{Request, Socket};
use super::streams::{Decoder, Frames};
use crate::logfile::{self, Format, Watches};
use crate::{ContainerId, ErrorKind, Limits, LogChunk, LogSource, LogStream, Result};

/// Verb phrase of every error here.
const OPERATION: &str = "read logs of container";
/// How long the request gets to reach the engine before the stream is handed out.
const OPENING_WAIT: Duration = Duration::from_millis(50);
/// Pause before an engine that was away is asked again.
const WAIT_PAUSE: Duration = Duration::from_secs(1);
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
    let kept = inspect(socket, limits.call, OPERATION, id).await?.host_config.log_config;
    if kept.r#type == "k8s-file" && !kept.path.is_empty() {
        let (waiting, waited) = (socket.clone(), id.clone());
        let has_ended = move |limit| has_ended(waiting.clone(), waited.clone(), limit).boxed();
        match logfile::follow(watches.clone(), id.0.clone(), kept.path.into(), Format::K8s, since, Box::new(has_ended))
            .await
        {
            Ok(stream) => return Ok(stream),
            Err(error) => tracing::debug!(container = %id, %error, "the engine's log file cannot be read; asking it"),
        }
    }
    asked(socket, limits, id, since).await
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

/// The same, from the engine.
async fn asked(socket: &Socket, limits: &Limits, id: &ContainerId, since: Option<OffsetDateTime>) -> Result<LogStream> {
    let path = path(id, since);
    let mut opening = open(socket.clone(), id.0.clone(), format!("{path}&follow=true"));
    let phase = match timeout(OPENING_WAIT, &mut opening).await {
        Ok(body) => Phase::Following(body?),
        Err(_) => Phase::Opening(opening),
    };
    let reader = Reader {
        socket: socket.clone(),
        limit: limits.call,
        id: id.0.clone(),
        path,
        phase,
        frames: Frames::default(),
        seen: 0,
        skip: 0,
        held: [None, None],
        ready: VecDeque::new(),
    };
    Ok(Box::pin(stream::unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) })))
}

/// `since` of the engine leaves out lines of that very moment, so it is asked for a nanosecond more.
pub(super) fn path(id: &ContainerId, since: Option<OffsetDateTime>) -> String {
    let since = since
        .and_then(|since| since.checked_sub(Duration::from_nanos(1).try_into().ok()?))
        .and_then(|since| since.to_offset(time::UtcOffset::UTC).format(&Rfc3339).ok())
        .map_or_else(String::new, |since| format!("&since={}", encode(&since)));
    format!("/containers/{}/logs?stdout=true&stderr=true&timestamps=true{since}", encode(&id.0))
}

fn open(socket: Socket, id: String, path: String) -> BoxFuture<'static, Result<Body>> {
    async move { socket.open(Doing { operation: OPERATION, subject: &id }, Request::Get(path)).await }.boxed()
}

enum Phase {
    /// The request is on its way.
    Opening(BoxFuture<'static, Result<Body>>),
    /// Reads what is written, as it is written.
    Following(Body),
    /// Reads everything again for what following missed.
    Rest(Body),
    Ended,
}

struct Reader {
    socket: Socket,
    limit: Duration,
    id: String,
    path: String,
    phase: Phase,
    frames: Frames,
    /// Frames that came while following.
    seen: usize,
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
                Phase::Following(mut body) => match body.next().await {
                    Some(piece) => self.take(piece, Phase::Following(body)),
                    None => self.open_rest().await,
                },
                Phase::Rest(mut body) => match timeout(self.limit, body.next()).await {
                    Ok(Some(piece)) => self.take(piece, Phase::Rest(body)),
                    Ok(None) => self.end(None),
                    Err(_) => self.end(Some(self.doing().error(ErrorKind::TimedOut))),
                },
                Phase::Ended => return None,
            }
        }
    }

    /// Takes a piece of the body, and goes on with `phase` unless the stream is broken.
    fn take(&mut self, piece: Result<Bytes, containers_api::conn::hyper::Error>, phase: Phase) {
        match piece {
            Ok(piece) => self.frames.push(&piece),
            Err(error) => return self.end(Some(self.doing().connection(error.into()))),
        }
        while let Some(frame) = self.frames.next() {
            match frame {
                Ok(_) if self.skip > 0 => self.skip -= 1,
                Ok(chunk) => {
                    self.seen += 1;
                    self.join(chunk);
                }
                Err(malformed) => return self.end(Some(self.doing().nonsense(malformed))),
            }
        }
        self.phase = phase;
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

    /// Nothing more is followed; a container that is gone has no rest.
    async fn open_rest(&mut self) {
        (self.skip, self.frames) = (self.seen, Frames::default());
        let opening = open(self.socket.clone(), self.id.clone(), format!("{}&follow=false", self.path));
        match timeout(self.limit, opening).await {
            Ok(Ok(body)) => self.phase = Phase::Rest(body),
            Ok(Err(error)) if error.kind() == ErrorKind::NotFound => self.end(None),
            Ok(Err(error)) => self.end(Some(error)),
            Err(_) => self.end(Some(self.doing().error(ErrorKind::TimedOut))),
        }
    }

    fn end(&mut self, error: Option<crate::RuntimeError>) {
        self.phase = Phase::Ended;
        self.ready.extend(self.held.iter_mut().filter_map(Option::take).map(Ok));
        self.ready.extend(error.map(Err));
    }

    fn doing(&self) -> Doing<'_> {
        Doing { operation: OPERATION, subject: &self.id }
    }
}
