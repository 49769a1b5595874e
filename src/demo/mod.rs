//! The demo.
use crate::cli::Exit;
/// x
pub async fn run(_engine: Option<&str>) -> Exit {
    Exit::Done
}
