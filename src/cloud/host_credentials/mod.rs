//! The host's AWS keys, from one provider for all clients: the SDK's default chain, with keys that are replaced while
//! the program runs.
//!
//! The SDK parses the shared files once and caches keys without an expiry for ever. If an agent replaces them about
//! every hour, as on Systems Manager's hybrid hosts, all calls fail then. This provider compares the files every few
//! seconds while calls are made, and at once when a service refuses the keys; `refused` detects that.
//!
//! A file can be read while it is being written. The last keys stay in use meanwhile, unless a service refuses them.

mod cached_keys;
mod chain;
mod files;
mod refused;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_config::SdkConfig;
use aws_credential_types::Credentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use secrecy::SecretString;
use tokio::time::{Instant, sleep, timeout};
use tracing::{debug, info, warn};

pub use chain::KeySource;
pub(crate) use files::ProfilePaths;
pub(super) use refused::RefusedKeys;

use super::renewing::Renewing;
use crate::telemetry::Redactor;
use cached_keys::{COMPARE_EVERY, CachedKeys, FilesDigest, KeysDigest, digest, time_to_reload};
use chain::{Chain, Miss};
use files::Files;

/// Limit of the wait for a file that is being written, if there are no other keys.
const WRITING_MAX: Duration = Duration::from_secs(5);

/// Interval at which such a file is read.
const READ_EVERY: Duration = Duration::from_millis(100);

/// Limit for loading keys from the whole chain: a process, the metadata of an instance, STS.
const CHAIN_LIMIT: Duration = Duration::from_secs(20);

/// Delay after a process that hangs, which cannot be ended; doubled each time.
const HANG_DELAY: Duration = Duration::from_secs(60);
/// Doublings of [`HANG_DELAY`].
const HANG_DELAY_DOUBLINGS_MAX: u32 = 4;

/// Shortest interval between reads of refused keys that have not changed. Failures are cached for the same time.
const REREAD_EVERY: Duration = Duration::from_secs(1);

/// If the shared files stop having keys, later links of the chain are used only after this time.
const GAP_MAX: Duration = Duration::from_secs(60);

/// The host's keys. One for the whole program, behind an `Arc`.
pub struct HostCredentials {
    /// `None`: the chain was passed in and has no files.
    own: Option<Own>,
    chain: Mutex<Option<(FilesDigest, Arc<Chain>)>>,
    cached: Renewing<CachedKeys, NoKeys>,
    history: Mutex<History>,
    redactor: Redactor,
}

struct Own {
    base: SdkConfig,
    paths: ProfilePaths,
}

/// History of the keys.
#[derive(Default)]
struct History {
    refused: Option<Refused>,
    /// The keys that were loaded last.
    last: Option<KeysDigest>,
    /// Since when the shared files have no keys, while a later link has some.
    gap_since: Option<Instant>,
    /// Whether the failure to read new keys is logged.
    is_failure_logged: bool,
    hang: Option<Hang>,
}

/// The chain timed out.
#[derive(Clone, Copy)]
struct Hang {
    files: FilesDigest,
    count: u32,
    until: Instant,
}

struct Refused {
    keys: KeysDigest,
    at: Instant,
    /// They were read again since and have not changed.
    is_final: bool,
}

/// There are no keys. `Display` is one line that names each link of the chain, in order.
#[derive(Debug, Clone)]
pub struct NoKeys {
    misses: Vec<Miss>,
    is_timed_out: bool,
}

impl fmt::Display for NoKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_timed_out {
            return write!(f, "the source of the keys does not answer within {} s", CHAIN_LIMIT.as_secs());
        }
        let misses = self.misses.iter().map(|Miss { link_name, reason }| format!("{link_name}: {reason}"));
        f.write_str(&misses.collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for NoKeys {}

/// Keys without secrets, for display.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysSeen {
    /// Their source.
    pub source: KeySource,
    /// The last four characters of the key id.
    pub id_end: String,
    /// Their expiry, if the source has one.
    pub expiry: Option<SystemTime>,
    /// Whether they are temporary keys, also if the source has no expiry.
    pub is_temporary: bool,
}

