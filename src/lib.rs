//! The daemon of an EchoStream managed app: keeps the right containers, the *managed nodes*, running on one host.
//!
//! **In one sentence:** messages never act on containers, they leave notes; one state machine without I/O turns
//! *desired + observed + notes* into effects; a driver carries the effects out and reports back as events.
//!
//! ```text
//!  SQS ─> changes ─┐                                        ┌─> cloud      (snapshot of the app)
//!  engine events ──┤            ┌────────────────────┐      ├─> registry   (credentials) ─> runtime.pull
//!  timer, signals ─┼─> Event ─> │ reconciler         │ ─> Effect ─> runtime (create, start, restart, replace, remove)
//!  results ────────┘            │ pure, synchronous  │      ├─> state file
//!      ^                        └────────────────────┘      └─> watch<Status> ─> systemd, status
//!      └─────────────────────── driver runs the effects ──────────┘
//! ```
//!
//! # The way of one change
//!
//! An edge was added between A and B.
//!
//! 1. [`changes`] is in a long poll; the message arrives, becomes [`model::Change::Edge`], is handed over and deleted. It
//!    may be deleted before anything was done about it: start-up compares revisions and would find the same work again.
//! 2. [`daemon`] puts it into the inbox of the [`driver`], which gives it to the [`reconciler`].
//! 3. The reconciler leaves a note and asks for a snapshot ([`reconciler::Effect::FetchSnapshot`]). More changes that
//!    arrive meanwhile leave more notes.
//! 4. The driver asks [`cloud`]; the answer is one whole [`model::App`]. The *revision* of A, a digest of all that A reads
//!    when it starts, differs from the one its container was started with; so does B's.
//! 5. The reconciler plans A and B ([`reconciler::plan()`]) and emits one [`reconciler::Effect::Operate`] for each.
//! 6. The driver runs each as a task of its own; the engine restarts the containers; the results come back as events, the
//!    new revisions are in the state file, and the nodes are planned again until nothing is left to do.
//! 7. All along the [`status::Recorder`] is told: the message when it came, the operation with its reason and the fields
//!    that differ, each engine call, the outcome. `why A` shows the whole way.
//!
//! Ten edges in a burst cost one restart of A, and at most one more if they arrive while A is restarting.
//!
//! # What decides
//!
//! - The *spec* (what the container is made of) is kept in a label of the container, field by field, secrets as a salted
//!   digest. A difference replaces the container; a field that an older daemon did not write is no difference.
//! - The *revision* (what the node reads when it starts) is kept in the state file by container id. A difference restarts
//!   the container. Same spec, same revision and running means: left alone, also when the daemon is new.
//! - A replacement keeps the old container until the new one has stayed up for a short window; else the old one comes
//!   back, the node's status says why, and the same is left alone for ten minutes, or until the spec, the image or what
//!   the node reads changes. A container that is cut off from its network is replaced without the window.
//! - A container that keeps ending is left to the engine's restart policy and reported as a crash loop, until it has
//!   stayed up for two minutes. Where that policy does not act it is started after growing pauses, up to a minute.
//! - What a crash of the daemon in the middle leaves is finished by the next daemon (see the source of `driver::replace`),
//!   which remembers no failure and tries once more.
//! - A node that needs a host port of another node waits until that one lets go of it; nodes that wait for each other move
//!   at the same time.
//! - Desired state is always a whole snapshot. A partial or failed one changes nothing, least of all removes nodes; a list
//!   of nodes with gaps removes a node only when a message said that it is gone.
//! - The app is gone when two snapshots in a row, seconds apart, say so.
//! - Engine events are hints: one that contradicts what is known asks for a list, which is the truth.
//!
//! # Modules
//!
//! | module | what it is |
//! | --- | --- |
//! | [`cli`], [`config`], [`telemetry`], [`host`] | the process: command line, settings, its log, systemd and power |
//! | [`daemon`], [`engine`], [`tasks`], [`exit`] | composition, choice of engine, the only spawner, exit codes |
//! | [`model`] | what the cloud says: plain types |
//! | [`reconciler`] | the brain, without I/O |
//! | [`driver`] | the hands: runs effects, keeps the state file |
//! | [`status`] | what happened and is, for people and monitors: socket, history, metrics, page |
//! | [`cloud`], [`changes`], [`registry`], [`logs`] | the wires: AppSync, Cognito and audit records, SQS, ECR tokens, CloudWatch Logs |
//!
//! Inside: main > cli > daemon > {driver, changes, registry, cloud, host} > status > reconciler > model. The crate
//! `managed-app-runtimes` holds the engines behind one trait; `managed-app-fakes` a whole fake cloud on the wire and an
//! engine in memory.
//!
//! # Invariants
//!
//! Checked over the source tree by `tests/architecture` where that is possible:
//!
//! - `model` and `reconciler`: no async, no clock, no randomness, no client crate. Time and random bits arrive in events.
//! - `bollard` only in the Docker backend, `podman_api` only in the Podman backend, `aws_sdk_*` only in `changes`,
//!   `registry`, `logs` and `cloud`.
//! - Tasks are spawned only in `tasks.rs` and by the driver; the environment is read only in `config`; the process ends
//!   only in `main.rs`.
//! - A container is ours only if its labels say so (app, tenant, host id) or it is the Python program's. Nothing else is
//!   ever touched, and there is no host-wide prune.
//! - A node never has two running containers, but for the moment of a replacement with `MANAGED_APP_REPLACE=overlap`, of
//!   a node without host ports and mounts. Both then read the node's queue.
//! - Every wait has a limit: calls (bodies and silent streams too), pulls without progress, stops, channels, retries.
//! - A busy, slow or hung node never delays another node.
//! - Secrets never reach a log line, a `Debug`, an error, the state file or a label.
//! - No file over 400 lines, no function over 70.

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
pub mod logs;
pub mod model;
pub mod reconciler;
pub mod registry;
pub mod status;
pub mod tasks;
pub mod telemetry;
