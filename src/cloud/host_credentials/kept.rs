//! Keys that were found, with the times at which their source is compared or asked again. Asks nobody.

use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use sha2::{Digest, Sha256};
use tokio::time::Instant;

use super::REREAD_EVERY;
use super::chain::KeySource;
use super::files::Files;
use crate::cloud::renewing::Lease;

/// How long keys are used before the shared files are compared again.
pub(super) const COMPARE_EVERY: Duration = Duration::from_secs(10);

/// How long keys without an expiry are used before their source is asked again, though no file has changed: a process
/// may say something else by then.
pub(super) const ASK_EVERY: Duration = Duration::from_secs(300);

/// Keys with an expiry are renewed this long before it, or when a quarter of their life is left if that is shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Stands for the content of the shared files.
pub(super) type FilesDigest = [u8; 32];
/// Stands for keys as a whole.
pub(super) type KeysDigest = [u8; 32];

#[derive(Clone)]
pub(super) struct Kept {
    pub(super) credentials: Credentials,
    pub(super) source: KeySource,
    pub(super) digest: KeysDigest,
    pub(super) files: FilesDigest,
    pub(super) asked_at: Instant,
    pub(super) ask_again_at: Instant,
    pub(super) fresh_until: Instant,
}

impl Lease for Kept {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    /// Whether they have expired is for the services to say: this host's clock may be wrong.
    fn is_usable(&self) -> bool {
        true
    }
}

impl Kept {
    /// Whether these keys can be used further without asking anybody: nothing has changed, or somebody is writing.
    pub(super) fn lasts(&self, files: &Files) -> bool {
        !files.are_quiet() || (self.files == files.digest() && Instant::now() < self.ask_again_at)
    }

    /// The same, to be compared again after a while, or soon.
    pub(super) fn for_now(self, is_quiet: bool) -> Self {
        let pause = if is_quiet { COMPARE_EVERY } else { REREAD_EVERY };
        Self { fresh_until: Instant::now() + pause, ..self }
    }
}

/// Stands for the keys as a whole.
pub(super) fn digest(keys: &Credentials) -> KeysDigest {
    let mut digest = Sha256::new();
    for part in [keys.access_key_id(), keys.secret_access_key(), keys.session_token().unwrap_or_default()] {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    digest.finalize().into()
}

/// After a time that depends on the keys' life, but is never so short that each call would ask.
pub(super) fn time_to_ask_again(expiry: Option<SystemTime>, now: SystemTime) -> Duration {
    let Some(expiry) = expiry else { return ASK_EVERY };
    let life = expiry.duration_since(now).unwrap_or_default();
    (life - RENEW_BEFORE.min(life / 4)).max(COMPARE_EVERY)
}
