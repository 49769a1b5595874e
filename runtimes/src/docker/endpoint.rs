//! Address of the engine: the value of `DOCKER_HOST`, validated. Opens nothing.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;

use crate::{ErrorKind, Result, RuntimeError};

/// The default socket of the engine.
pub(super) const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
/// Docker's port for plain HTTP.
const DEFAULT_PORT: u16 = 2375;

/// An address of the engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// A Unix socket.
    Unix(PathBuf),
    /// `host:port` of plain HTTP on this machine.
    Http(String),
}

impl Endpoint {
    /// Parses a value of `DOCKER_HOST`; `None` is the default socket.
    ///
    /// Plain HTTP is accepted only for this machine: a spec contains the app's password.
    pub(super) fn parse(text: Option<&str>) -> Result<Self> {
        let Some(text) = text else { return Ok(Self::Unix(DEFAULT_SOCKET.into())) };
        read(text)
            .map_err(|reason| RuntimeError::new(ErrorKind::Refused, "use engine address", text).with_source(reason))
    }
}

fn read(text: &str) -> Result<Endpoint, &'static str> {
    match text.split_once("://") {
        Some(("unix", path)) if path.starts_with('/') => Ok(Endpoint::Unix(path.into())),
        Some(("unix", _)) => Err("the path of a Unix socket must be absolute, as in unix:///var/run/docker.sock"),
        Some(("tcp" | "http", host)) => read_host(host.trim_end_matches('/')).map(Endpoint::Http),
        Some(("https" | "ssh", _)) => Err("only unix:// and, on this machine, tcp:// and http:// are supported"),
        _ => Err("it must start with unix://, tcp:// or http://"),
    }
}

fn read_host(text: &str) -> Result<String, &'static str> {
    const FORM: &str = "it must be a host and a port, as in tcp://127.0.0.1:2375";
    let (host, port) = match text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').ok_or(FORM)?)),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(DEFAULT_PORT), str::parse).map_err(|_| FORM)?;
    let is_here = host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback());
    match (is_here, host.contains(':')) {
        (false, _) => Err("without TLS the engine must be on this machine: 127.0.0.1, [::1] or localhost"),
        (true, true) => Ok(format!("[{host}]:{port}")),
        (true, false) => Ok(format!("{host}:{port}")),
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Http(address) => write!(f, "tcp://{address}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engine_addresses_parse() {
        let cases = [
            (None, Some("unix:///var/run/docker.sock")),
            (Some("unix:///run/x.sock"), Some("unix:///run/x.sock")),
            (Some("tcp://127.0.0.1:2375"), Some("tcp://127.0.0.1:2375")),
            (Some("http://localhost"), Some("tcp://localhost:2375")),
            (Some("tcp://[::1]:99/"), Some("tcp://[::1]:99")),
            (Some("tcp://10.0.0.1:2375"), None),
            (Some("tcp://engine.example:2375"), None),
            (Some("tcp://127.0.0.1:x"), None),
            (Some("tcp://[::1]x"), None),
            (Some("unix://run/x.sock"), None),
            (Some("https://127.0.0.1:2376"), None),
            (Some("ssh://me@there"), None),
            (Some("/var/run/docker.sock"), None),
            (Some(""), None),
        ];
        for (text, wanted) in cases {
            let found = Endpoint::parse(text);
            assert_eq!(found.as_ref().ok().map(ToString::to_string).as_deref(), wanted, "{text:?}");
            if let Err(error) = found {
                assert_eq!(error.kind(), ErrorKind::Refused);
            }
        }
    }
}
