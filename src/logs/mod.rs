//! CloudWatch Logs, as far as the daemon meets it: whether the host's AWS credentials may write where they must.

mod probe;

pub use probe::{LogError, LogErrorKind, LogProbe};
