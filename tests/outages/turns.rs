//! Who may use an engine now: many at a time, or one that disturbs it.

use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use crate::engine::Engine;

/// Long tests hold a turn for a minute or two, so those that want an engine alone come after all that have begun.
static DOCKER: RwLock<()> = RwLock::const_new(());
static PODMAN: RwLock<()> = RwLock::const_new(());

fn lock(engine: Engine) -> &'static RwLock<()> {
    match engine {
        Engine::Docker => &DOCKER,
        Engine::Podman => &PODMAN,
    }
}

/// The engine, beside others.
pub async fn shared(engine: Engine) -> RwLockReadGuard<'static, ()> {
    lock(engine).read().await
}

/// The engine alone: nobody else of this binary uses it meanwhile.
pub async fn alone(engine: Engine) -> RwLockWriteGuard<'static, ()> {
    lock(engine).write().await
}
