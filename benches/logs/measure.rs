//! Measures wall time, processor time and memory.

use std::time::{Duration, Instant};

/// The costs of one piece of work.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Wall time. Not significant on a busy machine.
    pub wall: Duration,
    /// Processor time of the thread that did the work.
    pub cpu: Duration,
}

/// Measures work that stays on this thread.
pub async fn measured(work: impl Future<Output = ()>) -> Cost {
    let (began, cpu_before) = (Instant::now(), thread_cpu());
    work.await;
    Cost { wall: began.elapsed(), cpu: thread_cpu() - cpu_before }
}

/// Processor time of this thread so far; the kernel counts nanoseconds.
fn thread_cpu() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux counts processor time");
    let nanoseconds = text.split(' ').next().and_then(|first| first.parse().ok()).expect("it begins with a number");
    Duration::from_nanos(nanoseconds)
}

/// Resident memory of this process, bytes.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux has it");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has a line for it");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number");
    kilobytes * 1024
}
