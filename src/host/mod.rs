//! What the daemon has to do with its host: systemd, signals, power. Knows nothing of nodes.

mod notify;
mod power;
mod signals;

pub use notify::{Notifier, watchdog_interval};
pub use power::{PowerOffError, power_off};
pub use signals::{Signal, Signals};
