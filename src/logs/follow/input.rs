//! The output of one container from a place on: opens the engine's log, finds the place, hands on what is new.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::ReadyChunks;
use futures_util::{FutureExt, StreamExt};
use managed_app_runtimes::{ContainerId, ContainerRuntime, LogChunk, LogStream, RuntimeError};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use crate::logs::position::{Found, Position, Search};

/// Pieces handed on at a time; with the engines' 16 KiB for a piece that is at most a megabyte.
const PIECES_MAX: usize = 64;
/// A place that is in the log comes soon after the log is opened. After this long without a piece it is not there. An
/// engine may have much to leaf through first.
const SEARCH_SILENCE: Duration = Duration::from_secs(30);
/// After so long it is not there either, whatever the log shows meanwhile.
const SEARCH_MAX: Duration = Duration::from_secs(120);

/// The log of one container. Cancel-safe: nothing is lost when waiting for [`Input::next`] is given up.
pub(super) struct Input {
    runtime: Arc<dyn ContainerRuntime>,
    container: ContainerId,
    state: State,
    search: Option<Search>,
    search_until: Instant,
    search_end: Instant,
    /// Up to the first that is not, pieces older than this place are not new.
    begin: Option<Position>,
}

enum State {
    Closed,
    Opening(BoxFuture<'static, Result<LogStream, RuntimeError>>),
    Open(ReadyChunks<LogStream>),
}

/// What comes next.
pub(super) enum Item {
    /// New pieces; may be none.
    Pieces(Vec<LogChunk>),
    /// The place where reading was to go on is not in the log any more; what the log has comes next.
    Gap,
    /// The container's process has ended, and all of its output was handed on. The input is closed.
    Ended,
    /// The log cannot be read on. The input is closed.
    Failed(RuntimeError),
}

impl Input {
    pub(super) fn new(runtime: Arc<dyn ContainerRuntime>, container: ContainerId) -> Self {
        let now = Instant::now();
        Self { runtime, container, state: State::Closed, search: None, search_until: now, search_end: now, begin: None }
    }

    /// Reads from this place on; from the beginning when there is none.
    pub(super) fn open(&mut self, from: Option<Position>) {
        self.search = from.map(Search::new);
        self.begin = None;
        self.start(from);
    }

    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Waits for ever while it is closed.
    pub(super) async fn next(&mut self) -> Item {
        loop {
            match &mut self.state {
                State::Closed => std::future::pending().await,
                State::Opening(opening) => match opening.await {
                    Ok(stream) => self.state = State::Open(stream.ready_chunks(PIECES_MAX)),
                    Err(error) => return self.fail(error),
                },
                State::Open(stream) => {
                    let next = stream.next();
                    let pieces = match &self.search {
                        None => next.await,
                        Some(_) => match timeout_at(self.search_until, next).await {
                            Ok(pieces) => pieces,
                            Err(_) => return self.gap(),
                        },
                    };
                    return match pieces {
                        Some(pieces) => self.take(pieces),
                        None if self.search.is_some() => self.gap(),
                        None => self.end(),
                    };
                }
            }
        }
    }

    fn start(&mut self, from: Option<Position>) {
        let (runtime, container) = (self.runtime.clone(), self.container.clone());
        let since = from.filter(|from| !is_ahead(from)).map(|from| from.since());
        self.state = State::Opening(async move { runtime.logs(&container, since).await }.boxed());
        self.search_until = Instant::now() + SEARCH_SILENCE;
        self.search_end = Instant::now() + SEARCH_MAX;
    }

    fn take(&mut self, pieces: Vec<Result<LogChunk, RuntimeError>>) -> Item {
        self.search_until = self.search_end.min(Instant::now() + SEARCH_SILENCE);
        let mut new = Vec::with_capacity(pieces.len());
        for piece in pieces {
            let piece = match piece {
                Ok(piece) => piece,
                // What came before it is handed on; the same error comes again when the log is opened again.
                Err(_) if !new.is_empty() => {
                    self.close();
                    return Item::Pieces(new);
                }
                Err(error) => return self.fail(error),
            };
            match self.search.as_mut().map(|search| search.look(&piece)) {
                Some(Found::NotYet) => {}
                Some(Found::Here) => self.search = None,
                Some(Found::Gone) => return self.gap(),
                None if self.begin.is_some_and(|begin| begin.is_later_than(&piece)) => {}
                None => {
                    self.begin = None;
                    new.push(piece);
                }
            }
        }
        Item::Pieces(new)
    }

    /// Begins again without looking for the place.
    fn gap(&mut self) -> Item {
        let wanted = self.search.take().map(|search| search.wanted());
        self.begin = wanted.filter(|wanted| !is_ahead(wanted));
        self.start(wanted);
        Item::Gap
    }

    fn end(&mut self) -> Item {
        self.close();
        Item::Ended
    }

    fn fail(&mut self, error: RuntimeError) -> Item {
        self.close();
        Item::Failed(error)
    }
}

/// Whether the clock was set back behind a place: what comes after it may look older, so time tells nothing.
fn is_ahead(place: &Position) -> bool {
    place.at() > OffsetDateTime::now_utc()
}
