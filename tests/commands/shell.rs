//! The program among other programs: help, and output that nobody reads.

use std::process::{Command, Stdio};

use crate::bench::Bench;

#[tokio::test]
async fn help_needs_no_configuration() {
    let mut bench = Bench::new().await;
    bench.unset("APP");
    let ran = bench.run(&["--help"]).await;
    assert_eq!(ran.code, 0);
    for part in ["check", "plan", "run", "MANAGED_APP_RUNTIME", "CONTAINER_HOST", "NO_COLOR", "Exit codes"] {
        assert!(ran.stdout.contains(part), "{part}");
    }
    assert_eq!(bench.run(&["--nonsense"]).await.code, 64);
}

#[tokio::test]
async fn output_that_nobody_reads_is_no_failure() {
    let bench = Bench::new().await;
    for command in ["check", "plan", "--help"] {
        let mut run = Command::new("/bin/sh");
        // `true` ends at once, so that each write meets a closed pipe; the code goes to standard error.
        let script = format!(
            "{{ sleep 0.2; {} {command}; echo code $? >&2; }} | true",
            env!("CARGO_BIN_EXE_echostream-managed-app")
        );
        run.env_clear().envs(bench.variables()).args(["-c", &script]).stdout(Stdio::null());
        let output = tokio::task::spawn_blocking(move || run.output()).await.expect("no panic").expect("a shell");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains("code 0") && !stderr.contains("panicked"), "{command}: {stderr}");
    }
}
