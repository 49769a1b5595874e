//! The table of settings, from which the flags, the help and the error texts come. Data only.

/// One setting of the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Environment variable.
    pub variable: &'static str,
    /// Long flag without its dashes; `None` has no flag.
    pub flag: Option<&'static str>,
    /// What it is for, as a noun.
    pub about: &'static str,
    /// What it should hold, to follow "should hold".
    pub holds: &'static str,
    /// What happens without it.
    pub absent: Absent,
    /// Whether a bad value may be repeated in an error.
    pub printable: bool,
}

/// What counts when a setting is given nowhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It is an error.
    Required,
    /// This text counts, read like any other value.
    Default(&'static str),
    /// What this says happens.
    Means(&'static str),
}

const fn required(variable: &'static str, flag: &'static str, about: &'static str, holds: &'static str) -> Setting {
    Setting { variable, flag: Some(flag), about, holds, absent: Absent::Required, printable: true }
}

const fn optional(
    (variable, flag): (&'static str, Option<&'static str>),
    absent: Absent,
    about: &'static str,
    holds: &'static str,
) -> Setting {
    Setting { variable, flag, about, holds, absent, printable: true }
}

const NAME: &str = "1 to 256 characters, none of them a control character";
use Absent::{Default, Means};

/// Every setting, in the order of the help. The password has no flag, because command lines are public on a host.
pub const SETTINGS: &[Setting] = &[
    required("APP", "app", "name of the managed app", NAME),
    Setting {
        printable: false,
        ..required(
            "APPSYNC_ENDPOINT",
            "appsync-endpoint",
            "URL of the control plane",
            "an https URL without user name and password (http only to a loopback address, or to MANAGED_APP_FAKE_CLOUD)",
        )
    },
    required("AWS_DEFAULT_REGION", "region", "region of the daemon's own log group", "an AWS region, like us-east-1"),
    required("CLIENT_ID", "client-id", "client of the user pool", "1 to 128 letters, digits, `_` and `+`"),
    required(
        "LOG_GROUP_NAME",
        "log-group-name",
        "the daemon's CloudWatch log group; nodes log to <it>/node/<node>",
        "1 to 512 letters, digits and `_-/.#`, not beginning with aws/",
    ),
    Setting {
        flag: None,
        printable: false,
        ..required("PASSWORD", "", "password of the app's user; has no flag, as command lines are public", NAME)
    },
    required("TENANT", "tenant", "name of the tenant", NAME),
    required("USER_NAME", "user-name", "name of the app's user", NAME),
    required("USER_POOL_ID", "user-pool-id", "Cognito user pool", "<region>_<id>, like us-east-1_a1B2c3D4e"),
    optional(
        ("LOGGING_LEVEL", Some("logging-level")),
        Default("INFO"),
        "how much is logged",
        "DEBUG, INFO, WARNING, ERROR or CRITICAL",
    ),
    optional(
        ("MANAGED_APP_RUNTIME", Some("runtime")),
        Default("auto"),
        "container engine; auto takes the one that holds the app already, else one that answers",
        "docker, podman, memory or auto",
    ),
    optional(
        ("MANAGED_APP_NODE_LOGS", Some("node-logs")),
        Means("what suits the engine"),
        "how the output of nodes reaches CloudWatch: by Docker's awslogs driver, by the daemon, which reads the engine's own log, or not at all; without it awslogs where dockerd has AWS credentials of its own, else agent, and existing containers keep their way",
        "awslogs, agent or engine",
    ),
    optional(
        ("MANAGED_APP_AWSLOGS_MODE", Some("awslogs-mode")),
        Default("non-blocking"),
        "with awslogs, while CloudWatch is slow or away: output beyond a buffer is lost, or nodes wait and none starts",
        "non-blocking or blocking",
    ),
    optional(
        ("MANAGED_APP_AWSLOGS_BUFFER", Some("awslogs-buffer")),
        Default("25m"),
        "that buffer, of each node",
        "a size from 64k to 1g, like 25m",
    ),
    optional(
        ("MANAGED_APP_NODE_LOG_SIZE", Some("node-log-size")),
        Default("10m"),
        "with agent and engine, the size of one file of a node's log in the engine; with agent also how much outlasts an outage of CloudWatch",
        "a size from 64k to 100g, like 10m",
    ),
    optional(
        ("MANAGED_APP_NODE_LOG_FILES", Some("node-log-files")),
        Default("5"),
        "number of these files (Podman has one of the size of all)",
        "a number from 1 to 1000",
    ),
    optional(
        ("MANAGED_APP_DAEMON_LOGS", Some("daemon-logs")),
        Default("on"),
        "whether the daemon's own log goes to its log group too",
        "on or off",
    ),
    optional(
        ("MANAGED_APP_ON_EXIT", Some("on-exit")),
        Default("stop"),
        "what happens to the nodes when the daemon ends",
        "stop or leave",
    ),
    optional(
        ("MANAGED_APP_ON_REMOVED", Some("on-removed")),
        Default("shutdown"),
        "what happens when the app is removed: the host is powered off, or the daemon ends",
        "shutdown or exit",
    ),
    optional(
        ("MANAGED_APP_LOG_FILE", Some("log-file")),
        Default("/var/log/echostream/echostream-managed-app.log"),
        "the daemon's log file, beside standard output",
        "an absolute path, or off",
    ),
    optional(
        ("MANAGED_APP_STATE_DIRECTORY", Some("state-directory")),
        Means("STATE_DIRECTORY of systemd, else /var/lib/echostream-managed-app"),
        "folder for what must outlive a restart",
        "an absolute path",
    ),
    optional(
        ("MANAGED_APP_HOST_ID", Some("host-id")),
        Means("/etc/machine-id, else the host's name"),
        "name of this host among the owners of containers",
        "1 to 128 characters, no white space or control characters",
    ),
    optional(
        ("MANAGED_APP_PARALLEL_OPERATIONS", Some("parallel-operations")),
        Default("64"),
        "engine operations at a time",
        "a number from 1 to 1024",
    ),
    optional(
        ("MANAGED_APP_PARALLEL_PULLS", Some("parallel-pulls")),
        Default("4"),
        "image pulls at a time",
        "a number from 1 to 64",
    ),
    optional(
        ("MANAGED_APP_STOP_GRACE", Some("stop-grace")),
        Default("30s"),
        "time a node may take to stop before it is killed",
        "a duration from 1s to 10m, like 30s",
    ),
    optional(
        ("MANAGED_APP_REPLACE", Some("replace")),
        Default("careful"),
        "order of a replacement: the old container stops first, or (without host ports and mounts) the new one starts first",
        "careful or overlap",
    ),
    optional(
        ("MANAGED_APP_REPLACE_WINDOW", Some("replace-window")),
        Default("2s"),
        "time a new container must stay up before the old one is removed; 0s does not wait",
        "a duration from 0s to 10m, like 2s",
    ),
    optional(
        ("MANAGED_APP_RESYNC", Some("resync")),
        Default("5m"),
        "how often everything is compared anew, without being told",
        "a duration from 10s to 24h, like 5m",
    ),
    optional(
        ("MANAGED_APP_ALLOWED_REGISTRIES", Some("allowed-registries")),
        Default("ecr, ecr-public"),
        "where images may come from; a node of another one is refused, and its old container stays",
        "a list with commas of ecr, ecr-public, HOST[:PORT][/REPOSITORY] and * (any)",
    ),
    optional(
        ("MANAGED_APP_ALLOWED_BIND_MOUNTS", Some("allowed-bind-mounts")),
        Default("default"),
        "what of the host may be mounted into nodes; default is all but what is sensitive, like /etc and engine sockets",
        "a list with commas of default and absolute paths (without ..), or none",
    ),
    optional(
        ("MANAGED_APP_NODE_NO_NEW_PRIVILEGES", Some("node-no-new-privileges")),
        Default("no"),
        "whether programs in nodes may not gain privileges (setuid)",
        "yes or no",
    ),
    optional(
        ("MANAGED_APP_NODE_DROP_CAPABILITIES", Some("node-drop-capabilities")),
        Means("the engine's default"),
        "capabilities that nodes do not have, beyond those that the engine drops",
        "a list with commas, like NET_RAW, MKNOD; or ALL",
    ),
    optional(
        ("MANAGED_APP_NODE_PIDS_MAX", Some("node-pids-max")),
        Means("the engine's default"),
        "most processes and threads of one node",
        "a number from 1 to 4194304",
    ),
    optional(
        ("MANAGED_APP_NODE_MEMORY_MAX", Some("node-memory-max")),
        Means("the engine's default"),
        "most memory of one node; one that wants more is ended by the kernel and started again",
        "a size from 16m to 16384g, like 512m",
    ),
    optional(
        ("MANAGED_APP_FAKE_CLOUD", None),
        Means("plain http goes to this host only"),
        "a fake cloud on another host, for tests: it alone may be spoken to by plain http",
        "its URL, like http://172.17.0.1:4510",
    ),
    Setting {
        printable: false,
        ..optional(
            ("AWS_ENDPOINT_URL", None),
            Means("the real AWS"),
            "where all AWS services are, as every AWS SDK reads it",
            "an https URL (http only to a loopback address, or to MANAGED_APP_FAKE_CLOUD)",
        )
    },
    optional(
        ("MANAGED_APP_STATUS_SOCKET", Some("status-socket")),
        Means("status.sock in RUNTIME_DIRECTORY of systemd, else in /run/echostream-managed-app"),
        "socket at which `status`, `why` and `events` ask the daemon",
        "an absolute path, or off",
    ),
    optional(
        ("MANAGED_APP_METRICS", Some("metrics")),
        Means("no metrics are served"),
        "where Prometheus finds /metrics; an address of other hosts' reach is taken with a warning",
        "an IP address and a port, like 127.0.0.1:9464",
    ),
    optional(
        ("MANAGED_APP_HTTP", Some("http")),
        Means("no page is served"),
        "where a browser finds the status page, which only shows",
        "a loopback address and a port, like 127.0.0.1:8464",
    ),
    optional(
        ("DOCKER_HOST", None),
        Means("/var/run/docker.sock"),
        "address of Docker",
        "an address, like unix:///var/run/docker.sock",
    ),
    optional(
        ("CONTAINER_HOST", None),
        Means("Podman's usual sockets"),
        "address of Podman",
        "an address, like unix:///run/podman/podman.sock",
    ),
    optional(
        ("XDG_RUNTIME_DIR", None),
        Means("no rootless Podman is looked for"),
        "folder of a user's sockets",
        "an absolute path",
    ),
    optional(("NO_COLOR", None), Means("colours on a terminal"), "no colours, also on a terminal", "anything"),
];

/// The setting of `variable`; a name outside the table is a mistake in this program.
pub(super) fn setting(variable: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.variable == variable).expect("the name is one of the table's")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_and_flags_are_unique() {
        for (index, setting) in SETTINGS.iter().enumerate() {
            for other in &SETTINGS[index + 1..] {
                assert_ne!(setting.variable, other.variable);
                assert!(setting.flag.is_none() || setting.flag != other.flag, "{setting:?}");
            }
        }
    }

    #[test]
    fn the_nine_variables_of_the_contract_are_required() {
        let required: Vec<_> = SETTINGS.iter().filter(|s| s.absent == Absent::Required).map(|s| s.variable).collect();
        let contract =
            "APP APPSYNC_ENDPOINT AWS_DEFAULT_REGION CLIENT_ID LOG_GROUP_NAME PASSWORD TENANT USER_NAME USER_POOL_ID";
        assert_eq!(required.join(" "), contract);
    }

    #[test]
    fn optional_settings_with_a_flag_have_our_prefix() {
        for setting in SETTINGS.iter().filter(|s| s.absent != Absent::Required && s.variable != "LOGGING_LEVEL") {
            if let Some(flag) = setting.flag {
                let expected = format!("MANAGED_APP_{}", flag.replace('-', "_").to_uppercase());
                assert_eq!(setting.variable, expected);
            }
        }
    }
}
