//! The daemon's log: events of `tracing` become lines in the contract's form, on the console, in the log file, and in
//! the buffer for CloudWatch.
//!
//! The console gets all lines, because it is the journal under systemd; colours only on a terminal. An error with the
//! field `critical = true` is CRITICAL: the daemon cannot continue after it. Must not decide what other modules log,
//! and must never block or end the daemon.

mod file;
mod filter;
mod layer;
mod line;
mod panics;
mod progress;
mod queue;
mod redact;
mod unshipped;

use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;
use tracing::Instrument;
use tracing::instrument::Instrumented;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

pub use progress::TARGET as PROGRESS;
pub use redact::{REDACTED, Redactor};
pub use unshipped::{Line, Unshipped};

use self::file::LogFile;
use self::layer::Lines;
use self::progress::Bars;
use self::queue::Queue;
use crate::config::LoggingLevel;

/// Limit for writing the remaining lines at the end of the program.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(2);

/// Level and outputs of the log.
#[derive(Debug, Clone)]
pub struct Options {
    /// The least serious level.
    pub level: LoggingLevel,
    /// The console stream.
    pub console: Console,
    /// Whether a terminal gets no colours.
    pub no_color: bool,
    /// The log file, if any. A missing directory is created.
    pub file: Option<PathBuf>,
    /// Whether lines are kept for [`Telemetry::unshipped`].
    pub is_shipped: bool,
}

/// The console stream that gets the lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Console {
    /// Standard output: the daemon.
    Stdout,
    /// Standard error: commands with output on standard output.
    Stderr,
    /// Nowhere.
    Off,
}

/// The log of this process. Keep it until the end: dropping it waits, at most 2 s, until all lines are written.
#[derive(Debug)]
pub struct Telemetry {
    redactor: Redactor,
    queue: Arc<Queue>,
    unshipped: Option<Unshipped>,
}

/// Why the log could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log is started already.
    #[error("start the log a second time")]
    Twice(#[source] TryInitError),
    /// The writer thread could not be started.
    #[error("start the writer thread of the log")]
    Thread(#[source] io::Error),
}

/// Starts the log, once per process. If the log file cannot be written, a warning goes to standard error.
pub fn start(options: Options) -> Result<Telemetry, StartError> {
    let unshipped = options.is_shipped.then(Unshipped::default);
    let telemetry = Telemetry { redactor: Redactor::default(), queue: Queue::new(), unshipped: unshipped.clone() };
    let (lines, queue) = (Arc::clone(&telemetry.queue), Arc::clone(&telemetry.queue));
    let bars = if options.console == Console::Stdout { Bars::on_terminal() } else { None };
    let mut outputs = Outputs::new(options.console, options.no_color, options.file);
    outputs.bars.clone_from(&bars);
    let writer = std::thread::Builder::new().name(panics::WRITER.to_owned());
    writer.spawn(move || lines.drain(|line, dropped| outputs.write(line, dropped))).map_err(StartError::Thread)?;
    let sink = move |line: Line, may_ship: bool| {
        if let Some(unshipped) = unshipped.as_ref().filter(|_| may_ship) {
            unshipped.push(line.clone());
        }
        queue.push(line.text);
    };
    let layer = Lines { threshold: options.level, redactor: telemetry.redactor.clone(), sink };
    let bars = bars.map(|bars| bars.layer());
    tracing_subscriber::registry().with(layer).with(bars).try_init().map_err(StartError::Twice)?;
    Ok(telemetry)
}

/// Runs `work` without shipping its lines; they are on the console and in the log file. All code that ships the log
/// must run in this function, otherwise a failure to ship would create lines endlessly.
pub fn without_shipping<F: Future>(work: F) -> Instrumented<F> {
    work.instrument(tracing::info_span!(layer::UNSHIPPED))
}

impl Telemetry {
    /// Logs each panic from now on, instead of the standard text on standard error.
    pub fn log_panics(&self) {
        panics::set_hook(self.redactor());
    }

    /// The redactor, which removes added secrets from all lines.
    pub fn redactor(&self) -> Redactor {
        self.redactor.clone()
    }

    /// The lines to ship, from the first one on; `None` without shipping.
    pub fn unshipped(&self) -> Option<Unshipped> {
        self.unshipped.clone()
    }
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        self.queue.flush(FLUSH_TIME_MAX);
    }
}

