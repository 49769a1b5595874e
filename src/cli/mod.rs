//! The command line: definitions and help. `main` runs the commands.

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
    /// The command; `None` is [`Command::Run`].
    #[command(subcommand)]
    pub command: Option<Command>,
    /// Settings, before or after the command.
    #[command(flatten)]
    pub flags: SettingFlags,
}

/// The commands of the program.
#[derive(Debug, Clone, PartialEq, Eq, Subcommand)]
pub enum Command {
    /// Run the daemon (also without any command)
    Run(RunArgs),
    /// Test settings, network, sign-in, engine, permissions and host, and print a remedy for each failure
    Check(CheckArgs),
    /// Show the actions that `run` would take now; changes nothing
    Plan,
    /// Show the nodes of the running daemon
    #[command(args = flags::hide_all_except(&["env-file", "status-socket"]))]
    Status(StatusOptions),
    /// Show the actions on a node, each with its cause, steps and outcome
    #[command(args = flags::hide_all_except(&["env-file", "status-socket", "state-directory"]))]
    Why(WhyOptions),
    /// Print actions and state changes as they happen
    #[command(args = flags::hide_all_except(&["env-file", "status-socket"]))]
    Events(EventsOptions),
    /// Print the man page, the reference or an example of the settings, or the completions of a shell
    #[command(hide = true, args = flags::hide_all_except(&[]))]
    Generate {
        /// Text to print
        text: Text,
    },
    /// Run the daemon against a fake cloud for about 20 seconds; needs no account
    ///
    /// Uses an engine in memory. `--runtime docker` and `--runtime podman` run real containers and remove them at the
    /// end.
    #[cfg(feature = "demo")]
    #[command(args = flags::hide_all_except(&["runtime"]))]
    Demo,
    /// Serve a fake cloud on a port, for authors of nodes, and change its content by commands
    #[cfg(feature = "demo")]
    #[command(args = flags::hide_all_except(&[]))]
    FakeCloud(Box<crate::demo::fake_cloud::FakeCloudArgs>),
}

impl Default for Command {
    fn default() -> Self {
        Self::Run(RunArgs::default())
    }
}

/// Options of `run`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct RunArgs {
    /// Ask the running daemon of this app on this host, or in a container on it, to end, and take over its nodes
    ///
    /// The running daemon ends as after SIGUSR2, and its nodes keep running. The new daemon waits for at most the stop
    /// grace and one minute. If the running daemon does not respond, the new one exits with code 75 and changes nothing.
    #[arg(long)]
    pub takeover: bool,
}

/// Options of `check`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub struct CheckArgs {
    /// Write the results, settings, versions, state and the end of the log into an archive (tar.gz), without secrets
    #[arg(long, value_name = "FILE")]
    pub bundle: Option<PathBuf>,
}

impl Cli {
    /// Parses the command line, the program's name first. For an error, `--help` or `--version`, the text is already
    /// printed, and the program should end with the returned code ([`Exit::Usage`] or [`Exit::Done`], not clap's own
    /// code 2).
    pub fn read(arguments: impl IntoIterator<Item = OsString>) -> Result<Self, Exit> {
        Self::try_parse_from(arguments).map_err(|error| {
            // There is no other way to report a failure to print.
            let _ = error.print();
            if error.use_stderr() { Exit::Usage } else { Exit::Done }
        })
    }

    /// The command to run.
    pub fn chosen(&self) -> Command {
        self.command.clone().unwrap_or_default()
    }
}
