//! The output of one container as a stream.
//!
//! Six of Podman's ways are smoothed here. The headers come only with the first line, so nobody waits for them, and
//! an inspection finds out whether the container is there. Following leaves lines out: single ones while the container
//! runs (1 of 200,000 in 2 of 18 reads of 4.3.1, and in 1 of 10 of 5.4.2), and from its end on half of all (both). So it
//! only tells that there is more, and what there is is read without following. Such a reading may meet a line that is just
//! being written, and shows what there is of it; so the last line counts when the next reading ends with the same one.
//! From a time on, it takes the engine through its whole file (0.9 s of processor time for 20 MB, 4.3.1); so mostly only
//! the last lines are asked for (0.02 s for 1,000). These and what is written meanwhile have a gap between them, so what
//! was said just now is left for the next reading (12 of 1,472 were torn without that, none of 2,560 with it, 4.3.1); and
//! the engine may fail at a line that is just being written (3 of 7,532, both), so all is read then. A line is cut
//! wherever a buffer of the engine ended, so pieces are joined again. And `since` holds for each line by its own time, so
//! that a clock that was set back would hide what comes after.

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
use super::error::Doing;
use super::follow::Follow;
use super::position::{Clock, LogPosition};
use super::socket::{Request, Socket};
use super::streams::{Decoder, Frames};
use super::wire::Inspect;
use crate::logfile::{self, Format, Watches};
use crate::{ContainerId, ErrorKind, Limits, LogChunk, LogSource, LogStream, Result};

/// Verb phrase of every error here.
const OPERATION: &str = "read logs of container";
/// Pause before an engine that was away is asked again.
const WAIT_PAUSE: Duration = Duration::from_secs(1);
/// The least time between two readings.
const READ_EVERY: Duration = Duration::from_millis(500);
/// After so long, what the container has said is in the file. What is said within this time is read in one.
const SETTLED: Duration = Duration::from_millis(500);
/// Up to so many lines it is cheaper to ask for the last ones.
const TAIL_MAX: usize = 4_000;
/// Lines that are asked for beyond those that are expected.
const TAIL_SPARE: usize = 100;
/// How often the clock is looked at while nothing comes.
const CLOCK_EVERY: Duration = Duration::from_secs(10);
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
    let reader = Reader::new(socket.clone(), limits.call, id.clone(), since);
    Ok(Box::pin(stream::unfold(reader, |mut reader| async move { Some((reader.next().await?, reader)) })))
}

