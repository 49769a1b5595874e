//! The user pool: one user, sign-ins in progress, and issued tokens. No request or response formats.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use serde_json::json;
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

use super::jwt;
use super::srp::{Exchange, Verifier};
use crate::cloud::{random_bytes, random_hex};

/// Maximum number of sign-ins and tokens. At the limit all are dropped, so that a long run stays small: clients sign in
/// again.
const KEPT_MAX: usize = 1000;
const TIMESTAMP: &[FormatItem<'_>] = format_description!(
    "[weekday repr:short] [month repr:short] [day padding:none] [hour]:[minute]:[second] UTC [year]"
);

/// Settings of the pool.
pub(in crate::cloud) struct Settings {
    /// `<region>_<id>`.
    pub(in crate::cloud) pool_id: String,
    /// The only client.
    pub(in crate::cloud) client_id: String,
    /// The only user.
    pub(in crate::cloud) user: String,
    /// Name of the user in Cognito's SRP: differs where users sign in by an alias.
    pub(in crate::cloud) srp_id: String,
    /// Its password.
    pub(in crate::cloud) password: String,
    /// Lifetimes of tokens.
    pub(in crate::cloud) lifetimes: Lifetimes,
}

/// Lifetimes of tokens.
#[derive(Debug, Clone, Copy)]
pub(in crate::cloud) struct Lifetimes {
    pub(in crate::cloud) access: Duration,
    pub(in crate::cloud) refresh: Duration,
}

/// An error in AWS's wording.
pub(super) struct Refusal {
    pub(super) code: &'static str,
    pub(super) message: String,
}

impl Refusal {
    pub(super) fn invalid(message: &str) -> Self {
        Self { code: "InvalidParameterException", message: message.to_owned() }
    }

    fn not_authorized(message: &str) -> Self {
        Self { code: "NotAuthorizedException", message: message.to_owned() }
    }
}

/// Input for a client's proof of its password.
pub(super) struct Challenge {
    pub(super) salt: String,
    pub(super) secret_block: String,
    pub(super) public_b: String,
    pub(super) srp_id: String,
}

/// A client's proof of its password.
pub(super) struct ChallengeResponse<'a> {
    pub(super) user: &'a str,
    pub(super) secret_block: &'a str,
    pub(super) signature: &'a str,
    pub(super) timestamp: &'a str,
}

/// Issued after a sign-in or a refresh.
pub(super) struct Tokens {
    pub(super) access: String,
    pub(super) id: String,
    pub(super) refresh: Option<String>,
    pub(super) seconds: u64,
}

/// The pool.
pub(in crate::cloud) struct Pool {
    pool_id: String,
    client_id: String,
    user: String,
    srp_id: String,
    state: Mutex<State>,
}

struct State {
    verifier: Verifier,
    enabled: bool,
    lifetimes: Lifetimes,
    exchanges: BTreeMap<String, Exchange>,
    access: BTreeMap<String, OffsetDateTime>,
    refresh: BTreeMap<String, OffsetDateTime>,
    revoked: bool,
}

impl Pool {
    pub(in crate::cloud) fn new(settings: Settings) -> Self {
        let Settings { pool_id, client_id, user, srp_id, password, lifetimes } = settings;
        let state = State {
            verifier: Verifier::new(suffix(&pool_id), &srp_id, &password, &random_bytes::<16>()),
            enabled: true,
            lifetimes,
            exchanges: BTreeMap::new(),
            access: BTreeMap::new(),
            refresh: BTreeMap::new(),
            revoked: false,
        };
        Self { pool_id, client_id, user, srp_id, state: Mutex::new(state) }
    }

    /// All retained tokens.
    pub(in crate::cloud) fn tokens(&self) -> Vec<String> {
        let state = self.lock();
        state.access.keys().chain(state.refresh.keys()).cloned().collect()
    }

    /// `<region>_<id>`.
    pub(super) fn id(&self) -> &str {
        &self.pool_id
    }

    pub(in crate::cloud) fn set_password(&self, password: &str) {
        let verifier = Verifier::new(suffix(&self.pool_id), &self.srp_id, password, &random_bytes::<16>());
        self.lock().verifier = verifier;
    }

    pub(in crate::cloud) fn set_enabled(&self, enabled: bool) {
        self.lock().enabled = enabled;
    }

    pub(in crate::cloud) fn set_lifetimes(&self, lifetimes: Lifetimes) {
        self.lock().lifetimes = lifetimes;
    }

    pub(in crate::cloud) fn expire_access_tokens(&self) {
        self.lock().access.values_mut().for_each(|expires_at| *expires_at = OffsetDateTime::UNIX_EPOCH);
    }

    pub(in crate::cloud) fn expire_refresh_tokens(&self) {
        self.lock().refresh.values_mut().for_each(|expires_at| *expires_at = OffsetDateTime::UNIX_EPOCH);
    }

    /// Revokes all refresh tokens issued so far, as after a global sign-out.
    pub(in crate::cloud) fn revoke_refresh_tokens(&self) {
        self.lock().refresh.clear();
        self.lock().revoked = true;
    }

