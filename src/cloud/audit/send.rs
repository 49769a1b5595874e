//! The loop that sends audit records: a batch at a time, in order, again and again until it is accepted.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use reqwest::{Client, Response, StatusCode, redirect};
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::super::backoff::Backoff;
use super::super::text::{chain, sanitize};
use super::super::transport;
use super::AppCredentials;
use super::queue::{Queue, Record};
use super::request::{Target, add_signature, body};
use crate::model::App;

/// Records of one request, by the endpoint's rules.
const BATCH_MAX: usize = 500;

/// About what they may take together, bytes before compression.
const BATCH_BYTES_MAX: usize = 1024 * 1024;

/// How long the first record of a batch waits for others.
const LINGER: Duration = Duration::from_secs(1);

/// How long what is left at the end may take.
const FLUSH_LIMIT: Duration = Duration::from_secs(2);

/// Limit for one connection to be made.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// Limit for one request with its answer.
const REQUEST_LIMIT: Duration = Duration::from_secs(30);

/// What is read of an answer, bytes; only its beginning is shown.
const ANSWER_MAX: usize = 4 * 1024;

/// Why a batch was not accepted.
#[derive(Debug)]
enum Refusal {
    /// Something in it, or its size.
    Content(String),
    /// Who sent it.
    Credentials(String),
    /// It may be accepted later.
    Passing(String),
}

/// See [`AuditTrail::send`](super::AuditTrail::send).
pub(super) async fn run(
    queue: &Queue,
    app: &watch::Receiver<Option<Arc<App>>>,
    credentials: AppCredentials,
    shutdown: CancellationToken,
) {
    // Without audit, which is what most apps have, no roots of trust are read and kept for it.
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
    // A request that is given up may have been accepted; nobody asks any more.
    tokio::select! {
        () = sender.run(&shutdown) => {}
        () = limit => {}
    }
    let count = queue.give_up();
    if count > 0 {
        tracing::warn!(count, "audit records were not accepted before the end and are lost");
    }
}

struct Sender<'a> {
    queue: &'a Queue,
    app: &'a watch::Receiver<Option<Arc<App>>>,
    credentials: AppCredentials,
    /// Where records go, with the client for it. The last one stays when audit is switched off, for what was noted before.
    target: Option<(Target, Client)>,
    backoff: Backoff,
    /// Records of the next batch; fewer while it is found out which one is refused.
    batch_max: usize,
    /// Whether the credentials were renewed since the last success.
    is_renewed: bool,
    /// Whether `shutdown` was seen.
    is_ending: bool,
}

