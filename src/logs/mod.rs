//! CloudWatch Logs: the output of nodes and the daemon's own log on their way there, and whether the host's AWS
//! credentials may write where they must.

mod batch;
mod clock;
mod event;
mod join;
mod numbers;
mod probe;

pub use batch::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Batch, Batcher};
pub use event::{EVENT_OVERHEAD_BYTES, EVENT_TEXT_BYTES_MAX, LogEvent, Volume, parts};
pub use join::Joiner;
pub use numbers::{Counter, NodeNumbers, Numbers};
pub use probe::{LogError, LogErrorKind, LogProbe};