impl HostCredentials {
    /// The default chain; `base` has its HTTP client. Reads nothing.
    pub(super) fn new(base: SdkConfig, paths: ProfilePaths, redactor: Redactor) -> Self {
        Self::with(Some(Own { base, paths }), None, redactor)
    }

    /// The keys of another provider.
    pub(super) fn given(provider: SharedCredentialsProvider, redactor: Redactor) -> Self {
        Self::with(None, Some((Files::default().digest(), Arc::new(Chain::given(provider)))), redactor)
    }

    fn with(own: Option<Own>, chain: Option<(FilesDigest, Arc<Chain>)>, redactor: Redactor) -> Self {
        let cached = Renewing::new(REREAD_EVERY);
        Self { own, chain: Mutex::new(chain), cached, history: Mutex::default(), redactor }
    }

    /// The keys. Returns within about 30 s.
    pub async fn get(&self) -> Result<Credentials, NoKeys> {
        Ok(self.cached().await?.credentials)
    }

    /// The same keys without secrets, for display.
    pub async fn seen(&self) -> Result<KeysSeen, NoKeys> {
        let cached = self.cached().await?;
        let id = cached.credentials.access_key_id();
        let id_end = id.chars().skip(id.chars().count().saturating_sub(4)).collect();
        let (expiry, is_temporary) = (cached.credentials.expiry(), cached.credentials.session_token().is_some());
        Ok(KeysSeen { source: cached.source, id_end, expiry, is_temporary })
    }

    /// Time until the cached keys expire, if their source has an expiry. `None` also for expired keys that no call
    /// needed since.
    pub fn left(&self) -> Option<Duration> {
        let expiry = self.cached.inspect(|cached| cached.credentials.expiry()).flatten()?;
        let left = expiry.duration_since(SystemTime::now()).ok();
        left.or_else(|| self.history().is_failure_logged.then_some(Duration::ZERO))
    }

    async fn cached(&self) -> Result<CachedKeys, NoKeys> {
        self.cached.get(|old| self.renew(old)).await
    }

    /// Makes the next call compare the keys with their source.
    pub(crate) fn compare(&self) {
        self.cached.update(|cached| cached.fresh_until = Instant::now());
    }

    /// A service refused these keys: the next call reads them again.
    fn refuse(&self, key_id: &str, session_token: Option<&str>) {
        self.cached.reject(|cached| {
            let keys = &cached.credentials;
            // Another call has renewed them already.
            if keys.access_key_id() != key_id || keys.session_token() != session_token {
                return false;
            }
            let mut history = self.history();
            let earlier = history.refused.take().filter(|refused| refused.keys == cached.digest);
            let at = earlier.map_or_else(Instant::now, |refused| refused.at);
            let is_final = cached.loaded_at > at;
            history.refused = Some(Refused { keys: cached.digest, at, is_final });
            !is_final || cached.loaded_at.elapsed() >= REREAD_EVERY
        });
    }

    /// A service accepted these keys.
    fn accept(&self, key_id: &str) {
        // One lock after the other: `refuse` holds both.
        if self.cached.inspect(|cached| cached.credentials.access_key_id() == key_id) == Some(true) {
            self.history().refused = None;
        }
    }

