//! Image reference to registry credentials.
