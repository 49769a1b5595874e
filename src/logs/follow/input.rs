//! Reads the output of one container from a position on: opens the engine's log, finds the position, yields what
//! follows.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::ReadyChunks;
use futures_util::{FutureExt, StreamExt};
use managed_app_runtimes::{ContainerId, LogChunk, LogStream, RuntimeError, WorkloadEngine};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout_at};

use crate::logs::position::{Found, Position, Search};

/// Chunks per item; engines send at most 16 KiB per chunk, so an item has at most 1 MiB.
const CHUNKS_MAX: usize = 64;
/// A position in the log is found soon after the log is opened. After this long without a chunk it counts as gone. The
/// engine may have to skip much output first.
const SEARCH_SILENCE: Duration = Duration::from_secs(30);
/// After this long it counts as gone, even if chunks arrive.
const SEARCH_MAX: Duration = Duration::from_secs(120);

/// The log of one container. Cancel-safe: nothing is lost when the future of [`Input::next`] is dropped.
pub(super) struct Input {
    engine: Arc<dyn WorkloadEngine>,
    container: ContainerId,
    state: State,
    search: Option<Search>,
    search_until: Instant,
    search_end: Instant,
    /// Chunks older than this position are skipped, up to the first newer one.
    begin: Option<Position>,
}

enum State {
    Closed,
    Opening(BoxFuture<'static, Result<LogStream, RuntimeError>>),
    Open(ReadyChunks<LogStream>),
}

/// One result of [`Input::next`].
pub(super) enum Item {
    /// New chunks; may be empty.
    Chunks(Vec<LogChunk>),
    /// The position where reading should continue is no longer in the log. The rest of the log follows.
    Gap,
    /// The container's process has ended, and all of its output was yielded. The input is closed.
    Ended,
    /// The log cannot be read. The input is closed.
    Failed(RuntimeError),
}

impl Input {
    pub(super) fn new(engine: Arc<dyn WorkloadEngine>, container: ContainerId) -> Self {
        let now = Instant::now();
        Self { engine, container, state: State::Closed, search: None, search_until: now, search_end: now, begin: None }
    }

    /// Reads from this position on; `None`: from the beginning.
    pub(super) fn open(&mut self, from: Option<Position>) {
        self.search = from.map(Search::new);
        self.begin = None;
        self.start(from);
    }

    pub(super) fn close(&mut self) {
        self.state = State::Closed;
    }

    /// Never returns while it is closed.
    pub(super) async fn next(&mut self) -> Item {
        loop {
            match &mut self.state {
                State::Closed => std::future::pending().await,
                State::Opening(opening) => match opening.await {
                    Ok(stream) => self.state = State::Open(stream.ready_chunks(CHUNKS_MAX)),
                    Err(error) => return self.fail(error),
                },
                State::Open(stream) => {
                    let next = stream.next();
                    let chunks = match &self.search {
                        None => next.await,
                        Some(_) => match timeout_at(self.search_until, next).await {
                            Ok(chunks) => chunks,
                            Err(_) => return self.gap(),
                        },
                    };
                    return match chunks {
                        Some(chunks) => self.on_chunks(chunks),
                        None if self.search.is_some() => self.gap(),
                        None => self.end(),
                    };
                }
            }
        }
    }

    fn start(&mut self, from: Option<Position>) {
        let (engine, container) = (self.engine.clone(), self.container.clone());
        let since = from.filter(|from| !is_ahead(from)).map(|from| from.since());
        self.state = State::Opening(async move { engine.logs(&container, since).await }.boxed());
        self.search_until = Instant::now() + SEARCH_SILENCE;
        self.search_end = Instant::now() + SEARCH_MAX;
    }

    fn on_chunks(&mut self, chunks: Vec<Result<LogChunk, RuntimeError>>) -> Item {
        self.search_until = self.search_end.min(Instant::now() + SEARCH_SILENCE);
        let mut new = Vec::with_capacity(chunks.len());
        for chunk in chunks {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                // Yields the chunks before the error. Opening the log again returns the same error.
                Err(_) if !new.is_empty() => {
                    self.close();
                    return Item::Chunks(new);
                }
                Err(error) => return self.fail(error),
            };
            match self.search.as_mut().map(|search| search.check(&chunk)) {
                Some(Found::NotYet) => {}
                Some(Found::Here) => self.search = None,
                Some(Found::Gone) => return self.gap(),
                None if self.begin.is_some_and(|begin| begin.is_later_than(&chunk)) => {}
                None => {
                    self.begin = None;
                    new.push(chunk);
                }
            }
        }
        Item::Chunks(new)
    }

    /// Opens the log again without a search for the position.
    fn gap(&mut self) -> Item {
        let target = self.search.take().map(|search| search.target());
        self.begin = target.filter(|target| !is_ahead(target));
        self.start(target);
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

/// Whether the clock was set back to before a position. Then later chunks may have earlier times, so times are not
/// used.
fn is_ahead(position: &Position) -> bool {
    position.at() > OffsetDateTime::now_utc()
}
