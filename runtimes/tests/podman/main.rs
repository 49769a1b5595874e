//! The Podman backend against a real Podman: the peculiarities of this engine. Contains no contract check that applies
//! to every backend.
//!
//! Requires a Podman service (`CONTAINER_HOST`, else `/run/podman/podman.sock`), the `podman` command, a static
//! busybox, `docker-registry` and `htpasswd`. The tests fail with the name of a missing one.

mod failures;
mod harness;
mod images;
mod life;
mod streams;
