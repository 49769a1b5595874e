//! `generate`: the man page and the shells' completions, from the same definitions as `--help`. For packages.

use std::io::Write;

use clap::{CommandFactory, ValueEnum};

use super::Cli;
use crate::exit::Exit;

/// What can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Text {
    /// The man page, as troff
    Man,
    /// Completions of Bash
    Bash,
    /// Completions of Zsh
    Zsh,
    /// Completions of Fish
    Fish,
}

/// Writes it to standard output.
pub fn generate(text: Text) -> Exit {
    let mut command = Cli::command();
    let mut made = Vec::new();
    let shell = match text {
        Text::Man => None,
        Text::Bash => Some(clap_complete::Shell::Bash),
        Text::Zsh => Some(clap_complete::Shell::Zsh),
        Text::Fish => Some(clap_complete::Shell::Fish),
    };
    match shell {
        Some(shell) => clap_complete::generate(shell, &mut command, "echostream-managed-app", &mut made),
        None => {
            // What the short help leaves out for its length has room here.
            let command = command.mut_args(|argument| argument.hide_short_help(false));
            let page = clap_mangen::Man::new(command).section("8");
            page.render(&mut made).expect("a Vec takes all text");
        }
    }
    // Output that nobody reads is no failure.
    let _ = std::io::stdout().write_all(&made);
    Exit::Done
}
