//! The fake EchoStream cloud, service by service, on the wire.
pub mod sigv4;
pub mod sqs;
