//! The managed app daemon.

pub mod changes;
pub mod cloud;
pub mod config;
pub mod model;
pub mod reconciler;
pub mod registry;
