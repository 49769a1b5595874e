//! Creates command line flags from the table of settings. Does not validate values: the configuration does, so that
//! errors are the same for all sources.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::error::ErrorKind;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};

use crate::config::{Absent, Flags, SETTINGS, Setting};

const ENV_FILE: &str = "env-file";

/// [`Flags`] for clap.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SettingFlags(pub Flags);

impl Args for SettingFlags {
    fn augment_args(command: Command) -> Command {
        command.args(arguments())
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for SettingFlags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut flags = Self::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        let invalid = |error| clap::Error::raw(ErrorKind::InvalidValue, error);
        if let Some(path) = matches.try_get_one::<PathBuf>(ENV_FILE).map_err(invalid)? {
            self.0.env_file = Some(path.clone());
        }
        for setting in SETTINGS.iter().filter(|setting| setting.flag.is_some()) {
            if let Some(value) = matches.try_get_one::<String>(setting.variable).map_err(invalid)? {
                self.0.set(setting.variable, value.clone());
            }
        }
        Ok(())
    }
}

/// For a command that uses only `flags`: it accepts the other flags too, but its help hides them.
pub(super) fn hide_all_except(flags: &[&str]) -> impl Iterator<Item = Arg> {
    let is_shown = |arg: &Arg| arg.get_long().is_some_and(|flag| flags.contains(&flag));
    let hidden = arguments().filter(|arg| !is_shown(arg)).map(|arg| arg.hide(true));
    hidden.collect::<Vec<_>>().into_iter()
}

fn arguments() -> impl Iterator<Item = Arg> {
    let env_file = Arg::new(ENV_FILE)
        .long(ENV_FILE)
        .value_name("FILE")
        .value_parser(ValueParser::path_buf())
        .global(true)
        .help("File with settings, in the syntax of systemd's EnvironmentFile; the environment overrides it");
    std::iter::once(env_file).chain(SETTINGS.iter().filter_map(|setting| argument(setting)))
}

fn argument(setting: &'static Setting) -> Option<Arg> {
    let default = match setting.absent {
        Absent::Default(text) => format!(" [default: {text}]"),
        Absent::Required | Absent::Means(_) => String::new(),
    };
    Some(
        Arg::new(setting.variable)
            .long(setting.flag?)
            .value_name("VALUE")
            .global(true)
            .hide_short_help(setting.absent == Absent::Required)
            .help_heading("Settings (each flag overrides its environment variable)")
            .help(format!("{}{default}", setting.about)),
    )
}
