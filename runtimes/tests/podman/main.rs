//! The Podman backend against a real Podman: what is special about this engine. Owns no contract check that every
//! backend shares.
//!
//! Needs a Podman service (`CONTAINER_HOST`, else `/run/podman/podman.sock`), the `podman` command, a static busybox,
//! `docker-registry` and `htpasswd`. Without one of them the tests fail and say which.

mod failures;
mod harness;
mod images;
mod life;
mod streams;
