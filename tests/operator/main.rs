//! What watches the daemon from outside: the Prometheus of Debian, and a real browser, against the daemon in this process.
//!
//! `scripts/monitors` brings both; a test that lacks them fails and says so.

// Its parts serve several test binaries, and none uses all of them.
#[allow(dead_code)]
#[path = "../lifecycle/site.rs"]
mod site;
#[path = "../support/mod.rs"]
mod support;

mod browser;
mod metrics;
mod page;

use std::net::{SocketAddr, TcpListener};

/// An address of this host with a port that nobody has.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("127.0.0.1 has free ports");
    listener.local_addr().expect("it is bound")
}

/// Where `scripts/monitors` says that a program is.
fn program(variable: &str) -> String {
    let missing = "run: eval \"$(scripts/monitors env)\"";
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} is missing; {missing}"))
}
