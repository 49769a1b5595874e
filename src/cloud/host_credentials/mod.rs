//! The host's own AWS keys, from one provider for all clients that call with them: the SDK's default chain, followed
//! while the program runs.
//!
//! The SDK parses the shared files once and keeps keys without an expiry for ever. Where an agent replaces them about
//! every hour, as on Systems Manager's hybrid hosts, that ends all calls. Here the files are compared every few seconds
//! while calls are made, and at once when an answer says that the keys are no good; `refused` is what hears that.
//!
//! A file may be caught half-written. The last keys stay in use meanwhile, as long as no service refuses them.

mod chain;
mod files;
mod kept;
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
use chain::{Chain, Miss};
use files::Files;
use kept::{COMPARE_EVERY, FilesDigest, Kept, KeysDigest, digest, time_to_ask_again};

/// The longest wait for a file that somebody seems to be writing, when there are no other keys to go on with.
const WRITING_MAX: Duration = Duration::from_secs(5);

/// How often such a file is read meanwhile.
const READ_EVERY: Duration = Duration::from_millis(100);

/// Limit for one walk along the chain: a process, the metadata of an instance, STS.
const CHAIN_LIMIT: Duration = Duration::from_secs(20);

/// A process that hangs is left behind, so after one the next is started a minute later, and then twice as late each time.
const SILENCE: Duration = Duration::from_secs(60);
/// Doublings of [`SILENCE`].
const SILENCE_DOUBLINGS_MAX: u32 = 4;

/// Keys that were refused, read again, and the same, are read again at most this often. A failure is as old at most.
const REREAD_EVERY: Duration = Duration::from_secs(1);

/// When shared files stop having keys, the links after them count only if that lasts.
const GAP_MAX: Duration = Duration::from_secs(60);

/// The host's keys. One for the whole program, behind an `Arc`.
pub struct HostCredentials {
    /// `None`: the chain is another's, and no files belong to it.
    own: Option<Own>,
    chain: Mutex<Option<(FilesDigest, Arc<Chain>)>>,
    kept: Renewing<Kept, NoKeys>,
    memory: Mutex<Memory>,
    redactor: Redactor,
}

struct Own {
    base: SdkConfig,
    paths: ProfilePaths,
}

/// What was noticed about keys over time.
#[derive(Default)]
struct Memory {
    refused: Option<Refused>,
    /// The keys that were found last.
    last: Option<KeysDigest>,
    /// Since when the shared files have no keys any more, and a later link has some.
    gap_since: Option<Instant>,
    /// Whether it was logged that new keys cannot be read.
    is_told: bool,
    silence: Option<Silence>,
}

/// The chain did not answer in time.
#[derive(Clone, Copy)]
struct Silence {
    files: FilesDigest,
    count: u32,
    until: Instant,
}

struct Refused {
    keys: KeysDigest,
    at: Instant,
    /// They were read again since, and came out the same.
    is_final: bool,
}

/// There are no keys. `Display` is one line that names each place of the chain, in its order.
#[derive(Debug, Clone)]
pub struct NoKeys {
    misses: Vec<Miss>,
    is_late: bool,
}

impl fmt::Display for NoKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_late {
            return write!(f, "the source of the keys does not answer within {} s", CHAIN_LIMIT.as_secs());
        }
        let misses = self.misses.iter().map(|Miss { place, reason }| format!("{place}: {reason}"));
        f.write_str(&misses.collect::<Vec<_>>().join("; "))
    }
}

impl std::error::Error for NoKeys {}

/// Keys as people may see them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeysSeen {
    /// Where they came from.
    pub source: KeySource,
    /// The last four characters of the key id.
    pub id_end: String,
    /// When they end, where the source says so.
    pub expiry: Option<SystemTime>,
    /// Whether they are temporary keys, whose end the source may keep to itself.
    pub is_temporary: bool,
}

