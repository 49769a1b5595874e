//! The Docker backend.
