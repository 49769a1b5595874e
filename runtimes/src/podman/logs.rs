//! The output of one container as a stream.
//!
//! This module works around six peculiarities of Podman.
//!
//! 1. The headers come only with the first line, so the reader does not wait for them, and an inspection checks whether
//!    the container exists.
//! 2. A followed log omits lines: single ones while the container runs (1 of 200,000 in 2 of 18 reads of 4.3.1, and in
//!    1 of 10 of 5.4.2), and half of all from its end on (both). So it only signals new output, which is read without
//!    following.
//! 3. Such a reading may contain a line that is just being written, truncated; so the last line counts when the next
//!    reading ends with the same one.
//! 4. A reading from a time on makes the engine read its whole file (0.9 s of processor time for 20 MB, 4.3.1); so
//!    usually only the last lines are requested (0.02 s for 1,000). Between these and lines written meanwhile there is
//!    a gap, so the newest output is left for the next reading (12 of 1,472 were torn without that, none of 2,560 with
//!    it, 4.3.1). The engine may also fail at a line that is just being written (3 of 7,532, both); then all is read.
//! 5. A line is cut wherever a buffer of the engine ended, so chunks are joined again.
//! 6. `since` applies to each line by its own time, so that a clock that was set back would hide later lines.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::BytesMut;
use containers_api::conn::hyper::Body;
use futures_util::future::{BoxFuture, ready};
use futures_util::{FutureExt as _, StreamExt as _, stream};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};

use super::containers::inspect;
use super::convert::encode;
use super::error::Context;
use super::follow::Follow;
use super::position::{Clock, LogPosition};
use super::socket::{Request, Socket};
use super::streams::{Decoder, Frames};
use super::wire::Inspect;
use crate::logfile::{self, Format, Watches};
use crate::{ContainerId, ErrorKind, Limits, LogChunk, LogSource, LogStream, Result};

/// Verb phrase of every error here.
const OPERATION: &str = "read logs of container";
/// Pause before an unreachable engine is queried again.
const WAIT_PAUSE: Duration = Duration::from_secs(1);
/// Shortest time between two readings.
const READ_EVERY: Duration = Duration::from_millis(500);
/// Delay after which output is in the file. Output within this time is read at once.
const SETTLED: Duration = Duration::from_millis(500);
/// Up to this number of lines it is cheaper to request the last ones.
const TAIL_MAX: usize = 4_000;
/// Lines that are requested in addition to the expected ones.
const TAIL_SPARE: usize = 100;
/// Interval of clock checks while no output arrives.
const CLOCK_EVERY: Duration = Duration::from_secs(10);
/// Chunks are joined up to this length; a longer line comes in parts.
const LINE_BYTES_MAX: usize = 16 << 10;

/// Output from `since` on, then follows; from the engine's own file if it is readable.
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
            Err(error) => {
                tracing::debug!(container = %id, %error, "cannot read the engine's log file, using its API")
            }
        }
    }
    let reader = Reader::new(socket.clone(), limits.call, id.clone(), since);
    Ok(Box::pin(stream::unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) })))
}

/// Whether the process of this container has ended, and conmon has written all of its output.
fn is_over(found: &Inspect) -> bool {
    matches!(found.state.status.as_str(), "exited" | "stopped")
}

/// Whether the container's process has ended and conmon has written all of its output, or the container is absent,
/// within `limit`. Waits for an unreachable engine: the file is written without it.
async fn has_ended(socket: Socket, id: ContainerId, limit: Duration) -> bool {
    let path = format!("/containers/{}/wait?condition=stopped&condition=exited&interval=500ms", encode(&id.0));
    let context = Context { operation: "wait for the end of container", subject: &id.0 };
    loop {
        match socket.call(context, limit, Request::Post(path.clone(), None)).await {
            Ok(_) => return true,
            Err(error) if error.kind() == ErrorKind::NotFound => return true,
            Err(error) if error.kind() == ErrorKind::TimedOut => return false,
            Err(_) => sleep(WAIT_PAUSE).await,
        }
    }
}

/// The last `lines` of the output until `until`.
fn tail_path(id: &ContainerId, lines: usize, until: OffsetDateTime) -> String {
    let until = until.format(&Rfc3339).unwrap_or_default();
    format!("{}&tail={lines}&until={}", path(id, None), encode(&until))
}

