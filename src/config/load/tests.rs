//! Sources, precedence, defaults and the report of problems.

use std::cell::RefCell;
use std::collections::HashMap;

use secrecy::ExposeSecret;

use super::*;
use crate::config::{LoggingLevel, OnExit, OnRemoved, RuntimeChoice};

const GOOD: &[(&str, &str)] = &[
    ("APP", "My App"),
    ("APPSYNC_ENDPOINT", "https://api.example/graphql"),
    ("AWS_DEFAULT_REGION", "us-east-1"),
    ("CLIENT_ID", "client"),
    ("LOG_GROUP_NAME", "/echo/app"),
    ("PASSWORD", "hunter2"),
    ("TENANT", "tenant"),
    ("USER_NAME", "user"),
    ("USER_POOL_ID", "eu-west-1_pool"),
];

/// Inputs of one test: an environment, files by path, and flags.
#[derive(Default)]
struct Fixture {
    environment: HashMap<String, String>,
    files: HashMap<&'static str, String>,
    flags: Flags,
}

impl Fixture {
    fn good() -> Self {
        let environment = GOOD.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        let mut fixture = Self { environment, ..Self::default() };
        fixture.files.insert("/etc/machine-id", "0123abcd\n".into());
        fixture
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.into(), value.into());
        self
    }

    fn flag(mut self, variable: &'static str, value: &str) -> Self {
        self.flags.set(variable, value);
        self
    }

    fn env_file(mut self, text: &str) -> Self {
        self.flags.env_file = Some("/env".into());
        self.files.insert("/env", text.into());
        self
    }

    fn load(&self) -> Result<Config, ConfigErrors> {
        let read = |path: &Path| {
            let found = path.to_str().and_then(|path| self.files.get(path));
            found.cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
        };
        Config::load_with(&self.flags, |name| self.environment.get(name).cloned(), read)
    }

    fn config(&self) -> Config {
        self.load().expect("the configuration is good")
    }

    fn errors(&self) -> String {
        self.load().expect_err("the configuration is bad").to_string()
    }
}

#[test]
fn the_nine_variables_are_enough() {
    let config = Fixture::good().config();
    assert_eq!(config.app, "My App");
    assert_eq!(config.user_pool_id.region, "eu-west-1");
    assert_eq!(config.password.expose_secret(), "hunter2");
    assert_eq!(config.logging_level, LoggingLevel::Info);
    assert_eq!(config.runtime, RuntimeChoice::Auto);
    assert_eq!((config.node_logs, config.daemon_logs), (None, true));
    assert_eq!((config.on_exit, config.on_removed), (OnExit::Stop, OnRemoved::Shutdown));
    assert_eq!(config.log_file.as_deref(), Some(Path::new("/var/log/echostream/echostream-managed-app.log")));
    assert_eq!(config.state_directory, Path::new("/var/lib/echostream-managed-app"));
    assert_eq!(config.host_id, "0123abcd");
    assert_eq!((config.parallel_operations, config.parallel_pulls), (64, 4));
    assert_eq!((config.stop_grace, config.resync), (Duration::from_secs(30), Duration::from_secs(300)));
    assert_eq!((config.replace, config.replace_window), (crate::config::Replace::StopFirst, Duration::from_secs(2)));
    assert_eq!(config.systemd, SystemdEnvironment::default());
    assert_eq!(config.docker_host, None);
}

#[test]
fn flags_override_environment_file_and_defaults() {
    let level = |fixture: &Fixture| fixture.config().logging_level;
    let mut fixture = Fixture::good();
    assert_eq!(level(&fixture), LoggingLevel::Info);
    fixture = fixture.env_file("LOGGING_LEVEL=ERROR\nLOGGING_LEVEL=WARNING\n");
    assert_eq!(level(&fixture), LoggingLevel::Warning);
    fixture = fixture.env("LOGGING_LEVEL", "");
    assert_eq!(level(&fixture), LoggingLevel::Warning, "an empty value counts as none");
    fixture = fixture.env("LOGGING_LEVEL", "CRITICAL");
    assert_eq!(level(&fixture), LoggingLevel::Critical);
    fixture = fixture.flag("LOGGING_LEVEL", "DEBUG");
    assert_eq!(level(&fixture), LoggingLevel::Debug);
}

#[test]
fn an_environment_file_alone_is_enough() {
    let text: String = GOOD.iter().map(|(name, value)| format!("{name}=\"{value}\"\n")).collect();
    let mut fixture = Fixture::good().env_file(&text);
    fixture.environment.clear();
    assert_eq!(fixture.config().tenant, "tenant");
}

