//! Keeps the memory of this process, which holds the password and tokens, from files and from others.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

/// No core dumps from now on, and nobody but root may look into this process (`/proc/<pid>/mem`, `environ`, ptrace).
///
/// Call it after the last `execve` of this process, which would undo it. On an error what came before it counts.
pub fn keep_memory_private() -> io::Result<()> {
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) })?;
    Ok(set_dumpable_behavior(DumpableBehavior::NotDumpable)?)
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn memory_is_not_dumped() {
        keep_memory_private().expect("the kernel allows it");
        assert_eq!(dumpable_behavior().expect("it can be asked"), DumpableBehavior::NotDumpable);
        let core = getrlimit(Resource::Core);
        assert_eq!((core.current, core.maximum), (Some(0), Some(0)));
        // Other tests of this process may look into themselves.
        set_dumpable_behavior(DumpableBehavior::Dumpable).expect("the kernel allows it");
    }
}
