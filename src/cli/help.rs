//! The long help: what the program is, how to try it, its settings and exit codes. Text only.

use std::fmt::Write;

use crate::config::{Absent, SETTINGS, Setting};
use crate::exit::Exit;

/// What the program is, above the usage.
pub(super) const ABOUT: &str = "\
Keeps the managed nodes of an EchoStream managed app running on this host.

It signs in to EchoStream, asks which nodes the app has, and runs each as a container on Docker or Podman. It then
follows changes: a new image, another port, an edge or a message type reaches the container it concerns, and no other.
Containers that are already as they should be are left alone, also when this program restarts.";

const EXAMPLES: &str = "\
Try it (no account, no container engine, about 20 seconds; needs a build with the feature `demo`):
  echostream-managed-app demo

Examples:
  echostream-managed-app check --env-file /etc/echostream-managed-app.env
      Says for each thing the daemon needs whether it works, and what to do where it does not.
  echostream-managed-app plan --env-file /etc/echostream-managed-app.env
      Says what `run` would do now, and changes nothing.
  echostream-managed-app --env-file /etc/echostream-managed-app.env --runtime podman
      Runs the daemon.
  LOGGING_LEVEL=DEBUG echostream-managed-app --env-file /etc/echostream-managed-app.env --on-exit leave
      Runs it talkatively, and leaves the nodes running when it ends.";

const SOURCES: &str = "\
Settings come from flags, else from the environment, else from --env-file; an empty variable counts as absent.
PASSWORD has no flag, because command lines are public on a host. The AWS SDK's own variables (AWS_*), proxies
(HTTPS_PROXY, NO_PROXY, ...) and SSL_CERT_FILE count too, from the environment or from --env-file.";

const SIGNALS: &str = "\
Signals: SIGTERM and SIGINT stop the nodes (or leave them, see --on-exit) and end; a second one ends at once.
SIGUSR2 ends and leaves the nodes to a successor; `run --takeover` asks the running daemon for the same. SIGHUP takes a
new PASSWORD and looks at everything anew.

One daemon of a tenant and app runs on a host. A second one ends with code 75 and names the pid of the
first, whatever its host id, state directory and status socket are. A daemon in a container needs
  -v /run/lock/echostream-managed-app:/run/lock/echostream-managed-app
";

/// Everything below the flags of `--help`.
pub(super) fn after() -> String {
    format!("{EXAMPLES}\n\n{SOURCES}\n\n{}\n{}\n{SIGNALS}", environment_table(), exit_table())
}

fn environment_table() -> String {
    let mut table = String::from("Environment:\n");
    for setting in SETTINGS {
        writeln!(table, "  {}\n      {}", setting.variable, explain(setting)).expect("a String takes all text");
    }
    table
}

fn explain(setting: &Setting) -> String {
    let absent = match setting.absent {
        Absent::Required => "required".to_owned(),
        Absent::Default(text) => format!("default {text}"),
        Absent::Means(text) => format!("without it: {text}"),
    };
    format!("{}: {} ({absent})", setting.about, setting.holds)
}

fn exit_table() -> String {
    let mut table = String::from("Exit codes:\n");
    for exit in Exit::ALL {
        writeln!(table, "  {:>2}  {}", exit.code(), exit.meaning()).expect("a String takes all text");
    }
    table
}
