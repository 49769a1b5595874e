//! `plan`.
use crate::config::Config;
use crate::exit::Exit;
/// x
pub async fn plan(_config: &Config) -> Exit {
    Exit::Done
}
