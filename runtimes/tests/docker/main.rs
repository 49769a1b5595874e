//! The Docker backend on a real engine: the one at `DOCKER_HOST`, else at the default socket. Fails when none responds.
//!
//! Tests of Docker's peculiarities and basic confidence in the backend; the conformance suite covers the trait's whole
//! contract. The engine's own command line verifies the effects, not the code under test.

mod harness;
mod life;
mod registry;
mod watch;
