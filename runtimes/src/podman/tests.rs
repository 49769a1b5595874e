//! Tests of the Podman backend without Podman: tables for the pure parts, and a scripted engine on a socket.

mod logs;
mod tables;
mod wire;
