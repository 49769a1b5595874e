//! The fake cloud as its clients meet it: every call goes over HTTP, by clients that are not the daemon's.

mod client;
mod commands;
mod graphql;
mod sign_in;
mod switches;
mod whole;