    /// Why AppSync rejects an access token, in AppSync's wording.
    pub(in crate::cloud) fn check_access_token(&self, token: &str) -> Result<(), &'static str> {
        match self.lock().access.get(token) {
            None => Err("Unable to parse JWT token."),
            Some(expires_at) if *expires_at <= OffsetDateTime::now_utc() => Err("Token has expired."),
            Some(_) => Ok(()),
        }
    }

    pub(super) fn check_client(&self, client_id: &str) -> Result<(), Refusal> {
        if client_id == self.client_id {
            return Ok(());
        }
        let message = format!("User pool client {client_id} does not exist.");
        Err(Refusal { code: "ResourceNotFoundException", message })
    }

    /// Begins a sign-in.
    pub(super) fn challenge(&self, user: &str, public_a: &str) -> Result<Challenge, Refusal> {
        if user != self.user && user != self.srp_id {
            return Err(Refusal { code: "UserNotFoundException", message: "User does not exist.".to_owned() });
        }
        let mut state = self.lock();
        state.check_enabled()?;
        let exchange = Exchange::new(state.verifier.clone(), public_a, &random_bytes::<128>())
            .ok_or_else(|| Refusal::invalid("SRP_A is no valid number."))?;
        let challenge = Challenge {
            salt: state.verifier.salt.to_str_radix(16),
            secret_block: STANDARD.encode(random_bytes::<512>()),
            public_b: exchange.public_b.to_str_radix(16),
            srp_id: self.srp_id.clone(),
        };
        insert_bounded(&mut state.exchanges, challenge.secret_block.clone(), exchange);
        Ok(challenge)
    }

    /// Completes a sign-in. A challenge can be answered once.
    pub(super) fn verify(&self, answer: &ChallengeResponse<'_>) -> Result<Tokens, Refusal> {
        let wrong = || Refusal::not_authorized("Incorrect username or password.");
        if PrimitiveDateTime::parse(answer.timestamp, TIMESTAMP).is_err() {
            return Err(Refusal::invalid("TIMESTAMP format should be EEE MMM d HH:mm:ss z yyyy in english."));
        }
        let mut state = self.lock();
        let exchange = state.exchanges.remove(answer.secret_block).ok_or_else(wrong)?;
        let block = STANDARD.decode(answer.secret_block).map_err(|_| wrong())?;
        let pool = suffix(&self.pool_id);
        let parts: [&[u8]; 4] = [pool.as_bytes(), self.srp_id.as_bytes(), &block, answer.timestamp.as_bytes()];
        let is_user = answer.user == self.user || answer.user == self.srp_id;
        if !is_user || !exchange.accepts(answer.signature, &parts) {
            return Err(wrong());
        }
        state.check_enabled()?;
        let refresh = URL_SAFE_NO_PAD.encode(random_bytes::<256>());
        let expires_at = OffsetDateTime::now_utc() + state.lifetimes.refresh;
        insert_bounded(&mut state.refresh, refresh.clone(), expires_at);
        Ok(Tokens { refresh: Some(refresh), ..self.issue(&mut state) })
    }

    /// Issues a new access token for a refresh token.
    pub(super) fn refresh(&self, token: &str) -> Result<Tokens, Refusal> {
        let mut state = self.lock();
        state.check_enabled()?;
        match state.refresh.get(token) {
            None if state.revoked => Err(Refusal::not_authorized("Refresh Token has been revoked")),
            None => Err(Refusal::not_authorized("Invalid Refresh Token")),
            Some(expires_at) if *expires_at <= OffsetDateTime::now_utc() => {
                Err(Refusal::not_authorized("Refresh Token has expired"))
            }
            Some(_) => Ok(self.issue(&mut state)),
        }
    }

    fn issue(&self, state: &mut State) -> Tokens {
        let now = OffsetDateTime::now_utc();
        let lifetime = state.lifetimes.access;
        let access = self.token("access", now, lifetime);
        insert_bounded(&mut state.access, access.clone(), now + lifetime);
        Tokens { access, id: self.token("id", now, lifetime), refresh: None, seconds: lifetime.as_secs() }
    }

    /// A JWT with Cognito's claims. The pool stores its valid tokens; clients verify the signature.
    fn token(&self, token_use: &str, now: OffsetDateTime, lifetime: Duration) -> String {
        let region = self.pool_id.split('_').next().unwrap_or_default();
        let mut claims = json!({
            "sub": self.srp_id, "token_use": token_use, "auth_time": now.unix_timestamp(),
            "iss": format!("https://cognito-idp.{region}.amazonaws.com/{}", self.pool_id),
            "iat": now.unix_timestamp(), "exp": (now + lifetime).unix_timestamp(), "jti": random_hex::<16>(),
        });
        // The two kinds of tokens name user and client differently.
        let (user, client) = if token_use == "id" { ("cognito:username", "aud") } else { ("username", "client_id") };
        claims[user] = json!(self.srp_id);
        claims[client] = json!(self.client_id);
        jwt::sign(&claims)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Each statement leaves the state consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn check_enabled(&self) -> Result<(), Refusal> {
        if self.enabled { Ok(()) } else { Err(Refusal::not_authorized("User is disabled.")) }
    }
}

fn insert_bounded<T>(map: &mut BTreeMap<String, T>, key: String, value: T) {
    if map.len() >= KEPT_MAX {
        map.clear();
    }
    map.insert(key, value);
}

/// The part of a pool's id that SRP uses.
fn suffix(pool_id: &str) -> &str {
    pool_id.split_once('_').map_or(pool_id, |(_, suffix)| suffix)
}
