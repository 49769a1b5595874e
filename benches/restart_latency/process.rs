//! Measurements of a process by the kernel. Linux only, like the daemon.

use std::fs;

/// The values of one moment.
#[derive(Debug, Clone, Copy)]
pub struct Figures {
    /// Resident memory, and its parts: proportional share, and memory without a file, in kB.
    pub rss_kb: f64,
    pub pss_kb: f64,
    pub anonymous_kb: f64,
    /// The part of the resident memory that was touched since [`forget_touches`], in the units of kernel mappings.
    pub touched_kb: f64,
    /// Processor time used so far, seconds.
    pub cpu_s: f64,
    pub threads: f64,
    pub sockets: f64,
}

impl Figures {
    /// The values of a running process.
    pub fn of(pid: u32) -> Self {
        let memory = read(pid, "smaps_rollup");
        let kb = |key: &str| -> f64 {
            let line = memory.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel reports it");
            line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().expect("a number of kB")
        };
        let names = fs::read_dir(format!("/proc/{pid}/fd")).expect("the process runs").flatten();
        let is_socket = |path: std::path::PathBuf| path.to_string_lossy().starts_with("socket:");
        let sockets = names.filter(|entry| fs::read_link(entry.path()).is_ok_and(is_socket)).count();
        Self {
            rss_kb: kb("Rss"),
            pss_kb: kb("Pss"),
            anonymous_kb: kb("Anonymous"),
            touched_kb: kb("Referenced"),
            cpu_s: cpu_s(pid),
            threads: count(pid, "task"),
            sockets: sockets as f64,
        }
    }
}

/// Resets the touched memory of a process.
pub fn forget_touches(pid: u32) {
    fs::write(format!("/proc/{pid}/clear_refs"), "1").expect("the process is ours");
}

/// Processor time of all threads from nanoseconds, which are finer than the ticks of `stat`.
fn cpu_s(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("the process runs").flatten();
    let of = |entry: fs::DirEntry| -> Option<f64> {
        fs::read_to_string(entry.path().join("schedstat")).ok()?.split(' ').next()?.parse().ok()
    };
    tasks.filter_map(of).sum::<f64>() / 1e9
}

fn count(pid: u32, folder: &str) -> f64 {
    fs::read_dir(format!("/proc/{pid}/{folder}")).expect("the process runs").count() as f64
}

fn read(pid: u32, file: &str) -> String {
    fs::read_to_string(format!("/proc/{pid}/{file}")).expect("the process runs")
}