    /// Whether a call whose keys were refused may be retried with other keys.
    fn may_retry(&self) -> bool {
        self.history().refused.as_ref().is_none_or(|refused| !refused.is_final)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New keys, or the old ones for a limited time.
    async fn renew(&self, old: Option<CachedKeys>) -> Result<CachedKeys, NoKeys> {
        let refused = self.history().refused.as_ref().map(|refused| refused.keys);
        let is_refused = |digest: &KeysDigest| refused.as_ref() == Some(digest);
        let current = old.filter(|old| !is_refused(&old.digest));
        let limit = Instant::now() + WRITING_MAX;
        loop {
            let files = self.files().await;
            let may_wait = current.is_none() && Instant::now() < limit;
            if let Some(current) = current.as_ref().filter(|current| current.is_current(&files)) {
                return Ok(current.clone().extended(files.are_quiet()));
            }
            if may_wait && !files.are_quiet() {
                sleep(READ_EVERY).await;
                continue;
            }
            match self.load(&files, current.is_none()).await {
                Ok(new) if may_wait && files.are_recent() && is_refused(&new.digest) => sleep(READ_EVERY).await,
                Ok(new) => return Ok(self.adopt(current, new)),
                Err(_) if may_wait && files.are_recent() => sleep(READ_EVERY).await,
                Err(error) => {
                    self.log_failure(current.as_ref(), &error);
                    return Err(error);
                }
            }
        }
    }

    async fn files(&self) -> Files {
        match &self.own {
            Some(own) => own.paths.read().await,
            None => Files::default(),
        }
    }

    /// Loads keys from the chain; `anew` rebuilds it, without cached state.
    async fn load(&self, files: &Files, anew: bool) -> Result<CachedKeys, NoKeys> {
        let timed_out = NoKeys { misses: Vec::new(), is_timed_out: true };
        let hang = self.history().hang.filter(|hang| files.name_a_process() && hang.files == files.digest());
        if hang.is_some_and(|hang| Instant::now() < hang.until) {
            return Err(timed_out);
        }
        let chain = self.chain(files, anew).await;
        let loaded_at = Instant::now();
        let Ok(loaded) = timeout(CHAIN_LIMIT, chain.load(files)).await else {
            let count = hang.map_or(0, |hang| (hang.count + 1).min(HANG_DELAY_DOUBLINGS_MAX));
            let until = Instant::now() + HANG_DELAY * 2_u32.pow(count);
            self.history().hang = Some(Hang { files: files.digest(), count, until });
            return Err(timed_out);
        };
        self.history().hang = None;
        let (credentials, source) = loaded.map_err(|misses| NoKeys { misses, is_timed_out: false })?;
        let reload_at = loaded_at + time_to_reload(credentials.expiry(), SystemTime::now());
        let (digest, files) = (digest(&credentials), files.digest());
        Ok(CachedKeys {
            credentials,
            source,
            digest,
            files,
            loaded_at,
            reload_at,
            fresh_until: loaded_at + COMPARE_EVERY,
        })
    }

    async fn chain(&self, files: &Files, anew: bool) -> Arc<Chain> {
        let digest = files.digest();
        let known = self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (&self.own, known) {
            (Some(_), Some((known, chain))) if known == digest && !anew => chain,
            (None, Some((_, chain))) => chain,
            (own, _) => {
                let own = own.as_ref().expect("a chain that was passed in is never rebuilt");
                let chain = Arc::new(Chain::new(&own.base, &own.paths, files).await);
                *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = Some((digest, chain.clone()));
                chain
            }
        }
    }

    /// The new keys, unless they have another source than the current ones, whose file may be missing only temporarily.
    fn adopt(&self, current: Option<CachedKeys>, mut new: CachedKeys) -> CachedKeys {
        let mut history = self.history();
        if let Some(current) = &current
            && matches!(current.source, KeySource::Profile(_))
            && !matches!(new.source, KeySource::Profile(_) | KeySource::Environment)
            && history.gap_since.get_or_insert_with(Instant::now).elapsed() < GAP_MAX
        {
            return current.clone().extended(true);
        }
        let before = history.last.replace(new.digest);
        history.gap_since = None;
        history.is_failure_logged = false;
        history.refused.take_if(|refused| refused.keys != new.digest);
        if history.refused.is_some() {
            new.fresh_until = new.loaded_at + REREAD_EVERY;
        }
        drop(history);
        if before != Some(new.digest) {
            self.redactor.add_passing(&SecretString::from(new.credentials.secret_access_key()));
            if let Some(token) = new.credentials.session_token() {
                self.redactor.add_passing(&SecretString::from(token));
            }
            match before {
                None => debug!(source = %new.source, "the AWS keys of this host were read"),
                // Without the span of the caller: what the shipper of the daemon's log logs is not shipped.
                Some(_) => info!(parent: None, source = %new.source, "the AWS keys of this host were replaced"),
            }
        }
        new
    }

    fn log_failure(&self, current: Option<&CachedKeys>, error: &NoKeys) {
        if current.is_some() && !std::mem::replace(&mut self.history().is_failure_logged, true) {
            warn!(parent: None, %error, "the AWS keys of this host cannot be read again; the last keys stay in use");
        }
    }
}

impl fmt::Debug for HostCredentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HostCredentials")
    }
}

impl ProvideCredentials for HostCredentials {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(async { self.get().await.map_err(CredentialsError::not_loaded) })
    }
}
