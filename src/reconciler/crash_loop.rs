//! A crash loop as plain data, and its description for people. Decides nothing.

use std::fmt;
use std::time::Duration;

use managed_app_runtimes::ProcessExit;

/// A process that exited several times without staying up in between.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashLoop {
    /// Exits of the process so far.
    pub count: u32,
    /// From the start of the first of these runs to the last exit; `None` if the first start was not observed.
    pub window: Option<Duration>,
    /// The last exit.
    pub last: ProcessExit,
    /// The next start; `None` while the process runs, or if it is unknown.
    pub next_start: Option<NextStart>,
}

/// When an exited process is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NextStart {
    /// The delay, from the exit.
    pub pause: Duration,
    /// Whether the engine's restart policy starts it. Docker does not report its delay: this is its published rule,
    /// applied to the observed exits.
    pub by_engine: bool,
}

/// A report about a crash loop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CrashLoopNotice {
    /// It has begun or continues.
    GoingOn(CrashLoop),
    /// The process has stayed up since.
    Over {
        /// Exits of the process.
        count: u32,
    },
}

/// `crash loop: exited 137 (SIGKILL) 6 times in 2 min`
impl fmt::Display for CrashLoop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "crash loop: {} {} times", exit_text(&self.last), self.count)?;
        match self.window {
            Some(window) => write!(f, " in {}", rounded(window)),
            None => Ok(()),
        }
    }
}

/// The description of an exit: `exited 3 (error)`, `exited 137 (OOM killed)`, `exited 139 (SIGSEGV)`.
pub fn exit_text(exit: &ProcessExit) -> String {
    let Some(code) = exit.code else {
        return if exit.is_oom { "exited (OOM killed)".to_owned() } else { "exited (code unknown)".to_owned() };
    };
    let meaning = match (exit.is_oom, code) {
        (true, _) => "OOM killed",
        (false, 0) => "success",
        (false, 126) => "not executable",
        (false, 127) => "command not found",
        (false, code) => signal(code).unwrap_or("error"),
    };
    format!("exited {code} ({meaning})")
}

/// The signal that an exit code represents: 128 + its number, on Linux.
pub fn signal(code: i64) -> Option<&'static str> {
    const NAMES: [&str; 31] = [
        "SIGHUP",
        "SIGINT",
        "SIGQUIT",
        "SIGILL",
        "SIGTRAP",
        "SIGABRT",
        "SIGBUS",
        "SIGFPE",
        "SIGKILL",
        "SIGUSR1",
        "SIGSEGV",
        "SIGUSR2",
        "SIGPIPE",
        "SIGALRM",
        "SIGTERM",
        "SIGSTKFLT",
        "SIGCHLD",
        "SIGCONT",
        "SIGSTOP",
        "SIGTSTP",
        "SIGTTIN",
        "SIGTTOU",
        "SIGURG",
        "SIGXCPU",
        "SIGXFSZ",
        "SIGVTALRM",
        "SIGPROF",
        "SIGWINCH",
        "SIGIO",
        "SIGPWR",
        "SIGSYS",
    ];
    let number = usize::try_from(code.checked_sub(128)?).ok()?;
    NAMES.get(number.checked_sub(1)?).copied()
}

/// A duration for people, in its largest unit: `900 ms`, `32 s`, `2 min`, `3 h`.
pub fn rounded(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3_600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_exit_is_described_by_code_signal_and_memory() {
        let text = |code, is_oom| exit_text(&ProcessExit { code, is_oom, at: None });
        assert_eq!(text(Some(0), false), "exited 0 (success)");
        assert_eq!(text(Some(3), false), "exited 3 (error)");
        assert_eq!(text(Some(127), false), "exited 127 (command not found)");
        assert_eq!(text(Some(128), false), "exited 128 (error)");
        assert_eq!(text(Some(137), false), "exited 137 (SIGKILL)");
        assert_eq!(text(Some(137), true), "exited 137 (OOM killed)");
        assert_eq!(text(Some(139), false), "exited 139 (SIGSEGV)");
        assert_eq!(text(Some(159), false), "exited 159 (SIGSYS)");
        assert_eq!(text(Some(255), false), "exited 255 (error)");
        assert_eq!(text(Some(i64::MIN), false), format!("exited {} (error)", i64::MIN));
        assert_eq!(text(None, false), "exited (code unknown)");
    }

    #[test]
    fn a_crash_loop_is_one_line() {
        let last = ProcessExit { code: Some(137), is_oom: true, at: None };
        let crash_loop = CrashLoop { count: 6, window: Some(Duration::from_secs(125)), last, next_start: None };
        assert_eq!(crash_loop.to_string(), "crash loop: exited 137 (OOM killed) 6 times in 2 min");
        let unseen = CrashLoop { window: None, ..crash_loop };
        assert_eq!(unseen.to_string(), "crash loop: exited 137 (OOM killed) 6 times");
        let texts = [30, 1_000, 119_000, 120_000, 7_200_000].map(|ms| rounded(Duration::from_millis(ms)));
        assert_eq!(texts, ["30 ms", "1 s", "119 s", "2 min", "2 h"]);
    }
}
