//! Ships the output of nodes and the daemon's log to CloudWatch Logs, and tests whether the host's AWS credentials may
//! write there.
//!
//! ```text
//!  engine's log ─> input ─> joiner ─> batcher ─> delivery ─> CloudWatch
//!                  (finds its position)           │
//!                    ^                            └─> cursor, on disk before the next batch is sent
//!                    └── position of the last event that CloudWatch has
//! ```
//!
//! [`Shipper`] starts a follower for each container, which is this pipeline. Output that was read and is not in
//! CloudWatch is in memory only. The cursor is before it, so the next daemon reads it again after a crash. The engine's
//! log, limited by size, is the buffer while CloudWatch is unavailable. The daemon's log uses [`Batcher`] and
//! [`Delivery`].

mod batch;
mod cursors;
mod daemon_log;
mod deliver;
mod event;
mod follow;
mod join;
mod position;
mod probe;
mod shipper;

pub use batch::{BATCH_BYTES_MAX, BATCH_EVENTS_MAX, Batch, Batcher};
pub use daemon_log::DaemonLog;
pub use deliver::{Delivered, Delivery, LogService, stream_name};
pub use event::{EVENT_OVERHEAD_BYTES, EVENT_TEXT_BYTES_MAX, LogEvent, parts};
pub use join::Joiner;
pub use probe::{LogError, LogErrorKind, LogProbe};
pub use shipper::{CLOSE_WAIT, REMOVAL_WAIT, Shipper, ShipperOptions, Shipping, ShippingRequests};
