//! Owns the fake of SQS FIFO queues: a store that tests drive directly, and the same store served on the wire.
//!
//! It is served beside wiremock, because a waiting answer of wiremock cannot be woken by a new message.
//! Standard queues, dead-letter queues, delays and permissions are left out.
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
