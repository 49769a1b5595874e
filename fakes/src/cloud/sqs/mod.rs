//! Owns the fake of SQS FIFO queues: a store for direct use by tests, and the same store on the wire.
//!
//! It has its own server, because a waiting response of wiremock cannot be completed by a new message. Standard queues,
//! dead-letter queues, delays and permissions are not supported.
mod attributes;
mod error;
mod faults;
mod message;
mod operations;
mod queue;
mod queues;
mod server;
mod wire;

pub(super) use queues::name_of;
pub use queues::{FifoQueues, Outgoing};
pub use server::{Server, serve};
