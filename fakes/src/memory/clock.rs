//! The engine's wall clock. It moves with tokio's clock, so that paused time moves it too.

use time::OffsetDateTime;
use tokio::time::Instant;

#[derive(Debug, Clone, Copy)]
pub(super) struct Clock {
    wall: OffsetDateTime,
    origin: Instant,
}

impl Clock {
    pub(super) fn new() -> Self {
        Self { wall: OffsetDateTime::now_utc(), origin: Instant::now() }
    }

    pub(super) fn at(&self, instant: Instant) -> OffsetDateTime {
        self.wall + instant.saturating_duration_since(self.origin)
    }

    pub(super) fn now(&self) -> OffsetDateTime {
        self.at(Instant::now())
    }
}
