//! Keeps the memory of this process, which contains the password and tokens, out of files and other processes, and
//! keeps it small.

use std::io;
use std::time::Duration;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// Interval at which free memory is returned.
const GIVE_BACK_EVERY: Duration = Duration::from_secs(30);

/// Returns free pages of the heap to the kernel, forever. The C library otherwise returns only pages at the end of the
/// heap: the memory for the concurrent creation of fifty containers would be kept for the quiet time after it.
#[cfg(target_env = "gnu")]
pub async fn give_back_memory() {
    #[allow(unsafe_code)]
    mod heap {
        unsafe extern "C" {
            // Takes no pointer and locks the heap itself, malloc_trim(3).
            pub(super) safe fn malloc_trim(pad: usize) -> i32;
        }
    }
    loop {
        tokio::time::sleep(GIVE_BACK_EVERY).await;
        heap::malloc_trim(0);
    }
}

/// The C library has no such call.
#[cfg(not(target_env = "gnu"))]
pub async fn give_back_memory() {}

/// Disables core dumps, and access to this process by other users than root (`/proc/<pid>/mem`, `environ`, ptrace).
///
/// Call this after the last `execve` of this process, which would undo it. On an error, the previous settings stay.
pub fn keep_memory_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    /// Whether this process runs `test` alone. The parent runs itself once more for it: other tests of the process
    /// would change its properties, or be changed.
    fn is_alone(test: &str) -> bool {
        const PART: &str = "MANAGED_APP_TEST_ALONE";
        if crate::config::process_environment(PART).is_some() {
            return true;
        }
        let name = format!("host::memory::tests::{test}");
        let mut run = Command::new(std::env::current_exe().expect("this program has a path"));
        let output = run.args(["--exact", &name]).env(PART, "1").output().expect("this program can be run");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        false
    }

    #[cfg(target_env = "gnu")]
    #[tokio::test(start_paused = true)]
    async fn free_memory_is_returned_to_the_kernel() {
        if !is_alone("free_memory_is_returned_to_the_kernel") {
            return;
        }
        let mut blocks: Vec<Box<[u8; 1024]>> = (0..24 << 10).map(|_| Box::new([1; 1024])).collect();
        // Without this one, they would lie at the end of the heap.
        let last = blocks.pop();
        drop(blocks);
        let kept = resident_kb();
        let _ = tokio::time::timeout(GIVE_BACK_EVERY * 2, give_back_memory()).await;
        let left = resident_kb();
        assert!(left + (12 << 10) < kept, "{left} kB of {kept} kB are left");
        drop(last);
    }

    #[cfg(target_env = "gnu")]
    fn resident_kb() -> usize {
        let text = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has a line for it");
        line.trim().trim_end_matches(" kB").parse().expect("a number")
    }

    #[test]
    fn memory_is_not_dumped() {
        if !is_alone("memory_is_not_dumped") {
            return;
        }
        keep_memory_private().expect("the kernel allows it");
        assert_eq!(dumpable_behavior().expect("it can be asked"), DumpableBehavior::NotDumpable);
        let core = getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
    }
}
