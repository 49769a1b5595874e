//! The fake cloud before independent clients, and our own clients before an independent cloud: two programs that were
//! written apart and agree are worth more than one that agrees with itself.
//!
//! `fake_cloud` runs the Python scripts of this folder, and `daemon_clients` the daemon's own calls, before the fake cloud and before
//! moto. Both need the environment that `scripts/clients` makes; a test that does not find it fails. `table` holds
//! `docs/clients.md` against what was found.

mod daemon_clients;
mod fake_cloud;
mod script;
mod table;
mod test_cloud;
