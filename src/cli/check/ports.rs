//! The step of `check` about host ports: whether each port of a node is free, or used by the node's own container.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{TcpListener, UdpSocket};

use managed_app_runtimes::{PortBinding, Protocol, labels, names};

use super::super::query::Problem;
use super::super::report::Report;
use super::FoundEngine;
use crate::config::Config;
use crate::daemon;
use crate::model::{App, Node};

/// Prints a line for all ports, and one for each port that is not available.
pub(super) async fn check(config: &Config, app: Option<&App>, engine: Option<&FoundEngine>, report: &mut Report) {
    let Some(app) = app else { return report.skipped("ports", "no app") };
    let count = app.nodes.values().map(|node| node.ports.len()).sum::<usize>();
    if count == 0 {
        return report.skipped("ports", "no node publishes a port");
    }
    let Some(running) = running(config, engine).await else { return report.skipped("ports", "no engine") };
    let mut free = 0;
    for node in app.nodes.values() {
        let is_running =
            running.contains(node.name.as_str()) || running.contains(&names::container_name(node.name.as_str()));
        for port in &node.ports {
            match attempt(port) {
                Err(error) if error.kind() == ErrorKind::AddrInUse && is_running => free += 1,
                Ok(()) => free += 1,
                Err(error) => report_port(node, port, &error, report),
            }
        }
    }
    if free > 0 {
        report.ok("ports", &format!("{free} of {count} host ports are free, or used by their node"));
    }
}

/// Names of running nodes and of running containers.
async fn running(config: &Config, engine: Option<&FoundEngine>) -> Option<BTreeSet<String>> {
    let containers = engine?.runtime.list(&daemon::owner_of(config)).await.ok()?;
    let running = containers.into_iter().filter(|container| container.state.is_running());
    Some(running.flat_map(|mut c| [c.labels.remove(labels::NODE).unwrap_or_default(), c.name]).collect())
}

/// The standard library has no SCTP sockets, so SCTP ports are not tried.
fn attempt(port: &PortBinding) -> io::Result<()> {
    let address = (port.host_address, port.host_port);
    match port.protocol {
        Protocol::Tcp => TcpListener::bind(address).map(|_| ()),
        Protocol::Udp => UdpSocket::bind(address).map(|_| ()),
        Protocol::Sctp => Ok(()),
    }
}

fn report_port(node: &Node, port: &PortBinding, error: &io::Error, report: &mut Report) {
    let (number, protocol) = (port.host_port, port.protocol.as_str());
    let what = format!("{number}/{protocol} of node {:?}", node.name.as_str());
    match error.kind() {
        ErrorKind::AddrInUse => {
            let holder = holder(port).map_or_else(|| "another program".to_owned(), |name| format!("{name:?}"));
            let remedy = format!("end it or change the node's port; to show it: ss -lnp 'sport = :{number}'");
            report.problem("ports", &Problem::wrong(format!("{what} is taken by {holder}"), remedy));
        }
        ErrorKind::AddrNotAvailable => {
            let found = format!("{what}: this host has no address {}", port.host_address);
            report.problem("ports", &Problem::wrong(found, "change the node's host address in EchoStream"));
        }
        ErrorKind::PermissionDenied => {
            report.skipped("ports", &format!("{what}: only root can test a port under 1024"));
        }
        _ => report.skipped("ports", &format!("{what}: {error}")),
    }
}

/// The program that uses a port, from the kernel's tables; only root sees programs of other users.
fn holder(port: &PortBinding) -> Option<String> {
    let tables = match port.protocol {
        Protocol::Tcp => ["tcp", "tcp6"],
        _ => ["udp", "udp6"],
    };
    let suffix = format!(":{:04X}", port.host_port);
    let inodes: Vec<String> = tables
        .iter()
        .filter_map(|table| fs::read_to_string(format!("/proc/net/{table}")).ok())
        .flat_map(|table| table.lines().filter_map(|line| inode(line, &suffix)).collect::<Vec<_>>())
        .collect();
    let processes = fs::read_dir("/proc").ok()?.flatten().map(|entry| entry.path());
    let holds = |path: &std::path::Path| {
        let files = fs::read_dir(path.join("fd")).into_iter().flatten().flatten();
        let links = files.filter_map(|file| fs::read_link(file.path()).ok());
        links.into_iter().any(|link| inodes.iter().any(|inode| link.as_os_str() == inode.as_str()))
    };
    let mut found = processes.filter(|path| holds(path));
    fs::read_to_string(found.next()?.join("comm")).ok().map(|name| name.trim().to_owned())
}

/// `socket:[inode]` of a line for a socket that listens (TCP state 0A, UDP state 07) on the port.
fn inode(line: &str, suffix: &str) -> Option<String> {
    let fields: Vec<_> = line.split_whitespace().collect();
    let (local, state, inode) = (fields.get(1)?, fields.get(3)?, fields.get(9)?);
    (local.ends_with(suffix) && ["0A", "07"].contains(state)).then(|| format!("socket:[{inode}]"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn used_port_is_reported_with_its_program() {
        // No other test uses this address, so the port stays free after its release.
        let listener = TcpListener::bind("127.0.97.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let port = PortBinding {
            container_port: 1,
            host_port: address.port(),
            host_address: address.ip(),
            protocol: Protocol::Tcp,
        };
        assert_eq!(attempt(&port).map_err(|error| error.kind()), Err(ErrorKind::AddrInUse));
        let own = fs::read_to_string("/proc/self/comm").expect("it is readable");
        assert_eq!(holder(&port).as_deref(), Some(own.trim()));
        drop(listener);
        assert!(attempt(&port).is_ok());
    }
}