/// The outputs. Failures of the console are ignored: there is nowhere to report them.
struct Outputs {
    console: Box<dyn Write + Send>,
    coloured: bool,
    file: Option<LogFile>,
    /// Progress bars on the same terminal, which are hidden during a write.
    bars: Option<Bars>,
}

impl Outputs {
    fn new(console: Console, no_color: bool, file: Option<PathBuf>) -> Self {
        let (stream, is_terminal): (Box<dyn Write + Send>, bool) = match console {
            Console::Stdout => (Box::new(io::stdout()), io::stdout().is_terminal()),
            Console::Stderr => (Box::new(io::stderr()), io::stderr().is_terminal()),
            Console::Off => (Box::new(io::sink()), false),
        };
        Self { console: stream, coloured: is_terminal && !no_color, file: file.map(LogFile::new), bars: None }
    }

    fn write(&mut self, line: &str, dropped: u64) {
        if dropped > 0 {
            let mut fields = line::Fields::of("log lines were dropped because writing took too long");
            fields.add("count", &dropped.to_string());
            self.write_one(&warning(&fields));
        }
        self.write_one(line);
    }

    fn write_one(&mut self, line: &str) {
        let shown = if self.coloured { coloured(line) } else { None };
        let console = &mut self.console;
        let mut write = || {
            let _ = writeln!(console, "{}", shown.as_deref().unwrap_or(line));
            let _ = console.flush();
        };
        match &self.bars {
            Some(bars) => bars.suspend(write),
            None => write(),
        }
        if let Some(Err(error)) = self.file.as_mut().map(|file| file.write(line)) {
            let _ = writeln!(io::stderr(), "{}", warning(&error));
        }
    }
}

/// A warning of the log itself.
fn warning(fields: &line::Fields) -> String {
    line::line("WARNING", OffsetDateTime::now_utc(), "", fields)
}

/// The line with its level in colour.
fn coloured(line: &str) -> Option<String> {
    let (level, rest) = line.strip_prefix('[')?.split_once(']')?;
    let colour = match level {
        "CRITICAL" | "ERROR" => 31,
        "WARNING" => 33,
        "INFO" => 32,
        _ => 34,
    };
    Some(format!("\u{1b}[{colour}m[{level}]\u{1b}[0m{rest}"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Shown(Arc<Mutex<Vec<u8>>>);

    impl Write for Shown {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().expect("no test panics here").write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn lines_go_to_the_console_and_to_the_file() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.log");
        let shown = Shown::default();
        let file = Some(LogFile::new(path.clone()));
        let mut outputs = Outputs { console: Box::new(shown.clone()), coloured: true, file, bars: None };
        outputs.write("[INFO] now one", 0);
        outputs.write("[ERROR] now two", 3);
        let shown = String::from_utf8(shown.0.lock().expect("no test panics here").clone()).expect("text");
        assert!(shown.starts_with("\u{1b}[32m[INFO]\u{1b}[0m now one\n\u{1b}[33m[WARNING]"), "{shown:?}");
        let kept = std::fs::read_to_string(path).expect("the file is there");
        let kept: Vec<_> = kept.lines().collect();
        assert_eq!((kept[0], kept[2]), ("[INFO] now one", "[ERROR] now two"));
        assert!(kept[1].ends_with("log lines were dropped because writing took too long count=3"), "{kept:?}");
    }

    #[test]
    fn the_log_of_a_process_reaches_the_file_before_it_ends() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.log");
        let options = Options {
            level: LoggingLevel::Info,
            console: Console::Off,
            no_color: false,
            file: Some(path.clone()),
            is_shipped: true,
        };
        let telemetry = start(options.clone()).expect("the first log of this process");
        telemetry.redactor().add(&"hunter2-of-telemetry".into());
        tracing::info!(password = "hunter2-of-telemetry", "started for the test of telemetry");
        assert!(matches!(start(options), Err(StartError::Twice(_))));
        let unshipped = telemetry.unshipped().expect("shipping is enabled").take(usize::MAX);
        let is_it = |line: &Line| line.text.ends_with("started for the test of telemetry password=[redacted]");
        assert_eq!(unshipped.iter().filter(|line| is_it(line)).count(), 1, "{unshipped:?}");
        drop(telemetry);
        let kept = std::fs::read_to_string(path).expect("the file is there");
        assert!(kept.contains("started for the test of telemetry password=[redacted]\n"), "{kept}");
    }
}
