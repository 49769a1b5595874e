//! Result of a check.

use std::error::Error;
use std::fmt;

use crate::{RuntimeError, chain};

/// The result of a check or of a step of it.
pub type Outcome<T = ()> = Result<T, Failure>;

/// Why a check did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The backend failed the check, or a tool of the suite failed.
    Failed(String),
    /// The check cannot run on this engine.
    CannotRun(String),
}

impl Failure {
    /// A failed check with its text.
    pub fn new(text: impl Into<String>) -> Self {
        Self::Failed(text.into())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(text) => f.write_str(text),
            Self::CannotRun(reason) => write!(f, "cannot run: {reason}"),
        }
    }
}

impl Error for Failure {}

impl From<RuntimeError> for Failure {
    fn from(error: RuntimeError) -> Self {
        Self::Failed(format!("failed to {}", chain(&error)))
    }
}

impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Fails the check with a text unless the condition holds.
macro_rules! ensure {
    ($condition:expr, $($text:tt)+) => {
        if !$condition {
            return Err($crate::conformance::Failure::Failed(format!($($text)+)));
        }
    };
}

/// Fails the check unless both are equal.
macro_rules! ensure_eq {
    ($found:expr, $wanted:expr, $what:expr) => {
        match (&$found, &$wanted) {
            (found, wanted) => {
                $crate::conformance::outcome::ensure!(found == wanted, "{}: wanted {wanted:?}, found {found:?}", $what)
            }
        }
    };
}

pub(super) use {ensure, ensure_eq};
