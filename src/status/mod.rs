//! State and actions of the daemon, for people and monitors: a status socket, the history of each node, metrics and a
//! page.
//!
//! The driver and the daemon report to a [`Recorder`]; everything else here reads from it. This module never blocks the
//! daemon and makes no decisions.

mod client;
mod counters;
mod history;
mod metrics;
mod model;
mod page;
mod recorder;
mod server;
mod socket;
mod steps;

pub use client::{Client, ClientError, offline_history};
pub use counters::{AuditNumbers, Counter, NodeNumbers, Numbers, Volume, now_ms};
pub use metrics::Metrics;
pub use model::{
    Action, Amount, Cause, CrashLoopReport, DaemonReport, EngineReport, Event, ExitReport, FieldChange, LogReport,
    NodeHistory, NodeReport, Outcome, Report, Stamp, Step, VERSION,
};
pub use recorder::{DaemonInfo, Recorder, RunningAction};
pub use server::{ListenAddresses, serve};
pub use steps::TimedRuntime;
