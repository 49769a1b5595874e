//! Sign-in at Amazon Cognito: SRP with the password, refresh without it. Stores nothing; `session` stores the tokens.
//!
//! The crate that does the SRP arithmetic prints the password in its `Debug` form and logs the user name (with a client
//! secret also its hash) through the `log` crate, targets `aws_cognito_srp::*`. Its values never leave this file, and
//! telemetry must not let that target through.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use aws_cognito_srp::{SrpClient, User, VerificationParameters};
use aws_sdk_cognitoidentityprovider::Client;
use aws_sdk_cognitoidentityprovider::types::{AuthFlowType, AuthenticationResultType, ChallengeNameType};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::aws::Aws;
use super::aws_error::AwsError;
use super::renewing::Lease;
use super::{Account, CloudError, CloudErrorKind};
use crate::telemetry::Redactor;
use crate::text::excerpt;

/// Operation of sign-in errors.
const SIGN_IN: &str = "sign in";

/// Operation of refresh errors.
const REFRESH: &str = "refresh the sign-in";

/// Lifetime of an access token if the response has none; Cognito's default, and its responses always have one.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);

/// An access token is renewed this long before it expires, or when a quarter of its lifetime is left if that is
/// shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Longest salt accepted from the service, hex digits; it sends 32.
const SALT_MAX: usize = 1024;

/// Longest public value accepted, hex digits without leading zeros: the group has 3072 bits.
const PUBLIC_MAX: usize = 768;

/// Longest secret block accepted, bytes of base64; the service sends fewer than 2,000.
const SECRET_BLOCK_MAX: usize = 64 * 1024;

/// The tokens of a sign-in. `Debug` shows no token.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    /// The value of the header `Authorization`.
    pub(super) access: SecretString,
    refresh: Option<SecretString>,
    fresh_until: Instant,
    usable_until: Instant,
}

impl Tokens {
    /// Time until they expire.
    pub(super) fn left(&self) -> Duration {
        self.usable_until.saturating_duration_since(Instant::now())
    }

    /// Whether there is a refresh token.
    pub(super) fn can_refresh(&self) -> bool {
        self.refresh.is_some()
    }
}

impl Lease for Tokens {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    fn is_usable(&self) -> bool {
        Instant::now() < self.usable_until
    }
}

/// One user of one pool.
pub(super) struct Cognito {
    client: Client,
    pool: String,
    client_id: String,
    user_name: String,
    redactor: Redactor,
}

impl fmt::Debug for Cognito {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cognito").field("pool", &self.pool).field("user_name", &self.user_name).finish_non_exhaustive()
    }
}

impl Cognito {
    /// For the account's user, in the region of its pool. Makes no call.
    pub(super) async fn new(account: &Account, aws: &Aws) -> Self {
        let pool = &account.user_pool_id;
        Self {
            client: Client::new(&aws.anonymous(&pool.region).await),
            pool: format!("{}_{}", pool.region, pool.id),
            client_id: account.client_id.clone(),
            user_name: account.user_name.clone(),
            redactor: aws.redactor().clone(),
        }
    }

    /// Signs in with the password: two calls, each within the limits of `aws`.
    pub(super) async fn sign_in(&self, password: &SecretString) -> Result<Tokens, CloudError> {
        let user = User::new(&self.pool, &self.user_name, password.expose_secret());
        let srp = SrpClient::new(user, &self.client_id, None);
        let parameters = srp.get_auth_parameters();
        let response = self
            .client
            .initiate_auth()
            .auth_flow(AuthFlowType::UserSrpAuth)
            .client_id(&self.client_id)
            .auth_parameters("USERNAME", &parameters.username)
            .auth_parameters("SRP_A", &parameters.a)
            .send()
            .await
            .map_err(|error| call_error(SIGN_IN, &AwsError::of(&error)))?;
        if response.challenge_name() != Some(&ChallengeNameType::PasswordVerifier) {
            return Err(unexpected_challenge(response.challenge_name()));
        }
        let challenge =
            Challenge::read(response.challenge_parameters().ok_or_else(|| invalid_response("no challenge"))?)?;
        let proof = srp
            .verify(challenge.secret_block, challenge.user_id, challenge.salt, challenge.b)
            .map_err(|_| invalid_response("the challenge has the wrong form"))?;
        self.respond_to_challenge(challenge.user_name, proof, response.session()).await
    }