/// Whether the process of this container has ended, and conmon has written all of its output.
fn is_over(found: &Inspect) -> bool {
    matches!(found.state.status.as_str(), "exited" | "stopped")
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

/// The last `lines` of what was said until `until`.
fn tail_path(id: &ContainerId, lines: usize, until: OffsetDateTime) -> String {
    let until = until.format(&Rfc3339).unwrap_or_default();
    format!("{}&tail={lines}&until={}", path(id, None), encode(&until))
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
    /// Finds out how the container is, and asks for its output.
    Begin,
    Reading(Body),
    /// Waits for word that there is more.
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
    /// In a reading of the last lines, whether an older piece than those that are known was seen, so that none is left out.
    tail: Option<bool>,
    /// The last lines were too few.
    needs_all: bool,
    frames: Frames,
    /// Pieces of this reading that came before.
    skip: usize,
    /// The newest piece of this reading: it may be cut.
    newest: Option<LogChunk>,
    /// The same of the reading before, as long as nothing came after it.
    doubtful: Option<LogChunk>,
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
            doubtful: None,
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
                // Of a container that is gone this is all there is.
                Err(error) if error.kind() == ErrorKind::NotFound => self.end(),
                Err(error) => {
                    self.break_off();
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
            // Its `since` is of another time.
            self.follow = None;
            if !self.position.set_back(to) {
                self.break_off();
                return Ok(());
            }
        }
        let found = inspect(&self.socket, self.limit, OPERATION, &self.id).await?;
        // One that is being stopped runs, but to those who follow it, it has ended.
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
        let doing = Doing { operation: OPERATION, subject: &self.id.0 };
        let opened = timeout(self.limit, self.open(&path, false)).await;
        match opened.unwrap_or_else(|_| Err(doing.error(ErrorKind::TimedOut))) {
            Ok(body) => {
                self.frames = Frames::default();
                self.skip = self.position.known();
                self.phase = Phase::Reading(body);
            }
            // The engine met a line that is just being written.
            Err(error) if tail.is_some() && error.kind() == ErrorKind::Other => self.read_all(),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// How many of the last lines show what is new, where asking for these is the better way.
    fn tail_lines(&self, until: OffsetDateTime) -> Option<usize> {
        let follow = self.follow.as_ref().filter(|_| !self.is_over && !self.needs_all)?;
        let is_settled = self.doubtful.as_ref().is_none_or(|doubtful| doubtful.at <= until);
        let lines = self.position.known() + follow.lines() + TAIL_SPARE;
        (is_settled && self.position.is_in_order(until) && lines <= TAIL_MAX).then_some(lines)
    }

    /// Takes one piece of the body.
    async fn read(&mut self, mut body: Body) -> Result<()> {
        let id = self.id.clone();
        let doing = Doing { operation: OPERATION, subject: &id.0 };
        let piece = timeout(self.limit, body.next()).await.map_err(|_| doing.error(ErrorKind::TimedOut))?;
        let Some(piece) = piece else {
            self.finish();
            return Ok(());
        };
        self.frames.push(&piece.map_err(|error| doing.connection(error.into()))?);
        while let Some(frame) = self.frames.next() {
            let frame = frame.map_err(|malformed| doing.nonsense(malformed))?;
            if self.tail == Some(false) && !self.position.is_after(&frame) {
                self.read_all();
                return Ok(());
            }
            if !self.see(frame) {
                // The engine has begun a new file. Who reads finds the place, or what is missing.
                self.break_off();
                return Ok(());
            }
        }
        self.phase = Phase::Reading(body);
        Ok(())
    }

    /// Asks again, and for more than the last lines.
    fn read_all(&mut self) {
        self.needs_all = true;
        self.phase = Phase::Begin;
    }

    /// Takes a piece of a reading; `false` when it should be one that came before, and is not.
    fn see(&mut self, frame: LogChunk) -> bool {
        if self.tail.is_some() && self.position.is_after(&frame) {
            self.tail = Some(true);
            return true;
        }
        if self.skip > 0 {
            self.skip -= 1;
            return self.position.knows(&frame, self.skip);
        }
        // Nothing is being written any more where the container has ended.
        let sure = if self.is_over || self.tail.is_some() { Some(frame) } else { self.newest.replace(frame) };
        if let Some(sure) = sure {
            self.believe(sure);
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
            let before = self.doubtful.take();
            match self.newest.take() {
                Some(newest) if before.as_ref() == Some(&newest) => self.believe(newest),
                newest => self.doubtful = newest,
            }
        }
        if self.is_over { self.end() } else { self.phase = Phase::Waiting }
    }

    fn believe(&mut self, chunk: LogChunk) {
        // Whatever the reading before ended with, something came after it.
        self.doubtful = None;
        self.position.pass(&chunk);
        self.join(chunk);
    }

    /// Until there is more, or until it is time to see what became of the last line, or of a container that cannot be
    /// followed. What comes only wakes.
    async fn wait(&mut self) {
        self.phase = Phase::Begin;
        if self.doubtful.is_some() {
            return self.settle(Instant::now() + READ_EVERY).await;
        }
        while let Some(follow) = &mut self.follow {
            let unread = follow.heard_at.filter(|at| self.read_at.is_none_or(|read_at| *at + SETTLED > read_at));
            if let Some(heard_at) = unread {
                return self.settle(heard_at + SETTLED).await;
            }
            match timeout(CLOCK_EVERY, follow.next()).await {
                Ok(true) => {}
                Ok(false) => self.follow = None,
                Err(_) if self.clock.look() => return,
                Err(_) => {}
            }
        }
    }

    /// Lets come what is said until then, so that one reading shows it all, and is long enough.
    async fn settle(&mut self, until: Instant) {
        while let Some(follow) = &mut self.follow {
            match timeout_at(until, follow.next()).await {
                Ok(true) => {}
                Ok(false) => self.follow = None,
                Err(_) => return,
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

    fn open(&self, path: &str, follows: bool) -> BoxFuture<'static, Result<Body>> {
        let (socket, id) = (self.socket.clone(), self.id.clone());
        let path = format!("{path}&follow={follows}");
        async move { socket.open(Doing { operation: OPERATION, subject: &id.0 }, Request::Get(path)).await }.boxed()
    }

    /// All has come that will.
    fn end(&mut self) {
        self.phase = Phase::Ended;
        self.ready.extend(self.held.iter_mut().filter_map(Option::take).map(Ok));
    }

    /// Who reads goes on with another stream, from the last whole line on.
    fn break_off(&mut self) {
        self.phase = Phase::Ended;
        self.held = [None, None];
    }
}
