//! Owns the AWS credentials that the fake accepts and the check of AWS Signature Version 4.
//!
//! Written from the public description of the algorithm. It must not use the signing crates of the AWS SDK: only an
//! independent implementation is a check.
mod canonical;
mod host;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::http::HeaderMap;
use time::format_description::FormatItem;
use time::macros::format_description;
use time::{Duration, OffsetDateTime, PrimitiveDateTime};

pub use host::{HostCall, HostKeys, Retirement};

/// AWS rejects a signature whose date differs by more than this.
const SKEW_MAX: Duration = Duration::minutes(5);
const DATE_FORMAT: &[FormatItem<'static>] = format_description!("[year][month][day]T[hour][minute][second]Z");

/// Permitted use of a credential.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Issued by `GetAwsCredentials` of the app: SQS and audit records.
    App,
    /// The host operator's credential: ECR and CloudWatch Logs.
    Operator,
}

/// The parts of a request that a signature covers, besides its body.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// The method in capitals, as `POST`.
    pub method: &'a str,
    /// The path as sent, percent-encoding included.
    pub path: &'a str,
    /// The query as sent, without `?`; empty when there is none.
    pub query: &'a str,
    /// All headers as received.
    pub headers: &'a HeaderMap,
}

impl<'a> From<&'a wiremock::Request> for Parts<'a> {
    fn from(request: &'a wiremock::Request) -> Self {
        Self {
            method: request.method.as_str(),
            path: request.url.path(),
            query: request.url.query().unwrap_or(""),
            headers: &request.headers,
        }
    }
}

/// Why a request was rejected, by AWS's own categories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No `Authorization` header.
    #[error("Request is missing Authentication Token")]
    MissingToken,
    /// The header cannot be parsed, or a required part is not signed.
    #[error("Authorization header is incomplete or malformed")]
    Incomplete,
    /// The access key is unknown or revoked, or its session token differs.
    #[error("The security token included in the request is invalid.")]
    UnknownClient,
    /// The credential has expired.
    #[error("The security token included in the request is expired")]
    Expired,
    /// Wrong secret, wrong body, wrong region or service in the scope.
    #[error("The request signature we calculated does not match the signature you provided.")]
    Mismatch,
    /// The date differs from the fake's clock by more than five minutes.
    #[error("Signature expired: the request is too old or from the future")]
    Skewed,
    /// A valid credential of the wrong kind.
    #[error("User is not authorized to perform this operation")]
    Denied,
}

impl Refusal {
    /// The error code of services with AWS JSON 1.1; the status of all of these is 400.
    pub fn json_code(self) -> &'static str {
        match self {
            Self::MissingToken => "MissingAuthenticationTokenException",
            Self::Incomplete => "IncompleteSignatureException",
            Self::UnknownClient => "UnrecognizedClientException",
            Self::Expired => "ExpiredTokenException",
            Self::Mismatch | Self::Skewed => "InvalidSignatureException",
            Self::Denied => "AccessDeniedException",
        }
    }

    /// The error code of the older query protocol, which SQS repeats in `x-amzn-query-error`, with status 403.
    pub fn query_code(self) -> &'static str {
        match self {
            Self::MissingToken => "MissingAuthenticationToken",
            Self::Incomplete => "IncompleteSignature",
            Self::UnknownClient => "InvalidClientTokenId",
            Self::Expired => "ExpiredToken",
            Self::Mismatch | Self::Skewed => "SignatureDoesNotMatch",
            Self::Denied => "AccessDenied",
        }
    }
}

struct Credential {
    secret: String,
    session_token: Option<String>,
    scope: Scope,
    expires_at: Option<OffsetDateTime>,
}

#[derive(Default)]
struct State {
    credentials: HashMap<String, Credential>,
    /// The access key of [`Scope::Operator`] that was added last.
    newest_host_key: String,
    host_calls: VecDeque<HostCall>,
    clock_offset: Duration,
}

/// The set of AWS credentials that the fake accepts; a cheap handle.
#[derive(Clone, Default)]
pub struct Access(Arc<Mutex<State>>);

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access").field("credentials", &self.lock().credentials.len()).finish()
    }
}

