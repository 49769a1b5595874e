//! `plan`.
use crate::cli::Exit;
use crate::config::Config;
/// x
pub async fn plan(_config: &Config) -> Exit {
    Exit::Done
}
