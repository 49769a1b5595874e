//! Parsers of arguments: ports, mounts, levels and configurations. Pure.

use std::net::IpAddr;

use managed_app_fakes::cloud::commands::{LogLevel, Mount, Port, Protocol};

/// A port as `[ADDRESS:]HOST:CONTAINER[/tcp|udp|sctp]`, the syntax of engines.
pub(super) fn port(text: &str) -> Result<Port, String> {
    let invalid = || format!("{text:?} should be [ADDRESS:]HOSTPORT:CONTAINERPORT[/tcp|udp|sctp], like 8080:80");
    let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "sctp" => Protocol::Sctp,
        _ => return Err(invalid()),
    };
    let (rest, container) = ports.rsplit_once(':').ok_or_else(invalid)?;
    let (address, host) = rest.rsplit_once(':').map_or((None, rest), |(address, host)| (Some(address), host));
    let number = |text: &str| text.parse::<u16>().ok().filter(|number| *number > 0).ok_or_else(invalid);
    let port = Port { protocol, ..Port::tcp(number(host)?, number(container)?) };
    let Some(address) = address else { return Ok(port) };
    let address: IpAddr = address.trim_start_matches('[').trim_end_matches(']').parse().map_err(|_| invalid())?;
    Ok(port.at(&address.to_string()))
}

/// A mount as `[SOURCE:]TARGET`: without source an anonymous volume, else a volume name or an absolute path.
pub(super) fn mount(text: &str) -> Result<Mount, String> {
    let mount = match text.split_once(':') {
        Some((source, target)) => Mount::new(source, target),
        None => Mount::anonymous(text),
    };
    let is_source_valid = mount.source.as_deref().is_none_or(|source| !source.is_empty());
    if is_source_valid && mount.target.starts_with('/') && !mount.target.contains(':') {
        Ok(mount)
    } else {
        Err(format!("{text:?} should be [SOURCE:]TARGET with an absolute target, like data:/var/data"))
    }
}

/// A logging level of the cloud.
pub(super) fn level(text: &str) -> Result<LogLevel, String> {
    let levels = [LogLevel::Debug, LogLevel::Info, LogLevel::Warning, LogLevel::Error];
    let found = levels.into_iter().find(|level| level.as_str().eq_ignore_ascii_case(text));
    found.ok_or_else(|| format!("{text:?} should be DEBUG, INFO, WARNING or ERROR"))
}

/// A configuration: a JSON object.
pub(super) fn json(text: &str) -> Result<(), String> {
    match serde_json::from_str(text) {
        Ok(serde_json::Value::Object(_)) => Ok(()),
        Ok(_) => Err("a configuration is a JSON object, like {\"a\": 1}".to_owned()),
        Err(error) => Err(format!("a configuration is JSON, like {{\"a\": 1}}: {error}")),
    }
}

/// Parsers for clap, which prints errors at once. They return the text unchanged, because it is sent over HTTP.
macro_rules! checked {
    ($($name:ident: $read:ident)*) => {$(
        pub(super) fn $name(text: &str) -> Result<String, String> {
            $read(text).map(|_| text.to_owned())
        }
    )*};
}
checked! { port_text: port mount_text: mount level_text: level json_text: json }

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_engines_do() {
        assert_eq!(port("8080:80"), Ok(Port::tcp(8080, 80)));
        assert_eq!(port("53:5353/udp"), Ok(Port::udp(53, 5353)));
        assert_eq!(port("127.0.0.1:1:2"), Ok(Port::tcp(1, 2).at("127.0.0.1")));
        assert_eq!(port("[::1]:1:2/tcp"), Ok(Port::tcp(1, 2).at("::1")));
        for wrong in ["", "80", "0:80", "80:0", "a:80", "80:80/http", "x:1:2", "70000:1"] {
            assert!(port(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn mounts_are_written_as_engines_do() {
        assert_eq!(mount("/data"), Ok(Mount::anonymous("/data")));
        assert_eq!(mount("data:/data"), Ok(Mount::new("data", "/data")));
        assert_eq!(mount("/srv:/data"), Ok(Mount::new("/srv", "/data")));
        for wrong in ["", "data", ":/data", "data:data", "a:/b:ro"] {
            assert!(mount(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn configurations_are_objects() {
        assert_eq!(json("{\"a\": 1}"), Ok(()));
        assert!(json("1").is_err());
        assert!(json("{").is_err());
    }
}
