//! The program in a shell: help, closed output, terminals, users without rights.

use std::process::{Command, Stdio};

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use crate::harness::Harness;

/// A user without any rights on every Linux.
const NOBODY: u32 = 65_534;
const TEXT_LIMIT: Duration = Duration::from_secs(60);
const POLL_INTERVAL: Duration = Duration::from_millis(50);

#[tokio::test]
async fn help_needs_no_configuration() {
    let mut harness = Harness::new().await;
    harness.unset("APP");
    let ran = harness.run(&["--help"]).await;
    assert_eq!(ran.code, 0);
    for part in ["check", "plan", "run", "MANAGED_APP_RUNTIME", "CONTAINER_HOST", "NO_COLOR", "Exit codes"] {
        assert!(ran.stdout.contains(part), "{part}");
    }
    assert_eq!(harness.run(&["--nonsense"]).await.code, 64);
}

#[tokio::test]
async fn a_closed_output_is_no_failure() {
    let harness = Harness::new().await;
    for command in ["check", "plan", "--help"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut run = Command::new(env!("CARGO_BIN_EXE_echostream-managed-app"));
        run.env_clear().envs(harness.variables()).arg(command).stdin(Stdio::null()).stdout(writer);
        let output = tokio::task::spawn_blocking(move || run.output()).await.expect("no panic").expect("it starts");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(0) && !stderr.contains("panicked"), "{command}: {stderr}");
    }
}

#[tokio::test]
async fn colours_are_for_terminals_and_can_be_switched_off() {
    let mut harness = Harness::new().await;
    let on_terminal = |harness: &Harness| {
        // `script` of util-linux gives its command a terminal.
        let mut run = Command::new("script");
        let line = format!("{} check", env!("CARGO_BIN_EXE_echostream-managed-app"));
        run.env_clear().envs(harness.variables()).args(["--quiet", "--return", "--command", &line, "/dev/null"]);
        run.stdin(Stdio::null());
        tokio::task::spawn_blocking(move || run.output().expect("script of util-linux is installed"))
    };
    let output = on_terminal(&harness).await.expect("no panic");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && shown.contains("\u{1b}[32mok"), "{shown}");
    harness.set("NO_COLOR", "1");
    let output = on_terminal(&harness).await.expect("no panic");
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && !shown.contains('\u{1b}'), "{shown}");
}

/// With the engine in memory, which lacks the image, the node stays in progress.
#[tokio::test]
async fn progress_bars_need_a_terminal_and_log_lines_do_not() {
    let harness = Harness::new().await;
    harness.cloud.add_node("a", |node| node.image("registry.example/a:1"));
    // Stopped one second after the failure of the pull.
    let line = format!(
        "{} run & daemon=$!; for i in $(seq 600); do grep -q 'image cannot be pulled' $MANAGED_APP_LOG_FILE && break; \
         sleep 0.1; done 2>/dev/null; sleep 1; kill -TERM $daemon; wait $daemon",
        env!("CARGO_BIN_EXE_echostream-managed-app")
    );
    let run = |log: &str, program: &str, arguments: &[&str]| {
        let mut run = Command::new(program);
        run.env_clear().envs(harness.variables()).env("TERM", "xterm").args(arguments).stdin(Stdio::null());
        run.env("MANAGED_APP_LOG_FILE", harness.folder().join(log));
        run.env("MANAGED_APP_STATE_DIRECTORY", harness.folder().join(format!("{log}-state")));
        run.env("MANAGED_APP_STATUS_SOCKET", "off");
        tokio::task::spawn_blocking(move || {
            let output = run.output().expect("the program is installed");
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
        })
    };
    let on_terminal = format!("stty cols 120 rows 40; {line}");
    let attended = run("attended", "script", &["--quiet", "--return", "--command", &on_terminal, "/dev/null"]);
    let unattended = run("unattended", "/bin/sh", &["-c", &line]);
    let (attended, unattended) = (attended.await.expect("no panic"), unattended.await.expect("no panic"));
    let bar = "nodes as wanted";
    assert!(attended.contains(bar) && attended.contains("0/1"), "{attended}");
    assert!(!unattended.contains(bar) && !unattended.contains('\u{1b}'), "{unattended}");
    for output in [attended, unattended] {
        assert!(output.contains("daemon starts") && output.contains("daemon has ended"), "{output}");
    }
}

#[tokio::test]
async fn a_user_without_rights_gets_a_remedy() {
    let mut harness = Harness::new().await;
    fs::set_permissions(harness.folder(), Permissions::from_mode(0o755)).expect("our own folder");
    fs::create_dir(harness.state()).expect("a folder");
    fs::set_permissions(harness.state(), Permissions::from_mode(0o700)).expect("our own folder");
    let ran = harness.run_as(NOBODY, &["plan"]).await;
    assert_eq!(ran.code, 78, "{}", ran.all());
    assert!(ran.stderr.contains("Permission denied") && ran.stderr.contains("usually root"), "{}", ran.all());

    let socket = harness.folder().join("engine.sock");
    let _engine = UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, Permissions::from_mode(0o600)).expect("our own socket");
    let endpoint = format!("unix://{}", socket.display());
    for (runtime, variable) in [("docker", "DOCKER_HOST"), ("podman", "CONTAINER_HOST")] {
        harness.set("MANAGED_APP_RUNTIME", runtime);
        harness.set(variable, &endpoint);
        let ran = harness.run_as(NOBODY, &["check"]).await;
        assert_eq!(ran.code, 69, "{}", ran.all());
        ran.shows("failed engine", &["this user may not use the socket", "run as root"]);
        ran.shows("failed state directory", &["Permission denied"]);
        ran.shows("failed log file", &[]);
    }
}

#[tokio::test]
async fn a_signal_ends_the_wait_for_an_engine() {
    let mut harness = Harness::new().await;
    harness.set("MANAGED_APP_RUNTIME", "podman");
    harness.set("CONTAINER_HOST", &format!("unix://{}/none.sock", harness.folder().display()));
    let mut daemon = harness.start(&["run"]);
    let until = Instant::now() + TEXT_LIMIT;
    while !harness.log().contains("the engine does not respond yet") {
        assert!(Instant::now() < until, "it does not log that it waits: {}", harness.log());
        sleep(POLL_INTERVAL).await;
    }
    let pid = daemon.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().expect("kill is there").success());
    let ended = tokio::time::timeout(TEXT_LIMIT, daemon.wait()).await.expect("it ends in time").expect("it ran");
    assert_eq!(ended.code(), Some(0));
}
