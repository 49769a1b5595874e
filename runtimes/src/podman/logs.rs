//! The output of one container as a stream.
//!
//! The engine sends its headers only with the first line, so the request is made when the stream is first polled, and
//! an inspection before it finds out whether the container is there at all.

use std::time::Duration;

use containers_api::conn::hyper::Body;
use futures_util::{Stream, StreamExt as _, stream};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::containers::inspect;
use super::convert::encode;
use super::error::Doing;
use super::socket::{Request, Socket};
use super::streams::{Decoder, Frames};
use crate::{ContainerId, Limits, LogChunk, LogStream, Result};

/// Verb phrase of every error here.
const OPERATION: &str = "read logs of container";

/// Output from `since` on, then follows.
pub(super) async fn logs(
    socket: &Socket,
    limits: &Limits,
    id: &ContainerId,
    since: Option<OffsetDateTime>,
) -> Result<LogStream> {
    inspect(socket, limits.call, OPERATION, id).await?;
    let start = State::Unopened { socket: socket.clone(), path: path(id, since), id: id.0.clone() };
    Ok(Box::pin(follow(start)))
}

/// `since` of the engine leaves out lines of that very moment, so it is asked for a nanosecond more.
pub(super) fn path(id: &ContainerId, since: Option<OffsetDateTime>) -> String {
    let since = since
        .and_then(|since| since.checked_sub(Duration::from_nanos(1).try_into().ok()?))
        .and_then(|since| since.to_offset(time::UtcOffset::UTC).format(&Rfc3339).ok())
        .map_or_else(String::new, |since| format!("&since={}", encode(&since)));
    format!("/containers/{}/logs?follow=true&stdout=true&stderr=true&timestamps=true{since}", encode(&id.0))
}

enum State {
    Unopened { socket: Socket, path: String, id: String },
    Open { body: Body, frames: Frames, id: String },
    Ended,
}

fn follow(start: State) -> impl Stream<Item = Result<LogChunk>> + Send {
    stream::unfold(start, |mut state| async move {
        loop {
            state = match state {
                State::Unopened { socket, path, id } => {
                    let doing = Doing { operation: OPERATION, subject: &id };
                    match socket.open(doing, Request::Get(path)).await {
                        Ok(body) => State::Open { body, frames: Frames::default(), id },
                        Err(error) => return Some((Err(error), State::Ended)),
                    }
                }
                State::Open { mut body, mut frames, id } => {
                    let doing = Doing { operation: OPERATION, subject: &id };
                    match frames.next() {
                        Some(Ok(chunk)) => return Some((Ok(chunk), State::Open { body, frames, id })),
                        Some(Err(malformed)) => return Some((Err(doing.nonsense(malformed)), State::Ended)),
                        None => {}
                    }
                    match body.next().await? {
                        Ok(piece) => frames.push(&piece),
                        Err(error) => return Some((Err(doing.connection(error.into())), State::Ended)),
                    }
                    State::Open { body, frames, id }
                }
                State::Ended => return None,
            };
        }
    })
}
