//! CloudWatch Logs: the output of nodes and the daemon's own log on their way there, and whether the host's AWS
//! credentials may write where they must.
//!
//! ```text
//!  engine's log ─> input ─> joiner ─> batcher ─> delivery ─> CloudWatch
//!                  (finds its place)              │
//!                    ^                            └─> cursor, on disk before the next batch is sent
//!                    └── position of the last event that CloudWatch has
//! ```
//!
//! [`Shipper`] gives each container a follower, which is that line. What is read and not yet in CloudWatch is in memory
//! only, and the cursor stands before it: whatever happens to the daemon, the next one reads it again. The engine's own
//! log, limited by size, is the buffer while CloudWatch is away. The daemon's own log uses [`Batcher`] and [`Delivery`].

mod batch;
mod clock;
mod cursors;
mod daemon_log;
mod deliver;
mod event;
mod follow;
mod join;
mod names;
mod numbers;
mod position;
mod probe;
mod shipper;

pub use batch::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Batch, Batcher};
pub use daemon_log::DaemonLog;
pub use deliver::{Delivered, Delivery, LogService};
pub use event::{EVENT_OVERHEAD_BYTES, EVENT_TEXT_BYTES_MAX, LogEvent, Volume, parts};
pub use join::Joiner;
pub use names::stream_name;
pub use numbers::{Counter, NodeNumbers, Numbers};
pub use probe::{LogError, LogErrorKind, LogProbe};
pub use shipper::{CLOSE_WAIT, REMOVAL_WAIT, Shipper, ShipperOptions, Shipping};
