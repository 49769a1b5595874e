//! What watches the daemon from outside: the Prometheus of Debian and a real browser, against the daemon in this process;
//! and operators who ask a daemon that is a process, on real engines.
//!
//! `scripts/monitors` and `scripts/engines` bring what they need; a test that lacks it fails and says so.

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

/// An address of this host with a port that nobody has.
fn free_address() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], free_port()))
}

/// Where `scripts/monitors` says that a program is.
fn program(variable: &str) -> String {
    let missing = "run: eval \"$(scripts/monitors env)\"";
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is missing; {missing}"))
}
