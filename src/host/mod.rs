//! The host of the daemon: systemd, signals, power, memory of the process, and the lock against a second daemon. Knows
//! nothing of nodes.

mod container;
mod lock;
mod memory;
mod notify;
mod power;
mod signals;

pub use container::lacks_mount;
pub use lock::{Ending, Holder, HostLock, LOCK_DIRECTORY, LockError, LockKey, Successors, acquire, lock_directory};
pub use memory::{give_back_memory, keep_memory_private};
pub use notify::{Notifier, watchdog_interval};
pub use power::{PowerOffError, power_off};
pub use signals::{Signal, Signals};
