//! Tests of the live client.
