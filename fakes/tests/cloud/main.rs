//! The fake cloud from its clients' view: every call uses HTTP, with clients that are not the daemon's.

mod client;
mod commands;
mod graphql;
mod sign_in;
mod switches;
mod whole;
