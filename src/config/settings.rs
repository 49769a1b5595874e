//! The table of settings. The configuration, the flags, the help, the man page, `docs/configuration.md`, the example of the
//! environment file and the error texts come from it.
//!
//! A row has its name in code, the kind of its values, variable and flag, valid values, a default or an example, and its
//! meaning.
//! `Sources::get` reads the value of a row. Files that are generated from the table are compared with it by tests.

use std::collections::BTreeSet;
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use managed_app_runtimes::EngineKind;

use super::kinds::*;
use super::{LoggingLevel, NodeLogs, OnExit, OnRemoved, Replace, RuntimeChoice, UserPoolId};
use crate::reconciler::{AllowedBindMounts, AllowedRegistries};

/// One setting of the daemon; the default for `K` is any kind of value.
pub struct Setting<K: ?Sized = dyn AnyKind> {
    /// Environment variable.
    pub variable: &'static str,
    /// Long flag without its dashes; `None` has no flag.
    pub flag: Option<&'static str>,
    /// Its meaning, as a noun phrase.
    pub about: &'static str,
    /// A valid value: the default if there is one, else an example.
    pub example: &'static str,
    /// The effect if it is not set.
    pub absent: Absent,
    /// Where its value may be shown.
    pub shown: Shown,
    kind: K,
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

/// Where the value of a setting may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shown {
    /// In errors and in lists of settings.
    Everywhere,
    /// Not in errors: an invalid value may contain a secret.
    IfValid,
    /// Nowhere: it is a secret.
    Never,
}

/// Settings that belong together.
pub struct Group {
    /// Heading in the documentation.
    pub heading: &'static str,
    /// In the order of the help.
    pub settings: &'static [&'static Setting],
}

impl<K: AnyKind + ?Sized> Setting<K> {
    /// Valid values, to follow "expected:".
    pub fn expected(&self) -> String {
        self.kind.expected(self.example)
    }

    pub(super) fn accepts(&self, text: &str) -> bool {
        self.kind.accepts(text)
    }
}

impl<K: Kind> Setting<K> {
    pub(super) fn parse(&self, text: &str) -> Option<K::Value> {
        self.kind.parse(text)
    }
}

impl<K: ?Sized> fmt::Debug for Setting<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.variable)
    }
}

/// Variable and flag.
type Names = (&'static str, Option<&'static str>);

const fn required<K>(names: Names, kind: K, example: &'static str, about: &'static str) -> Setting<K> {
    row(names, kind, Absent::Required, example, about)
}

const fn with_default<K>(names: Names, kind: K, default: &'static str, about: &'static str) -> Setting<K> {
    row(names, kind, Absent::Default(default), default, about)
}

/// `means`: the effect if it is not set.
const fn optional<K>(
    names: Names,
    kind: K,
    means: &'static str,
    example: &'static str,
    about: &'static str,
) -> Setting<K> {
    row(names, kind, Absent::Means(means), example, about)
}

const fn row<K>(
    (variable, flag): Names,
    kind: K,
    absent: Absent,
    example: &'static str,
    about: &'static str,
) -> Setting<K> {
    Setting { variable, flag, about, example, absent, shown: Shown::Everywhere, kind }
}

/// Defines a static for each row, and [`SETTINGS`] and [`GROUPS`] with all of them.
macro_rules! table {
    ($($heading:literal: { $($name:ident: $kind:ty = $row:expr;)+ })+) => {
        $($(pub(super) static $name: Setting<$kind> = $row;)+)+

        /// Every setting, in the order of the help.
        pub static SETTINGS: &[&Setting] = &[$($(&$name),+),+];

        /// [`SETTINGS`] in groups.
        pub static GROUPS: &[Group] = &[$(Group { heading: $heading, settings: &[$(&$name),+] }),+];
    };
}

/// Defaults without systemd.
pub(super) const DEFAULT_STATE_DIRECTORY: &str = "/var/lib/echostream-managed-app";
pub(super) const DEFAULT_STATUS_SOCKET: &str = "/run/echostream-managed-app/status.sock";

