//! Selects the address of this host that the fake cloud advertises to clients.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use super::Problem;

/// An address of the range for documentation: nothing is sent to it, but the kernel selects a route for it.
const EXTERNAL_ADDRESS: (Ipv4Addr, u16) = (Ipv4Addr::new(192, 0, 2, 1), 9);

/// The base of all URLs. A listener on all addresses needs one that containers can reach; the address of the default
/// route works with Docker and Podman.
pub(super) fn base(bound: SocketAddr, advertise: Option<&str>) -> Result<String, Problem> {
    let host = match advertise {
        Some(host) => host.to_owned(),
        None if bound.ip().is_unspecified() => default_route_address()?.to_string(),
        None => bound.ip().to_string(),
    };
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    let base = format!("http://{host}:{}", bound.port());
    match reqwest::Url::parse(&base) {
        Ok(url) if url.path() == "/" && url.username().is_empty() => Ok(base),
        _ => Err(Problem::usage(format!("advertise {host:?}: it should be an address or a name of this host"))),
    }
}

fn default_route_address() -> Result<IpAddr, Problem> {
    let found = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
        socket.connect(EXTERNAL_ADDRESS)?;
        socket.local_addr()
    });
    let none =
        |_| Problem::usage("find this host's address, as it has no route to a network: name it with --advertise");
    found.map(|address| address.ip()).map_err(none)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advertised_address_is_reachable_for_clients() {
        let base_of = |bound: &str, advertise| base(bound.parse().expect("an address"), advertise).map_err(|p| p.text);
        assert_eq!(base_of("127.0.0.1:1", None), Ok("http://127.0.0.1:1".into()));
        assert_eq!(base_of("10.1.2.3:1", None), Ok("http://10.1.2.3:1".into()));
        assert_eq!(base_of("[::1]:1", None), Ok("http://[::1]:1".into()));
        assert_eq!(base_of("0.0.0.0:1", Some("172.17.0.1")), Ok("http://172.17.0.1:1".into()));
        assert_eq!(
            base_of("0.0.0.0:1", Some("host.containers.internal")),
            Ok("http://host.containers.internal:1".into())
        );
        for wrong in ["a b", "x/y", "http://x", "u@x", ""] {
            assert!(base_of("0.0.0.0:1", Some(wrong)).is_err(), "{wrong}");
        }
    }
}