impl HostCredentials {
    /// The default chain; `base` has the HTTP client for it. Reads nothing yet.
    pub(super) fn new(base: SdkConfig, paths: ProfilePaths, redactor: Redactor) -> Self {
        Self::with(Some(Own { base, paths }), None, redactor)
    }

    /// Keys that somebody else provides.
    pub(super) fn given(provider: SharedCredentialsProvider, redactor: Redactor) -> Self {
        Self::with(None, Some((Files::default().digest(), Arc::new(Chain::given(provider)))), redactor)
    }

    fn with(own: Option<Own>, chain: Option<(FilesDigest, Arc<Chain>)>, redactor: Redactor) -> Self {
        let kept = Renewing::new(REREAD_EVERY);
        Self { own, chain: Mutex::new(chain), kept, memory: Mutex::default(), redactor }
    }

    /// Keys to call with. Ends within about 30 s.
    pub async fn get(&self) -> Result<Credentials, NoKeys> {
        Ok(self.kept().await?.credentials)
    }

    /// The same keys, for people to see.
    pub async fn seen(&self) -> Result<KeysSeen, NoKeys> {
        let kept = self.kept().await?;
        let id = kept.credentials.access_key_id();
        let id_end = id.chars().skip(id.chars().count().saturating_sub(4)).collect();
        let (expiry, is_temporary) = (kept.credentials.expiry(), kept.credentials.session_token().is_some());
        Ok(KeysSeen { source: kept.source, id_end, expiry, is_temporary })
    }

    /// How long the keys that are held are good, as far as their source said so. `None` also for expired ones that nobody
    /// needed to renew.
    pub fn left(&self) -> Option<Duration> {
        let expiry = self.kept.peek(|kept| kept.credentials.expiry()).flatten()?;
        let left = expiry.duration_since(SystemTime::now()).ok();
        left.or_else(|| self.memory().is_told.then_some(Duration::ZERO))
    }

    async fn kept(&self) -> Result<Kept, NoKeys> {
        self.kept.get(|old| self.renew(old)).await
    }

    /// The next call compares the keys with their source first.
    pub(crate) fn compare(&self) {
        self.kept.update(|kept| kept.fresh_until = Instant::now());
    }

    /// A service refused these keys: the next call goes with keys that are read anew.
    fn refuse(&self, key_id: &str, session_token: Option<&str>) {
        self.kept.reject(|kept| {
            let keys = &kept.credentials;
            // Others were faster, and hold new ones.
            if keys.access_key_id() != key_id || keys.session_token() != session_token {
                return false;
            }
            let mut memory = self.memory();
            let earlier = memory.refused.take().filter(|refused| refused.keys == kept.digest);
            let at = earlier.map_or_else(Instant::now, |refused| refused.at);
            let is_final = kept.asked_at > at;
            memory.refused = Some(Refused { keys: kept.digest, at, is_final });
            !is_final || kept.asked_at.elapsed() >= REREAD_EVERY
        });
    }

    /// A service took these keys.
    fn accept(&self, key_id: &str) {
        // One lock after the other: `refuse` holds both.
        if self.kept.peek(|kept| kept.credentials.access_key_id() == key_id) == Some(true) {
            self.memory().refused = None;
        }
    }

