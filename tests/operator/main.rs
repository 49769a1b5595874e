//! Prometheus of Debian and a real browser with the daemon in this process; status commands with the daemon as a
//! process on real engines; an upgrade from the Python program.
//!
//! `scripts/monitors` and `scripts/engines` install what they need; a test without it fails and prints the remedy.

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

mod browser;
mod metrics;
mod offline;
mod page;
mod real;
mod upgrade;

use std::net::SocketAddr;

use managed_app_runtimes::conformance::free_port;

/// A loopback address with a free port.
fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// The path of a program from `scripts/monitors`.
fn program(variable: &str) -> String {
    let missing = "run: eval \"$(scripts/monitors env)\"";
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is missing; {missing}"))
}
