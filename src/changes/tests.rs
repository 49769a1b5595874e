//! Tests of receiving.
