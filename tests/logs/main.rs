//! The output of nodes on real engines, from the line that a process prints to the event in CloudWatch Logs: not one is
//! lost, whatever is killed, restarted, replaced or away meanwhile.
//!
//! Runs on the engines of `scripts/engines up`; without them the tests fail. One scenario at a time, since each prints as
//! fast as engine and daemon can take it.

/// Makes one test of each scenario and engine.
macro_rules! on_each_engine {
    ($($scenario:ident)*) => {
        on_engine! { docker Docker $($scenario)* }
        on_engine! { podman Podman $($scenario)* }
    };
}

/// Makes one test of each scenario, on one engine.
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
