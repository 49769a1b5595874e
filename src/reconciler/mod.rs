//! The reconciler: desired state, observed state and pending changes in, effects out. No I/O, no clock, no randomness:
//! events carry time and random bits, so the same events always produce the same effects.
//!
//! Life of a change: [`Event::Change`] adds a pending change and requests a snapshot. The snapshot is compared with the
//! desired state. [`plan()`] plans each node that differs. The next step of the plan becomes [`Effect::Operate`], its
//! result returns as [`Event::Finished`], and the node is planned again until it is settled.

mod crash_loop;
mod crash_tracker;
mod desired;
mod effect;
mod event;
mod images;
mod node;
mod nodes;
mod pending_changes;
mod plan;
mod policy;
mod ports;
mod quarantine;
mod reason;
mod request;
mod retry;
mod revision;
mod snapshot;
mod state_machine;
mod status;
mod step;
#[cfg(test)]
mod tests;

pub use crash_loop::{CrashLoop, CrashLoopNotice, NextStart, exit_text, rounded, signal};
pub use crash_tracker::OVER_AFTER;
pub use desired::{Desired, LOG_EVENT_PATTERN, NodeLogSettings, Settings};
pub use effect::{Effect, Finish, Operation};
pub use event::{EndOfNodes, Event, Failure, FailureKind, Outcome, Pulled};
pub use plan::{ImageView, Plan, plan};
pub use policy::{AllowedBindMounts, AllowedRegistries, Policy};
pub use quarantine::QUARANTINE;
pub use reason::{Reason, ReasonKind};
pub use revision::AppInputs;
pub use state_machine::Reconciler;
pub use status::{NodeStatus, Phase, Status};
