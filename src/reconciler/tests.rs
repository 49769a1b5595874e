//! Tests of the reconciler: events in, effects out.
