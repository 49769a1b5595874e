//! Logs panics: one line, escaped and redacted. The standard hook prints the message unchanged, which may contain
//! secret values.

use std::backtrace::{Backtrace, BacktraceStatus};
use std::io::{self, Write};
use std::panic::PanicHookInfo;

use super::redact::Redactor;

/// Name of the writer thread of the log, whose own panics cannot be logged.
pub(super) const WRITER: &str = "log-writer";

/// Logs each panic from now on.
pub(super) fn set_hook(redactor: Redactor) {
    std::panic::set_hook(Box::new(move |panic| {
        let location = panic.location().map(ToString::to_string).unwrap_or_default();
        if std::thread::current().name() == Some(WRITER) {
            let line =
                redactor.redact(format!("the log writer panicked, the log ends: {location}: {:?}", message(panic)));
            let _ = writeln!(io::stderr(), "{line}");
        } else {
            tracing::error!(location, error = message(panic), "the program panicked; this is a bug");
        }
        // Only names of functions and files, and only with RUST_BACKTRACE.
        let trace = Backtrace::capture();
        if trace.status() == BacktraceStatus::Captured {
            let _ = writeln!(io::stderr(), "{trace}");
        }
    }));
}

fn message<'a>(panic: &'a PanicHookInfo<'_>) -> &'a str {
    panic.payload_as_str().unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use crate::config::LoggingLevel;
    use crate::telemetry::{Console, Options, start};

    /// Runs this test again as a child process, which panics with a secret.
    #[test]
    fn a_panic_is_one_line_of_the_log_without_secrets() {
        const PART: &str = "MANAGED_APP_TEST_PANIC";
        const NAME: &str = "telemetry::panics::tests::a_panic_is_one_line_of_the_log_without_secrets";
        if let Some(path) = crate::config::process_environment(PART) {
            let (level, console) = (LoggingLevel::Error, Console::Off);
            let options = Options { level, console, no_color: true, file: Some(path.into()), is_shipped: false };
            let telemetry = start(options).expect("the first log of this process");
            telemetry.redactor().add(&"hunter2-of-panics".into());
            telemetry.log_panics();
            let panicked = std::panic::catch_unwind(|| panic!("a value was {:?}\n\u{1b}[2Jhunter2-of-panics", 7));
            assert!(panicked.is_err());
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("log");
        let mut run = Command::new(std::env::current_exe().expect("this program has a path"));
        run.args(["--exact", NAME, "--nocapture"]).env(PART, &path).env_remove("RUST_BACKTRACE");
        let output = run.output().expect("this program can be run");
        let output_text = [output.stdout, output.stderr].concat();
        let (output_text, log) =
            (String::from_utf8_lossy(&output_text), std::fs::read_to_string(path).expect("the log"));
        assert!(output.status.success(), "{output_text}");
        assert!(!output_text.contains("hunter2"), "{output_text}");
        let lines: Vec<&str> = log.lines().collect();
        assert_eq!(lines.len(), 1, "{log}");
        assert!(lines[0].starts_with("[ERROR]") && lines[0].contains("a value was 7\\n\\u{1b}[2J[redacted]"), "{log}");
    }
}