/// The engine's `since` excludes lines of that very moment, so it is set one nanosecond earlier.
pub(super) fn path(id: &ContainerId, since: Option<OffsetDateTime>) -> String {
    let since = since
        .and_then(|since| since.checked_sub(Duration::from_nanos(1).try_into().ok()?))
        .and_then(|since| since.to_offset(time::UtcOffset::UTC).format(&Rfc3339).ok())
        .map_or_else(String::new, |since| format!("&since={}", encode(&since)));
    format!("/containers/{}/logs?stdout=true&stderr=true&timestamps=true{since}", encode(&id.0))
}

enum Phase {
    /// Inspects the container, and requests its output.
    Begin,
    Reading(Body),
    /// Waits for a signal of new output.
    Waiting,
    Ended,
}

struct Reader {
    socket: Socket,
    limit: Duration,
    id: ContainerId,
    position: LogPosition,
    clock: Clock,
    phase: Phase,
    follow: Option<Follow>,
    /// When the last reading began.
    read_at: Option<Instant>,
    /// Whether the container had ended before this reading began.
    is_over: bool,
    /// In a reading of the last lines, whether it showed a chunk older than the known ones, so that none is missing.
    tail: Option<bool>,
    /// The last lines were too few.
    needs_all: bool,
    frames: Frames,
    /// Known chunks at the beginning of this reading.
    skip: usize,
    /// The newest chunk of this reading: it may be truncated.
    newest: Option<LogChunk>,
    /// The newest chunk of the previous reading, as long as no chunk followed it.
    unconfirmed: Option<LogChunk>,
    /// The start of a line, for each source.
    held: [Option<LogChunk>; 2],
    ready: VecDeque<Result<LogChunk>>,
}

impl Reader {
    fn new(socket: Socket, limit: Duration, id: ContainerId, since: Option<OffsetDateTime>) -> Self {
        Self {
            socket,
            limit,
            id,
            position: LogPosition::new(since),
            clock: Clock::new(),
            phase: Phase::Begin,
            follow: None,
            read_at: None,
            is_over: false,
            tail: None,
            needs_all: false,
            frames: Frames::default(),
            skip: 0,
            newest: None,
            unconfirmed: None,
            held: [None, None],
            ready: VecDeque::new(),
        }
    }

