//! One small trait over the container engines a managed app runs on.
//!
//! [`ContainerRuntime`] is the whole vocabulary: list, create, start, stop, restart, rename, remove, pull, logs, events.
//! [`docker`] implements it with bollard (engine API 1.41 and later), [`podman`] with podman-api (libpod, Podman 4.3 and
//! later); the crate `managed-app-fakes` has an in-memory backend. The trait's docs are a contract: each sentence has a
//! check in the conformance suite (feature `conformance`), which runs on every backend.
//!
//! This crate knows nothing of EchoStream's cloud. It owns the plain types that describe a container ([`ContainerSpec`],
//! what we ask for; [`Container`], what the engine has), the labels that mark a container as ours, and the names an
//! engine accepts.

mod container;
pub mod docker;
mod error;
mod image;
pub mod labels;
pub mod names;
pub mod podman;
mod runtime;
mod spec;

pub use container::{
    Action, Container, ContainerId, ContainerState, EngineEvent, EngineInfo, EngineKind, ImageId, LogChunk, LogSource,
    Origin, PullProgress,
};
pub use error::{ErrorKind, Result, RuntimeError};
pub use image::{ImageReference, InvalidImageReference};
pub use labels::Owner;
pub use runtime::{ContainerRuntime, EventStream, Limits, LogStream, ProgressFn};
pub use spec::{ContainerSpec, EnvValue, LogSettings, Mount, MountSource, PortBinding, Protocol, RegistryCredentials};