/// The check of all settings reads each one once; a second read is its use.
#[test]
fn every_setting_of_the_table_is_used() {
    let (fixture, reads) = (Fixture::good(), RefCell::new(HashMap::<String, usize>::new()));
    let environment = |name: &str| {
        *reads.borrow_mut().entry(name.to_owned()).or_default() += 1;
        fixture.environment.get(name).cloned()
    };
    let read = |path: &Path| Ok(fixture.files[path.to_str().expect("a plain path")].clone());
    Config::load_with(&fixture.flags, environment, read).expect("the configuration is good");
    for setting in crate::config::SETTINGS {
        assert!(reads.borrow()[setting.variable] > 1, "{setting:?} has no effect");
    }
}

#[test]
fn all_problems_are_reported_at_once() {
    let mut fixture = Fixture::good()
        .env("AWS_DEFAULT_REGION", "nowhere")
        .flag("MANAGED_APP_PARALLEL_PULLS", "0")
        .env_file("LOGGING_LEVEL=INFO\n\noops\nMANAGED_APP_RESYNC=5\n");
    fixture.environment.remove("APP");
    fixture.environment.remove("PASSWORD");
    let expected = "\
the configuration has 6 problems:
  /env line 3 has no `=`; an assignment is NAME=value
  APP is missing; expected: 1 to 256 characters, without control characters
  AWS_DEFAULT_REGION from the environment is invalid: \"nowhere\"; expected: an AWS region, like us-east-1
  PASSWORD is missing; expected: 1 to 256 characters, without control characters
  MANAGED_APP_PARALLEL_PULLS from the flag --parallel-pulls is invalid: \"0\"; expected: a number from 1 to 64
  MANAGED_APP_RESYNC from /env line 4 is invalid: \"5\"; expected: a duration from 10s to 24h, like 5m";
    assert_eq!(fixture.errors(), expected);
}

#[test]
fn empty_configuration_names_each_required_variable() {
    let errors = Fixture { files: Fixture::good().files, ..Fixture::default() }.errors();
    for (name, _) in GOOD {
        assert!(errors.contains(&format!("{name} is missing")), "{errors}");
    }
}

#[test]
fn unreadable_env_file_is_reported_as_one_problem() {
    let mut fixture = Fixture::good().env("MANAGED_APP_ON_EXIT", "explode");
    fixture.flags.env_file = Some("/absent".into());
    fixture.environment.remove("APP");
    let errors = fixture.errors();
    assert!(errors.contains("/absent cannot be read: entity not found"), "{errors}");
    assert!(errors.contains("MANAGED_APP_ON_EXIT"), "{errors}");
    assert!(!errors.contains("APP is missing"), "{errors}");
}

#[test]
fn secrets_are_in_no_error_and_no_debug() {
    let bad = Fixture::good()
        .env("PASSWORD", "hunter2\n")
        .env("APPSYNC_ENDPOINT", "https://me:hunter2@api.example/")
        .env_file("hunter2\nPASSWORD='hunter2");
    let error = bad.load().expect_err("the configuration is bad");
    assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
    assert_eq!(error.problems().len(), 4);
    assert!(!format!("{:?}", Fixture::good().config()).contains("hunter2"));
}

