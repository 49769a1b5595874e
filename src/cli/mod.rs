//! The command line: definitions and help. Decides nothing; `main` runs the commands.

mod check;
mod configuration;
mod events;
mod flags;
mod generate;
mod help;
mod only;
mod plan;
mod query;
mod report;
mod screen;
mod status;
#[cfg(test)]
mod tests;
mod watch;
mod why;

use std::ffi::OsString;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub use crate::exit::Exit;

pub use check::check;
pub use events::{EventsOptions, events};
pub use flags::SettingFlags;
pub use generate::{Text, generate};
pub use only::only_daemon;
pub use plan::plan;
pub use query::exit_of;
pub use status::{StatusOptions, status};
pub use why::{WhyOptions, why};

/// The whole command line.
#[derive(Debug, Clone, Parser)]
#[command(
    name = "echostream-managed-app",
    version,
    about = "Keeps the managed nodes of an EchoStream managed app running on this host",
    long_about = help::ABOUT,
    after_help = "Try `echostream-managed-app --help` for examples, all settings and exit codes.",
    after_long_help = help::after(),
    max_term_width = 120
)]
pub struct Cli {
    /// What to do; `None` is [`Command::Run`].
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings, before or after the command.
    #[command(flatten)]
    pub flags: SettingFlags,
}

/// What the program can do.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the daemon (also without any command)
    Run(RunArgs),
    /// Test settings, network, sign-in, engine, permissions and host, and print a remedy for each failure
    Check(CheckArgs),
    /// Show the actions that `run` would take now; changes nothing
    Plan,
    /// Show the nodes of the running daemon
    #[command(args = flags::shown_alone(&["env-file", "status-socket"]))]
    Status(StatusOptions),
    /// Show the actions on a node, each with its cause, steps and outcome
    #[command(args = flags::shown_alone(&["env-file", "status-socket", "state-directory"]))]
    Why(WhyOptions),
    /// Print actions and state changes as they happen
    #[command(args = flags::shown_alone(&["env-file", "status-socket"]))]
    Events(EventsOptions),
    /// Print the man page, the reference of the settings or the completions of a shell
    #[command(hide = true, args = flags::shown_alone(&[]))]
    Generate {
        /// Text to print
        text: Text,
    },
    /// Run the daemon against a fake cloud for about 20 seconds; needs no account
    ///
    /// Uses an engine in memory. `--runtime docker` and `--runtime podman` run real containers and remove them at the
    /// end.
    #[cfg(feature = "demo")]
    #[command(args = flags::shown_alone(&["runtime"]))]
    Demo,
    /// Serve a fake cloud on a port, for authors of nodes, and change its content by commands
    #[cfg(feature = "demo")]
    #[command(args = flags::shown_alone(&[]))]
    FakeCloud(Box<crate::demo::fake_cloud::FakeCloudArgs>),
}

impl Default for Command {
    fn default() -> Self {
        Self::Run(RunArgs::default())
    }
}

/// What stands after `run`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct RunArgs {
    /// Ask the daemon of this app that runs on this host, or in a container on it, to end and leave its nodes to this one
    ///
    /// It ends as by SIGUSR2. This one waits for its end, at most the stop grace and a minute; without an answer it ends
    /// with code 75 and has changed nothing.
    #[arg(long)]
    pub takeover: bool,
}

/// What stands after `check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Write the results, settings, versions, state and the end of the log into an archive (tar.gz), without secrets
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
}

impl Cli {
    /// Reads the command line, the program's name first. On failure, or when only help or the version was asked for,
    /// it has been printed already and the program should end as returned ([`Exit::Usage`] or [`Exit::Done`]; clap's
    /// own code 2 would be taken for anything).
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        Self::try_parse_from(arguments).map_err(|error| {
            // Nobody is left to tell when not even this can be printed.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        })
    }

    /// What to do.
    pub fn chosen(&self) -> Command {
        self.command.clone().unwrap_or_default()
    }
}
