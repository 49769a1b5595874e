//! The loop that sends audit records: one batch at a time, in order, with retries until it is accepted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::{Client, Response, redirect};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::CloudErrorKind;
use super::super::backoff::Backoff;
use super::super::transport;
use super::AppCredentials;
use super::queue::{Queue, Record};
use super::request::{Target, add_signature, body};
use crate::model::App;
use crate::text::{chain, excerpt};

/// Records per request: the limit of the endpoint.
const BATCH_MAX: usize = 500;

/// Approximate size of a batch, bytes before compression.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// Time that the first record of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// Limit for sending the remaining records at shutdown.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Limit for opening a connection.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Limit for one request and its response.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// Bytes that are read of a response; only its beginning is shown.
const RESPONSE_BYTES_MAX: usize = 4 * 1024;

/// Why a batch was not accepted.
#[derive(Debug)]
enum SendError {
    /// Its content or size was refused.
    Content(String),
    /// The credentials were refused.
    Credentials(String),
    /// It may be accepted later.
    Transient(String),
}

/// See [`AuditTrail::send`](super::AuditTrail::send).
pub(super) async fn run(
    queue: &Queue,
    app: &watch::Receiver<Option<Arc<App>>>,
    credentials: AppCredentials,
    shutdown: CancellationToken,
) {
    // Most apps have no audit. Until the first record, no HTTP client and no root certificates are loaded.
    let first = async {
        queue.filled().await;
        sleep(LINGER).await;
    };
    tokio::select! {
        () = first => {}
        () = shutdown.cancelled() => {}
    }
    let mut sender = Sender {
        queue,
        app,
        credentials,
        target: None,
        backoff: Backoff::default(),
        batch_max: BATCH_MAX,
        is_renewed: false,
        is_ending: false,
    };
    let limit = async {
        shutdown.cancelled().await;
        sleep(FLUSH_LIMIT).await;
    };
    // The endpoint may have accepted a request that is abandoned here.
    tokio::select! {
        () = sender.run(&shutdown) => {}
        () = limit => {}
    }
    let count = queue.drop_all();
    if count > 0 {
        tracing::warn!(count, "audit records were not accepted before the end and are lost");
    }
}

struct Sender<'a> {
    queue: &'a Queue,
    app: &'a watch::Receiver<Option<Arc<App>>>,
    credentials: AppCredentials,
    /// The endpoint and its client. Kept when audit is disabled, for records from before.
    target: Option<(Target, Client)>,
    backoff: Backoff,
    /// Records of the next batch; fewer while the refused record is being isolated.
    batch_max: usize,
    /// Whether the credentials were renewed since the last success.
    is_renewed: bool,
    /// Whether `shutdown` was seen.
    is_ending: bool,
}

