//! Faults around the daemon: kills at any moment, engines that end, hang and return, external changes to containers,
//! and temporary failures of cloud, queue, registry, disk and clock.
//!
//! Contains the scenarios of the table `docs/faults.md`. They use the environments of `tests/engines` (real engines,
//! from `scripts/engines up`; without them the tests fail) and of `tests/lifecycle` (the engine in memory). A test that
//! disturbs a whole engine uses it exclusively ([`turns`]).

/// Generates one test per scenario and engine.
macro_rules! on_each_engine {
    ($($scenario:ident)*) => {
        on_engine! { docker Docker $($scenario)* }
        on_engine! { podman Podman $($scenario)* }
    };
}

/// Generates one test per scenario, on one engine.
macro_rules! on_engine {
    ($module:ident $engine:ident $($scenario:ident)*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $scenario() {
                    super::$scenario($crate::engine::Engine::$engine).await;
                }
            )*
        }
    };
}

#[path = "../support/mod.rs"]
mod support;

#[allow(dead_code)] // Shared with other binaries; this one uses a part of each.
#[path = "../engines/engine.rs"]
mod engine;
#[allow(dead_code)]
#[path = "../engines/engine_harness.rs"]
mod engine_harness;
#[allow(dead_code)]
#[path = "../lifecycle/harness.rs"]
mod harness;
#[allow(dead_code)]
#[path = "../engines/images.rs"]
mod images;
#[allow(dead_code)]
#[path = "../engines/process.rs"]
mod process;
#[path = "../engines/wait.rs"]
mod wait;

mod clocks;
mod disks;
mod hangs;
mod kills;
mod nodes;
mod queues;
mod registries;
mod repair;
mod restarts;
mod turns;
