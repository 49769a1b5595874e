//! The test node: a replacement for a managed node, small enough to be embedded in the test binaries.
//!
//! Owns only its own behaviour: it reads `/node.conf` and its environment, logs its start, and ends on SIGTERM.
//! `build.rs` compiles it as one static program, so it may use only std.
//!
//! Settings are `key=value` lines of `/node.conf`; the environment variable `NODE_<KEY>` overrides the file. Keys:
//! `version`, `ignore_sigterm` (true or false), `exit_after_ms` and `exit_code`, `fill_memory_mb`, `print_lines` and
//! `print_interval_ms`, `listen` (TCP port), `numbers` (count up to this number, see [`Numbers`]), `numbers_pause_ms`
//! and `numbers_file`. A missing or empty key disables the feature.

use std::{
    env, fs,
    io::Write,
    net::TcpListener,
    process,
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

const CONFIG_FILE: &str = "/node.conf";

fn main() {
    // Before any thread: threads inherit the mask, so that only `wait_for_sigterm` receives the signal.
    signals::block_sigterm();
    let settings = Settings::read();
    let name = env::var("NODE").unwrap_or_default();
    let version = settings.text("version").unwrap_or_default();
    log(&format!("node {name} version {version} started"));

    if let Some(port) = settings.number("listen") {
        let greeting = format!("hello from {name} version {version}\n");
        thread::spawn(move || serve(port, &greeting));
    }
    if let Some(delay_ms) = settings.number("exit_after_ms") {
        let code = settings.number("exit_code").unwrap_or(0);
        thread::spawn(move || exit_later(delay_ms, code));
    }
    if let Some(megabytes) = settings.number("fill_memory_mb") {
        thread::spawn(move || fill_memory(megabytes));
    }
    if let Some(lines) = settings.number("print_lines") {
        let interval = Duration::from_millis(settings.number("print_interval_ms").unwrap_or(0));
        let name = name.clone();
        thread::spawn(move || print_lines(&name, lines, interval));
    }
    let numbers = settings.number("numbers").map(|last| {
        let pause = Duration::from_millis(settings.number("numbers_pause_ms").unwrap_or(0));
        Numbers::begin(last, pause, settings.text("numbers_file"))
    });
    let ignores = settings.text("ignore_sigterm").as_deref() == Some("true");
    handle_sigterm(&name, ignores, numbers);
}

/// Never returns: ends the program on SIGTERM, or only logs the signal.
fn handle_sigterm(name: &str, ignores: bool, numbers: Option<Numbers>) -> ! {
    loop {
        signals::wait_for_sigterm();
        if !ignores {
            if let Some(numbers) = numbers {
                numbers.pause();
            }
            log(&format!("node {name} stops on SIGTERM"));
            process::exit(0);
        }
        log(&format!("node {name} ignores SIGTERM"));
    }
}

fn serve(port: u64, greeting: &str) {
    let port = u16::try_from(port).expect("listen must be a TCP port");
    let listener = TcpListener::bind(("0.0.0.0", port)).expect("the port is free in a fresh container");
    for stream in listener.incoming() {
        // A peer may have closed the connection; the next one still gets its greeting.
        let _ = stream.and_then(|mut stream| stream.write_all(greeting.as_bytes()));
    }
}

fn exit_later(delay_ms: u64, code: u64) {
    thread::sleep(Duration::from_millis(delay_ms));
    process::exit(i32::try_from(code).expect("exit_code must be small"));
}

/// Allocates memory and never frees it, a megabyte at a time.
fn fill_memory(megabytes: u64) {
    let mut held = Vec::new();
    for _ in 0..megabytes {
        held.push(vec![1_u8; 1 << 20]);
        thread::sleep(Duration::from_millis(5));
    }
    std::hint::black_box(&held);
    thread::sleep(Duration::MAX);
}

fn print_lines(name: &str, lines: u64, interval: Duration) {
    for line in 1..=lines {
        log(&format!("node {name} line {line}"));
        thread::sleep(interval);
    }
}

/// Prints `[INFO] number <n>`, `number <n + 1>`, ... up to a last one, with a level before each tenth, at its own pace.
/// When it is stopped, it stores its count in a file, so that the next run, also in another container, continues.
/// Beside the file there may be a file `limit` with the number up to which it may count for now.
struct Numbers {
    next: Arc<Mutex<u64>>,
    file: Option<String>,
}

impl Numbers {
    /// Lines per write, followed by a pause.
    const LINES: u64 = 100;
    /// Pause before the limit is read again.
    const LIMIT_PAUSE: Duration = Duration::from_millis(10);

    fn begin(last: u64, pause: Duration, file: Option<String>) -> Self {
        let kept = file.as_ref().and_then(|file| fs::read_to_string(file).ok());
        let next = Arc::new(Mutex::new(kept.and_then(|text| text.trim().parse().ok()).unwrap_or(1)));
        let printing = Arc::clone(&next);
        let limit_file = file.as_ref().map(|file| std::path::Path::new(file).with_file_name("limit"));
        thread::spawn(move || {
            loop {
                let mut next = printing.lock().expect("nobody panics with it");
                if *next > last {
                    return;
                }
                let limit = limit_file.as_ref().and_then(|file| fs::read_to_string(file).ok()?.trim().parse().ok());
                let end = (*next + Self::LINES).min(last + 1).min(limit.unwrap_or(last) + 1);
                if end <= *next {
                    drop(next);
                    thread::sleep(Self::LIMIT_PAUSE);
                    continue;
                }
                let line = |number| {
                    if number % 10 == 1 { format!("[INFO] number {number}\n") } else { format!("number {number}\n") }
                };
                let lines: String = (*next..end).map(line).collect();
                let _ = std::io::stdout().write_all(lines.as_bytes()).and_then(|()| std::io::stdout().flush());
                *next = end;
                drop(next);
                thread::sleep(pause);
            }
        });
        Self { next, file }
    }

    /// After this returns, nothing more is printed.
    fn pause(self) {
        let next = self.next.lock().expect("nobody panics with it");
        if let Some(file) = &self.file {
            fs::write(file, next.to_string()).expect("the file can be written");
        }
        std::mem::forget(next);
    }
}

/// Prints a log line in the format that the cloud expects. A closed standard output is ignored.
fn log(message: &str) {
    let _ = writeln!(std::io::stdout(), "[INFO] {} {message}", utc_now());
}

/// The time as `2026-11-22T19:17:00Z`.
fn utc_now() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let (year, month, day) = civil_date(seconds / 86_400);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// Year, month and day of a number of days since 1970, by iterating the years: simple, and fast enough for a log line.
fn civil_date(mut days: u64) -> (u64, usize, u64) {
    let mut year = 1970;
    let leap = |year: u64| year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    (year, month + 1, days + 1)
}

/// Settings of `/node.conf` and the environment.
struct Settings {
    file: String,
}

impl Settings {
    fn read() -> Settings {
        Settings { file: fs::read_to_string(CONFIG_FILE).unwrap_or_default() }
    }

    fn text(&self, key: &str) -> Option<String> {
        let from_file = || {
            let lines = self.file.lines().filter_map(|line| line.split_once('='));
            lines.filter(|(name, _)| *name == key).map(|(_, value)| value.to_owned()).next()
        };
        env::var(format!("NODE_{}", key.to_uppercase())).ok().or_else(from_file).filter(|value| !value.is_empty())
    }

    fn number(&self, key: &str) -> Option<u64> {
        self.text(key).map(|value| value.parse().unwrap_or_else(|_| panic!("{key} must be a number")))
    }
}

/// The four libc functions that std does not offer. As PID 1 a program without a handler never receives SIGTERM, so the
/// signal is blocked and then awaited, which needs no handler and no shared state.
mod signals {
    /// `sigset_t` of Linux with glibc and musl alike: 1024 bits.
    #[repr(C)]
    struct SignalSet([u64; 16]);

    const SIGTERM: i32 = 15;
    const SIG_BLOCK: i32 = 0;

    unsafe extern "C" {
        fn sigemptyset(set: *mut SignalSet) -> i32;
        fn sigaddset(set: *mut SignalSet, signal: i32) -> i32;
        fn pthread_sigmask(how: i32, set: *const SignalSet, old: *mut SignalSet) -> i32;
        fn sigwait(set: *const SignalSet, signal: *mut i32) -> i32;
    }

    fn only_sigterm() -> SignalSet {
        let mut set = SignalSet([0; 16]);
        // SAFETY: `set` is a live, writable set of the size libc expects.
        unsafe {
            sigemptyset(&mut set);
            sigaddset(&mut set, SIGTERM);
        }
        set
    }

    pub fn block_sigterm() {
        // SAFETY: the set is live; a null pointer is the documented way to request no old mask.
        unsafe { pthread_sigmask(SIG_BLOCK, &only_sigterm(), std::ptr::null_mut()) };
    }

    pub fn wait_for_sigterm() {
        let mut signal = 0;
        // SAFETY: both pointers are live for the call, and the signal was blocked before.
        unsafe { sigwait(&only_sigterm(), &mut signal) };
    }
}
