//! Finds the value of a setting: flags have priority, then the environment, the environment file and the default.
//! Collects all problems.
//!
//! The environment overrides the file, so that a single run can be changed (`LOGGING_LEVEL=DEBUG program --env-file ..`)
//! without an edit of a file that may belong to the boot image. An empty value in the environment or the file counts as
//! unset.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::envfile::{self, Entry};
use super::error::{Origin, Problem};
use super::kinds::Kind;
use super::settings::{Absent, Setting};

/// Settings from the command line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flags {
    /// `--env-file`.
    pub env_file: Option<PathBuf>,
    values: BTreeMap<&'static str, String>,
}

impl Flags {
    /// Sets the flag of `variable`; [`super::Config::load`] validates the value.
    pub fn set(&mut self, variable: &'static str, value: impl Into<String>) {
        self.values.insert(variable, value.into());
    }

    /// The value of the flag of `variable`.
    pub fn get(&self, variable: &str) -> Option<&str> {
        self.values.get(variable).map(String::as_str)
    }
}

/// A parsed environment file.
#[derive(Debug, Default)]
pub(super) struct EnvFile {
    path: PathBuf,
    entries: Vec<Entry>,
    pub(super) problems: Vec<Problem>,
    /// Whether the file could not be read, so that missing values are not reported.
    is_unreadable: bool,
}

impl EnvFile {
    pub(super) fn read(path: Option<&Path>, read: impl Fn(&Path) -> io::Result<String>) -> Self {
        let Some(path) = path else { return Self::default() };
        let path = path.to_owned();
        match read(&path) {
            Ok(text) => {
                let (entries, errors) = envfile::parse(&text);
                let problem = |error: &envfile::SyntaxError| Problem::EnvFile {
                    path: path.clone(),
                    line: Some(error.line),
                    reason: error.reason.to_owned(),
                };
                let problems = errors.iter().map(problem).collect();
                Self { path, entries, problems, is_unreadable: false }
            }
            Err(error) => {
                let problem = Problem::EnvFile { path: path.clone(), line: None, reason: error.to_string() };
                Self { path, entries: Vec::new(), problems: vec![problem], is_unreadable: true }
            }
        }
    }

    fn last(&self, name: &str) -> Option<&Entry> {
        self.entries.iter().rfind(|entry| entry.name == name).filter(|entry| !entry.value.is_empty())
    }

    /// The effective variables, each once.
    pub(super) fn variables(&self) -> BTreeMap<&str, &str> {
        let named = |entry: &Entry| self.last(&entry.name).map(|last| last.value.as_str());
        self.entries.iter().filter_map(|entry| Some((entry.name.as_str(), named(entry)?))).collect()
    }
}

/// The sources of one run and their problems so far.
pub(super) struct Sources<'a> {
    flags: &'a Flags,
    environment: &'a dyn Fn(&str) -> Option<String>,
    file: EnvFile,
    pub(super) problems: Vec<Problem>,
}

impl<'a> Sources<'a> {
    pub(super) fn new(flags: &'a Flags, environment: &'a dyn Fn(&str) -> Option<String>, mut file: EnvFile) -> Self {
        let problems = std::mem::take(&mut file.problems);
        Self { flags, environment, file, problems }
    }

    /// Records a problem for each setting that is invalid, or required and missing.
    pub(super) fn check(&mut self, settings: &[&'static Setting]) {
        for setting in settings {
            match self.find(setting) {
                Some((value, _)) if setting.accepts(&value) => {}
                Some(_) => self.invalid(setting),
                None if setting.absent == Absent::Required => self.missing(setting),
                None => {}
            }
        }
    }

    /// The value or the default of a setting; `None` if it is not set or invalid. [`Sources::check`] reports the problem.
    pub(super) fn get<K: Kind>(&self, setting: &Setting<K>) -> Option<K::Value> {
        setting.parse(&self.find(setting)?.0)
    }

    /// Records that the value of a setting is invalid.
    pub(super) fn invalid(&mut self, setting: &'static Setting) {
        if let Some((value, origin)) = self.find(setting) {
            self.problems.push(Problem::invalid(setting, &value, origin));
        }
    }

    /// The environment file, if there is one.
    pub(super) fn env_file(&self) -> Option<&Path> {
        self.flags.env_file.as_deref()
    }

    /// Records a missing setting; does nothing if the environment file could not be read, because it may set it.
    pub(super) fn missing(&mut self, setting: &'static Setting) {
        if !self.file.is_unreadable {
            self.problems.push(Problem::Missing { setting });
        }
    }

    /// A variable that only the environment of the process can set, like those of systemd.
    pub(super) fn process_only(&self, variable: &str) -> Option<String> {
        (self.environment)(variable).filter(|value| !value.is_empty())
    }

    /// The source of a variable of a library. Those of the environment file are already in the environment: see
    /// [`super::adopt_library_variables`].
    pub(super) fn library_origin(&self, variable: &str, value: &str) -> Origin {
        match self.file.last(variable).filter(|entry| entry.value == value) {
            Some(entry) => Origin::EnvFile { path: self.file.path.clone(), line: entry.line },
            None => Origin::Environment,
        }
    }

    pub(super) fn find<K: ?Sized>(&self, setting: &Setting<K>) -> Option<(String, Origin)> {
        let variable = setting.variable;
        if let Some(value) = self.flags.get(variable) {
            return Some((value.to_owned(), Origin::Flag));
        }
        if let Some(value) = self.process_only(variable) {
            return Some((value, Origin::Environment));
        }
        if let Some(entry) = self.file.last(variable) {
            return Some((entry.value.clone(), Origin::EnvFile { path: self.file.path.clone(), line: entry.line }));
        }
        match setting.absent {
            Absent::Default(text) => Some((text.to_owned(), Origin::Default)),
            Absent::Required | Absent::Means(_) => None,
        }
    }
}
