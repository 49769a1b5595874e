//! HTTP over the status socket, and over TCP for metrics and the page. Connections are bounded in number, idle time and
//! lifetime. A slow client loses only its own events.

mod routes;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::recorder::Recorder;
use super::socket::Socket;
use crate::tasks::Tasks;
use routes::{Content, Listener, routes};

/// Concurrent connections of each listener.
const CONNECTIONS_MAX: usize = 64;
/// Time limit for each request header of a client.
const REQUEST_LIMIT: Duration = Duration::from_secs(10);
/// Maximum lifetime of a connection; followers of events reconnect and miss nothing.
const CONNECTION_LIMIT: Duration = Duration::from_secs(15 * 60);
/// Largest head of a request, bytes.
const HEAD_MAX: usize = 16 * 1024;
/// Delay before another attempt to listen.
const BIND_PAUSE: Duration = Duration::from_secs(10);
/// Delay after a failed accept, most likely because of too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Listen addresses of the daemon.
#[derive(Debug, Clone, Default)]
pub struct ListenAddresses {
    /// The status socket.
    pub socket: Option<PathBuf>,
    /// Metrics.
    pub metrics: Option<SocketAddr>,
    /// The page.
    pub page: Option<SocketAddr>,
}

/// Serves all listeners, each in its own task. A failure to listen is a warning and is retried.
pub fn serve(tasks: &mut Tasks, recorder: &Arc<Recorder>, addresses: ListenAddresses) {
    if let Some(path) = addresses.socket {
        tasks.spawn("status-socket", serve_socket(path, recorder.clone()));
    }
    if let Some(address) = addresses.metrics {
        if !address.ip().is_loopback() {
            warn!(%address, "metrics are reachable from other hosts and contain names of nodes");
        }
        tasks.spawn("metrics", serve_tcp(address, Content::Metrics, recorder.clone()));
    }
    if let Some(address) = addresses.page {
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
                    warn!(path = %path.display(), %error, "cannot listen on the status socket; retrying");
                }
                last = Some(error.kind());
                sleep(BIND_PAUSE).await;
            }
        }
    };
    debug!(path = %path.display(), "status socket");
    let mut connections = Connections::new(routes(Listener { content: Content::Socket, address: None }, recorder));
    loop {
        match socket.listener.accept().await {
            Ok((stream, _)) => connections.accept(stream),
            Err(error) => accept_failed(&error).await,
        }
    }
}

async fn bind(path: &Path) -> std::io::Result<Socket> {
    let path = path.to_owned();
    tokio::task::spawn_blocking(move || Socket::bind(&path)).await.map_err(std::io::Error::other).flatten()
}

async fn serve_tcp(address: SocketAddr, content: Content, recorder: Arc<Recorder>) {
    let mut is_logged = false;
    let mut served_at = Listener { content, address: Some(address) };
    let listener = loop {
        match TcpListener::bind(address).await {
            Ok(listener) => break listener,
            Err(error) => {
                if !std::mem::replace(&mut is_logged, true) {
                    warn!(%address, %error, "{} cannot be served; trying again", served_at.name());
                }
                sleep(BIND_PAUSE).await;
            }
        }
    };
    // Port 0 selects a free port.
    let address = listener.local_addr().unwrap_or(address);
    served_at.address = Some(address);
    info!(%address, "{} can be read", served_at.name());
    let mut connections = Connections::new(routes(served_at, recorder));
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.accept(stream),
            Err(error) => accept_failed(&error).await,
        }
    }
}

async fn accept_failed(error: &std::io::Error) {
    debug!(%error, "a connection could not be accepted");
    sleep(ACCEPT_PAUSE).await;
}

/// The connections of one listener; they end with it.
struct Connections {
    tasks: Tasks,
    permits: Arc<Semaphore>,
    routes: Router,
}

impl Connections {
    fn new(routes: Router) -> Self {
        Self { tasks: Tasks::new(), permits: Arc::new(Semaphore::new(CONNECTIONS_MAX)), routes }
    }

    /// Closes connections above the limit at once.
    fn accept<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(&mut self, stream: S) {
        match self.permits.clone().try_acquire_owned() {
            Ok(permit) => {
                self.tasks.spawn("connection", serve_one(stream, self.routes.clone(), permit));
            }
            Err(_) => debug!("too many connections; closed one"),
        }
    }
}

async fn serve_one<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    routes: Router,
    _permit: OwnedSemaphorePermit,
) {
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(REQUEST_LIMIT)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(routes));
    // The end of a connection matters only to its client.
    let _ = timeout(CONNECTION_LIMIT, connection).await;
}
