//! The output of nodes on real engines, from the printed line to the event in CloudWatch Logs: no line is lost through
//! kills, restarts, replacements and outages.
//!
//! Runs on the engines of `scripts/engines up`; without them the tests fail. Scenarios run one at a time, because each
//! prints as fast as engine and daemon can handle it.

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
#[path = "../engines/images.rs"]
mod images;
#[allow(dead_code)]
#[path = "../engines/process.rs"]
mod process;
#[allow(dead_code)]
#[path = "../engines/wait.rs"]
mod wait;

mod count;
mod hidden;
mod numbers;
mod restarts;
