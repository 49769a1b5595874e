//! The Docker backend on a real engine: the one at `DOCKER_HOST`, else at the default socket. Fails when none answers.
//!
//! What is specific to Docker or needed to trust the backend; the conformance suite covers the trait's whole contract.
//! What the engine did is looked up by its own command line, not by the code under test.

mod harness;
mod life;
mod registry;
mod watch;
