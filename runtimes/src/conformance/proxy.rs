//! A Unix-socket proxy in front of an engine that can stall and truncate responses, and disappear.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::{Disturbance, Outcome};

/// Bytes forwarded at once.
const BUFFER: usize = 16 * 1024;

/// Treatment of responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Pass,
    /// Each connection still gets this many bytes.
    Stall(usize),
}

/// A proxy on its own socket in front of an engine's socket. Its connections end when it is dropped.
#[derive(Debug)]
pub struct StallingProxy {
    /// Keeps the socket's directory.
    _folder: TempDir,
    path: PathBuf,
    engine: PathBuf,
    mode: watch::Sender<Mode>,
    /// The task that owns listener and connections; `None` while the engine is stopped.
    task: Arc<Mutex<Option<AbortOnDropHandle<()>>>>,
}

impl StallingProxy {
    /// A proxy in front of the Unix socket `engine` that forwards everything.
    pub fn start(engine: &Path) -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("engine.sock");
        let engine = engine.to_owned();
        let proxy = Self { _folder: folder, path, engine, mode: watch::Sender::new(Mode::Pass), task: Arc::default() };
        proxy.listen()?;
        Ok(proxy)
    }

    /// The proxy's own socket, for the backend.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn listen(&self) -> Outcome {
        let listener = UnixListener::bind(&self.path)?;
        let task = tokio::spawn(serve(listener, self.engine.clone(), self.mode.clone()));
        *self.task() = Some(AbortOnDropHandle::new(task));
        Ok(())
    }

    fn task(&self) -> std::sync::MutexGuard<'_, Option<AbortOnDropHandle<()>>> {
        self.task.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Disturbance for StallingProxy {
    fn stall(&self, after_bytes: Option<usize>) {
        self.mode.send_replace(Mode::Stall(after_bytes.unwrap_or(0)));
    }

    fn resume(&self) {
        self.mode.send_replace(Mode::Pass);
    }

    async fn take_away(&self) -> Outcome {
        let task = self.task().take();
        if let Some(task) = task {
            task.abort();
            // The error only reports the abort. Afterwards all its connections are closed.
            let _ = task.await;
        }
        Ok(std::fs::remove_file(&self.path)?)
    }

    async fn bring_back(&self) -> Outcome {
        self.resume();
        self.listen()
    }
}

async fn serve(listener: UnixListener, engine: PathBuf, mode: watch::Sender<Mode>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((client, _)) = accepted else { return };
                let (engine, mode) = (engine.clone(), mode.subscribe());
                connections.spawn(async move {
                    // A broken connection ends both sides.
                    let _ = forward(client, &engine, mode).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn forward(client: UnixStream, engine: &Path, mode: watch::Receiver<Mode>) -> std::io::Result<()> {
    let engine = UnixStream::connect(engine).await?;
    let (mut client_reads, client_writes) = client.into_split();
    let (engine_reads, mut engine_writes) = engine.into_split();
    let questions = async {
        tokio::io::copy(&mut client_reads, &mut engine_writes).await?;
        engine_writes.shutdown().await?;
        std::future::pending::<std::io::Result<()>>().await
    };
    tokio::select! {
        done = questions => done,
        done = answer(engine_reads, client_writes, mode) => done,
    }
}

async fn answer(
    mut engine: impl AsyncReadExt + Unpin,
    mut client: impl AsyncWriteExt + Unpin,
    mut mode: watch::Receiver<Mode>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut passed_in_stall = 0;
    loop {
        let count = engine.read(&mut buffer).await?;
        if count == 0 {
            return client.shutdown().await;
        }
        let mut bytes = &buffer[..count];
        while !bytes.is_empty() {
            let now = *mode.borrow_and_update();
            let allowed = match now {
                Mode::Pass => bytes.len(),
                Mode::Stall(limit) => bytes.len().min(limit.saturating_sub(passed_in_stall)),
            };
            if now != Mode::Pass {
                passed_in_stall += allowed;
            }
            client.write_all(&bytes[..allowed]).await?;
            bytes = &bytes[allowed..];
            if !bytes.is_empty() && mode.changed().await.is_err() {
                return Ok(());
            }
        }
    }
}
