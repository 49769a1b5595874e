//! The reference of the settings as Markdown: `docs/configuration.md` is this text, and a test compares the two.
//! Owns the text around the tables. The rows come from the table of settings and from the exit codes.

use std::fmt::Write;

use crate::config::{Absent, SETTINGS, Setting};
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

/// Heading of each group and the first setting in it: a new setting joins the group of the one before it.
const GROUPS: [(&str, &str); 9] = [
    ("Required: the app and its account", "APP"),
    ("Log level and engine", "LOGGING_LEVEL"),
    ("Logs", "MANAGED_APP_NODE_LOGS"),
    ("Daemon and host", "MANAGED_APP_ON_EXIT"),
    ("Operations on nodes", "MANAGED_APP_PARALLEL_OPERATIONS"),
    ("Restrictions on nodes", "MANAGED_APP_ALLOWED_REGISTRIES"),
    ("Endpoints of the cloud, for tests", "MANAGED_APP_FAKE_CLOUD"),
    ("Status, metrics and page", "MANAGED_APP_STATUS_SOCKET"),
    ("Engine addresses and colours", "DOCKER_HOST"),
];

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

/// The whole page.
pub(super) fn page() -> String {
    let mut page = INTRODUCTION.to_owned();
    for setting in SETTINGS {
        if let Some((heading, _)) = GROUPS.iter().find(|(_, first)| *first == setting.variable) {
            write!(page, "\n## {heading}\n{GROUP_HEAD}").expect("writing to a String cannot fail");
        }
        page.push_str(&row(setting));
    }
    page.push_str(VALUES);
    page.push_str(EXIT_CODES);
    for exit in Exit::ALL {
        writeln!(page, "| {} | {} |", exit.code(), exit.meaning()).expect("writing to a String cannot fail");
    }
    page
}

fn row(setting: &Setting) -> String {
    let flag = setting.flag.map_or_else(String::new, |flag| format!("`--{flag}`"));
    let default = match setting.absent {
        Absent::Required => "required".to_owned(),
        Absent::Default(text) => format!("`{text}`"),
        Absent::Means(text) => text.to_owned(),
    };
    let cells = [&format!("`{}`", setting.variable), &flag, &default, setting.about, setting.expected];
    format!("| {} |\n", cells.map(|cell| cell.replace('<', "&lt;")).join(" | "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// On failure: `echostream-managed-app generate configuration >docs/configuration.md`.
    #[test]
    fn the_page_in_docs_is_what_the_program_generates() {
        let (page, file) = (page(), include_str!("../../docs/configuration.md"));
        for (generated, found) in page.lines().zip(file.lines()) {
            assert_eq!(generated, found, "run `echostream-managed-app generate configuration >docs/configuration.md`");
        }
        assert!(page == file, "run `echostream-managed-app generate configuration >docs/configuration.md`");
    }

    #[test]
    fn every_group_and_setting_has_its_line() {
        let page = page();
        assert!(SETTINGS[0].variable == GROUPS[0].1, "the first setting begins the first group");
        for (heading, _) in GROUPS {
            assert_eq!(page.matches(&format!("\n## {heading}\n")).count(), 1, "{heading}");
        }
        for setting in SETTINGS {
            assert_eq!(page.matches(&format!("\n| `{}` |", setting.variable)).count(), 1, "{}", setting.variable);
        }
    }
}
