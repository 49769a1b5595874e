//! Requests a registry token and determines its lifetime. Tokens are base64 of `AWS:<password>`.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use managed_app_runtimes::RegistryCredentials;
use secrecy::SecretString;
use tokio::time::Instant;

use super::RegistryError;
use crate::cloud::aws_error::AwsError;
use crate::cloud::renewing::Lease;

/// Permission for the token of a private registry.
pub(super) const PRIVATE_PERMISSION: &str = "ecr:GetAuthorizationToken";

/// Permission for the token of ECR Public, together with `sts:GetServiceBearerToken`.
pub(super) const PUBLIC_PERMISSION: &str = "ecr-public:GetAuthorizationToken";

/// Longest lifetime of a token, by AWS's documentation.
const LIFETIME: Duration = Duration::from_secs(12 * 3600);

/// A token is renewed this long before it expires, so that a pull can finish with it, or when a quarter of its lifetime
/// is left if that is shorter.
const RENEW_BEFORE: Duration = Duration::from_secs(3600);

/// Credentials with their renewal time and expiry.
#[derive(Debug, Clone)]
pub(super) struct Token {
    pub(super) credentials: RegistryCredentials,
    fresh_until: Instant,
    usable_until: Instant,
}

impl Lease for Token {
    fn is_fresh(&self) -> bool {
        Instant::now() < self.fresh_until
    }

    fn is_usable(&self) -> bool {
        Instant::now() < self.usable_until
    }
}

/// Requests a token from ECR in the registry's region.
pub(super) async fn private(client: &aws_sdk_ecr::Client, account: &str) -> Result<Token, RegistryError> {
    // Deprecated by AWS because one token is valid for all registries; it still verifies the account.
    #[allow(deprecated)]
    let request = client.get_authorization_token().registry_ids(account);
    let response = request.send().await.map_err(|error| RegistryError::of(AwsError::of(&error), PRIVATE_PERMISSION))?;
    let data = response.authorization_data().first();
    let data = data.ok_or_else(|| RegistryError::invalid_response(PRIVATE_PERMISSION, "no authorization data"))?;
    let expires_at = data.expires_at().and_then(|time| SystemTime::try_from(*time).ok());
    token(data.authorization_token(), expires_at, PRIVATE_PERMISSION)
}

/// Requests a token from ECR Public, which has one region only.
pub(super) async fn public(client: &aws_sdk_ecrpublic::Client) -> Result<Token, RegistryError> {
    let response = client
        .get_authorization_token()
        .send()
        .await
        .map_err(|error| RegistryError::of(AwsError::of(&error), PUBLIC_PERMISSION))?;
    let data = response.authorization_data();
    let data = data.ok_or_else(|| RegistryError::invalid_response(PUBLIC_PERMISSION, "no authorization data"))?;
    let expires_at = data.expires_at().and_then(|time| SystemTime::try_from(*time).ok());
    token(data.authorization_token(), expires_at, PUBLIC_PERMISSION)
}

fn token(
    encoded: Option<&str>,
    expires_at: Option<SystemTime>,
    permission: &'static str,
) -> Result<Token, RegistryError> {
    let credentials =
        encoded.and_then(credentials).ok_or_else(|| RegistryError::invalid_response(permission, "no token"))?;
    // A wrong clock of this host must not determine the lifetime.
    let left = expires_at.and_then(|at| at.duration_since(SystemTime::now()).ok()).filter(|left| *left <= LIFETIME);
    let lifetime = left.unwrap_or(LIFETIME);
    let now = Instant::now();
    Ok(Token {
        credentials,
        fresh_until: now + lifetime - RENEW_BEFORE.min(lifetime / 4),
        usable_until: now + lifetime,
    })
}

fn credentials(encoded: &str) -> Option<RegistryCredentials> {
    let decoded = String::from_utf8(STANDARD.decode(encoded).ok()?).ok()?;
    let (username, password) = decoded.split_once(':')?;
    if username.is_empty() || password.is_empty() {
        return None;
    }
    Some(RegistryCredentials { username: username.to_owned(), password: SecretString::from(password) })
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    #[test]
    fn a_token_is_a_name_and_a_password() {
        let made = credentials(&STANDARD.encode("AWS:pass:word")).expect("a valid token");
        assert_eq!((made.username.as_str(), made.password.expose_secret()), ("AWS", "pass:word"));
        assert!(!format!("{made:?}").contains("pass:word"));
        for wrong in ["", "AWS", ":x", "AWS:"] {
            assert!(credentials(&STANDARD.encode(wrong)).is_none(), "{wrong}");
        }
        assert!(credentials("not base64!").is_none());
    }
}
