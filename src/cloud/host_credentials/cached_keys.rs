//! Cached keys, with the times at which their source is compared or read again. No I/O.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::REREAD_EVERY;
use super::chain::KeySource;
use super::files::Files;
use crate::cloud::renewing::Lease;

/// Interval at which the shared files are compared.
pub(super) const COMPARE_EVERY: Duration = Duration::from_secs(10);

/// Interval at which keys without an expiry are loaded again although no file has changed: a process may return other
/// keys.
pub(super) const RELOAD_EVERY: Duration = Duration::from_secs(300);

/// Keys with an expiry are renewed this long before it, or when a quarter of their lifetime is left if that is shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Digest of the content of the shared files.
pub(super) type FilesDigest = [u8; 32];
/// Digest of keys.
pub(super) type KeysDigest = [u8; 32];

#[derive(Clone)]
pub(super) struct CachedKeys {
    pub(super) credentials: Credentials,
    pub(super) source: KeySource,
    pub(super) digest: KeysDigest,
    pub(super) files: FilesDigest,
    pub(super) loaded_at: Instant,
    pub(super) reload_at: Instant,
    pub(super) fresh_until: Instant,
}

impl Lease for CachedKeys {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    /// The services decide whether keys have expired: this host's clock may be wrong.
    fn is_usable(&self) -> bool {
        true
    }
}

impl CachedKeys {
    /// Whether these keys need not be loaded again: nothing has changed, or a file is being written.
    pub(super) fn is_current(&self, files: &Files) -> bool {
        !files.are_quiet() || (self.files == files.digest() && Instant::now() < self.reload_at)
    }

    /// The same keys, to be compared again after the usual interval, or soon if a file is being written.
    pub(super) fn extended(self, is_quiet: bool) -> Self {
        let pause = if is_quiet { COMPARE_EVERY } else { REREAD_EVERY };
        Self { fresh_until: Instant::now() + pause, ..self }
    }
}

/// Digest of the keys.
pub(super) fn digest(keys: &Credentials) -> KeysDigest {
    let mut digest = Sha256::new();
    for part in [keys.access_key_id(), keys.secret_access_key(), keys.session_token().unwrap_or_default()] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// Time until keys are loaded again: depends on their lifetime, with a lower limit so that not every call loads them.
pub(super) fn time_to_reload(expiry: Option<SystemTime>, now: SystemTime) -> Duration {
    let Some(expiry) = expiry else { return RELOAD_EVERY };
    let life = expiry.duration_since(now).unwrap_or_default();
    (life - RENEW_BEFORE.min(life / 4)).max(COMPARE_EVERY)
}
