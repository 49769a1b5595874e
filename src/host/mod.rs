//! What the daemon has to do with its host: systemd, signals, power, its own memory. Knows nothing of nodes.

mod memory;
mod notify;
mod power;
mod signals;

pub use memory::{give_back_memory, keep_memory_private};
pub use notify::{Notifier, watchdog_interval};
pub use power::{PowerOffError, power_off};
pub use signals::{Signal, Signals};
