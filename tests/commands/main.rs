//! The commands as users run them: the real binary as a process, with a fake cloud on the wire, and with the engine in
//! memory or with private engines.
//!
//! `scripts/engines` starts the private engines; a test that needs one fails without it and prints the remedy.

mod check;
mod choice;
mod daemon_log;
mod endpoints;
mod engine;
mod fake_cloud;
mod harness;
mod keys;
mod plan;
mod readme;
mod shell;
mod signals;
mod status;
mod watch;
