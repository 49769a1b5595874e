//! `check`.
use crate::cli::Exit;
use crate::config::Config;
/// x
pub async fn check(_config: &Config) -> Exit {
    Exit::Done
}
