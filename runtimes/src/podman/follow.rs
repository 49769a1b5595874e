//! Podman's followed log of a container. It omits lines, so it only signals that there is new output.

use containers_api::conn::hyper::Body;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::Result;

/// Signalled output, and how much of it the readings may not have shown yet.
pub(super) struct Follow {
    stream: Stream,
    /// Lines since the last reading, and between the last two readings.
    lines: [usize; 2],
    /// Time of the last signal.
    pub(super) received_at: Option<Instant>,
}

enum Stream {
    Opening(BoxFuture<'static, Result<Body>>),
    Open(Body),
}

impl Follow {
    pub(super) fn new(opening: BoxFuture<'static, Result<Body>>) -> Self {
        Self { stream: Stream::Opening(opening), lines: [0, 0], received_at: None }
    }

    /// Waits for a signal of new output; `false` when none will come. Cancel-safe.
    pub(super) async fn next(&mut self) -> bool {
        if let Stream::Opening(opening) = &mut self.stream {
            match opening.await {
                Ok(body) => self.stream = Stream::Open(body),
                Err(_) => return false,
            }
        }
        let Stream::Open(body) = &mut self.stream else { return false };
        let Some(Ok(heard)) = body.next().await else { return false };
        self.lines[0] += heard.iter().filter(|byte| **byte == b'\n').count();
        self.received_at = Some(Instant::now());
        true
    }

    /// Estimated number of lines that the next reading shows for the first time.
    pub(super) fn lines(&self) -> usize {
        self.lines.iter().sum()
    }

    /// A reading is over.
    pub(super) fn turn(&mut self) {
        self.lines = [0, self.lines[0]];
    }
}
