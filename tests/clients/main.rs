//! Independent clients of the fake cloud, and the clients of the daemon with an independent cloud. Agreement of two
//! independent implementations is stronger evidence than agreement of one implementation with itself.
//!
//! `fake_cloud` runs the Python scripts of this folder against the fake cloud. `daemon_clients` runs the calls of the
//! daemon against the fake cloud and moto. Both need the environment that `scripts/clients` creates; a test without it
//! fails. `table` compares `docs/clients.md` with the results.

mod daemon_clients;
mod fake_cloud;
mod script;
mod table;
mod test_cloud;
