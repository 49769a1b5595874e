//! The daemon of an EchoStream managed app. It keeps the containers of the app, the *managed nodes*, running on one
//! host.
//!
//! **In one sentence:** change messages never act on containers, they add pending changes; one state machine without
//! I/O turns *desired state + observed state + pending changes* into effects; the driver executes the effects and
//! returns the results as events.
//!
//! ```text
//!  SQS ─> changes ─┐                                        ┌─> cloud      (snapshot of the app)
//!  engine events ──┤            ┌────────────────────┐      ├─> registry   (credentials) ─> pull
//!  timer, signals ─┼─> Event ─> │ reconciler         │ ─> Effect ─> WorkloadEngine (apply, start, restart, stop, remove)
//!  results ────────┘            │ pure, synchronous  │      │          └─> HostEngine ─> Docker, Podman; state file
//!      ^                        └────────────────────┘      ├─> watch<Status> ─> systemd, status
//!      │                                                    └─> watch<Instances> ─> logs
//!      └──────────────────── driver executes the effects ─────────┘
//! ```
//!
//! `docs/architecture.md` describes the rules of the reconciler. `docs/faults.md` lists faults, reactions and tests.
//!
//! # Life of a change
//!
//! A user adds an edge between the nodes A and B.
//!
//! 1. [`changes`] receives the message by a long poll, decodes it to [`model::Change::Edge`] and deletes it. It may be
//!    deleted before any action: a start of the daemon compares revisions and finds the same work again.
//! 2. [`daemon`] sends it to the inbox of the [`driver`], which passes it to the [`reconciler`].
//! 3. The reconciler adds a pending change and requests a snapshot ([`reconciler::Effect::FetchSnapshot`]). Further
//!    changes that arrive meanwhile are added.
//! 4. The driver reads the app from [`cloud`]; the result is one complete [`model::App`]. The *revision* of A
//!    ([`managed_app_runtimes::Revision`]) differs from the one that its container was started with. The same holds for B.
//! 5. The reconciler plans A and B ([`reconciler::plan()`]) and emits one [`reconciler::Effect::Operate`] for each.
//! 6. The driver runs each operation as a task: a call of the [`managed_app_runtimes::WorkloadEngine`]. The engine
//!    restarts the containers, the state file records the new revisions, and the results return as events. The nodes are
//!    planned again until no step remains.
//! 7. The [`status::Recorder`] records the message, the operation with its reason and the fields that differ, each
//!    engine call and the outcome. `why A` prints them.
//!
//! # Modules
//!
//! | module | content |
//! | --- | --- |
//! | [`cli`], [`config`], [`telemetry`], [`host`] | the process: command line, settings, log, systemd and power |
//! | [`daemon`], [`engine`], [`tasks`], [`exit`] | composition and shutdown, selection of the engine, spawning of tasks, exit codes |
//! | [`model`] | the cloud's data, and the containers of nodes: plain types |
//! | [`reconciler`] | the decisions, without I/O |
//! | [`driver`] | executes effects, keeps the state file |
//! | [`status`] | state and history for people and monitors: socket, history, metrics, page |
//! | [`text`], [`json_file`] | text from outside for terminals and log lines, errors with their causes; a file that is replaced atomically |
//! | [`cloud`], [`changes`], [`registry`], [`logs`] | clients: AppSync, Cognito and audit records; SQS; ECR tokens; CloudWatch Logs |
//!
//! # Layers
//!
//! A module uses only modules to its right, which `tests/architecture` compares with each path:
//!
//! ```text
//! {fuzzing, main} > cli > demo > daemon > engine > driver > {changes, host, logs, registry} > cloud > status >
//! telemetry > config > reconciler > model
//! ```
//!
//! All above the reconciler may use [`exit`], [`json_file`], [`tasks`] and [`text`], which use no other module. The crate
//! `managed-app-runtimes` contains the engines behind one trait, `managed-app-fakes` a fake cloud on the wire and an
//! engine in memory.
//!
//! # Invariants
//!
//! `docs/architecture.md` lists them. `tests/architecture` checks over the source tree that:
//!
//! - `model` and `reconciler` contain no async code, clock, randomness or client crate.
//! - `bollard` is used only by the Docker backend, `podman_api` only by the Podman backend, `aws_sdk_*` only by
//!   `changes`, `registry`, `logs` and `cloud`.
//! - Only `tasks.rs` and the driver spawn tasks, only `config` reads the environment, only `main.rs` ends the process.

pub mod changes;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod daemon;
#[cfg(feature = "demo")]
pub mod demo;
pub mod driver;
pub mod engine;
pub mod exit;
#[cfg(feature = "fuzzing")]
pub mod fuzzing;
pub mod host;
pub mod json_file;
pub mod logs;
pub mod model;
pub mod reconciler;
pub mod registry;
pub mod status;
pub mod tasks;
pub mod telemetry;
pub mod text;
