//! The interface between the daemon and whatever runs its nodes: one workload for each node.
//!
//! [`HostEngine`](crate::HostEngine) implements [`WorkloadEngine`] for a host over any
//! [`ContainerRuntime`](crate::ContainerRuntime). An engine that replaces containers by itself, such as an orchestrator,
//! implements it directly.

mod engine;
mod instance;
mod revision;
mod target;

pub use engine::{Applied, Started, WorkloadEngine};
pub use instance::{Instance, Instances};
pub use revision::{Revision, StartupInputs};
pub use target::{Strategy, Target};
