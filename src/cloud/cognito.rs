//! Sign-in at Amazon Cognito: SRP with the password, refresh without it. Keeps nothing; `session` keeps the tokens.
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
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;

use super::aws::Aws;
use super::failure::{Failure, Meaning};
use super::renewing::Lease;
use super::text::clean;
use super::{Account, CloudError, CloudErrorKind};
use crate::telemetry::Redactor;

/// What errors call the sign-in.
const SIGN_IN: &str = "sign in";

/// What errors call the refresh.
const REFRESH: &str = "refresh the sign-in";

/// Life of an access token whose answer does not name it; Cognito's default, and it always names it.
const LIFETIME_DEFAULT: Duration = Duration::from_secs(3600);

/// An access token is renewed this long before its end, or when a quarter of its life is left if that is shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(300);

/// Longest salt and public value accepted from the service, hex digits; the group has 3072 bits.
const HEX_MAX: usize = 1024;

/// Codes with which Cognito says that user, password, client or pool are wrong.
const REFUSALS: [&str; 9] = [
    "NotAuthorizedException",
    "UserNotFoundException",
    "PasswordResetRequiredException",
    "UserNotConfirmedException",
    "ResourceNotFoundException",
    "ForbiddenException",
    "InvalidParameterException",
    "InvalidUserPoolConfigurationException",
    "UnsupportedOperationException",
];

/// What a sign-in brings. `Debug` shows no token.
#[derive(Debug, Clone)]
pub(super) struct Tokens {
    /// Goes into `Authorization`, alone.
    pub(super) access: SecretString,
    refresh: Option<SecretString>,
    fresh_until: Instant,
    usable_until: Instant,
}

impl Tokens {
    /// How long they are good.
    pub(super) fn left(&self) -> Duration {
        self.usable_until.saturating_duration_since(Instant::now())
    }

    /// The part that renews them, while there is one.
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
        let answer = self
            .client
            .initiate_auth()
            .auth_flow(AuthFlowType::UserSrpAuth)
            .client_id(&self.client_id)
            .auth_parameters("USERNAME", &parameters.username)
            .auth_parameters("SRP_A", &parameters.a)
            .send()
            .await
            .map_err(|error| fault(SIGN_IN, &Failure::of(&error)))?;
        if answer.challenge_name() != Some(&ChallengeNameType::PasswordVerifier) {
            return Err(unexpected_challenge(answer.challenge_name()));
        }
        let challenge = Challenge::read(answer.challenge_parameters().ok_or_else(|| nonsense("no challenge"))?)?;
        let proof = srp
            .verify(challenge.secret_block, challenge.user_id, challenge.salt, challenge.b)
            .map_err(|_| nonsense("the challenge has the wrong form"))?;
        self.answer(challenge.user_name, proof, answer.session()).await
    }

    async fn answer(
        &self,
        user_name: &str,
        proof: VerificationParameters,
        session: Option<&str>,
    ) -> Result<Tokens, CloudError> {
        let answer = self
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
            .map_err(|error| fault(SIGN_IN, &Failure::of(&error)))?;
        let result = answer.authentication_result().ok_or_else(|| unexpected_challenge(answer.challenge_name()))?;
        self.tokens(result, None).ok_or_else(|| nonsense("no access token"))
    }

    /// Renews the tokens without the password. `Refused` when there is no refresh token or it is no longer good.
    pub(super) async fn refresh(&self, old: &Tokens) -> Result<Tokens, CloudError> {
        let refresh = old.refresh.as_ref().ok_or_else(|| CloudError::new(CloudErrorKind::Refused, REFRESH))?;
        let answer = self
            .client
            .initiate_auth()
            .auth_flow(AuthFlowType::RefreshTokenAuth)
            .client_id(&self.client_id)
            .auth_parameters("REFRESH_TOKEN", refresh.expose_secret())
            .send()
            .await
            .map_err(|error| fault(REFRESH, &Failure::of(&error)))?;
        answer
            .authentication_result()
            .and_then(|result| self.tokens(result, Some(refresh)))
            .ok_or_else(|| CloudError::new(CloudErrorKind::Refused, REFRESH).with_source("no access token came back"))
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

/// The parameters of a PASSWORD_VERIFIER challenge, checked for form: the arithmetic trusts its input.
struct Challenge<'a> {
    secret_block: &'a str,
    /// What the user is called in the proof.
    user_id: &'a str,
    /// What the user is called in the answer.
    user_name: &'a str,
    salt: &'a str,
    b: &'a str,
}

