//! Waits for conditions, with a limit.

use std::time::Duration;

use crate::support::LIMIT;

/// Pause between two checks, each of which starts a process.
const PAUSE: Duration = Duration::from_millis(50);

/// Calls `probe` until it returns a value.
///
/// # Panics
/// If it returns none within [`LIMIT`].
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let polling = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, polling).await;
    found.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// Calls `holds` until it returns true; see [`eventually`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, async || holds().await.then_some(())).await;
}
