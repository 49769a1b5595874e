//! Events of one owner's containers as a stream.
//!
//! The engine's own label filter would hide the Python program's containers and network events, which carry no labels,
//! so it filters by type only and the owner's events are selected here.
//!
//! Where Podman stores its events in a file, it truncates that file after each megabyte (`events_logfile_max_size`),
//! keeps the later half, and ends every stream that was opened with `since`. Seen on 4.3. A stream that ends is
//! therefore resumed at that point; the events end only if it cannot be opened again.

use std::collections::{HashMap, VecDeque};

use bytes::Bytes;
use containers_api::conn::hyper::Body;
use futures_util::{Stream, StreamExt as _, stream};
use time::OffsetDateTime;
use tokio::time::{Duration, Instant, timeout};

use super::containers::{inspect, json, legacy};
use super::convert::{self, encode};
use super::error::Context;
use super::socket::{Request, Socket};
use super::streams::{Decoder as _, Lines};
use super::wire::{Event, Filters};
use crate::{ContainerId, EngineEvent, ErrorKind, EventStream, Limits, Owner, Result};

/// Verb phrase of every error here.
const OPERATION: &str = "read events of";
/// A stream that ends sooner is not reopened: that would loop without a pause.
const STREAM_LIFE_MIN: Duration = Duration::from_millis(200);
/// Events are written roughly in the order of their times; a stream is resumed this long before the last one.
const OVERLAP: Duration = Duration::from_secs(2);

/// Events from now on.
///
/// The headers come at once, before the engine really subscribes; `since` closes the gap: events since the call are
/// replayed. Older ones are dropped here.
pub(super) async fn events(socket: &Socket, limits: &Limits, owner: &Owner) -> Result<EventStream> {
    let context = Context { operation: OPERATION, subject: &owner.app };
    let since = OffsetDateTime::now_utc();
    let body = open(socket, limits, context, since).await?;
    let mut filter =
        OwnerFilter { socket: socket.clone(), limits: *limits, owner: owner.clone(), known: HashMap::new() };
    // Events of labelled containers identify their owner; a list of them would make Podman inspect each one.
    let legacy = legacy(socket, limits, owner).await?.into_iter();
    filter.known.extend(legacy.map(|found| (found.id.clone(), convert::origin(owner, &found).is_some())));
    let (lines, recent, opened) = (Lines::default(), VecDeque::new(), Instant::now());
    Ok(Box::pin(follow(Reader { body, lines, filter, since, recent, opened })))
}

async fn open(socket: &Socket, limits: &Limits, context: Context<'_>, since: OffsetDateTime) -> Result<Body> {
    let opened = timeout(limits.call, socket.open(context, Request::Get(path(since)))).await;
    opened.unwrap_or_else(|_| Err(context.error(ErrorKind::TimedOut)))
}

fn path(since: OffsetDateTime) -> String {
    let filters: Filters<'_> = [("type", vec!["container".to_owned(), "network".to_owned()])].into();
    let since = format!("{}.{:09}", since.unix_timestamp(), since.nanosecond());
    format!("/events?stream=true&since={since}&filters={}", encode(&json(&filters)))
}

/// Decides whether an event is the owner's, and caches the result per container.
struct OwnerFilter {
    socket: Socket,
    limits: Limits,
    owner: Owner,
    known: HashMap<String, bool>,
}

impl OwnerFilter {
    /// Our labels decide at once; containers that look like the Python program's and network events need one inspection
    /// of the container.
    async fn is_ours(&mut self, event: &Event) -> bool {
        let id = &event.actor.id;
        let attributes = &event.actor.attributes;
        if event.kind == "container" {
            let may_be_legacy = self.owner.owns_legacy(attributes, &[&self.owner.app]);
            if self.owner.owns(attributes) || !may_be_legacy {
                return self.owner.owns(attributes);
            }
        }
        let known = self.known.get(id).copied();
        let ours = match known {
            Some(known) => known,
            None => self.inspect_owner(id).await,
        };
        if event.action == "remove" {
            self.known.remove(id);
        }
        ours
    }

    /// A container that cannot be inspected does not count as ours; the next event inspects again.
    async fn inspect_owner(&mut self, id: &str) -> bool {
        let container = ContainerId(id.to_owned());
        let Ok(found) = inspect(&self.socket, self.limits.call, "inspect container", &container).await else {
            return false;
        };
        let labels = &found.config.labels;
        let networks: Vec<&String> = found.network_settings.networks.keys().collect();
        let ours = self.owner.owns(labels) || self.owner.owns_legacy(labels, &networks);
        self.known.insert(id.to_owned(), ours);
        ours
    }
}

struct Reader {
    body: Body,
    lines: Lines,
    filter: OwnerFilter,
    since: OffsetDateTime,
    /// Lines of the last [`OVERLAP`], which are repeated when the stream is resumed.
    recent: VecDeque<(OffsetDateTime, Bytes)>,
    opened: Instant,
}

impl Reader {
    /// The event of a line, if it is valid, ours and new. A line of an unknown shape is skipped: events are not
    /// authoritative.
    async fn event(&mut self, line: Bytes) -> Option<EngineEvent> {
        let wire: Event = serde_json::from_slice(&line).ok()?;
        let event = convert::event(&wire)?;
        let is_new = event.at.is_none_or(|at| at >= self.since && self.is_first(at, line));
        (is_new && self.filter.is_ours(&wire).await).then_some(event)
    }

    fn is_first(&mut self, at: OffsetDateTime, line: Bytes) -> bool {
        if self.recent.iter().any(|(_, seen)| *seen == line) {
            return false;
        }
        self.recent.push_back((at, line));
        self.recent.retain(|&(seen_at, _)| seen_at + OVERLAP >= at);
        true
    }

    async fn resume(&mut self) -> Result<()> {
        if let Some(last) = self.recent.iter().map(|(at, _)| *at).max() {
            self.since = self.since.max(last - OVERLAP);
        }
        let OwnerFilter { socket, limits, .. } = &self.filter;
        self.body = open(socket, limits, self.context(), self.since).await?;
        (self.lines, self.opened) = (Lines::default(), Instant::now());
        Ok(())
    }

    async fn next(&mut self) -> Option<Result<EngineEvent>> {
        loop {
            while let Some(line) = self.lines.next() {
                match line {
                    Ok(line) => {
                        if let Some(event) = self.event(line).await {
                            return Some(Ok(event));
                        }
                    }
                    Err(malformed) => return Some(Err(self.context().invalid_response(malformed))),
                }
            }
            match self.body.next().await {
                Some(Ok(piece)) => self.lines.push(&piece),
                Some(Err(error)) => return Some(Err(self.context().connection(error.into()))),
                None if self.opened.elapsed() < STREAM_LIFE_MIN => return None,
                None => {
                    if let Err(error) = self.resume().await {
                        return Some(Err(error));
                    }
                }
            }
        }
    }

    fn context(&self) -> Context<'_> {
        Context { operation: OPERATION, subject: &self.filter.owner.app }
    }
}

fn follow(reader: Reader) -> impl Stream<Item = Result<EngineEvent>> + Send {
    stream::unfold(Some(reader), |reader| async move {
        let mut reader = reader?;
        match reader.next().await? {
            Ok(event) => Some((Ok(event), Some(reader))),
            Err(error) => Some((Err(error), None)),
        }
    })
}
