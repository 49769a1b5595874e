//! Two traits over the container engines that a managed app runs on.
//!
//! [`ContainerRuntime`] is the interface of a container engine: list, create, start, stop, restart, rename, remove, pull, logs, events.
//! [`docker`] implements it with bollard (engine API 1.41 and later), [`podman`] with podman-api (libpod, Podman 4.3
//! and later). The crate `managed-app-fakes` has an in-memory backend. The docs of the trait are a contract: each
//! sentence has a check in the conformance suite (feature `conformance`), which runs on every backend.
//!
//! [`EngineInspection`] and [`ImageStore`] have what running containers does not need; an [`Engine`] has all three.
//!
//! [`WorkloadEngine`] is the interface of the daemon: one workload for each node. [`HostEngine`] implements it over any
//! [`ContainerRuntime`].
//!
//! This crate does not depend on EchoStream's cloud. It owns the plain types that describe a container
//! ([`ContainerSpec`] is the desired container, [`Container`] the observed one), the labels that mark a container as
//! ours, and the names that an engine accepts.
//!
//! # Example
//!
//! This example runs one container on whichever engine responds. It uses only the trait. (It is compiled but not run,
//! because it needs an engine; the conformance suite runs each of these calls.)
//!
//! ```no_run
//! use std::time::Duration;
//!
//! use managed_app_runtimes::docker::DockerRuntime;
//! use managed_app_runtimes::podman::{PodmanRuntime, default_endpoints};
//! use managed_app_runtimes::{ContainerId, ContainerRuntime, ImageReference, Limits, Owner};
//!
//! # async fn example(spec: managed_app_runtimes::ContainerSpec) -> Result<(), Box<dyn std::error::Error>> {
//! let limits = Limits::default();
//! let engine: Box<dyn ContainerRuntime> = match DockerRuntime::connect(None, limits) {
//!     Ok(docker) if docker.info().await.is_ok() => Box::new(docker),
//!     _ => Box::new(PodmanRuntime::connect(&default_endpoints(None)[0], limits).await?),
//! };
//! let image: ImageReference = "public.ecr.aws/docker/library/busybox:1.36".parse()?;
//! engine.pull(&image, None, &|progress| println!("{} bytes", progress.done_bytes)).await?;
//! let owner = Owner { app: "my app".into(), tenant: "acme".into(), host: "this-host".into() };
//! engine.ensure_network("my-app", &owner).await?;
//! let id: ContainerId = engine.create(&spec).await?;
//! engine.start(&id).await?;
//! for container in engine.list(&owner).await? {
//!     println!("{} is {:?}", container.name, container.state);
//! }
//! engine.stop(&id, Duration::from_secs(10)).await?;
//! engine.remove(&id).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Names, image references and labels need no engine:
//!
//! ```
//! use managed_app_runtimes::{ImageReference, Owner, names};
//!
//! assert!(names::container_name("HL7: inlet").chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)));
//! let image: ImageReference = "123456789012.dkr.ecr.us-east-1.amazonaws.com/team/node:3".parse().expect("a reference");
//! assert_eq!((image.repository(), image.tag()), ("team/node", Some("3")));
//! assert!("busybox".parse::<ImageReference>().is_err(), "no registry is guessed");
//! let owner = Owner { app: "my app".into(), tenant: "acme".into(), host: "h".into() };
//! assert!(owner.owns(&owner.labels()));
//! ```

mod backend;
#[cfg(feature = "conformance")]
pub mod conformance;
mod container;
pub mod docker;
mod error;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
mod host_engine;
mod image;
pub mod labels;
mod logfile;
pub mod names;
pub mod podman;
mod runtime;
mod spec;
mod workload;

pub use backend::{BACKENDS, Backend, Connecting, Remedies};
pub use container::{
    Action, Container, ContainerId, ContainerState, EngineEvent, EngineHost, EngineInfo, EngineKind, ImageId, LogChunk,
    LogSource, Origin, ProcessExit, PullProgress,
};
pub use error::{ErrorKind, Result, RuntimeError, chain};
pub use host_engine::{HostEngine, HostEngineOptions, Notice, OutputShipper, RevisionStore, next_name};
pub use image::{ImageReference, InvalidImageReference};
pub use labels::Owner;
pub use runtime::{ContainerRuntime, Engine, EngineInspection, EventStream, ImageStore, Limits, LogStream, ProgressFn};
pub use spec::{
    AwslogsMode, ContainerSpec, EnvValue, Hardening, LogSettings, Mount, MountSource, PortBinding, Protocol,
    RegistryCredentials,
};
pub use workload::{Applied, Instance, Instances, Revision, Started, StartupInputs, Strategy, Target, WorkloadEngine};
