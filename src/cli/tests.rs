//! The command line as users type it.

use clap::CommandFactory;

use super::*;
use crate::config::{Absent, SETTINGS};

fn read(line: &str) -> Result<Cli, clap::Error> {
    Cli::try_parse_from(line.split(' '))
}

fn check(line: &str, command: Command, settings: &[(&str, &str)]) {
    let cli = read(line).expect("the command line is good");
    assert_eq!(cli.chosen(), command, "{line}");
    for (variable, value) in settings {
        assert_eq!(cli.flags.0.get(variable), Some(*value), "{line}");
    }
}

fn long_help() -> String {
    Cli::command().render_long_help().to_string()
}

#[test]
fn definitions_are_sound() {
    Cli::command().debug_assert();
}

#[test]
fn run_is_the_default() {
    check("x", Command::default(), &[]);
    check("x run", Command::default(), &[]);
    check("x run --takeover", Command::Run(RunArgs { takeover: true }), &[]);
    assert!(read("x plan --takeover").is_err());
    check("x check", Command::Check(CheckArgs::default()), &[]);
    check("x plan", Command::Plan, &[]);
    check("x status", Command::Status(StatusOptions::default()), &[]);
    check("x status --watch --json", Command::Status(StatusOptions { json: true, watch: true }), &[]);
    check("x why a", Command::Why(WhyOptions { node: "a".to_owned(), json: false }), &[]);
    check("x events --json", Command::Events(EventsOptions { json: true }), &[]);
}

#[test]
fn flags_are_accepted_before_and_after_the_command() {
    check("x --runtime podman", Command::default(), &[("MANAGED_APP_RUNTIME", "podman")]);
    check("x --runtime podman check", Command::Check(CheckArgs::default()), &[("MANAGED_APP_RUNTIME", "podman")]);
    check("x check --runtime=podman", Command::Check(CheckArgs::default()), &[("MANAGED_APP_RUNTIME", "podman")]);
    check("x --app a plan --tenant t", Command::Plan, &[("APP", "a"), ("TENANT", "t")]);
    let cli = read("x check --env-file /e").expect("the command line is good");
    assert_eq!(cli.flags.0.env_file.as_deref(), Some(std::path::Path::new("/e")));
    assert_eq!(cli.flags.0.get("APP"), None);
}

#[cfg(feature = "demo")]
#[test]
fn the_demo_takes_a_runtime() {
    check("x demo", Command::Demo, &[]);
    check("x demo --runtime docker", Command::Demo, &[("MANAGED_APP_RUNTIME", "docker")]);
}

#[test]
fn every_setting_but_the_password_has_its_flag() {
    for setting in crate::config::SETTINGS {
        if let Some(flag) = setting.flag {
            check(&format!("x --{flag}=v"), Command::default(), &[(setting.variable, "v")]);
        }
    }
    assert!(read("x --password=v").is_err());
}

#[test]
fn client_commands_accept_all_flags_and_show_their_own() {
    check("x status --runtime podman", Command::Status(StatusOptions::default()), &[("MANAGED_APP_RUNTIME", "podman")]);
    let help = |name: &str| {
        let mut command = Cli::command();
        command.build();
        command.find_subcommand_mut(name).expect("there is this command").render_long_help().to_string()
    };
    for (name, own) in [
        ("status", &["--json", "--watch", "--status-socket"][..]),
        ("why", &["<NODE>", "--json", "--status-socket", "--state-directory"]),
        ("events", &["--json", "--status-socket"]),
        ("generate", &["<TEXT>"]),
    ] {
        let help = help(name);
        assert!(own.iter().all(|flag| help.contains(flag)), "{help}");
        assert!(help.lines().count() < 30 && !help.contains("--parallel-pulls"), "{help}");
    }
    for name in ["run", "check", "plan"] {
        assert!(help(name).contains("--parallel-pulls"), "{name} uses the settings");
    }
}

#[test]
fn command_line_errors_exit_with_the_usage_code() {
    let read = |line: &str| Cli::read(line.split(' ').map(OsString::from)).map(|_| ());
    assert_eq!(read("x --no-such-flag"), Err(Exit::Usage));
    assert_eq!(read("x explode"), Err(Exit::Usage));
    assert_eq!(read("x --version"), Err(Exit::Done));
    assert_eq!(read("x --help"), Err(Exit::Done));
    assert_eq!(read("x check"), Ok(()));
}

#[test]
fn help_names_every_setting_flag_and_exit_code() {
    let help = long_help();
    for setting in crate::config::SETTINGS {
        assert!(help.contains(setting.variable), "{}", setting.variable);
        assert!(setting.flag.is_none_or(|flag| help.contains(&format!("--{flag} "))), "{:?}", setting.flag);
    }
    for exit in Exit::ALL {
        assert!(help.contains(&format!("{:>2}  {}", exit.code(), exit.meaning())), "{exit:?}");
    }
}

#[test]
fn exit_codes_are_those_of_the_units_and_scripts() {
    assert_eq!(Exit::ALL.map(Exit::code), [0, 64, 69, 70, 75, 77, 78]);
}

/// The value of `name` in the packaged unit.
fn unit(name: &str) -> &'static str {
    let unit = include_str!("../../packaging/echostream-managed-app.service");
    let value = unit.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    value.expect("the unit has this setting")
}

#[test]
fn unit_does_not_restart_after_usage_and_settings_errors() {
    let expected = [Exit::Usage, Exit::Configuration].map(|exit| exit.code().to_string());
    assert_eq!(unit("RestartPreventExitStatus"), expected.join(" "));
    assert_eq!(unit("Restart"), "on-failure");
}

#[test]
fn cloud_init_example_has_required_and_known_settings_only() {
    let example = include_str!("../../packaging/cloud-init.yaml");
    let given: Vec<_> = example.lines().filter_map(|line| line.strip_prefix("      ")?.split_once('=')).collect();
    for setting in SETTINGS.iter().filter(|setting| setting.absent == Absent::Required) {
        assert!(given.iter().any(|(name, _)| *name == setting.variable), "{}", setting.variable);
    }
    for (name, _) in given {
        let is_known = SETTINGS.iter().any(|setting| setting.variable == name) || name.starts_with("AWS_");
        assert!(is_known, "{name} is no setting");
    }
}

#[test]
fn man_page_and_completions_can_be_made() {
    for text in ["man", "configuration", "env-file", "bash", "zsh", "fish"] {
        assert!(read(&format!("x generate {text}")).is_ok());
    }
    assert!(!long_help().contains("\n  generate"), "it is for packages");
}

#[test]
fn unit_has_the_default_directories() {
    assert_eq!(unit("StateDirectory"), "echostream-managed-app");
    let log = crate::config::SETTINGS.iter().find(|setting| setting.variable == "MANAGED_APP_LOG_FILE");
    let folder = format!("/var/log/{}/", unit("LogsDirectory"));
    let begins = |default: crate::config::Absent| matches!(default, crate::config::Absent::Default(path) if path.starts_with(&folder));
    assert!(log.is_some_and(|setting| begins(setting.absent)));
}

#[test]
fn unit_stop_timeout_exceeds_the_stop_grace() {
    let seconds: u64 = unit("TimeoutStopSec").trim_end_matches('s').parse().expect("whole seconds");
    let grace = crate::config::SETTINGS.iter().find(|setting| setting.variable == "MANAGED_APP_STOP_GRACE");
    let crate::config::Absent::Default(grace) = grace.expect("it is in the table").absent else { panic!("a default") };
    let grace: u64 = grace.trim_end_matches('s').parse().expect("whole seconds");
    assert!(seconds >= 2 * grace);
}
