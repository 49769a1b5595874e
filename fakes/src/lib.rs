//! Fakes for tests and for the demo: engines and clouds with state and behaviour of their own.
//!
//! [`FakeCloud`] is EchoStream's whole cloud, faked on the wire; [`InMemoryRuntime`] is a container engine in memory,
//! [`Faulty`] makes any engine fail in chosen ways, and [`node_image`] is an image with a small node for real engines.

pub mod cloud;
pub mod faulty;
pub mod memory;
pub mod node_image;

pub use cloud::FakeCloud;
pub use faulty::Faulty;
pub use memory::{Behaviour, InMemoryRuntime, Latencies};