impl Sender<'_> {
    /// Returns when all records are sent after `shutdown`.
    async fn run(&mut self, shutdown: &CancellationToken) {
        loop {
            if self.queue.numbers().waiting > 0 {
                let delay = self.send_batch().await;
                self.wait(delay, shutdown).await;
            } else if self.is_ending {
                return;
            } else {
                // Both arms only wait.
                tokio::select! {
                    () = self.queue.filled() => self.wait(LINGER, shutdown).await,
                    () = shutdown.cancelled() => self.end(),
                }
            }
        }
    }

    /// Waits for `delay`, or until the daemon ends.
    async fn wait(&mut self, delay: Duration, shutdown: &CancellationToken) {
        // Both arms only wait.
        tokio::select! {
            () = sleep(delay) => {}
            () = shutdown.cancelled(), if !self.is_ending => self.end(),
        }
    }

    /// Begins the shutdown: delays start from the shortest one again and are not interrupted.
    fn end(&mut self) {
        self.is_ending = true;
        self.backoff.reset();
    }

    /// Sends the oldest records. Returns the delay before the next batch.
    async fn send_batch(&mut self) -> Duration {
        let batch = self.queue.front(self.batch_max, BATCH_BYTES_MAX);
        let target = self.app.borrow().as_ref().and_then(|app| Target::of(app).ok());
        if let Some(target) = target
            && let Err(error) = self.set_target(target)
        {
            return self.failed(SendError::Transient(chain(&error)), batch.len());
        }
        let sent = match &self.target {
            Some((target, http)) => self.post(target, http, &batch).await,
            None => Err(SendError::Transient("there is no audit endpoint".to_owned())),
        };
        match sent {
            Ok(()) => {
                self.queue.accepted(batch.len());
                self.succeeded();
                Duration::ZERO
            }
            Err(error) => self.failed(error, batch.len()),
        }
    }

    fn succeeded(&mut self) {
        if self.backoff.failures() > 0 {
            let numbers = self.queue.numbers();
            tracing::info!(
                waiting = numbers.waiting,
                dropped = numbers.dropped,
                "audit records are accepted again; dropped is the total since the start of the daemon"
            );
        }
        self.backoff.reset();
        self.is_renewed = false;
        self.batch_max = (self.batch_max * 2).min(BATCH_MAX);
    }

    /// Handles a failure. Returns the delay before the next attempt.
    ///
    /// A batch whose content is refused is halved until the refused record is alone; this record is dropped. If the
    /// endpoint refuses all records, this takes one request per delay until the queue is full.
    fn failed(&mut self, error: SendError, count: usize) -> Duration {
        let error = match error {
            SendError::Content(error) if count > 1 => {
                tracing::debug!(count, error, "audit records were refused; sending fewer per request");
                self.queue.retried(count);
                self.batch_max = count / 2;
                return Duration::ZERO;
            }
            SendError::Content(error) => {
                self.queue.refused(1);
                if self.backoff.failures() == 0 {
                    tracing::warn!(error, "an audit record was refused and is dropped");
                }
                return self.backoff.next(rand::random());
            }
            SendError::Credentials(error) if !self.is_renewed => {
                tracing::debug!(error, "audit records were refused; renewing the app's AWS credentials");
                self.queue.retried(count);
                self.is_renewed = true;
                self.credentials.expire();
                return Duration::ZERO;
            }
            SendError::Credentials(error) => {
                // With decreasing frequency: new credentials do not help if the permission is missing.
                if (self.backoff.failures() + 1).is_power_of_two() {
                    self.credentials.expire();
                }
                error
            }
            SendError::Transient(error) => error,
        };
        self.queue.retried(count);
        if self.backoff.failures() == 0 {
            tracing::warn!(count, error, "audit records cannot be sent; they are kept and sent again");
        } else {
            tracing::debug!(attempt = self.backoff.failures() + 1, error, "audit records still cannot be sent");
        }
        self.backoff.next(rand::random())
    }

    /// Sets the endpoint. Keeps the client and its connection if the proxy setting is the same.
    fn set_target(&mut self, target: Target) -> reqwest::Result<()> {
        let is_local = |target: &Target| transport::is_local(&target.url());
        let http = match self.target.take() {
            Some((old, http)) if is_local(&old) == is_local(&target) => http,
            _ => transport::web_client(&target.url())
                .connect_timeout(CONNECT_LIMIT)
                .timeout(REQUEST_LIMIT)
                // The signature is for one URL.
                .redirect(redirect::Policy::none())
                .build()?,
        };
        self.target = Some((target, http));
        Ok(())
    }

    async fn post(&self, target: &Target, http: &Client, records: &[Arc<Record>]) -> Result<(), SendError> {
        let credentials = self.credentials.get().await.map_err(|error| SendError::Transient(chain(&error)))?;
        let (body, mut headers) = body(target, records);
        add_signature(&mut headers, target, &body, &credentials, SystemTime::now())
            .map_err(|error| SendError::Transient(chain(&error)))?;
        let request = http.post(target.url()).headers(headers).body(body);
        let response = request.send().await.map_err(|error| SendError::Transient(chain(&error)))?;
        check_response(response).await
    }
}

async fn check_response(response: Response) -> Result<(), SendError> {
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let text = format!("status {}: {}", status.as_u16(), read_start(response).await);
    Err(match CloudErrorKind::of_status(status.as_u16()) {
        Some(CloudErrorKind::Invalid) => SendError::Content(text),
        Some(CloudErrorKind::Expired | CloudErrorKind::Denied) => SendError::Credentials(text),
        _ => SendError::Transient(text),
    })
}

/// The beginning of a response, sanitised for a log line; unreadable parts are omitted.
async fn read_start(mut response: Response) -> String {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() >= RESPONSE_BYTES_MAX {
            break;
        }
    }
    excerpt(&String::from_utf8_lossy(&text))
}