    async fn respond_to_challenge(
        &self,
        user_name: &str,
        proof: VerificationParameters,
        session: Option<&str>,
    ) -> Result<Tokens, CloudError> {
        let response = self
            .client
            .respond_to_auth_challenge()
            .challenge_name(ChallengeNameType::PasswordVerifier)
            .client_id(&self.client_id)
            .set_session(session.map(str::to_owned))
            .challenge_responses("USERNAME", user_name)
            .challenge_responses("TIMESTAMP", proof.timestamp)
            .challenge_responses("PASSWORD_CLAIM_SECRET_BLOCK", proof.password_claim_secret_block)
            .challenge_responses("PASSWORD_CLAIM_SIGNATURE", proof.password_claim_signature)
            .send()
            .await
            .map_err(|error| call_error(SIGN_IN, &AwsError::of(&error)))?;
        let result = response.authentication_result().ok_or_else(|| unexpected_challenge(response.challenge_name()))?;
        self.tokens(result, None).ok_or_else(|| invalid_response("no access token"))
    }

    /// Renews the tokens without the password. `Denied` if there is no refresh token or it is not accepted.
    pub(super) async fn refresh(&self, old: &Tokens) -> Result<Tokens, CloudError> {
        let refresh = old.refresh.as_ref().ok_or_else(|| CloudError::new(CloudErrorKind::Denied, REFRESH))?;
        let response = self
            .client
            .initiate_auth()
            .auth_flow(AuthFlowType::RefreshTokenAuth)
            .client_id(&self.client_id)
            .auth_parameters("REFRESH_TOKEN", refresh.expose_secret())
            .send()
            .await
            .map_err(|error| call_error(REFRESH, &AwsError::of(&error)))?;
        response.authentication_result().and_then(|result| self.tokens(result, Some(refresh))).ok_or_else(|| {
            CloudError::new(CloudErrorKind::Denied, REFRESH).with_source("the response has no access token")
        })
    }

    fn tokens(&self, result: &AuthenticationResultType, old_refresh: Option<&SecretString>) -> Option<Tokens> {
        let access = SecretString::from(result.access_token()?);
        let refresh = result.refresh_token().map(SecretString::from);
        [Some(&access), refresh.as_ref()].into_iter().flatten().for_each(|token| self.redactor.add_passing(token));
        let refresh = refresh.or_else(|| old_refresh.cloned());
        let seconds = u64::try_from(result.expires_in()).ok().filter(|&seconds| seconds > 0);
        let lifetime = seconds.map_or(LIFETIME_DEFAULT, Duration::from_secs);
        let now = Instant::now();
        let fresh_until = now + lifetime - RENEW_BEFORE.min(lifetime / 4);
        Some(Tokens { access, refresh, fresh_until, usable_until: now + lifetime })
    }
}

/// The validated parameters of a PASSWORD_VERIFIER challenge: the arithmetic does not validate its input.
struct Challenge<'a> {
    secret_block: &'a str,
    /// The user in the proof.
    user_id: &'a str,
    /// The user in the response to the challenge.
    user_name: &'a str,
    salt: &'a str,
    b: &'a str,
}

impl<'a> Challenge<'a> {
    fn read(parameters: &'a HashMap<String, String>) -> Result<Self, CloudError> {
        let get = |name: &str| {
            parameters
                .get(name)
                .map(String::as_str)
                .ok_or_else(|| invalid_response("a parameter of the challenge is missing"))
        };
        let user_id = get("USER_ID_FOR_SRP")?;
        let challenge = Self {
            secret_block: get("SECRET_BLOCK")?,
            user_id,
            user_name: get("USERNAME").unwrap_or(user_id),
            salt: get("SALT")?,
            b: get("SRP_B")?,
        };
        if !is_positive_hex(challenge.salt) || challenge.salt.len() > SALT_MAX || !is_public_value(challenge.b) {
            return Err(invalid_response("the salt or the public value is out of range"));
        }
        let is_block =
            challenge.secret_block.len() <= SECRET_BLOCK_MAX && STANDARD.decode(challenge.secret_block).is_ok();
        if is_block { Ok(challenge) } else { Err(invalid_response("the secret block is not base64")) }
    }
}

/// Whether a challenge with these parameters is valid.
#[cfg(feature = "fuzzing")]
pub(super) fn is_valid_challenge(parameters: &HashMap<String, String>) -> bool {
    Challenge::read(parameters).is_ok()
}

/// Computes the proof for a valid challenge as a test user.
///
/// # Panics
/// If there is no proof for a valid challenge.
#[cfg(feature = "fuzzing")]
pub(super) fn prove(parameters: &HashMap<String, String>) {
    let Ok(challenge) = Challenge::read(parameters) else { return };
    let srp = SrpClient::new(User::new("eu-west-1_pool", "user", "password"), "client", None);
    let proof = srp.verify(challenge.secret_block, challenge.user_id, challenge.salt, challenge.b);
    let proof = proof.expect("a valid challenge has a proof");
    assert_eq!(proof.password_claim_secret_block, challenge.secret_block);
    assert_eq!(STANDARD.decode(proof.password_claim_signature).map(|bytes| bytes.len()), Ok(32));
}

