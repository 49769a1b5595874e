//! All problems of a configuration. Contains no values of secrets.

use std::fmt;
use std::path::PathBuf;

use super::settings::{Absent, Setting, Shown};

/// All problems; never empty.
#[derive(Debug, Clone, thiserror::Error)]
pub struct ConfigErrors(pub(super) Vec<Problem>);

impl ConfigErrors {
    /// The problems: those of the environment file, those of each setting, then those that depend on other settings.
    pub fn problems(&self) -> &[Problem] {
        &self.0
    }
}

/// One line a problem, after a headline.
impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "the configuration has {count} problem{}:", if count == 1 { "" } else { "s" })?;
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// One problem of the configuration.
#[derive(Debug, Clone)]
pub enum Problem {
    /// The environment file, or one line of it, cannot be read.
    EnvFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1; `None` is the whole file.
        line: Option<usize>,
        /// What is wrong, without the line's content.
        reason: String,
    },
    /// No source sets a required setting.
    Missing {
        /// The setting.
        setting: &'static Setting,
    },
    /// A value is invalid.
    Invalid {
        /// The setting.
        setting: &'static Setting,
        /// The value, escaped and truncated; `None` if it may be or contain a secret.
        value: Option<String>,
        /// Its source.
        origin: Origin,
    },
}

/// The source of a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// The environment of the process.
    Environment,
    /// The environment file.
    EnvFile {
        /// The file.
        path: PathBuf,
        /// Line of the assignment, from 1.
        line: usize,
    },
    /// The table of settings.
    Default,
}

impl Problem {
    pub(super) fn invalid(setting: &'static Setting, value: &str, origin: Origin) -> Self {
        const SHOWN_MAX: usize = 60;
        let shown = || value.chars().take(SHOWN_MAX).collect::<String>().escape_debug().to_string();
        Self::Invalid { setting, value: (setting.shown == Shown::Everywhere).then(shown), origin }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnvFile { path, line: Some(line), reason } => write!(f, "{} line {line} {reason}", path.display()),
            Self::EnvFile { path, line: None, reason } => write!(f, "{} cannot be read: {reason}", path.display()),
            Self::Missing { setting } => {
                let found = match setting.absent {
                    Absent::Required => "is missing",
                    _ => "is not set and cannot be determined",
                };
                write!(f, "{} {found}; expected: {}", setting.variable, setting.expected())
            }
            Self::Invalid { setting, value, origin } => {
                write!(f, "{} from ", setting.variable)?;
                origin.describe(setting, f)?;
                match value {
                    Some(value) => write!(f, " is invalid: \"{value}\"")?,
                    None => write!(f, " is invalid (value not shown)")?,
                }
                write!(f, "; expected: {}", setting.expected())
            }
        }
    }
}

impl Origin {
    pub(super) fn describe(&self, setting: &Setting, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag => write!(f, "the flag --{}", setting.flag.unwrap_or_default()),
            Self::Environment => write!(f, "the environment"),
            Self::EnvFile { path, line } => write!(f, "{} line {line}", path.display()),
            Self::Default => write!(f, "the default"),
        }
    }
}
