//! What the tests of the whole daemon share: a host with a fake cloud, an engine of any kind and the daemon in this
//! process. Owns no scenario.
//!
//! A test binary takes it in with `#[path = "../support/mod.rs"] mod support;`.

// Each binary uses its own part of this.
#![allow(dead_code, unused_imports)]

mod alarms;
mod aws;
mod host;
mod journal;
mod recorded;

pub use host::{Builder, Host, LIMIT};
pub use journal::{Call, Journal};
