//! The managed app daemon.
