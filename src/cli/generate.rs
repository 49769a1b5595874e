//! `generate`: prints the man page, the reference of the settings, the example of the environment file and shell completions, from the same definitions as
//! `--help`. For packages and for `docs/`.

use std::io::Write;

use clap::{Arg, Command, CommandFactory, ValueEnum};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::Cli;
use crate::exit::Exit;

/// The texts that can be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Text {
    /// The man page, as troff
    Man,
    /// The reference of the settings, as Markdown
    Configuration,
    /// The example of the environment file
    EnvFile,
    /// Completions for Bash
    Bash,
    /// Completions for Zsh
    Zsh,
    /// Completions for Fish
    Fish,
}

/// Writes `text` to standard output.
pub fn generate(text: Text) -> Exit {
    let mut command = Cli::command();
    let mut output = Vec::new();
    let mut completions = |shell| clap_complete::generate(shell, &mut command, "echostream-managed-app", &mut output);
    match text {
        Text::Bash => completions(clap_complete::Shell::Bash),
        Text::Zsh => completions(clap_complete::Shell::Zsh),
        Text::Fish => completions(clap_complete::Shell::Fish),
        Text::Man => man(command, &mut output).expect("writing to a Vec cannot fail"),
        Text::Configuration => output = super::configuration::page().into_bytes(),
        Text::EnvFile => output = super::configuration::env_file().into_bytes(),
    }
    // A closed standard output is not a failure.
    let _ = std::io::stdout().write_all(&output);
    Exit::Done
}

/// One page for all commands: the settings once, and each command with its own options.
fn man(command: Command, page: &mut Vec<u8>) -> std::io::Result<()> {
    // The man page also lists the flags that the short help hides.
    let mut command = command.mut_args(|argument| argument.hide_short_help(false));
    command.build();
    let mut commands = Roff::new();
    commands.control("SH", ["COMMANDS"]);
    add_commands(&command, &mut commands);
    let page_parts = Man::new(command).section("8");
    page_parts.render_title(page)?;
    page_parts.render_name_section(page)?;
    page_parts.render_synopsis_section(page)?;
    page_parts.render_description_section(page)?;
    commands.to_writer(page)?;
    page_parts.render_options_section(page)?;
    page_parts.render_extra_section(page)?;
    page_parts.render_version_section(page)
}

fn add_commands(command: &Command, into: &mut Roff) {
    let is_visible = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    for command in command.get_subcommands().filter(is_visible) {
        let usage = command.clone().render_usage().to_string();
        into.control("SS", [usage.trim_start_matches("Usage: echostream-managed-app ")]);
        if let Some(about) = command.get_long_about().or(command.get_about()) {
            into.text([roman(about.to_string())]);
        }
        let is_own = |argument: &&Arg| !argument.is_global_set() && argument.get_id() != "help";
        for argument in command.get_arguments().filter(is_own) {
            into.control("TP", []);
            into.text([bold(argument.to_string())]);
            into.text([roman(argument.get_help().map(ToString::to_string).unwrap_or_default())]);
        }
        add_commands(command, into);
    }
}