table! {
    "Required: the app and its account": {
        APP: Text = required(("APP", Some("app")), NAME, "My App", "name of the managed app");
        APPSYNC_ENDPOINT: Parsed<String> = Setting {
            shown: Shown::IfValid,
            ..required(
                ("APPSYNC_ENDPOINT", Some("appsync-endpoint")),
                Parsed {
                    expected: "an https URL without user name and password (http only for a loopback address or MANAGED_APP_FAKE_CLOUD)",
                    parse: url,
                },
                "https://example.appsync-api.us-east-1.amazonaws.com/graphql",
                "URL of EchoStream's control plane (AppSync)",
            )
        };
        AWS_DEFAULT_REGION: Parsed<String> = required(
            ("AWS_DEFAULT_REGION", Some("region")), Parsed { expected: "an AWS region, like {}", parse: region },
            "us-east-1",
            "AWS region of the daemon's log group",
        );
        CLIENT_ID: Text = required(
            ("CLIENT_ID", Some("client-id")),
            Text {
                max: 128,
                of: "letters, digits, `_` and `+`",
                is_valid: |text| text.chars().all(|character| character.is_ascii_alphanumeric() || "_+".contains(character)),
            },
            "1example23456789",
            "client ID of the Cognito user pool",
        );
        LOG_GROUP_NAME: Text = required(
            ("LOG_GROUP_NAME", Some("log-group-name")),
            Text {
                max: 512,
                of: "letters, digits and `_-/.#`, without the prefix aws/",
                is_valid: |text| {
                    let is_valid = |character: char| character.is_ascii_alphanumeric() || "._-/#".contains(character);
                    text.chars().all(is_valid) && !text.starts_with("aws/")
                },
            },
            "/echostream/tenant/app",
            "CloudWatch log group of the daemon; the log group of a node is <LOG_GROUP_NAME>/node/<node>",
        );
        PASSWORD: Text = Setting {
            shown: Shown::Never,
            ..required(
                ("PASSWORD", None), NAME, "change me",
                "password of the app's user; it has no flag, because other users of the host can read command lines",
            )
        };
        TENANT: Text = required(("TENANT", Some("tenant")), NAME, "my-tenant", "name of the tenant");
        USER_NAME: Text = required(("USER_NAME", Some("user-name")), NAME, "my-user", "name of the app's user");
        USER_POOL_ID: Parsed<UserPoolId> = required(
            ("USER_POOL_ID", Some("user-pool-id")), Parsed { expected: "<region>_<id>, like {}", parse: user_pool_id },
            "us-east-1_a1B2c3D4e",
            "ID of the Cognito user pool",
        );
    }

    "Log level and engine": {
        LOGGING_LEVEL: OneOf<LoggingLevel> = with_default(
            ("LOGGING_LEVEL", Some("logging-level")),
            OneOf(&[
                ("DEBUG", LoggingLevel::Debug),
                ("INFO", LoggingLevel::Info),
                ("WARNING", LoggingLevel::Warning),
                ("ERROR", LoggingLevel::Error),
                ("CRITICAL", LoggingLevel::Critical),
            ]),
            "INFO",
            "log level of the daemon",
        );
        RUNTIME: OneOf<RuntimeChoice> = with_default(
            ("MANAGED_APP_RUNTIME", Some("runtime")),
            OneOf(&[
                (EngineKind::Docker.as_str(), RuntimeChoice::Only(EngineKind::Docker)),
                (EngineKind::Podman.as_str(), RuntimeChoice::Only(EngineKind::Podman)),
                (EngineKind::Memory.as_str(), RuntimeChoice::Only(EngineKind::Memory)),
                ("auto", RuntimeChoice::Auto),
            ]),
            "auto",
            "container engine; auto selects the engine that already has containers of the app, else an engine that answers",
        );
    }

    "Logs": {
        NODE_LOGS: OneOf<NodeLogs> = optional(
            ("MANAGED_APP_NODE_LOGS", Some("node-logs")),
            OneOf(&[("awslogs", NodeLogs::Awslogs), ("agent", NodeLogs::Agent), ("engine", NodeLogs::Engine)]),
            "awslogs if dockerd has AWS credentials of its own, else agent; existing containers keep their mode", "agent",
            "how the output of nodes reaches CloudWatch: awslogs is Docker's log driver; with agent the daemon reads the engine's log and sends it; with engine the output stays in the engine's log",
        );
        AWSLOGS_MODE: OneOf<bool> = with_default(
            ("MANAGED_APP_AWSLOGS_MODE", Some("awslogs-mode")), OneOf(&[("non-blocking", false), ("blocking", true)]),
            "non-blocking",
            "with awslogs, while CloudWatch is slow or unavailable: non-blocking drops the output that exceeds the buffer; blocking makes nodes wait and no node starts",
        );
        AWSLOGS_BUFFER: Size = with_default(
            ("MANAGED_APP_AWSLOGS_BUFFER", Some("awslogs-buffer")), Size(64 * KIB..=GIB), "25m",
            "with awslogs in mode non-blocking: size of the buffer per node",
        );
        NODE_LOG_SIZE: Size = with_default(
            ("MANAGED_APP_NODE_LOG_SIZE", Some("node-log-size")), Size(64 * KIB..=100 * GIB), "10m",
            "with agent and engine: maximum size of a log file of a node; with agent, SIZE x FILES is the output that survives an outage of CloudWatch",
        );
        NODE_LOG_FILES: Number<u32> = with_default(
            ("MANAGED_APP_NODE_LOG_FILES", Some("node-log-files")), Number(1..=1000), "5",
            "with agent and engine: number of log files per node (Podman keeps one file of SIZE x FILES)",
        );
        DAEMON_LOGS: OneOf<bool> = with_default(
            ("MANAGED_APP_DAEMON_LOGS", Some("daemon-logs")), ON_OR_OFF, "on",
            "whether the daemon also sends its log to LOG_GROUP_NAME",
        );
    }

    "Daemon and host": {
        ON_EXIT: OneOf<OnExit> = with_default(
            ("MANAGED_APP_ON_EXIT", Some("on-exit")), OneOf(&[("stop", OnExit::Stop), ("leave", OnExit::Leave)]),
            "stop",
            "what happens to the nodes when the daemon ends: they are stopped, or they keep running",
        );
        ON_REMOVED: OneOf<OnRemoved> = with_default(
            ("MANAGED_APP_ON_REMOVED", Some("on-removed")),
            OneOf(&[("shutdown", OnRemoved::Shutdown), ("exit", OnRemoved::Exit)]),
            "shutdown",
            "what happens when the app is removed from EchoStream: the host is powered off, or the daemon ends",
        );
        LOG_FILE: Parsed<Option<PathBuf>> = with_default(
            ("MANAGED_APP_LOG_FILE", Some("log-file")), PATH_OR_OFF, "/var/log/echostream/echostream-managed-app.log",
            "log file of the daemon, in addition to standard output",
        );
        STATE_DIRECTORY: Parsed<PathBuf> = optional(
            ("MANAGED_APP_STATE_DIRECTORY", Some("state-directory")), PATH,
            "STATE_DIRECTORY of systemd, else /var/lib/echostream-managed-app", DEFAULT_STATE_DIRECTORY,
            "directory of the state that survives a restart",
        );
        HOST_ID: Text = optional(
            ("MANAGED_APP_HOST_ID", Some("host-id")),
            Text {
                max: 128,
                of: "characters, no white space or control characters",
                is_valid: |text| !text.chars().any(|character| character.is_control() || character.is_whitespace()),
            },
            "/etc/machine-id, else the host name", "this-host",
            "ID of this host in the labels of its containers",
        );
    }

    "Operations on nodes": {
        PARALLEL_OPERATIONS: Number<usize> = with_default(
            ("MANAGED_APP_PARALLEL_OPERATIONS", Some("parallel-operations")), Number(1..=1024), "64",
            "maximum number of concurrent engine operations",
        );
        PARALLEL_PULLS: Number<usize> = with_default(
            ("MANAGED_APP_PARALLEL_PULLS", Some("parallel-pulls")), Number(1..=64), "4",
            "maximum number of concurrent image pulls",
        );
        STOP_GRACE: Time = with_default(
            ("MANAGED_APP_STOP_GRACE", Some("stop-grace")), Time(SECOND..=10 * MINUTE), "30s",
            "time that a node has to stop before the engine kills it",
        );
        REPLACE: OneOf<Replace> = with_default(
            ("MANAGED_APP_REPLACE", Some("replace")),
            OneOf(&[("careful", Replace::StopFirst), ("overlap", Replace::StartFirst)]),
            "careful",
            "order of a replacement: careful stops the old container first; overlap starts the new one first if the node has no host ports and no mounts",
        );
        REPLACE_WINDOW: Time = with_default(
            ("MANAGED_APP_REPLACE_WINDOW", Some("replace-window")), Time(0..=10 * MINUTE), "2s",
            "time that a new container must run before the old one is removed; 0s does not wait",
        );
        RESYNC: Time = with_default(
            ("MANAGED_APP_RESYNC", Some("resync")), Time(10 * SECOND..=24 * HOUR), "5m",
            "interval of the full comparison of the cloud with the engine, without a change message",
        );
    }

    "Restrictions on nodes": {
        ALLOWED_REGISTRIES: Parsed<AllowedRegistries> = with_default(
            ("MANAGED_APP_ALLOWED_REGISTRIES", Some("allowed-registries")),
            Parsed {
                expected: "a comma-separated list of ecr, ecr-public, HOST[:PORT][/REPOSITORY] and * (any)",
                parse: AllowedRegistries::parse,
            },
            "ecr, ecr-public",
            "registries from which images are allowed; a node with another image is refused and keeps its container",
        );
        ALLOWED_BIND_MOUNTS: Parsed<AllowedBindMounts> = with_default(
            ("MANAGED_APP_ALLOWED_BIND_MOUNTS", Some("allowed-bind-mounts")),
            Parsed {
                expected: "a comma-separated list of default and absolute paths (without ..), or none",
                parse: AllowedBindMounts::parse,
            },
            "default",
            "host paths that nodes may mount; default allows all paths except sensitive ones, like /etc and engine sockets",
        );
        NODE_NO_NEW_PRIVILEGES: OneOf<bool> = with_default(
            ("MANAGED_APP_NODE_NO_NEW_PRIVILEGES", Some("node-no-new-privileges")), YES_OR_NO, "no",
            "whether processes in nodes are prevented from gaining privileges (setuid)",
        );
        NODE_DROP_CAPABILITIES: Parsed<BTreeSet<String>> = optional(
            ("MANAGED_APP_NODE_DROP_CAPABILITIES", Some("node-drop-capabilities")),
            Parsed { expected: "a comma-separated list, like {}; or ALL", parse: capabilities },
            "the engine's default", "NET_RAW, MKNOD",
            "Linux capabilities to drop from nodes, in addition to those that the engine drops",
        );
        NODE_PIDS_MAX: Number<u32> = optional(
            ("MANAGED_APP_NODE_PIDS_MAX", Some("node-pids-max")), Number(1..=4_194_304), "the engine's default", "1000",
            "maximum number of processes and threads per node",
        );
        NODE_MEMORY_MAX: Size = optional(
            ("MANAGED_APP_NODE_MEMORY_MAX", Some("node-memory-max")), Size(16 * MIB..=16384 * GIB),
            "the engine's default", "512m",
            "memory limit per node; the kernel kills a node that exceeds it, and the engine starts the node again",
        );
    }

    "Endpoints of the cloud, for tests": {
        FAKE_CLOUD: Parsed<String> = optional(
            ("MANAGED_APP_FAKE_CLOUD", None), Parsed { expected: "a URL, like {}", parse: text },
            "plain http only to loopback addresses", "http://172.17.0.1:4510",
            "URL of a fake cloud on another host, for tests; plain http is allowed to it",
        );
        AWS_ENDPOINT_URL: Parsed<String> = Setting {
            shown: Shown::IfValid,
            ..optional(
                ("AWS_ENDPOINT_URL", None),
                Parsed {
                    expected: "an https URL (http only for a loopback address or MANAGED_APP_FAKE_CLOUD)",
                    parse: url,
                },
                "the endpoints of AWS", "http://172.17.0.1:4510",
                "endpoint of all AWS services, as in every AWS SDK",
            )
        };
    }

    "Status, metrics and page": {
        STATUS_SOCKET: Parsed<Option<PathBuf>> = optional(
            ("MANAGED_APP_STATUS_SOCKET", Some("status-socket")), PATH_OR_OFF,
            "status.sock in RUNTIME_DIRECTORY of systemd, else in /run/echostream-managed-app", DEFAULT_STATUS_SOCKET,
            "Unix socket that `status`, `why` and `events` connect to",
        );
        METRICS: Parsed<SocketAddr> = optional(
            ("MANAGED_APP_METRICS", Some("metrics")),
            Parsed { expected: "an IP address and a port, like {}", parse: address },
            "no metrics", "127.0.0.1:9464",
            "listen address of /metrics for Prometheus; a non-loopback address is accepted with a warning",
        );
        HTTP: Parsed<SocketAddr> = optional(
            ("MANAGED_APP_HTTP", Some("http")),
            Parsed { expected: "a loopback address and a port, like {}", parse: loopback_address },
            "no status page", "127.0.0.1:8464",
            "listen address of the read-only status page for browsers",
        );
    }

    "Engine addresses and colours": {
        DOCKER_HOST: Parsed<String> = optional(
            ("DOCKER_HOST", None), Parsed { expected: "an address, like {}", parse: text },
            "/var/run/docker.sock", "unix:///var/run/docker.sock",
            "address of the Docker engine",
        );
        CONTAINER_HOST: Parsed<String> = optional(
            ("CONTAINER_HOST", None), Parsed { expected: "an address, like {}", parse: text },
            "the default sockets of Podman", "unix:///run/podman/podman.sock",
            "address of the Podman service",
        );
        XDG_RUNTIME_DIR: Parsed<String> = optional(
            ("XDG_RUNTIME_DIR", None), Parsed { expected: "an absolute path", parse: text },
            "no search for rootless Podman", "/run/user/1000",
            "directory of a user's sockets, in which the socket of rootless Podman is searched",
        );
        NO_COLOR: Parsed<String> = optional(
            ("NO_COLOR", None), Parsed { expected: "any value", parse: text }, "colours on a terminal", "1",
            "disables colours on a terminal",
        );
    }
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
    fn defaults_and_examples_are_valid_values() {
        for setting in SETTINGS {
            assert!(setting.accepts(setting.example), "{setting:?}: {}", setting.example);
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
