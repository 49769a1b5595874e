//! What a piece of work costs: time on the clock, time on the processor, memory.

use std::time::{Duration, Instant};

/// The cost of one piece of work.
#[derive(Debug, Clone, Copy)]
pub struct Cost {
    /// Time on the clock. Says little on a machine that does other things too.
    pub wall: Duration,
    /// Processor time of the thread that did the work.
    pub cpu: Duration,
}

/// Runs work that stays on this thread.
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

/// Memory of this process that is in RAM now, bytes.
pub fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has a line for it");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("it is a number");
    kilobytes * 1024
}
