//! The managed app daemon.

pub mod changes;
pub mod cli;
pub mod cloud;
pub mod config;
pub mod daemon;
pub mod driver;
pub mod host;
pub mod model;
pub mod reconciler;
pub mod registry;
pub mod tasks;
pub mod telemetry;
