//! Podman's stream of what a container says from now on. It leaves lines out, so it only tells that there is more.

use containers_api::conn::hyper::Body;
use futures_util::StreamExt as _;
use futures_util::future::BoxFuture;
use tokio::time::Instant;

use crate::Result;

/// What was heard, and how much of it readings may not have shown yet.
pub(super) struct Follow {
    stream: Stream,
    /// Lines since the last reading, and between that one and the one before.
    lines: [usize; 2],
    /// When something was heard last.
    pub(super) heard_at: Option<Instant>,
}

enum Stream {
    Opening(BoxFuture<'static, Result<Body>>),
    Open(Body),
}

impl Follow {
    pub(super) fn new(opening: BoxFuture<'static, Result<Body>>) -> Self {
        Self { stream: Stream::Opening(opening), lines: [0, 0], heard_at: None }
    }

    /// Waits for word that there is more; `false` when none will come. Cancel-safe.
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
        self.heard_at = Some(Instant::now());
        true
    }

    /// About how many lines the next reading may show that none has shown.
    pub(super) fn lines(&self) -> usize {
        self.lines.iter().sum()
    }

    /// A reading is over.
    pub(super) fn turn(&mut self) {
        self.lines = [0, self.lines[0]];
    }
}
