//! The exit codes: an interface to systemd and scripts. Only `main` ends the process.

use std::process::ExitCode;

/// How the program ended. The numbers are those of `sysexits.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Everything that was requested is done.
    Done,
    /// The command line could not be read.
    Usage,
    /// An engine or the cloud could not be reached at a step that is not retried.
    Unavailable,
    /// A bug in this program.
    Internal,
    /// Another daemon of the same app and tenant runs on this host.
    AlreadyRunning,
    /// The cloud refused the user's name or password.
    SignInRefused,
    /// A setting is missing or wrong.
    Configuration,
}

impl Exit {
    /// All values, for the help.
    pub const ALL: [Self; 7] = [
        Self::Done,
        Self::Usage,
        Self::Unavailable,
        Self::Internal,
        Self::AlreadyRunning,
        Self::SignInRefused,
        Self::Configuration,
    ];

    /// The number that the parent process sees.
    pub fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 64,
            Self::Unavailable => 69,
            Self::Internal => 70,
            Self::AlreadyRunning => 75,
            Self::SignInRefused => 77,
            Self::Configuration => 78,
        }
    }

    /// The meaning and the remedy, for the help.
    pub fn meaning(self) -> &'static str {
        match self {
            Self::Done => "success; for `run`: stopped by a signal, or the app was removed from EchoStream",
            Self::Usage => "invalid command line; see --help",
            Self::Unavailable => "an engine or the cloud is unreachable; a later attempt may succeed",
            Self::Internal => "internal error; please report it",
            Self::AlreadyRunning => {
                "another daemon of this tenant and app runs on this host; standard error has its pid"
            }
            Self::SignInRefused => "the cloud rejected USER_NAME or PASSWORD",
            Self::Configuration => "missing or invalid settings; standard error names all of them",
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}
