//! The table of settings, from which the flags, the help and the error texts come. Data only.

/// One setting of the daemon.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Environment variable.
    pub variable: &'static str,
    /// Long flag without its dashes; `None` has no flag.
    pub flag: Option<&'static str>,
    /// Its meaning, as a noun phrase.
    pub about: &'static str,
    /// Valid values, to follow "expected:".
    pub expected: &'static str,
    /// The effect if it is not set.
    pub absent: Absent,
    /// Whether an error may contain an invalid value.
    pub printable: bool,
}

/// The effect of a setting that no source sets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Absent {
    /// It is an error.
    Required,
    /// This value applies, parsed like any other.
    Default(&'static str),
    /// The effect that this text describes.
    Means(&'static str),
}

const fn required(variable: &'static str, flag: &'static str, about: &'static str, expected: &'static str) -> Setting {
    Setting { variable, flag: Some(flag), about, expected, absent: Absent::Required, printable: true }
}

const fn optional(
    (variable, flag): (&'static str, Option<&'static str>),
    absent: Absent,
    about: &'static str,
    expected: &'static str,
) -> Setting {
    Setting { variable, flag, about, expected, absent, printable: true }
}

const NAME: &str = "1 to 256 characters, without control characters";
use Absent::{Default, Means};

/// Every setting, in the order of the help. The password has no flag: other users of the host can read command lines.
pub const SETTINGS: &[Setting] = &[
    required("APP", "app", "name of the managed app", NAME),
    Setting {
        printable: false,
        ..required(
            "APPSYNC_ENDPOINT",
            "appsync-endpoint",
            "URL of EchoStream's control plane (AppSync)",
            "an https URL without user name and password (http only for a loopback address or MANAGED_APP_FAKE_CLOUD)",
        )
    },
    required("AWS_DEFAULT_REGION", "region", "AWS region of the daemon's log group", "an AWS region, like us-east-1"),
    required("CLIENT_ID", "client-id", "client ID of the Cognito user pool", "1 to 128 letters, digits, `_` and `+`"),
    required(
        "LOG_GROUP_NAME",
        "log-group-name",
        "CloudWatch log group of the daemon; the log group of a node is <LOG_GROUP_NAME>/node/<node>",
        "1 to 512 letters, digits and `_-/.#`, without the prefix aws/",
    ),
    Setting {
        flag: None,
        printable: false,
        ..required(
            "PASSWORD",
            "",
            "password of the app's user; it has no flag, because other users of the host can read command lines",
            NAME,
        )
    },
    required("TENANT", "tenant", "name of the tenant", NAME),
    required("USER_NAME", "user-name", "name of the app's user", NAME),
    required("USER_POOL_ID", "user-pool-id", "ID of the Cognito user pool", "<region>_<id>, like us-east-1_a1B2c3D4e"),
    optional(
        ("LOGGING_LEVEL", Some("logging-level")),
        Default("INFO"),
        "log level of the daemon",
        "DEBUG, INFO, WARNING, ERROR or CRITICAL",
    ),
    optional(
        ("MANAGED_APP_RUNTIME", Some("runtime")),
        Default("auto"),
        "container engine; auto selects the engine that already has containers of the app, else an engine that answers",
        "docker, podman, memory or auto",
    ),
    optional(
        ("MANAGED_APP_NODE_LOGS", Some("node-logs")),
        Means("awslogs if dockerd has AWS credentials of its own, else agent; existing containers keep their mode"),
        "how the output of nodes reaches CloudWatch: awslogs is Docker's log driver; with agent the daemon reads the engine's log and sends it; with engine the output stays in the engine's log",
        "awslogs, agent or engine",
    ),
    optional(
        ("MANAGED_APP_AWSLOGS_MODE", Some("awslogs-mode")),
        Default("non-blocking"),
        "with awslogs, while CloudWatch is slow or unavailable: non-blocking drops the output that exceeds the buffer; blocking makes nodes wait and no node starts",
        "non-blocking or blocking",
    ),
    optional(
        ("MANAGED_APP_AWSLOGS_BUFFER", Some("awslogs-buffer")),
        Default("25m"),
        "with awslogs in mode non-blocking: size of the buffer per node",
        "a size from 64k to 1g, like 25m",
    ),
    optional(
        ("MANAGED_APP_NODE_LOG_SIZE", Some("node-log-size")),
        Default("10m"),
        "with agent and engine: maximum size of a log file of a node; with agent, SIZE x FILES is the output that survives an outage of CloudWatch",
        "a size from 64k to 100g, like 10m",
    ),
    optional(
        ("MANAGED_APP_NODE_LOG_FILES", Some("node-log-files")),
        Default("5"),
        "with agent and engine: number of log files per node (Podman keeps one file of SIZE x FILES)",
        "a number from 1 to 1000",
    ),
    optional(
        ("MANAGED_APP_DAEMON_LOGS", Some("daemon-logs")),
        Default("on"),
        "whether the daemon also sends its log to LOG_GROUP_NAME",
        "on or off",
    ),
    optional(
        ("MANAGED_APP_ON_EXIT", Some("on-exit")),
        Default("stop"),
        "what happens to the nodes when the daemon ends: they are stopped, or they keep running",
        "stop or leave",
    ),
    optional(
        ("MANAGED_APP_ON_REMOVED", Some("on-removed")),
        Default("shutdown"),
        "what happens when the app is removed from EchoStream: the host is powered off, or the daemon ends",
        "shutdown or exit",
    ),
    optional(
        ("MANAGED_APP_LOG_FILE", Some("log-file")),
        Default("/var/log/echostream/echostream-managed-app.log"),
        "log file of the daemon, in addition to standard output",
        "an absolute path, or off",
    ),
    optional(
        ("MANAGED_APP_STATE_DIRECTORY", Some("state-directory")),
        Means("STATE_DIRECTORY of systemd, else /var/lib/echostream-managed-app"),
        "directory of the state that survives a restart",
        "an absolute path",
    ),
    optional(
        ("MANAGED_APP_HOST_ID", Some("host-id")),
        Means("/etc/machine-id, else the host name"),
        "ID of this host in the labels of its containers",
        "1 to 128 characters, no white space or control characters",
    ),
    optional(
        ("MANAGED_APP_PARALLEL_OPERATIONS", Some("parallel-operations")),
        Default("64"),
        "maximum number of concurrent engine operations",
        "a number from 1 to 1024",
    ),
    optional(
        ("MANAGED_APP_PARALLEL_PULLS", Some("parallel-pulls")),
        Default("4"),
        "maximum number of concurrent image pulls",
        "a number from 1 to 64",
    ),
    optional(
        ("MANAGED_APP_STOP_GRACE", Some("stop-grace")),
        Default("30s"),
        "time that a node has to stop before the engine kills it",
        "a duration from 1s to 10m, like 30s",
    ),
    optional(
        ("MANAGED_APP_REPLACE", Some("replace")),
        Default("careful"),
        "order of a replacement: careful stops the old container first; overlap starts the new one first if the node has no host ports and no mounts",
        "careful or overlap",
    ),
    optional(
        ("MANAGED_APP_REPLACE_WINDOW", Some("replace-window")),
        Default("2s"),
        "time that a new container must run before the old one is removed; 0s does not wait",
        "a duration from 0s to 10m, like 2s",
    ),
    optional(
        ("MANAGED_APP_RESYNC", Some("resync")),
        Default("5m"),
        "interval of the full comparison of the cloud with the engine, without a change message",
        "a duration from 10s to 24h, like 5m",
    ),
    optional(
        ("MANAGED_APP_ALLOWED_REGISTRIES", Some("allowed-registries")),
        Default("ecr, ecr-public"),
        "registries from which images are allowed; a node with another image is refused and keeps its container",
        "a comma-separated list of ecr, ecr-public, HOST[:PORT][/REPOSITORY] and * (any)",
    ),
    optional(
        ("MANAGED_APP_ALLOWED_BIND_MOUNTS", Some("allowed-bind-mounts")),
        Default("default"),
        "host paths that nodes may mount; default allows all paths except sensitive ones, like /etc and engine sockets",
        "a comma-separated list of default and absolute paths (without ..), or none",
    ),
    optional(
        ("MANAGED_APP_NODE_NO_NEW_PRIVILEGES", Some("node-no-new-privileges")),
        Default("no"),
        "whether processes in nodes are prevented from gaining privileges (setuid)",
        "yes or no",
    ),
    optional(
        ("MANAGED_APP_NODE_DROP_CAPABILITIES", Some("node-drop-capabilities")),
        Means("the engine's default"),
        "Linux capabilities to drop from nodes, in addition to those that the engine drops",
        "a comma-separated list, like NET_RAW, MKNOD; or ALL",
    ),
    optional(
        ("MANAGED_APP_NODE_PIDS_MAX", Some("node-pids-max")),
        Means("the engine's default"),
        "maximum number of processes and threads per node",
        "a number from 1 to 4194304",
    ),
    optional(
        ("MANAGED_APP_NODE_MEMORY_MAX", Some("node-memory-max")),
        Means("the engine's default"),
        "memory limit per node; the kernel kills a node that exceeds it, and the engine starts the node again",
        "a size from 16m to 16384g, like 512m",
    ),
    optional(
        ("MANAGED_APP_FAKE_CLOUD", None),
        Means("plain http only to loopback addresses"),
        "URL of a fake cloud on another host, for tests; plain http is allowed to it",
        "a URL, like http://172.17.0.1:4510",
    ),
    Setting {
        printable: false,
        ..optional(
            ("AWS_ENDPOINT_URL", None),
            Means("the endpoints of AWS"),
            "endpoint of all AWS services, as in every AWS SDK",
            "an https URL (http only for a loopback address or MANAGED_APP_FAKE_CLOUD)",
        )
    },
    optional(
        ("MANAGED_APP_STATUS_SOCKET", Some("status-socket")),
        Means("status.sock in RUNTIME_DIRECTORY of systemd, else in /run/echostream-managed-app"),
        "Unix socket that `status`, `why` and `events` connect to",
        "an absolute path, or off",
    ),
    optional(
        ("MANAGED_APP_METRICS", Some("metrics")),
        Means("no metrics"),
        "listen address of /metrics for Prometheus; a non-loopback address is accepted with a warning",
        "an IP address and a port, like 127.0.0.1:9464",
    ),
    optional(
        ("MANAGED_APP_HTTP", Some("http")),
        Means("no status page"),
        "listen address of the read-only status page for browsers",
        "a loopback address and a port, like 127.0.0.1:8464",
    ),
    optional(
        ("DOCKER_HOST", None),
        Means("/var/run/docker.sock"),
        "address of the Docker engine",
        "an address, like unix:///var/run/docker.sock",
    ),
    optional(
        ("CONTAINER_HOST", None),
        Means("the default sockets of Podman"),
        "address of the Podman service",
        "an address, like unix:///run/podman/podman.sock",
    ),
    optional(
        ("XDG_RUNTIME_DIR", None),
        Means("no search for rootless Podman"),
        "directory of a user's sockets, in which the socket of rootless Podman is searched",
        "an absolute path",
    ),
    optional(("NO_COLOR", None), Means("colours on a terminal"), "disables colours on a terminal", "any value"),
];

/// The setting of `variable`; panics for a name outside the table.
pub(super) fn setting(variable: &str) -> &'static Setting {
    SETTINGS.iter().find(|setting| setting.variable == variable).expect("the name is in the table")
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