#[test]
fn invalid_values_are_shown_escaped_and_truncated() {
    let errors = Fixture::good().env("APP", &format!("\u{1b}[2J{}", "x".repeat(500))).errors();
    assert!(errors.contains(r#""\u{1b}[2Jxxx"#), "{errors}");
    assert!(errors.len() < 300, "{errors}");
}

#[test]
fn the_host_id_is_given_or_found() {
    assert_eq!(Fixture::good().env("MANAGED_APP_HOST_ID", "h1").config().host_id, "h1");
    let mut fixture = Fixture::good();
    fixture.files.insert("/etc/machine-id", "uninitialized\n".into());
    assert_eq!(fixture.errors().lines().count(), 2);
    fixture.files.insert("/proc/sys/kernel/hostname", "box\n".into());
    assert_eq!(fixture.config().host_id, "box");
    let errors = fixture.env("MANAGED_APP_HOST_ID", "a b").errors();
    assert!(errors.contains("1 problem:") && errors.contains("MANAGED_APP_HOST_ID"), "{errors}");
}

#[test]
fn state_directory_setting_overrides_systemd() {
    let fixture = Fixture::good().env("STATE_DIRECTORY", "/var/lib/a:/var/lib/b");
    assert_eq!(fixture.config().state_directory, Path::new("/var/lib/a"));
    assert_eq!(fixture.env("MANAGED_APP_STATE_DIRECTORY", "/s").config().state_directory, Path::new("/s"));
    assert!(Fixture::good().env("MANAGED_APP_STATE_DIRECTORY", "s").errors().contains("an absolute path"));
}

#[test]
fn the_log_file_can_be_turned_off() {
    assert_eq!(Fixture::good().env("MANAGED_APP_LOG_FILE", "off").config().log_file, None);
}

#[test]
fn engine_and_systemd_variables_are_loaded() {
    let fixture = Fixture::good()
        .env("DOCKER_HOST", "unix:///d.sock")
        .env("NOTIFY_SOCKET", "@n")
        .env("WATCHDOG_USEC", "30000000")
        .env("WATCHDOG_PID", "7")
        .env_file("CONTAINER_HOST=unix:///p.sock\nNOTIFY_SOCKET=/not/from/here\nXDG_RUNTIME_DIR=/run/user/0");
    let config = fixture.config();
    assert_eq!(config.docker_host.as_deref(), Some("unix:///d.sock"));
    assert_eq!(config.container_host.as_deref(), Some("unix:///p.sock"));
    assert_eq!(config.xdg_runtime_dir.as_deref(), Some("/run/user/0"));
    let systemd = SystemdEnvironment {
        notify_socket: Some("@n".into()),
        watchdog: Some(Duration::from_secs(30)),
        watchdog_pid: Some(7),
    };
    assert_eq!(config.systemd, systemd);
    assert_eq!(fixture.env("WATCHDOG_USEC", "soon").config().systemd.watchdog, None);
}

#[test]
fn status_socket_setting_overrides_systemd_and_can_be_off() {
    let socket = |fixture: &Fixture| fixture.config().status_socket;
    let path = |text: &str| Some(std::path::PathBuf::from(text));
    assert_eq!(socket(&Fixture::good()), path("/run/echostream-managed-app/status.sock"));
    let fixture = Fixture::good().env("RUNTIME_DIRECTORY", "/run/ours:/run/other");
    assert_eq!(socket(&fixture), path("/run/ours/status.sock"));
    let fixture = fixture.env("MANAGED_APP_STATUS_SOCKET", "/x.sock");
    assert_eq!(socket(&fixture), path("/x.sock"));
    assert_eq!(socket(&Fixture::good().env("MANAGED_APP_STATUS_SOCKET", "off")), None);
}

#[test]
fn plain_http_needs_a_loopback_address_or_the_fake_cloud() {
    let fixture =
        Fixture::good().env("APPSYNC_ENDPOINT", "http://10.0.0.1/graphql").env("AWS_ENDPOINT_URL", "http://10.0.0.1");
    let errors = fixture.errors();
    for variable in ["APPSYNC_ENDPOINT", "AWS_ENDPOINT_URL"] {
        assert!(errors.contains(&format!("{variable} from the environment is invalid (value not shown)")), "{errors}");
    }
    let config = fixture.env("MANAGED_APP_FAKE_CLOUD", "http://10.0.0.1").config();
    assert_eq!(config.appsync_endpoint, "http://10.0.0.1/graphql");
}

#[test]
fn page_address_must_be_a_loopback_address() {
    let fixture = |address| Fixture::good().env("MANAGED_APP_HTTP", address).env("MANAGED_APP_METRICS", address);
    let config = fixture("127.0.0.1:8464").config();
    assert!(config.http.is_some() && config.http == config.metrics);
    let config = Fixture::good().env("MANAGED_APP_METRICS", "[::]:9464").config();
    assert_eq!(config.metrics.map(|address| address.port()), Some(9464));
    let errors = fixture("0.0.0.0:8464").errors();
    assert!(errors.contains("MANAGED_APP_HTTP") && !errors.contains("MANAGED_APP_METRICS"), "{errors}");
}

const EXAMPLE: &str = include_str!("../../../packaging/echostream-managed-app.env");

/// The example with all settings: one that is commented out directly follows its `#`, words follow `# `.
fn uncommented() -> String {
    let on = |line: &'static str| line.strip_prefix('#').filter(|rest| !rest.starts_with(' ')).unwrap_or(line);
    EXAMPLE.lines().map(on).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_packaged_example_is_good_with_and_without_comments() {
    for text in [EXAMPLE, &uncommented()] {
        let mut fixture = Fixture::good().env_file(text);
        fixture.environment.clear();
        assert_eq!(fixture.config().app, "My App");
    }
}

#[test]
fn the_packaged_example_shows_every_setting_and_default() {
    let file = EnvFile::read(Some(Path::new("/env")), |_| Ok(uncommented()));
    let shown = file.variables();
    for setting in crate::config::SETTINGS {
        let value = match setting.absent {
            crate::config::Absent::Default(default) => default,
            _ => setting.example,
        };
        assert_eq!(shown.get(setting.variable), Some(&value), "{}", setting.variable);
    }
}
