//! The last check before a line leaves: known secrets in it are replaced. Not a licence to log secrets; types keep them
//! out (`SecretString`), and this catches what slips through in texts of others.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use secrecy::{ExposeSecret, SecretString};

/// What stands in a secret's place.
pub const REDACTED: &str = "[redacted]";

/// Shorter secrets are not looked for: replacing every `a` would shred each line and tell the secret by its gaps.
const SECRET_CHARS_MIN: usize = 4;
/// How many passing secrets are remembered; tokens and keys are renewed about hourly.
const PASSING_MAX: usize = 64;

/// The known secrets; clones share them.
#[derive(Clone, Default)]
pub struct Redactor(Arc<RwLock<Known>>);

#[derive(Default)]
struct Known {
    kept: Vec<SecretString>,
    passing: VecDeque<SecretString>,
}

impl fmt::Debug for Redactor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Redactor")
    }
}

impl Redactor {
    /// Looks for `secret` as long as the program runs: the password.
    pub fn add(&self, secret: &SecretString) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        for form in forms(secret) {
            if !known.kept.iter().any(|old| old.expose_secret() == form.expose_secret()) {
                known.kept.push(form);
            }
        }
    }

    /// Looks for `secret` until 64 newer ones came: tokens and keys, which expire.
    pub fn add_passing(&self, secret: &SecretString) {
        let mut known = self.0.write().unwrap_or_else(PoisonError::into_inner);
        known.passing.extend(forms(secret));
        let surplus = known.passing.len().saturating_sub(PASSING_MAX);
        known.passing.drain(..surplus);
    }

    /// `line` without any known secret.
    pub fn redact(&self, mut line: String) -> String {
        let known = self.0.read().unwrap_or_else(PoisonError::into_inner);
        for secret in known.kept.iter().chain(&known.passing) {
            if line.contains(secret.expose_secret()) {
                line = line.replace(secret.expose_secret(), REDACTED);
            }
        }
        line
    }
}

/// The secret as it is, and as quoting in a log line or in JSON writes it.
fn forms(secret: &SecretString) -> Vec<SecretString> {
    let plain = secret.expose_secret();
    if plain.chars().count() < SECRET_CHARS_MIN {
        return Vec::new();
    }
    let once = plain.replace('\\', "\\\\").replace('"', "\\\"");
    if once == plain {
        return vec![plain.into()];
    }
    // A quoted text within a quoted text is escaped twice.
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
    fn short_secrets_do_not_shred_lines() {
        assert_eq!(redact(&["", "a", "abc"], "abc a"), "abc a");
    }

    #[test]
    fn passing_secrets_are_bounded_and_the_password_stays() {
        let redactor = Redactor::default();
        redactor.add(&SecretString::from("password"));
        for number in 0..=PASSING_MAX {
            redactor.add_passing(&SecretString::from(format!("token-{number:03}")));
        }
        assert_eq!(redactor.redact("token-000 token-001 password".into()), "token-000 [redacted] [redacted]");
    }

    #[test]
    fn debug_tells_nothing() {
        let redactor = Redactor::default();
        redactor.add(&SecretString::from("hunter2"));
        assert_eq!(format!("{redactor:?}"), "Redactor");
    }
}
