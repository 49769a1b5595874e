//! Ports for servers and containers of tests that must be known before a server listens. Owns no socket.

use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU32, Ordering};

/// Below the ephemeral ports of the kernel (from 32768 on, `ip_local_port_range`): no connection and no other test's
/// server gets one of these between the check and its use.
const FIRST: u32 = 20_000;
const COUNT: u32 = 12_000;
/// Distance between the first ports of concurrent test processes.
const STRIDE: u32 = 101;

/// A port that is free on every address of this host. Each call in a process returns a different one.
///
/// # Panics
/// When all are taken.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let begin = std::process::id().wrapping_mul(STRIDE);
    let all = (0..COUNT).map(|_| begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT + FIRST);
    let is_free = |port: &u16| {
        let address = (Ipv4Addr::UNSPECIFIED, *port);
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    let mut ports = all.map(|port| u16::try_from(port).expect("the last one is 31999"));
    ports.find(is_free).expect("a port below the ephemeral ones is free")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_ports_are_free_and_distinct() {
        let ports: Vec<u16> = (0..20).map(|_| free_port()).collect();
        let distinct: std::collections::BTreeSet<_> = ports.iter().collect();
        assert_eq!(distinct.len(), ports.len());
        let held = TcpListener::bind((Ipv4Addr::LOCALHOST, ports[0])).expect("nobody else has it");
        let is_found = (0..COUNT).any(|_| free_port() == ports[0]);
        assert!(!is_found, "{held:?} is taken");
    }
}
