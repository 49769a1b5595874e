//! Who may use the engines now: many at a time, or one that disturbs them.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

/// One for all engines: images of every test go through Docker into the registry.
static ENGINES: RwLock<()> = RwLock::const_new(());

/// The engines, beside others.
pub async fn shared() -> RwLockReadGuard<'static, ()> {
    ENGINES.read().await
}

/// The engines alone: nobody else of this binary uses them meanwhile.
pub async fn alone() -> RwLockWriteGuard<'static, ()> {
    ENGINES.write().await
}
