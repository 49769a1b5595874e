//! The fake EchoStream cloud, service by service, on the wire.
pub mod audit;
pub mod ecr;
pub mod faults;
pub mod logs;
pub mod sigv4;
pub mod sqs;

mod awsjson;
mod hex;
