//! Fakes for tests and for the demo.
