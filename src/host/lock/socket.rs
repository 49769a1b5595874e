//! The socket beside the lock: the holder reports its identity and whether it is ending, and receives requests to hand
//! over. It works across PID namespaces, which signals do not. The lock alone decides who holds it.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::geteuid;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::super::Signal;
use super::Holder;

/// Time limit of a complete exchange, on either side.
const EXCHANGE_LIMIT: Duration = Duration::from_secs(2);
/// Delay after a connection that could not be accepted.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);
/// The longest response.
const RESPONSE_BYTES_MAX: u64 = 4096;
/// Requests are single bytes.
const DESCRIBE: u8 = b'd';
const TAKE_OVER: u8 = b't';

/// A request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Request {
    /// Report identity and whether the daemon is ending.
    Describe,
    /// The same, and end unless already ending; the nodes keep running.
    TakeOver,
}

/// The result of a request.
#[derive(Debug)]
pub(super) enum Response {
    /// The response of the holder.
    Holder { holder: Holder, is_ending: bool },
    /// A process listens and does not respond; its process id, if it is in our PID namespace.
    Silent(Option<u32>),
    /// Nobody listens.
    Nobody,
}

#[derive(Serialize, Deserialize)]
struct Message {
    #[serde(flatten)]
    holder: Holder,
    is_ending: bool,
}

/// Whether this daemon is ending; set once.
#[derive(Debug, Clone, Default)]
pub struct Ending(Arc<AtomicBool>);

impl Ending {
    /// Marks this daemon as ending. False: it was ending already.
    pub fn begin(&self) -> bool {
        !self.0.swap(true, Ordering::Relaxed)
    }

    fn has_begun(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Requests of daemons that want the lock.
#[derive(Debug)]
pub struct Successors {
    listener: io::Result<UnixListener>,
    holder: Holder,
}

impl Successors {
    /// Call this with the lock held: it replaces the leftover socket of an earlier daemon at `path`.
    pub(super) fn bind(path: &Path, holder: Holder) -> Self {
        let bind = || {
            match fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            let listener = net::UnixListener::bind(path)?;
            fs::set_permissions(path, Permissions::from_mode(0o600))?;
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        };
        Self { listener: bind(), holder }
    }

    /// Responds to one request after another. Sends a request to hand over to `signals` as SIGUSR2, unless the daemon
    /// is ending already: a second signal would end it at once.
    pub async fn serve(self, ending: Ending, signals: mpsc::Sender<Signal>) {
        let listener = match self.listener {
            Ok(listener) => listener,
            Err(error) => {
                warn!(%error, "requests to hand over cannot be received; use SIGUSR2 instead of --takeover");
                return;
            }
        };
        loop {
            let Ok((stream, _)) = listener.accept().await else {
                sleep(ACCEPT_PAUSE).await;
                continue;
            };
            match timeout(EXCHANGE_LIMIT, answer(stream, &self.holder, &ending, &signals)).await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => debug!(%error, "request at the socket of the lock failed"),
                Err(_) => debug!("request at the socket of the lock timed out"),
            }
        }
    }
}

async fn answer(
    mut stream: UnixStream,
    holder: &Holder,
    ending: &Ending,
    signals: &mpsc::Sender<Signal>,
) -> io::Result<()> {
    let peer = stream.peer_cred()?;
    // The mode of the socket enforces this too, but not right after its creation.
    if ![0, geteuid().as_raw()].contains(&peer.uid()) {
        return Err(io::ErrorKind::PermissionDenied.into());
    }
    if stream.read_u8().await? == TAKE_OVER && ending.begin() {
        info!(pid = peer.pid(), "another daemon takes over");
        signals.send(Signal::HandOver).await.map_err(io::Error::other)?;
    }
    let message = Message { holder: holder.clone(), is_ending: ending.has_begun() };
    stream.write_all(&serde_json::to_vec(&message)?).await?;
    stream.shutdown().await
}

/// Sends a request to the process that listens at `path`, with a time limit.
pub(super) async fn send(path: &Path, request: Request) -> Response {
    let Ok(stream) = UnixStream::connect(path).await else { return Response::Nobody };
    // In the PID namespace of the calling process; 0 if the other process is not in it.
    let pid = stream.peer_cred().ok().and_then(|peer| peer.pid()).and_then(|pid| u32::try_from(pid).ok());
    let visible_pid = pid.filter(|pid| *pid != 0);
    match timeout(EXCHANGE_LIMIT, exchange(stream, request)).await {
        Ok(Ok(Message { holder, is_ending })) => {
            Response::Holder { holder: Holder { visible_pid, ..holder }, is_ending }
        }
        Ok(Err(_)) | Err(_) => Response::Silent(visible_pid),
    }
}

async fn exchange(mut stream: UnixStream, request: Request) -> io::Result<Message> {
    stream.write_u8(if request == Request::TakeOver { TAKE_OVER } else { DESCRIBE }).await?;
    let mut text = Vec::new();
    stream.take(RESPONSE_BYTES_MAX).read_to_end(&mut text).await?;
    Ok(serde_json::from_slice(&text)?)
}
