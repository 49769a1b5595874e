//! Tests of the Podman backend without a Podman: tables over the pure parts, and a scripted engine on a socket.

mod logs;
mod tables;
mod wire;
