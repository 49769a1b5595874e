//! Events of one owner's containers as a stream.
//!
//! The engine's own label filter would hide the Python program's containers and network events, which carry no labels,
//! so it filters by type only and the choice is made here.

use std::collections::HashMap;

use containers_api::conn::hyper::Body;
use futures_util::{Stream, StreamExt as _, stream};
use time::OffsetDateTime;
use tokio::time::timeout;

use super::containers::{inspect, json, list};
use super::convert::{self, encode};
use super::error::Doing;
use super::socket::{Request, Socket};
use super::streams::{Decoder as _, Lines};
use super::wire::{Event, Filters};
use crate::{ContainerId, EngineEvent, ErrorKind, EventStream, Limits, Owner, Result};

/// Verb phrase of every error here.
const OPERATION: &str = "read events of";

/// Events from now on.
///
/// The headers come at once, before the engine really listens; `since` closes the gap: events since the call are
/// replayed. Older ones that slip through are dropped here.
pub(super) async fn events(socket: &Socket, limits: &Limits, owner: &Owner) -> Result<EventStream> {
    let doing = Doing { operation: OPERATION, subject: &owner.app };
    let since = OffsetDateTime::now_utc();
    let opened = timeout(limits.call, socket.open(doing, Request::Get(path(since)))).await;
    let body = opened.unwrap_or_else(|_| Err(doing.error(ErrorKind::TimedOut)))?;
    let mut choice = Choice { socket: socket.clone(), limits: *limits, owner: owner.clone(), known: HashMap::new() };
    choice.known.extend(list(socket, limits, owner).await?.into_iter().map(|found| (found.id.0, true)));
    Ok(Box::pin(follow(Reader { body, lines: Lines::default(), choice, since })))
}

fn path(since: OffsetDateTime) -> String {
    let filters: Filters<'_> = [("type", vec!["container".to_owned(), "network".to_owned()])].into();
    let since = format!("{}.{:09}", since.unix_timestamp(), since.nanosecond());
    format!("/events?stream=true&since={since}&filters={}", encode(&json(&filters)))
}

/// Decides whose an event is, and remembers it per container.
struct Choice {
    socket: Socket,
    limits: Limits,
    owner: Owner,
    known: HashMap<String, bool>,
}

impl Choice {
    /// Labels of ours decide at once; containers that look like the Python program's and network events need one look
    /// at the container.
    async fn takes(&mut self, event: &Event) -> bool {
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
            None => self.look(id).await,
        };
        if event.action == "remove" {
            self.known.remove(id);
        }
        ours
    }

    /// A container that cannot be inspected is not ours as far as anybody can tell; the next event asks again.
    async fn look(&mut self, id: &str) -> bool {
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
    choice: Choice,
    since: OffsetDateTime,
}

impl Reader {
    /// The event of a line, if it is one, ours and new. A line of an unknown shape is skipped: the stream is a hint.
    async fn event(&mut self, line: &[u8]) -> Option<EngineEvent> {
        let wire: Event = serde_json::from_slice(line).ok()?;
        let event = convert::event(&wire)?;
        let is_old = event.at.is_some_and(|at| at < self.since);
        (!is_old && self.choice.takes(&wire).await).then_some(event)
    }

    async fn next(&mut self) -> Option<Result<EngineEvent>> {
        loop {
            while let Some(line) = self.lines.next() {
                match line {
                    Ok(line) => {
                        if let Some(event) = self.event(&line).await {
                            return Some(Ok(event));
                        }
                    }
                    Err(malformed) => return Some(Err(self.doing().nonsense(malformed))),
                }
            }
            match self.body.next().await? {
                Ok(piece) => self.lines.push(&piece),
                Err(error) => return Some(Err(self.doing().connection(error.into()))),
            }
        }
    }

    fn doing(&self) -> Doing<'_> {
        Doing { operation: OPERATION, subject: &self.choice.owner.app }
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
