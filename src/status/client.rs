//! Client of the status socket, for the commands that connect to a running daemon.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Response, StatusCode};
use tokio::time::timeout;

use super::history::HistoryFile;
use super::model::{Event, NodeHistory, Report, VERSION};
use crate::text::chain;

/// The longest wait for a response.
const RESPONSE_LIMIT: Duration = Duration::from_secs(10);
/// A stream of events without data for this time is dead: the daemon sends a keep-alive every 15 s.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// Why a request to the daemon failed.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No process listens on the socket.
    #[error("the daemon is not running: no process listens at {}", .0.display())]
    NotRunning(PathBuf),
    /// This user has no access to the socket.
    #[error("this user may not use {}", .0.display())]
    Forbidden(PathBuf),
    /// The daemon does not know the node.
    #[error("the daemon has no node of this name")]
    UnknownNode,
    /// No response, or an unexpected one.
    #[error("the request to the daemon failed: {0}")]
    Failed(String),
}

/// A client of one socket. Opens a connection for each request.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    http: reqwest::Client,
}

/// A stream of events.
#[derive(Debug)]
pub struct EventStream {
    response: Response,
    buffer: Vec<u8>,
}

impl Client {
    /// A client of the socket at `path`. Connects to nothing yet.
    pub fn new(path: &Path) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder().unix_socket(path).no_proxy().build();
        let http = http.map_err(|error| ClientError::Failed(chain(&error)))?;
        Ok(Self { path: path.to_owned(), http })
    }

    /// Reads the status report.
    pub async fn report(&self) -> Result<Report, ClientError> {
        let report: Report = read(self.get("/v1/status", &[]).await?).await?;
        check_version(report.version).map(|()| report)
    }

    /// Reads the actions on a node.
    pub async fn history(&self, node: &str) -> Result<NodeHistory, ClientError> {
        let history: NodeHistory = read(self.get("/v1/history", &[("node", node)]).await?).await?;
        check_version(history.version).map(|()| history)
    }

    /// Follows events from now on, and those after the ID `after`.
    pub async fn follow(&self, after: Option<u64>) -> Result<EventStream, ClientError> {
        let after = after.map(|after| after.to_string());
        let query: Vec<(&str, &str)> = after.iter().map(|after| ("after", after.as_str())).collect();
        let response = self.get("/v1/events", &query).await?;
        Ok(EventStream { response, buffer: Vec::new() })
    }

    async fn get(&self, path: &str, query: &[(&str, &str)]) -> Result<Response, ClientError> {
        let mut url = reqwest::Url::parse("http://daemon").expect("a constant");
        url.set_path(path);
        url.query_pairs_mut().extend_pairs(query);
        let response = timeout(RESPONSE_LIMIT, self.http.get(url).send()).await;
        let response = response.map_err(|_| timed_out())?.map_err(|error| self.failed(&error))?;
        match response.status() {
            StatusCode::OK => Ok(response),
            StatusCode::NOT_FOUND if path == "/v1/history" => Err(ClientError::UnknownNode),
            status => Err(ClientError::Failed(format!("{status}"))),
        }
    }

    fn failed(&self, error: &reqwest::Error) -> ClientError {
        let mut next: Option<&(dyn std::error::Error + 'static)> = Some(error);
        while let Some(error) = next {
            match error.downcast_ref::<io::Error>().map(io::Error::kind) {
                Some(io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) => {
                    return ClientError::NotRunning(self.path.clone());
                }
                Some(io::ErrorKind::PermissionDenied) => return ClientError::Forbidden(self.path.clone()),
                _ => next = error.source(),
            }
        }
        ClientError::Failed(chain(error))
    }
}

impl EventStream {
    /// The next event; `None` when the daemon ends the stream. Not cancel-safe in the middle of an event.
    pub async fn next(&mut self) -> Result<Option<Event>, ClientError> {
        loop {
            if let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let frame: Vec<u8> = self.buffer.drain(..end + 2).collect();
                match event(&String::from_utf8_lossy(&frame)) {
                    Some(event) => return Ok(Some(event)),
                    None => continue,
                }
            }
            let chunk = timeout(SILENCE_MAX, self.response.chunk()).await.map_err(|_| timed_out())?;
            match chunk {
                Ok(Some(chunk)) => self.buffer.extend_from_slice(&chunk),
                // Any end of the stream: the daemon sends no more on it.
                Ok(None) | Err(_) => return Ok(None),
            }
        }
    }
}

/// Parses a frame of server-sent events; `None` for keep-alives and unknown frames.
fn event(frame: &str) -> Option<Event> {
    serde_json::from_str(frame.lines().find_map(|line| line.strip_prefix("data: "))?).ok()
}

fn timed_out() -> ClientError {
    ClientError::Failed(format!("no answer within {} s", RESPONSE_LIMIT.as_secs()))
}

fn check_version(version: u32) -> Result<(), ClientError> {
    let is_known = version <= VERSION;
    is_known.then_some(()).ok_or_else(|| {
        ClientError::Failed(format!("it uses version {version} of the protocol, and this program supports {VERSION}"))
    })
}

async fn read<T: serde::de::DeserializeOwned>(response: Response) -> Result<T, ClientError> {
    let body = timeout(RESPONSE_LIMIT, response.bytes()).await.map_err(|_| timed_out())?;
    let body = body.map_err(|error| ClientError::Failed(chain(&error)))?;
    serde_json::from_slice(&body).map_err(|error| ClientError::Failed(error.to_string()))
}

/// The actions on a node in the history file of `directory`, if no daemon runs. Blocks.
pub fn offline_history(directory: &Path, node: &str) -> io::Result<Option<NodeHistory>> {
    let history = HistoryFile::open(directory).1?;
    let actions: Vec<_> = history.of_node(node).cloned().collect();
    let found = NodeHistory { version: VERSION, node: node.to_owned(), now: None, actions };
    Ok((!found.actions.is_empty()).then_some(found))
}
