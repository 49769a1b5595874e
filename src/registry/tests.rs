//! Tests of registry credentials.
