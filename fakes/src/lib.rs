//! Fakes for tests and for the demo.

pub mod cloud;
pub mod node_image;

pub use cloud::FakeCloud;
