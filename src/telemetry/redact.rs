//! Replaces known secrets in each line. A second line of defence: types (`SecretString`) keep secrets out of lines, and
//! this removes those in external texts.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};

/// Replaces a secret.
pub const REDACTED: &str = "[redacted]";

/// Shorter secrets are not replaced: replacing every `a` would make lines unreadable and reveal the secret.
const SECRET_CHARS_MIN: usize = 4;
/// Number of temporary secrets that are kept; tokens and keys are renewed about hourly.
const TEMPORARY_MAX: usize = 64;

/// The known secrets; clones share them.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    permanent: Vec<SecretString>,
    temporary: VecDeque<SecretString>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Adds a permanent secret, such as the password.
    pub fn add(&self, secret: &SecretString) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms(secret) {
            if !known.permanent.iter().any(|old| old.expose_secret() == form.expose_secret()) {
                known.permanent.push(form);
            }
        }
    }

    /// Adds a temporary secret, such as a token or key. The last 64 are kept.
    pub fn add_passing(&self, secret: &SecretString) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.temporary.extend(forms(secret));
        let surplus = known.temporary.len().saturating_sub(TEMPORARY_MAX);
        known.temporary.drain(..surplus);
    }

    /// `line` without any known secret.
    pub fn redact(&self, mut line: String) -> String {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for secret in known.permanent.iter().chain(&known.temporary) {
            if line.contains(secret.expose_secret()) {
                line = line.replace(secret.expose_secret(), REDACTED);
            }
        }
        line
    }
}

/// The secret itself, and its escaped forms in log lines and JSON.
fn forms(secret: &SecretString) -> Vec<SecretString> {
    let plain = secret.expose_secret();
    if plain.chars().count() < SECRET_CHARS_MIN {
        return Vec::new();
    }
    let once = plain.replace('\\', "\\\\").replace('"', "\\\"");
    if once == plain {
        return vec![plain.into()];
    }
    // A quoted text inside a quoted text is escaped twice.
    let twice = once.replace('\\', "\\\\").replace('"', "\\\"");
    vec![twice.into(), once.into(), plain.into()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn redact(secrets: &[&str], line: &str) -> String {
        let redactor = Redactor::default();
        secrets.iter().for_each(|secret| redactor.add(&SecretString::from(*secret)));
        redactor.redact(line.to_owned())
    }

    #[test]
    fn known_secrets_are_replaced_wherever_they_stand() {
        assert_eq!(redact(&["hunter2"], "a hunter2b=hunter2"), "a [redacted]b=[redacted]");
        assert_eq!(redact(&["hunter2", "other"], "hunter2 other"), "[redacted] [redacted]");
        assert_eq!(redact(&[r#"a"b\c"#], r#"x a\"b\\c y a"b\c"#), "x [redacted] y [redacted]");
        assert_eq!(redact(&[r#"a"b\c"#], r#"a\\\"b\\\\c"#), "[redacted]");
        assert_eq!(redact(&["hunter2"], "nothing here"), "nothing here");
    }

    #[test]
    fn short_secrets_are_not_redacted() {
        assert_eq!(redact(&["", "a", "abc"], "abc a"), "abc a");
    }

    #[test]
    fn temporary_secrets_are_limited_and_the_password_stays() {
        let redactor = Redactor::default();
        redactor.add(&SecretString::from("password"));
        for number in 0..=TEMPORARY_MAX {
            redactor.add_passing(&SecretString::from(format!("token-{number:03}")));
        }
        assert_eq!(redactor.redact("token-000 token-001 password".into()), "token-000 [redacted] [redacted]");
    }

    #[test]
    fn debug_of_the_redactor_shows_no_secret() {
        let redactor = Redactor::default();
        redactor.add(&SecretString::from("hunter2"));
        assert_eq!(format!("{redactor:?}"), "Redactor");
    }
}
