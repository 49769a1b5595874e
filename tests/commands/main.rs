//! The commands as their users meet them: the real binary as a process, against a fake cloud on the wire, with the
//! engine in memory where no engine is needed and with private engines where one is.
//!
//! The private engines are those of `scripts/engines`; a test that needs one fails without it and says how to start it.

mod bench;
mod check;
mod choice;
mod daemon_log;
mod endpoints;
mod engine;
mod fake_cloud;
mod keys;
mod plan;
mod readme;
mod shell;
mod signals;
mod status;
mod watch;