impl<'a> Challenge<'a> {
    fn read(parameters: &'a HashMap<String, String>) -> Result<Self, CloudError> {
        let get = |name: &str| parameters.get(name).map(String::as_str).ok_or_else(|| nonsense("a part is missing"));
        let user_id = get("USER_ID_FOR_SRP")?;
        let challenge = Self {
            secret_block: get("SECRET_BLOCK")?,
            user_id,
            user_name: get("USERNAME").unwrap_or(user_id),
            salt: get("SALT")?,
            b: get("SRP_B")?,
        };
        if is_positive_hex(challenge.salt) && is_positive_hex(challenge.b) {
            Ok(challenge)
        } else {
            Err(nonsense("salt or public value is no number"))
        }
    }
}

/// Reads a challenge and answers it as the user of a test.
#[cfg(feature = "fuzzing")]
pub(super) fn answer_challenge(parameters: &HashMap<String, String>) {
    let srp = SrpClient::new(User::new("eu-west-1_pool", "user", "password"), "client", None);
    if let Ok(challenge) = Challenge::read(parameters) {
        let _ = srp.verify(challenge.secret_block, challenge.user_id, challenge.salt, challenge.b);
    }
}

fn is_positive_hex(text: &str) -> bool {
    (1..=HEX_MAX).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
        && text.bytes().any(|byte| byte != b'0')
}

fn nonsense(why: &'static str) -> CloudError {
    CloudError::new(CloudErrorKind::Nonsense, SIGN_IN).with_source(why)
}

/// A daemon cannot choose a new password or read a code from a telephone: somebody must act.
fn unexpected_challenge(name: Option<&ChallengeNameType>) -> CloudError {
    let name = name.map_or_else(|| "nothing".to_owned(), |name| clean(name.as_str()));
    let text = format!("the user pool asks for {name}, which a daemon cannot give; the user must be set up anew");
    CloudError::new(CloudErrorKind::Refused, SIGN_IN).with_source(text)
}

fn fault(operation: &'static str, failure: &Failure) -> CloudError {
    CloudError::new(kind(failure), operation).with_source(failure.text.clone())
}

fn kind(failure: &Failure) -> CloudErrorKind {
    match failure.meaning {
        // Too many wrong passwords lock a user for a while: that passes by itself.
        Meaning::Refused if failure.text.contains("attempts exceeded") => CloudErrorKind::Throttled,
        Meaning::Refused if REFUSALS.contains(&failure.code.as_str()) => CloudErrorKind::Refused,
        Meaning::Refused | Meaning::Failed | Meaning::NoCredentials => CloudErrorKind::Failed,
        Meaning::Unreachable => CloudErrorKind::Unreachable,
        Meaning::TimedOut => CloudErrorKind::TimedOut,
        Meaning::Throttled => CloudErrorKind::Throttled,
        Meaning::Nonsense => CloudErrorKind::Nonsense,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_kinds() {
        let check = |code: &str, text: &str, meaning, expected| {
            let failure = Failure { meaning, code: code.to_owned(), text: text.to_owned() };
            assert_eq!(kind(&failure), expected, "{code}");
        };
        let refused = Meaning::Refused;
        check("NotAuthorizedException", "Incorrect username or password.", refused, CloudErrorKind::Refused);
        check("NotAuthorizedException", "Password attempts exceeded", refused, CloudErrorKind::Throttled);
        check("UserNotFoundException", "", refused, CloudErrorKind::Refused);
        check("PasswordResetRequiredException", "", refused, CloudErrorKind::Refused);
        check("UserNotConfirmedException", "", refused, CloudErrorKind::Refused);
        check("UserLambdaValidationException", "", refused, CloudErrorKind::Failed);
        check("", "", Meaning::TimedOut, CloudErrorKind::TimedOut);
    }

    #[test]
    fn a_challenge_must_be_numbers() {
        for (text, expected) in [("00ff", true), ("0", false), ("", false), ("xyz", false)] {
            assert_eq!(is_positive_hex(text), expected, "{text}");
        }
        assert!(!is_positive_hex(&"f".repeat(HEX_MAX + 1)));
    }
}
