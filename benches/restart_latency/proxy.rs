//! A proxy between the daemon and a cloud service that records sizes and times of data. Changes nothing.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

const BUFFER_BYTES: usize = 64 * 1024;

/// One piece of forwarded data.
#[derive(Debug, Clone, Copy)]
pub struct Passed {
    pub at: Instant,
    pub to_cloud: bool,
    pub bytes: usize,
}

/// The proxy; ends when dropped.
pub struct Proxy {
    /// Its URL, such as `http://127.0.0.1:40123`.
    pub url: String,
    passed: Arc<Mutex<Vec<Passed>>>,
    task: JoinHandle<()>,
}

impl Proxy {
    /// A proxy for host and port of `url`.
    pub async fn before(url: &str) -> Self {
        let target: SocketAddr = url.trim_start_matches("http://").parse().expect("the fake cloud has an address");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("127.0.0.1 has free ports");
        let url = format!("http://{}", listener.local_addr().expect("it is bound"));
        let passed = Arc::new(Mutex::new(Vec::new()));
        let sink = passed.clone();
        let task = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                let sink = sink.clone();
                tokio::spawn(async move { join(client, target, &sink).await });
            }
        });
        Self { url, passed, task }
    }

    /// The data so far.
    pub fn passed(&self) -> Vec<Passed> {
        lock(&self.passed).clone()
    }

    /// Forgets the data so far.
    pub fn clear(&self) {
        lock(&self.passed).clear();
    }

    /// All bytes, both ways.
    pub fn bytes(&self) -> usize {
        lock(&self.passed).iter().map(|passed| passed.bytes).sum()
    }

    /// The first exchange: the times of its first sent byte and of its last received byte before the next request.
    pub fn first_exchange(&self) -> Option<(Instant, Instant)> {
        let all = self.passed();
        let begin = all.iter().position(|passed| passed.to_cloud)?;
        let back = begin + all[begin..].iter().position(|passed| !passed.to_cloud)?;
        let answer = all[back..].iter().take_while(|passed| !passed.to_cloud);
        Some((all[begin].at, answer.last()?.at))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn lock(passed: &Mutex<Vec<Passed>>) -> MutexGuard<'_, Vec<Passed>> {
    passed.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn join(client: TcpStream, target: SocketAddr, passed: &Mutex<Vec<Passed>>) {
    let Ok(cloud) = TcpStream::connect(target).await else { return };
    // Without delays in either direction.
    let _ = (client.set_nodelay(true), cloud.set_nodelay(true));
    let ((from_client, to_client), (from_cloud, to_cloud)) = (client.into_split(), cloud.into_split());
    tokio::join!(copy(from_client, to_cloud, true, passed), copy(from_cloud, to_client, false, passed));
}

async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, to_cloud: bool, passed: &Mutex<Vec<Passed>>) {
    let mut buffer = vec![0; BUFFER_BYTES];
    while let Ok(bytes) = from.read(&mut buffer).await {
        if bytes == 0 {
            break;
        }
        lock(passed).push(Passed { at: Instant::now(), to_cloud, bytes });
        if to.write_all(&buffer[..bytes]).await.is_err() {
            break;
        }
    }
}
