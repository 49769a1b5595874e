//! The whole lifecycle on real engines: a real daemon, the fake cloud, real containers, and images that come from a real
//! registry with a password, under the names of Amazon ECR.
//!
//! Owns the scenarios; what they share is in `engine` (an engine, seen through its own command), `images` (the
//! registry), `engine_harness` (one test's corner of all this) and `process` (the program as a process). Each scenario runs on
//! every engine, as `changes::docker::edge_change_restarts_both_ends`. Nothing here asks the daemon's own code what an
//! engine has.
//!
//! The engines come from `scripts/engines up`; without them every test fails. Dropping a rig removes all that it made,
//! also when its test failed.
//!
//! testcontainers plays the stranger in `neighbour` and no other part: it finds its engine in `DOCKER_HOST`, one for a
//! whole process, while these tests drive two engines; and it removes containers, never networks, volumes and images.

/// Makes one test of each scenario and engine.
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