impl Access {
    /// Accepts nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Accepts a credential from now on; replaces an older one with the same id.
    pub fn allow(
        &self,
        access_key_id: &str,
        secret_access_key: &str,
        session_token: Option<&str>,
        scope: Scope,
        expires_at: Option<OffsetDateTime>,
    ) {
        let credential = Credential {
            secret: secret_access_key.to_owned(),
            session_token: session_token.map(str::to_owned),
            scope,
            expires_at,
        };
        let mut state = self.lock();
        if scope == Scope::Operator {
            access_key_id.clone_into(&mut state.newest_host_key);
        }
        state.credentials.insert(access_key_id.to_owned(), credential);
    }

    /// Rejects a credential from now on; no effect when it is unknown.
    pub fn revoke(&self, access_key_id: &str) {
        self.lock().credentials.remove(access_key_id);
    }

    /// Secret keys and session tokens of all credentials that are accepted.
    pub fn secrets(&self) -> Vec<String> {
        let state = self.lock();
        let each = state.credentials.values().flat_map(|known| [Some(&known.secret), known.session_token.as_ref()]);
        each.flatten().cloned().collect()
    }

    /// Sets the offset of the clock that signatures are compared with, as if the client's clock were wrong.
    pub fn set_clock_offset(&self, offset: Duration) {
        self.lock().clock_offset = offset;
    }

    /// Checks the signature of a request, the credential's kind, and the scope it was signed for.
    ///
    /// `path` and `query` of `parts` must be as sent: the canonical form encodes them a second time, as AWS does.
    pub fn verify(
        &self,
        parts: &Parts<'_>,
        body: &[u8],
        service: &str,
        region: &str,
        scope: Scope,
    ) -> Result<(), Refusal> {
        let claim = Claim::parse(parts.headers)?;
        let state = self.lock();
        let now = OffsetDateTime::now_utc() + state.clock_offset;
        let credential = state.credentials.get(claim.access_key_id).ok_or(Refusal::UnknownClient)?;
        if header(parts.headers, "x-amz-security-token") != credential.session_token.as_deref() {
            return Err(Refusal::UnknownClient);
        }
        if credential.expires_at.is_some_and(|end| end <= now) {
            return Err(Refusal::Expired);
        }
        check_date(claim.date, now)?;
        if (claim.service, claim.region) != (service, region) || !claim.date.starts_with(claim.day) {
            return Err(Refusal::Mismatch);
        }
        if !canonical::matches(&claim, parts, body, &credential.secret)? {
            return Err(Refusal::Mismatch);
        }
        if credential.scope == scope { Ok(()) } else { Err(Refusal::Denied) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The region in a request's signature; not verified until [`Access::verify`] succeeds.
pub fn claimed_region(headers: &HeaderMap) -> Result<&str, Refusal> {
    Claim::parse(headers).map(|claim| claim.region)
}

/// The access key in a request's signature; not verified either.
pub fn claimed_key(headers: &HeaderMap) -> Result<&str, Refusal> {
    Claim::parse(headers).map(|claim| claim.access_key_id)
}

/// Content of the `Authorization` and `x-amz-date` headers.
struct Claim<'a> {
    access_key_id: &'a str,
    day: &'a str,
    region: &'a str,
    service: &'a str,
    signed_headers: &'a str,
    signature: &'a str,
    date: &'a str,
}

impl<'a> Claim<'a> {
    fn parse(headers: &'a HeaderMap) -> Result<Self, Refusal> {
        let text = header(headers, "authorization").ok_or(Refusal::MissingToken)?;
        let date = header(headers, "x-amz-date").ok_or(Refusal::Incomplete)?;
        Self::from_text(text, date).ok_or(Refusal::Incomplete)
    }

    fn from_text(text: &'a str, date: &'a str) -> Option<Self> {
        let fields = text.strip_prefix("AWS4-HMAC-SHA256 ")?;
        let field = |name: &str| {
            fields
                .split(',')
                .find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='))
                .filter(|v| !v.is_empty())
        };
        let mut scope = field("Credential")?.split('/');
        let claim = Self {
            access_key_id: scope.next()?,
            day: scope.next()?,
            region: scope.next()?,
            service: scope.next()?,
            signed_headers: field("SignedHeaders")?,
            signature: field("Signature")?,
            date,
        };
        (scope.next() == Some("aws4_request") && scope.next().is_none()).then_some(claim)
    }
}

fn check_date(date: &str, now: OffsetDateTime) -> Result<(), Refusal> {
    let date = PrimitiveDateTime::parse(date, DATE_FORMAT).map_err(|_| Refusal::Incomplete)?.assume_utc();
    if (now - date).abs() > SKEW_MAX { Err(Refusal::Skewed) } else { Ok(()) }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).and_then(|value| value.to_str().ok())
}
