//! The commands on the private engines of `scripts/engines`: Docker and Podman.
