//! Waiting for something that will be so, with a limit.

use std::time::Duration;

use crate::support::LIMIT;

/// The pause between two looks, each of which starts a process.
const PAUSE: Duration = Duration::from_millis(50);

/// Looks until `probe` finds something.
///
/// # Panics
/// When it found nothing within [`LIMIT`].
pub async fn eventually<T>(what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
    let looking = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    let found = tokio::time::timeout(LIMIT, looking).await;
    found.unwrap_or_else(|_| panic!("not within {LIMIT:?}: {what}"))
}

/// Looks until `holds` says yes; see [`eventually`].
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    eventually(what, async || holds().await.then_some(())).await;
}
