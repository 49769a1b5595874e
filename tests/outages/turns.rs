//! Access to the engines: shared by many tests, or exclusive for a test that disturbs them.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// One lock for all engines: every test pushes its images through Docker.
static ENGINES: RwLock<()> = RwLock::const_new(());

/// Shared access.
pub async fn shared() -> RwLockReadGuard<'static, ()> {
    ENGINES.read().await
}

/// Exclusive access within this binary.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    ENGINES.write().await
}
