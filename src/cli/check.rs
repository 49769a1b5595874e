//! `check`.
use crate::config::Config;
use crate::exit::Exit;
/// x
pub async fn check(_config: &Config) -> Exit {
    Exit::Done
}
