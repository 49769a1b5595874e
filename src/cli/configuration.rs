//! The reference of the settings as Markdown (`docs/configuration.md`), and the example of the environment file
//! (`packaging/echostream-managed-app.env`): tests compare the files with these texts. Owns the text around the settings.
//! The rest comes from the table of settings and from the exit codes.

use std::fmt::Write;

use crate::config::{Absent, GROUPS, Setting};
use crate::exit::Exit;

const INTRODUCTION: &str = "\
# Configuration

This page lists every setting, its default and its valid values, and the exit codes. It is generated from the program:
`echostream-managed-app generate configuration` prints it, and a test compares it with the table of settings in the code.

## Sources

A setting has three possible sources. A flag overrides the environment, and the environment overrides the file of `--env-file`.
An empty variable counts as unset. The daemon validates all settings at start and reports all problems at once with exit
code 78. `echostream-managed-app check` also tests them against the cloud, the engine and the host.

The file has the syntax of systemd's `EnvironmentFile`: `NAME=value`, `#` for comments, quotes and backslashes, no expansion
of variables. It contains the password: give it mode 0600. The packaged unit passes `/etc/echostream-managed-app.env`.

Settings take effect at the next start of the daemon. `systemctl reload` reads only `PASSWORD` again.
";

const GROUP_HEAD: &str = "
| variable | flag | default | meaning | valid values |
| --- | --- | --- | --- | --- |
";

const VALUES: &str = "
## Syntax of values

- Size: a whole number with `k`, `m` or `g` (1024-based). A number without unit is a number of bytes.
- Duration: a whole number with `ms`, `s`, `m` or `h`. A number without unit is invalid.
- Number: decimal digits only.
- Lists are separated by commas. Values of a fixed set are case-insensitive.

## Variables of libraries

These variables count too, from the environment or from the file:

| variables | read by |
| --- | --- |
| `AWS_*` | the AWS SDK: keys, profile, `AWS_ENDPOINT_URL` |
| `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, `NO_PROXY` | connections to the cloud and to AWS |
| `SSL_CERT_FILE`, `SSL_CERT_DIR` | TLS: certificates of the trusted authorities |
";

const EXIT_CODES: &str = "
## Exit codes

The exit codes are stable. The packaged unit does not restart the daemon after 0, 64 and 78.

| code | meaning |
| --- | --- |
";

const ENV_INTRODUCTION: &str = "\
# Settings of the managed app daemon: /etc/echostream-managed-app.env. It contains the password: give it mode 0600.
# Syntax: systemd's EnvironmentFile (NAME=value, quotes, backslashes, no expansion of variables).
# `echostream-managed-app check --env-file FILE` tests the settings.
# Lines like `#NAME=value` show the default of a setting, or an example if the comment above them describes the default.
# docs/security.md explains the restrictions on nodes. Most changes of a MANAGED_APP_NODE_ setting replace each node once.
";

const ENV_LIBRARIES: &str = "
# ---- Variables of the AWS SDK ----

# For access to registries and logs on a host without an instance role. Put no temporary keys here: a running process does
# not see replaced keys. The daemon reads ~/.aws/credentials after each change.
#AWS_ACCESS_KEY_ID=
#AWS_SECRET_ACCESS_KEY=
#AWS_PROFILE=
";

/// The whole page.
pub(super) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for group in GROUPS {
        write!(page, "\n## {}\n{GROUP_HEAD}", group.heading).expect("writing to a String cannot fail");
        page.extend(group.settings.iter().map(|setting| row(setting)));
    }
    page.push_str(VALUES);
    page.push_str(EXIT_CODES);
    for exit in Exit::ALL {
        writeln!(page, "| {} | {} |", exit.code(), exit.meaning()).expect("writing to a String cannot fail");
    }
    page
}

/// The example of an environment file: required settings with an example, the others as comments.
pub(super) fn env_file() -> String {
    let mut file = ENV_INTRODUCTION.to_owned();
    for group in GROUPS {
        write!(file, "\n# ---- {} ----\n", group.heading).expect("writing to a String cannot fail");
        file.extend(group.settings.iter().map(|setting| assignment(setting)));
    }
    file + ENV_LIBRARIES
}

fn assignment(setting: &Setting) -> String {
    let mut lines = format!("\n{}{}", comment(setting.about), comment(&format!("valid: {}", setting.expected())));
    if let Absent::Means(text) = setting.absent {
        lines.push_str(&comment(&format!("default: {text}")));
    }
    let off = if setting.absent == Absent::Required { "" } else { "#" };
    let quote = if setting.example.contains(' ') { "\"" } else { "" };
    lines + &format!("{off}{}={quote}{}{quote}\n", setting.variable, setting.example)
}

/// Lines of a comment, wrapped.
fn comment(text: &str) -> String {
    const WIDTH: usize = 120;
    let (mut lines, mut length) = ("#".to_owned(), 1);
    for word in text.split(' ') {
        if length + 1 + word.len() > WIDTH {
            lines.push_str("\n#");
            length = 1;
        }
        lines.push(' ');
        lines.push_str(word);
        length += 1 + word.len();
    }
    lines + "\n"
}

fn row(setting: &Setting) -> String {
    let flag = setting.flag.map_or_else(String::new, |flag| format!("`--{flag}`"));
    let default = match setting.absent {
        Absent::Required => "required".to_owned(),
        Absent::Default(text) => format!("`{text}`"),
        Absent::Means(text) => text.to_owned(),
    };
    let cells = [&format!("`{}`", setting.variable), &flag, &default, setting.about, &setting.expected()];
    format!("| {} |\n", cells.map(|cell| cell.replace('<', "&lt;")).join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(generated: &str, file: &str, command: &str) {
        for (generated, found) in generated.lines().zip(file.lines()) {
            assert_eq!(generated, found, "run `echostream-managed-app generate {command}`");
        }
        assert!(generated == file, "run `echostream-managed-app generate {command}`");
    }

    #[test]
    fn the_files_in_docs_and_packaging_are_generated() {
        let docs = include_str!("../../docs/configuration.md");
        compare(&page(), docs, "configuration >docs/configuration.md");
        let example = include_str!("../../packaging/echostream-managed-app.env");
        compare(&env_file(), example, "env-file >packaging/echostream-managed-app.env");
    }

    #[test]
    fn every_group_and_setting_has_its_line() {
        let (page, env_file) = (page(), env_file());
        for group in GROUPS {
            assert_eq!(page.matches(&format!("\n## {}\n", group.heading)).count(), 1, "{}", group.heading);
            for setting in group.settings {
                let variable = setting.variable;
                assert_eq!(page.matches(&format!("\n| `{variable}` |")).count(), 1, "{variable}");
                assert_eq!(
                    env_file.matches(&format!("\n#{variable}=")).count()
                        + env_file.matches(&format!("\n{variable}=")).count(),
                    1,
                    "{variable}"
                );
            }
        }
    }
}
