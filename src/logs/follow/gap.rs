//! Counts and logs output that rotated away before it was read.

use std::time::Duration;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use tracing::warn;

use super::Follower;

impl Follower {
    /// The position where reading should continue is gone. The next line shows the length of the gap.
    pub(super) fn gap_begins(&mut self) {
        self.counter.count(|numbers| numbers.gaps += 1);
        self.gap = self.position;
    }

    /// The log continues with output written at `until`. Does nothing without a gap.
    pub(super) fn gap_ends(&mut self, until: OffsetDateTime) {
        let Some(position) = self.gap.take() else { return };
        let from = position.at();
        let gap: Duration = (until - from).try_into().unwrap_or_default();
        self.counter.count(|numbers| numbers.gap += gap);
        warn!(node = %self.node, container = %self.container, from = stamp(from), until = stamp(until),
            seconds = gap.as_secs_f64(), remedy = "raise MANAGED_APP_NODE_LOG_SIZE",
            "the engine's log has rotated beyond what was shipped; output of this time is lost");
    }
}

fn stamp(at: OffsetDateTime) -> String {
    at.format(&Rfc3339).unwrap_or_else(|_| at.unix_timestamp().to_string())
}