    /// Whether a call whose keys were refused may be repeated with others.
    fn may_have_others(&self) -> bool {
        self.memory().refused.as_ref().is_none_or(|refused| !refused.is_final)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New keys, or the old ones for a while longer.
    async fn renew(&self, old: Option<Kept>) -> Result<Kept, NoKeys> {
        let refused = self.memory().refused.as_ref().map(|refused| refused.keys);
        let is_refused = |digest: &KeysDigest| refused.as_ref() == Some(digest);
        let good = old.filter(|old| !is_refused(&old.digest));
        let limit = Instant::now() + WRITING_MAX;
        loop {
            let files = self.files().await;
            let may_wait = good.is_none() && Instant::now() < limit;
            if let Some(good) = good.as_ref().filter(|good| good.lasts(&files)) {
                return Ok(good.clone().for_now(files.are_quiet()));
            }
            if may_wait && !files.are_quiet() {
                sleep(READ_EVERY).await;
                continue;
            }
            match self.ask(&files, good.is_none()).await {
                Ok(new) if may_wait && files.are_recent() && is_refused(&new.digest) => sleep(READ_EVERY).await,
                Ok(new) => return Ok(self.adopt(good, new)),
                Err(_) if may_wait && files.are_recent() => sleep(READ_EVERY).await,
                Err(error) => {
                    self.tell_of_failure(good.as_ref(), &error);
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

    /// Walks along the chain; `anew` makes its links forget what they know.
    async fn ask(&self, files: &Files, anew: bool) -> Result<Kept, NoKeys> {
        let late = NoKeys { misses: Vec::new(), is_late: true };
        let silence = self.memory().silence.filter(|silence| files.name_a_process() && silence.files == files.digest());
        if silence.is_some_and(|silence| Instant::now() < silence.until) {
            return Err(late);
        }
        let chain = self.chain(files, anew).await;
        let asked_at = Instant::now();
        let Ok(asked) = timeout(CHAIN_LIMIT, chain.ask(files)).await else {
            let count = silence.map_or(0, |silence| (silence.count + 1).min(SILENCE_DOUBLINGS_MAX));
            let until = Instant::now() + SILENCE * 2_u32.pow(count);
            self.memory().silence = Some(Silence { files: files.digest(), count, until });
            return Err(late);
        };
        self.memory().silence = None;
        let (credentials, source) = asked.map_err(|misses| NoKeys { misses, is_late: false })?;
        let ask_again_at = asked_at + time_to_ask_again(credentials.expiry(), SystemTime::now());
        let (digest, files) = (digest(&credentials), files.digest());
        Ok(Kept { credentials, source, digest, files, asked_at, ask_again_at, fresh_until: asked_at + COMPARE_EVERY })
    }

    async fn chain(&self, files: &Files, anew: bool) -> Arc<Chain> {
        let digest = files.digest();
        let known = self.chain.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match (&self.own, known) {
            (Some(_), Some((known, chain))) if known == digest && !anew => chain,
            (None, Some((_, chain))) => chain,
            (own, _) => {
                let own = own.as_ref().expect("a chain that is given stays");
                let chain = Arc::new(Chain::new(&own.base, &own.paths, files).await);
                *self.chain.lock().unwrap_or_else(PoisonError::into_inner) = Some((digest, chain.clone()));
                chain
            }
        }
    }

    /// Keys that were found, unless they are of another source than the good ones, whose file is only missing for a
    /// moment.
    fn adopt(&self, good: Option<Kept>, mut new: Kept) -> Kept {
        let mut memory = self.memory();
        if let Some(good) = &good
            && matches!(good.source, KeySource::Profile(_))
            && !matches!(new.source, KeySource::Profile(_) | KeySource::Environment)
            && memory.gap_since.get_or_insert_with(Instant::now).elapsed() < GAP_MAX
        {
            return good.clone().for_now(true);
        }
        let before = memory.last.replace(new.digest);
        memory.gap_since = None;
        memory.is_told = false;
        memory.refused.take_if(|refused| refused.keys != new.digest);
        if memory.refused.is_some() {
            new.fresh_until = new.asked_at + REREAD_EVERY;
        }
        drop(memory);
        if before != Some(new.digest) {
            self.redactor.add_passing(&SecretString::from(new.credentials.secret_access_key()));
            if let Some(token) = new.credentials.session_token() {
                self.redactor.add_passing(&SecretString::from(token));
            }
            match before {
                None => debug!(source = %new.source, "the AWS keys of this host were read"),
                Some(_) => info!(source = %new.source, "the AWS keys of this host were replaced"),
            }
        }
        new
    }

    fn tell_of_failure(&self, good: Option<&Kept>, error: &NoKeys) {
        if good.is_some() && !std::mem::replace(&mut self.memory().is_told, true) {
            warn!(%error, "the AWS keys of this host cannot be read again; the last ones stay in use");
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
