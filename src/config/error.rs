//! What was wrong with the configuration, all of it at once. Holds no values of secrets.

use std::fmt;
use std::path::PathBuf;

use super::settings::{Absent, Setting};

/// Every problem that was found; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct ConfigErrors(pub(super) Vec<Problem>);

impl ConfigErrors {
    /// The problems, in the order of the settings, those of the environment file first.
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

/// One thing to mend.
#[derive(Debug, Clone, PartialEq, Eq)]
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
    /// A setting is given nowhere.
    Missing {
        /// Name of the variable.
        variable: &'static str,
    },
    /// A value is not what it should be.
    Bad {
        /// Name of the variable.
        variable: &'static str,
        /// The value, escaped and cut; `None` where it may be or hold a secret.
        value: Option<String>,
        /// Where it came from.
        origin: Origin,
    },
}

/// Where a value came from.
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
    pub(super) fn bad(setting: &'static Setting, value: &str, origin: Origin) -> Self {
        const SHOWN_MAX: usize = 60;
        let shown = || value.chars().take(SHOWN_MAX).collect::<String>().escape_debug().to_string();
        Self::Bad { variable: setting.variable, value: setting.printable.then(shown), origin }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EnvFile { path, line: Some(line), reason } => write!(f, "{} line {line} {reason}", path.display()),
            Self::EnvFile { path, line: None, reason } => write!(f, "{} cannot be read: {reason}", path.display()),
            Self::Missing { variable } => {
                let setting = super::settings::setting(variable);
                let wanted = if setting.absent == Absent::Required { "is missing" } else { "cannot be found out" };
                write!(f, "{variable} {wanted}; it should hold {}", setting.holds)
            }
            Self::Bad { variable, value, origin } => {
                let setting = super::settings::setting(variable);
                write!(f, "{variable} should hold {}; ", setting.holds)?;
                match value {
                    Some(value) => write!(f, "\"{value}\"")?,
                    None => write!(f, "the value (not shown)")?,
                }
                write!(f, " came from ")?;
                origin.describe(setting, f)
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
            Self::Default => write!(f, "the program itself"),
        }
    }
}