impl Sender<'_> {
    /// Ends when all is sent after `shutdown`.
    async fn run(&mut self, shutdown: &CancellationToken) {
        loop {
            if self.queue.numbers().waiting > 0 {
                let pause = self.send_batch().await;
                self.rest(pause, shutdown).await;
            } else if self.is_ending {
                return;
            } else {
                // Both arms only wait.
                tokio::select! {
                    () = self.queue.filled() => self.rest(LINGER, shutdown).await,
                    () = shutdown.cancelled() => self.end(),
                }
            }
        }
    }

    /// A pause, which ends early when the daemon does.
    async fn rest(&mut self, pause: Duration, shutdown: &CancellationToken) {
        // Both arms only wait.
        tokio::select! {
            () = sleep(pause) => {}
            () = shutdown.cancelled(), if !self.is_ending => self.end(),
        }
    }

    /// From now on pauses are short ones again, and count.
    fn end(&mut self) {
        self.is_ending = true;
        self.backoff.reset();
    }

    /// Sends the oldest records; how long to wait before the next ones.
    async fn send_batch(&mut self) -> Duration {
        let batch = self.queue.front(self.batch_max, BATCH_BYTES_MAX);
        let target = self.app.borrow().as_ref().and_then(|app| Target::of(app).ok());
        if let Some(target) = target
            && let Err(error) = self.aim(target)
        {
            return self.failed(Refusal::Passing(chain(&error)), batch.len());
        }
        let sent = match &self.target {
            Some((target, http)) => self.post(target, http, &batch).await,
            None => Err(Refusal::Passing("there is no endpoint".to_owned())),
        };
        match sent {
            Ok(()) => {
                self.queue.accepted(batch.len());
                self.succeeded();
                Duration::ZERO
            }
            Err(refusal) => self.failed(refusal, batch.len()),
        }
    }

    fn succeeded(&mut self) {
        if self.backoff.failures() > 0 {
            let numbers = self.queue.numbers();
            tracing::info!(
                waiting = numbers.waiting,
                dropped = numbers.dropped,
                "audit records are accepted again; dropped counts from the daemon's start"
            );
        }
        self.backoff.reset();
        self.is_renewed = false;
        self.batch_max = (self.batch_max * 2).min(BATCH_MAX);
    }

    /// What a failure means for the records and for the pause before the next try.
    ///
    /// A batch that is refused for what is in it is halved until the record at fault stands alone, and is given up. If
    /// the endpoint refuses all records, that is one request a pause, until there is no room for more.
    fn failed(&mut self, refusal: Refusal, count: usize) -> Duration {
        let error = match refusal {
            Refusal::Content(error) if count > 1 => {
                tracing::debug!(count, error, "audit records were refused; trying fewer at a time");
                self.queue.retried(count);
                self.batch_max = count / 2;
                return Duration::ZERO;
            }
            Refusal::Content(error) => {
                self.queue.refused(1);
                if self.backoff.failures() == 0 {
                    tracing::warn!(error, "an audit record was refused and is dropped");
                }
                return self.backoff.next(rand::random());
            }
            Refusal::Credentials(error) if !self.is_renewed => {
                tracing::debug!(error, "audit records were refused; renewing the app's AWS credentials");
                self.queue.retried(count);
                self.is_renewed = true;
                self.credentials.expire();
                return Duration::ZERO;
            }
            Refusal::Credentials(error) => {
                // Ever more rarely: where the permission is missing, new ones do not help.
                if (self.backoff.failures() + 1).is_power_of_two() {
                    self.credentials.expire();
                }
                error
            }
            Refusal::Passing(error) => error,
        };
        self.queue.retried(count);
        if self.backoff.failures() == 0 {
            tracing::warn!(count, error, "audit records cannot be sent; they wait, and are tried again");
        } else {
            tracing::debug!(attempt = self.backoff.failures() + 1, error, "audit records still cannot be sent");
        }
        self.backoff.next(rand::random())
    }

    /// Keeps the client, and its connection, as long as the endpoint is of the same kind.
    fn aim(&mut self, target: Target) -> reqwest::Result<()> {
        let is_near = |target: &Target| transport::is_near(&target.url());
        let http = match self.target.take() {
            Some((old, http)) if is_near(&old) == is_near(&target) => http,
            _ => transport::web_client(&target.url())
                .connect_timeout(CONNECT_LIMIT)
                .timeout(REQUEST_LIMIT)
                // The signature is for one address.
                .redirect(redirect::Policy::none())
                .build()?,
        };
        self.target = Some((target, http));
        Ok(())
    }

    async fn post(&self, target: &Target, http: &Client, records: &[Arc<Record>]) -> Result<(), Refusal> {
        let credentials = self.credentials.get().await.map_err(|error| Refusal::Passing(chain(&error)))?;
        let (body, mut headers) = body(target, records);
        add_signature(&mut headers, target, &body, &credentials, SystemTime::now())
            .map_err(|error| Refusal::Passing(chain(&error)))?;
        let request = http.post(target.url()).headers(headers).body(body);
        let answer = request.send().await.map_err(|error| Refusal::Passing(chain(&error)))?;
        judge(answer).await
    }
}

async fn judge(answer: Response) -> Result<(), Refusal> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let text = format!("status {}: {}", status.as_u16(), beginning(answer).await);
    Err(match status {
        StatusCode::BAD_REQUEST | StatusCode::PAYLOAD_TOO_LARGE | StatusCode::UNPROCESSABLE_ENTITY => {
            Refusal::Content(text)
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Refusal::Credentials(text),
        _ => Refusal::Passing(text),
    })
}

/// The beginning of an answer, fit for a log line; what cannot be read is left out.
async fn beginning(mut answer: Response) -> String {
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() >= ANSWER_MAX {
            break;
        }
    }
    sanitize(&String::from_utf8_lossy(&text))
}