    async fn next(&mut self) -> Option<Result<LogChunk>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(item);
            }
            let done = match std::mem::replace(&mut self.phase, Phase::Ended) {
                Phase::Begin => self.begin().await,
                Phase::Reading(body) => self.read(body).await,
                Phase::Waiting => {
                    self.wait().await;
                    Ok(())
                }
                Phase::Ended => return None,
            };
            match done {
                Ok(()) => {}
                // This is all output of a container that is gone.
                Err(error) if error.kind() == ErrorKind::NotFound => self.end(),
                Err(error) => {
                    self.end_early();
                    self.ready.push_back(Err(error));
                }
            }
        }
    }

    async fn begin(&mut self) -> Result<()> {
        if let Some(at) = self.read_at.replace(Instant::now()) {
            sleep_until(at + READ_EVERY).await;
            self.read_at = Some(Instant::now());
        }
        if let Some(to) = self.clock.take() {
            // Its `since` refers to another time.
            self.follow = None;
            if !self.position.set_back(to) {
                self.end_early();
                return Ok(());
            }
        }
        let found = inspect(&self.socket, self.limit, OPERATION, &self.id).await?;
        // A container that is being stopped runs, but its followed log has already ended.
        let can_follow = matches!(found.state.status.as_str(), "running" | "paused");
        self.is_over = !can_follow && found.state.status != "stopping";
        if can_follow && self.follow.is_none() {
            let from_now = path(&self.id, Some(OffsetDateTime::now_utc()));
            self.follow = Some(Follow::new(self.open(&from_now, true)));
        }
        let until = OffsetDateTime::now_utc() - SETTLED;
        let tail = self.tail_lines(until);
        self.tail = tail.map(|_| false);
        let path = match tail {
            Some(lines) => tail_path(&self.id, lines, until),
            None => path(&self.id, self.position.from()),
        };
        let context = Context { operation: OPERATION, subject: &self.id.0 };
        let opened = timeout(self.limit, self.open(&path, false)).await;
        match opened.unwrap_or_else(|_| Err(context.error(ErrorKind::TimedOut))) {
            Ok(body) => {
                self.frames = Frames::default();
                self.skip = self.position.known();
                self.phase = Phase::Reading(body);
            }
            // The engine read a line that is just being written.
            Err(error) if tail.is_some() && error.kind() == ErrorKind::Other => self.read_all(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// How many of the last lines contain the new output, if requesting these is cheaper.
    fn tail_lines(&self, until: OffsetDateTime) -> Option<usize> {
        let follow = self.follow.as_ref().filter(|_| !self.is_over && !self.needs_all)?;
        let is_settled = self.unconfirmed.as_ref().is_none_or(|unconfirmed| unconfirmed.at <= until);
        let lines = self.position.known() + follow.lines() + TAIL_SPARE;
        (is_settled && self.position.is_in_order(until) && lines <= TAIL_MAX).then_some(lines)
    }

    /// Takes one piece of the body.
    async fn read(&mut self, mut body: Body) -> Result<()> {
        let id = self.id.clone();
        let context = Context { operation: OPERATION, subject: &id.0 };
        let piece = timeout(self.limit, body.next()).await.map_err(|_| context.error(ErrorKind::TimedOut))?;
        let Some(piece) = piece else {
            self.finish();
            return Ok(());
        };
        self.frames.push(&piece.map_err(|error| context.connection(error.into()))?);
        while let Some(frame) = self.frames.next() {
            let frame = frame.map_err(|malformed| context.invalid_response(malformed))?;
            if self.tail == Some(false) && !self.position.is_after(&frame) {
                self.read_all();
                return Ok(());
            }
            if !self.accept(frame) {
                // The engine has begun a new file. The caller opens the log again and detects missing output.
                self.end_early();
                return Ok(());
            }
        }
        self.phase = Phase::Reading(body);
        Ok(())
    }

    /// Reads again, and more than the last lines.
    fn read_all(&mut self) {
        self.needs_all = true;
        self.phase = Phase::Begin;
    }

    /// Takes a chunk of a reading; `false` when a known chunk was expected and another one came.
    fn accept(&mut self, frame: LogChunk) -> bool {
        if self.tail.is_some() && self.position.is_after(&frame) {
            self.tail = Some(true);
            return true;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return self.position.knows(&frame, self.skip);
        }
        // Nothing is being written after the container has ended.
        let sure = if self.is_over || self.tail.is_some() { Some(frame) } else { self.newest.replace(frame) };
        if let Some(sure) = sure {
            self.confirm(sure);
        }
        true
    }

    /// At the end of a reading.
    fn finish(&mut self) {
        if let Some(follow) = &mut self.follow {
            follow.turn();
        }
        if self.tail == Some(false) {
            return self.read_all();
        }
        if self.tail.is_none() {
            self.needs_all = false;
            let before = self.unconfirmed.take();
            match self.newest.take() {
                Some(newest) if before.as_ref() == Some(&newest) => self.confirm(newest),
                newest => self.unconfirmed = newest,
            }
        }
        if self.is_over { self.end() } else { self.phase = Phase::Waiting }
    }

    fn confirm(&mut self, chunk: LogChunk) {
        // A chunk followed the last one of the previous reading.
        self.unconfirmed = None;
        self.position.pass(&chunk);
        self.join(chunk);
    }

    /// Waits until there is new output, or until it is time to confirm the last line or to check a container that
    /// cannot be followed. The content of the followed log is ignored.
    async fn wait(&mut self) {
        self.phase = Phase::Begin;
        if self.unconfirmed.is_some() {
            return self.collect_until(Instant::now() + READ_EVERY).await;
        }
        while let Some(follow) = &mut self.follow {
            let unread = follow.received_at.filter(|at| self.read_at.is_none_or(|read_at| *at + SETTLED > read_at));
            if let Some(received_at) = unread {
                return self.collect_until(received_at + SETTLED).await;
            }
            match timeout(CLOCK_EVERY, follow.next()).await {
                Ok(true) => {}
                Ok(false) => self.follow = None,
                Err(_) if self.clock.check() => return,
                Err(_) => {}
            }
        }
    }

    /// Waits for output until then, so that one reading shows all of it, and is long enough.
    async fn collect_until(&mut self, until: Instant) {
        while let Some(follow) = &mut self.follow {
            match timeout_at(until, follow.next()).await {
                Ok(true) => {}
                Ok(false) => self.follow = None,
                Err(_) => return,
            }
        }
    }

    /// Holds the start of a line until its end comes or it is long.
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

    fn open(&self, path: &str, follows: bool) -> BoxFuture<'static, Result<Body>> {
        let (socket, id) = (self.socket.clone(), self.id.clone());
        let path = format!("{path}&follow={follows}");
        async move { socket.open(Context { operation: OPERATION, subject: &id.0 }, Request::Get(path)).await }.boxed()
    }

    /// The end of the output.
    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.ready.extend(self.held.iter_mut().filter_map(Option::take).map(Ok));
    }

    /// Ends the stream at the last whole line, so that the caller opens another one.
    fn end_early(&mut self) {
        self.phase = Phase::Ended;
        self.held = [None, None];
    }
}
