//! The engine's wall clock. It follows tokio's clock, so that paused time pauses it too.

use time::OffsetDateTime;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    wall: OffsetDateTime,
    origin: Instant,
    offset: time::Duration,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { wall: OffsetDateTime::now_utc(), origin: Instant::now(), offset: time::Duration::ZERO }
    }

    pub(super) fn at(&self, instant: Instant) -> OffsetDateTime {
        self.wall + self.offset + instant.saturating_duration_since(self.origin)
    }

    /// Sets its offset from now on.
    pub(super) fn set_offset(&mut self, offset: time::Duration) {
        self.offset = offset;
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.at(Instant::now())
    }
}
