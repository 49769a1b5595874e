//! Shared by the tests of the whole daemon: a host with a fake cloud, any engine, and the daemon in this process.
//! Contains no scenario.
//!
//! A test binary includes it with `#[path = "../support/mod.rs"] mod support;`.

// Each binary uses a part of this module.
#![allow(dead_code, unused_imports)]

mod alarms;
mod aws;
mod host;
mod journal;
mod recorded;

pub use host::{Builder, Host, LIMIT};
pub use journal::{Call, Journal};
