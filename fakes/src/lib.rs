//! Fakes for tests and for the demo.
pub mod cloud;

pub use cloud::FakeCloud;
