//! Owns the lifecycle of the host's own keys: temporary keys that replace each other, and the record of all calls that
//! were signed with them. The signature check is elsewhere.
use std::fmt;

use time::OffsetDateTime;

use super::{Access, Scope};
use crate::cloud::random_hex;

/// Calls kept for inspection.
const CALLS_KEPT: usize = 100_000;

/// Temporary keys of the host, as Systems Manager's agent gets them. `Debug` shows the id only.
#[derive(Clone, PartialEq, Eq)]
pub struct HostKeys {
    /// The access key.
    pub id: String,
    /// The secret key.
    pub secret: String,
    /// The session token.
    pub session_token: String,
}

impl fmt::Debug for HostKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HostKeys").field("id", &self.id).finish_non_exhaustive()
    }
}

impl HostKeys {
    fn random() -> Self {
        let id = format!("ASIA{}", random_hex::<8>().to_uppercase());
        Self { id, secret: random_hex::<20>(), session_token: random_hex::<150>() }
    }

    /// Content of a file `~/.aws/credentials`.
    pub fn credentials_file(&self) -> String {
        let Self { id, secret, session_token } = self;
        format!(
            "[default]\naws_access_key_id = {id}\naws_secret_access_key = {secret}\naws_session_token = {session_token}\n"
        )
    }
}

/// How replaced keys are rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Retirement {
    /// As expired: `ExpiredTokenException`.
    Expired,
    /// As unknown: `UnrecognizedClientException`.
    Unknown,
}

/// One call of a service that takes the host's keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostCall {
    /// Time of the response.
    pub at: OffsetDateTime,
    /// Name of the service in signatures: `ecr`, `ecr-public` or `logs`.
    pub service: &'static str,
    /// The region that it was signed for; empty for a call without a signature.
    pub region: String,
    /// The operation, as `PutLogEvents`.
    pub operation: String,
    /// Subject of the call: the accounts of a token, the group of logs. Empty if there is none.
    pub subject: String,
    /// The access key of the signature; empty for a call without one.
    pub key: String,
    /// The error code of the response, if it was an error.
    pub error: Option<String>,
}

impl Access {
    /// Creates new temporary keys of the host. Older ones stay valid, until they are retired.
    pub fn add_host_keys(&self) -> HostKeys {
        let keys = HostKeys::random();
        self.allow(&keys.id, &keys.secret, Some(&keys.session_token), Scope::Operator, None);
        keys
    }

    /// Rejects all keys of the host but the newest from now on; returns how many were valid until now.
    pub fn retire_host_keys(&self, how: Retirement) -> usize {
        let mut state = self.lock();
        let now = OffsetDateTime::now_utc() + state.clock_offset;
        let newest = state.newest_host_key.clone();
        let mut retired = 0;
        state.credentials.retain(|id, known| {
            if known.scope != Scope::Operator || *id == newest || known.expires_at.is_some_and(|end| end <= now) {
                return true;
            }
            retired += 1;
            known.expires_at = Some(now);
            how == Retirement::Expired
        });
        retired
    }

    /// The calls with the host's keys so far, oldest first; the newest 100,000 are kept.
    pub fn host_calls(&self) -> Vec<HostCall> {
        self.lock().host_calls.iter().cloned().collect()
    }

    pub(in crate::cloud) fn record(&self, call: HostCall) {
        let calls = &mut self.lock().host_calls;
        if calls.len() == CALLS_KEPT {
            calls.pop_front();
        }
        calls.push_back(call);
    }
}