fn is_positive_hex(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit()) && text.bytes().any(|byte| byte != b'0')
}

/// Whether it is a number from 1 to below the prime of the group. An SRP client must check this: the sender of a
/// multiple of the prime could try passwords offline. The prime begins with 64 set bits; so does one of 2^64 valid
/// values, which is refused too.
fn is_public_value(text: &str) -> bool {
    let digits = text.trim_start_matches('0');
    let is_high = digits.len() == PUBLIC_MAX && digits.bytes().take(16).all(|digit| digit.eq_ignore_ascii_case(&b'f'));
    is_positive_hex(text) && digits.len() <= PUBLIC_MAX && text.len() <= 2 * PUBLIC_MAX && !is_high
}

fn invalid_response(why: &'static str) -> CloudError {
    CloudError::new(CloudErrorKind::InvalidResponse, SIGN_IN).with_source(why)
}

/// A daemon cannot choose a new password or enter a code: an operator must act.
fn unexpected_challenge(name: Option<&ChallengeNameType>) -> CloudError {
    let name = name.map_or_else(|| "nothing".to_owned(), |name| excerpt(name.as_str()));
    let text =
        format!("the user pool requires the challenge {name}, which a daemon cannot complete; set up the user again");
    CloudError::new(CloudErrorKind::Denied, SIGN_IN).with_source(text)
}

fn call_error(operation: &'static str, error: &AwsError) -> CloudError {
    CloudError::new(kind(error), operation).with_source(error.text.clone())
}

fn kind(error: &AwsError) -> CloudErrorKind {
    match error.kind {
        // Too many wrong passwords lock a user temporarily.
        CloudErrorKind::Denied if error.text.contains("attempts exceeded") => CloudErrorKind::Throttled,
        // The user, the password, the client or the pool is wrong.
        CloudErrorKind::Denied | CloudErrorKind::Absent | CloudErrorKind::Invalid => CloudErrorKind::Denied,
        kind if kind.is_passing() => kind,
        _ => CloudErrorKind::Failed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_kinds() {
        use CloudErrorKind::{Absent, Denied, Failed, Invalid, Refused, Throttled, TimedOut};
        for (aws_kind, text, expected) in [
            (Denied, "NotAuthorizedException: Incorrect username or password.", Denied),
            (Denied, "NotAuthorizedException: Password attempts exceeded", Throttled),
            (Absent, "UserNotFoundException: no user", Denied),
            (Invalid, "InvalidParameterException: no client", Denied),
            (Refused, "UserLambdaValidationException: no", Failed),
            (TimedOut, "", TimedOut),
        ] {
            let error = AwsError { kind: aws_kind, text: text.to_owned() };
            assert_eq!(kind(&error), expected, "{aws_kind:?} {text}");
        }
    }

    #[test]
    fn a_challenge_must_be_numbers() {
        for (text, expected) in [("00ff", true), ("0", false), ("", false), ("xyz", false)] {
            assert_eq!(is_positive_hex(text), expected, "{text}");
        }
    }

    #[test]
    fn a_public_value_is_below_the_prime_of_the_group() {
        let file = include_str!("../../fuzz/corpus/challenge/modulus");
        let prime = file.lines().nth(1).expect("it is the second line");
        let below = format!("FFFFFFFFFFFFFFFE{}", &prime[16..]);
        for (text, expected) in [
            ("1", true),
            (below.as_str(), true),
            (&format!("00{below}"), true),
            (prime, false),
            (&prime.to_lowercase(), false),
            (&format!("0000{prime}"), false),
            (&"F".repeat(768), false),
            (&format!("1{below}"), false),
            (&format!("{}1", "0".repeat(1_536)), false),
            ("0", false),
            ("", false),
            ("no", false),
        ] {
            assert_eq!(is_public_value(text), expected, "{text}");
        }
    }

    #[test]
    fn an_invalid_challenge_is_refused_before_the_arithmetic() {
        let check = |salt: &str, b: &str, block: &str, expected: bool| {
            let all = [("SALT", salt), ("SRP_B", b), ("SECRET_BLOCK", block), ("USER_ID_FOR_SRP", "user")];
            let parameters: HashMap<String, String> =
                all.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
            assert_eq!(Challenge::read(&parameters).is_ok(), expected, "{all:?}");
        };
        check("00ff", "10", "AA==", true);
        check("00ff", "0", "AA==", false);
        check("", "10", "AA==", false);
        check(&"f".repeat(SALT_MAX + 1), "10", "AA==", false);
        check("00ff", "10", "not base64!", false);
        check("00ff", "10", &"A".repeat(SECRET_BLOCK_MAX + 4), false);
    }
}
