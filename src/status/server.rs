//! HTTP over the status socket, and over TCP for metrics and the page. Connections are few and bounded in number, idle
//! time and life; what a client does not read is dropped for it alone.

mod answer;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::recorder::Recorder;
use super::socket::Socket;
use crate::tasks::Tasks;
use answer::{Content, Listener, answer};

/// Connections at a time, for each place.
const CONNECTIONS_MAX: usize = 64;
/// How long a client may take to send a request, also the next one.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// The longest life of a connection; who follows events connects anew and misses nothing.
const CONNECTION_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Largest head of a request, bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Pause before a place that cannot be had is tried again.
const BIND_PAUSE: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted: most likely there are too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Where the daemon can be asked.
#[derive(Debug, Clone, Default)]
pub struct ListenAddresses {
    /// The status socket.
    pub socket: Option<PathBuf>,
    /// Metrics.
    pub metrics: Option<SocketAddr>,
    /// The page.
    pub page: Option<SocketAddr>,
}

/// Serves at all places, each in a task of its own. A place that cannot be had is a warning, and is tried again.
pub fn serve(tasks: &mut Tasks, recorder: &Arc<Recorder>, places: ListenAddresses) {
    if let Some(path) = places.socket {
        tasks.spawn("status-socket", serve_socket(path, recorder.clone()));
    }
    if let Some(address) = places.metrics {
        if !address.ip().is_loopback() {
            warn!(%address, "metrics can be read from other hosts: they name nodes and images to whoever asks");
        }
        tasks.spawn("metrics", serve_tcp(address, Content::Metrics, recorder.clone()));
    }
    if let Some(address) = places.page {
        tasks.spawn("status-page", serve_tcp(address, Content::Page, recorder.clone()));
    }
}

async fn serve_socket(path: PathBuf, recorder: Arc<Recorder>) {
    let mut last = None;
    let socket = loop {
        match bind(&path).await {
            Ok(socket) => break socket,
            Err(error) => {
                if last != Some(error.kind()) {
                    warn!(path = %path.display(), %error, "the status socket cannot be had; trying again");
                }
                last = Some(error.kind());
                sleep(BIND_PAUSE).await;
            }
        }
    };
    debug!(path = %path.display(), "status socket");
    let mut connections = Connections::new(Listener { content: Content::Socket, address: None }, recorder);
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => connections.take(stream),
            Err(error) => refused(&error).await,
        }
    }
}

async fn bind(path: &Path) -> std::io::Result<Socket> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || Socket::bind(&path)).await.map_err(std::io::Error::other).flatten()
}

async fn serve_tcp(address: SocketAddr, content: Content, recorder: Arc<Recorder>) {
    let mut is_told = false;
    let mut served_at = Listener { content, address: Some(address) };
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !std::mem::replace(&mut is_told, true) {
                    warn!(%address, %error, "{} cannot be served; trying again", served_at.name());
                }
                sleep(BIND_PAUSE).await;
            }
        }
    };
    // Port 0 asks for any.
    let address = listener.local_addr().unwrap_or(address);
    served_at.address = Some(address);
    info!(%address, "{} can be read", served_at.name());
    let mut connections = Connections::new(served_at, recorder);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.take(stream),
            Err(error) => refused(&error).await,
        }
    }
}

async fn refused(error: &std::io::Error) {
    debug!(%error, "a connection could not be accepted");
    sleep(ACCEPT_PAUSE).await;
}

/// The connections of one place; they end with it.
struct Connections {
    tasks: Tasks,
    room: Arc<Semaphore>,
    served_at: Listener,
    recorder: Arc<Recorder>,
}

impl Connections {
    fn new(served_at: Listener, recorder: Arc<Recorder>) -> Self {
        Self { tasks: Tasks::new(), room: Arc::new(Semaphore::new(CONNECTIONS_MAX)), served_at, recorder }
    }

    /// One too many is closed at once.
    fn take<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&mut self, stream: S) {
        match self.room.clone().try_acquire_owned() {
            Ok(room) => {
                self.tasks.spawn("connection", serve_one(stream, self.served_at, self.recorder.clone(), room));
            }
            Err(_) => debug!("one connection too many is closed"),
        }
    }
}

async fn serve_one<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    served_at: Listener,
    recorder: Arc<Recorder>,
    _room: OwnedSemaphorePermit,
) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(&request, served_at, &recorder);
        async move { Ok::<_, Infallible>(answer) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    // However it ends, it concerns only the other side.
    let _ = timeout(CONNECTION_LIMIT, connection).await;
}
