//! Fakes for tests and for the demo: engines and clouds with state and behaviour of their own.
//!
//! [`InMemoryRuntime`] is a container engine in memory, [`Faulty`] makes any engine fail in chosen ways.

pub mod faulty;
pub mod memory;

pub use faulty::Faulty;
pub use memory::{Behaviour, InMemoryRuntime, Latencies};
