//! Fakes for tests and for the demo.

pub mod node_image;
