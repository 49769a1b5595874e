//! The fake AWS services as the real clients of AWS meet them.
mod audit;
mod client;
mod ecr;
mod logs;
mod sqs;
