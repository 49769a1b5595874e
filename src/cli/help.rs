//! The long help: description, examples, settings and exit codes. Text only.

use std::fmt::Write;

use crate::config::{Absent, SETTINGS, Setting};
use crate::exit::Exit;

/// The description above the usage.
pub(super) const ABOUT: &str = "\
Keeps the managed nodes of an EchoStream managed app running on this host.

It signs in to EchoStream, reads the nodes of the app, and runs each node as a container on Docker or Podman. It then
receives changes (images, ports, mounts, edges, message types) and applies each change to the affected containers only.
A running container that matches the cloud is not touched, also when this program starts again.";

const EXAMPLES: &str = "\
Demo (no account, no container engine, about 20 seconds; needs a build with the feature `demo`):
  echostream-managed-app demo

Examples:
  echostream-managed-app check --env-file /etc/echostream-managed-app.env
      Tests each requirement of the daemon and prints a remedy for each failure.
  echostream-managed-app plan --env-file /etc/echostream-managed-app.env
      Prints the actions that `run` would take now. Changes nothing.
  echostream-managed-app --env-file /etc/echostream-managed-app.env --runtime podman
      Runs the daemon.
  LOGGING_LEVEL=DEBUG echostream-managed-app --env-file /etc/echostream-managed-app.env --on-exit leave
      Runs the daemon with debug output. The nodes keep running when it ends.";

const SOURCES: &str = "\
Flags override the environment, and the environment overrides --env-file. An empty variable counts as unset.
PASSWORD has no flag, because other users of the host can read command lines. The variables of the AWS SDK (AWS_*), proxy
variables (HTTPS_PROXY, NO_PROXY, ...) and SSL_CERT_FILE are read from the environment or from --env-file.";

const SIGNALS: &str = "\
Signals: SIGTERM and SIGINT stop the nodes (or leave them running, see --on-exit) and end the daemon; a second signal
ends it at once. SIGUSR2 ends the daemon and leaves the nodes running for its successor; `run --takeover`
requests the same from the running daemon. SIGHUP reads PASSWORD from
--env-file again and starts a full comparison. SIGUSR1 is logged and ignored.

A host runs one daemon per tenant and app, independent of host ID, state directory and status socket. A second one
exits with code 75 and prints the pid of the first. A daemon in a container needs this mount:
  -v /run/lock/echostream-managed-app:/run/lock/echostream-managed-app";

/// Everything below the flags of `--help`.
pub(super) fn after() -> String {
    format!("{EXAMPLES}\n\n{SOURCES}\n\n{}\n{}\n{SIGNALS}", environment_table(), exit_table())
}

fn environment_table() -> String {
    let mut table = String::from("Environment:\n");
    for setting in SETTINGS {
        writeln!(table, "  {}\n      {}", setting.variable, describe(setting))
            .expect("writing to a String cannot fail");
    }
    table
}

fn describe(setting: &Setting) -> String {
    let absent = match setting.absent {
        Absent::Required => "required".to_owned(),
        Absent::Default(text) => format!("default: {text}"),
        Absent::Means(text) => format!("default: {text}"),
    };
    format!("{}: {} ({absent})", setting.about, setting.expected())
}

fn exit_table() -> String {
    let mut table = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        writeln!(table, "  {:>2}  {}", exit.code(), exit.meaning()).expect("writing to a String cannot fail");
    }
    table
}
