//! The whole lifecycle on real engines: a real daemon, the fake cloud, real containers, and images from a real registry
//! with a password and the names of Amazon ECR.
//!
//! Contains the scenarios. Shared code is in `engine` (an engine through its command), `images` (the registry),
//! `engine_harness` (the environment of one test) and `process` (the program as a process). Each scenario runs on every
//! engine, as `changes::docker::edge_change_restarts_both_ends`. Assertions about engines do not use the code of the
//! daemon.
//!
//! `scripts/engines up` starts the engines; without them every test fails. Dropping a harness removes everything that
//! it created, also after a failed test.
//!
//! testcontainers is used only for the foreign containers of `neighbour`: it takes its engine from `DOCKER_HOST`, one
//! per process, while these tests use two engines; and it removes containers, but no networks, volumes and images.

/// Generates one test per scenario and engine.
macro_rules! on_each_engine {
    ($($scenario:ident)*) => {
        on_each_engine! { @ docker Docker $($scenario)* }
        on_each_engine! { @ podman Podman $($scenario)* }
    };
    (@ $module:ident $engine:ident $($scenario:ident)*) => {
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

mod adoption;
mod changes;
mod crash_loops;
mod ending;
mod engine;
mod engine_harness;
mod images;
mod latency;
mod names;
mod neighbour;
mod only;
mod overlap;
mod process;
mod program;
mod pulls;
mod repair;
mod secrets;
mod shape;
mod wait;

#[path = "../support/mod.rs"]
mod support;
