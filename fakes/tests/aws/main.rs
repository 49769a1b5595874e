//! The fake AWS services, tested with the real clients of AWS.
mod audit;
mod client;
mod ecr;
mod logs;
mod sqs;
