//! Tests over the pure parts: specs, states, texts of failures, decoders, paths.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use time::macros::datetime;

use crate::podman::convert::{self, encode, generator, is_loopback, registry_auth, stamp, state, whole_seconds};
use crate::podman::default_endpoints;
use crate::podman::error::{Context, pull_error_kind};
use crate::podman::logs;
use crate::podman::streams::{Decoder, Frames, Lines, Malformed};
use crate::podman::wire::{Event, Inspect, ListItem};
use crate::{
    Action, ContainerId, ContainerSpec, ContainerState, EnvValue, ErrorKind, Hardening, LogSettings, LogSource, Mount,
    MountSource, Origin, Owner, PortBinding, Protocol, RegistryCredentials,
};

pub(super) fn spec() -> ContainerSpec {
    let mount = |source, target: &str| Mount { source, target: target.to_owned() };
    let port = |protocol, host_address: &str| PortBinding {
        container_port: 80,
        protocol,
        host_address: host_address.parse().expect("an address"),
        host_port: 8080,
    };
    ContainerSpec {
        name: "node".to_owned(),
        hostname: "host".to_owned(),
        image: "a.b/c:d".parse().expect("a reference"),
        env: BTreeMap::from([
            ("A".to_owned(), EnvValue::Plain("b".to_owned())),
            ("PASSWORD".to_owned(), EnvValue::Secret("hunter2".into())),
        ]),
        labels: BTreeMap::from([("l".to_owned(), "1".to_owned())]),
        network: "net".to_owned(),
        aliases: ["web", "web-host"].map(str::to_owned).into(),
        ports: vec![port(Protocol::Tcp, "0.0.0.0"), port(Protocol::Udp, "::1"), port(Protocol::Sctp, "127.0.0.1")],
        mounts: vec![
            mount(MountSource::Anonymous, "/own"),
            mount(MountSource::Volume("kept".to_owned()), "/named"),
            mount(MountSource::Bind("/srv".to_owned()), "/host"),
        ],
        logs: LogSettings::Engine { file_bytes_max: 1_000_000, files_max: 3 },
        stop_grace: Duration::from_millis(29_500),
        hardening: Default::default(),
    }
}

#[test]
fn a_spec_becomes_libpods_generator() {
    let check = |relabel: bool, options: Value| {
        let spec = spec();
        let written = serde_json::to_value(generator(&spec, relabel).expect("Podman can")).expect("JSON");
        let port = |protocol: &str, address: &str| json!({"host_ip": address, "host_port": 8080, "container_port": 80, "protocol": protocol});
        let expected = json!({
            "name": "node", "hostname": "host", "image": "a.b/c:d", "env": {"A": "b", "PASSWORD": "hunter2"},
            "labels": {"l": "1"}, "netns": {"nsmode": "bridge"}, "Networks": {"net": {"aliases": ["web", "web-host"]}},
            "portmappings": [port("tcp", ""), port("udp", "::1"), port("sctp", "127.0.0.1")],
            "volumes": [{"Name": "", "Dest": "/own"}, {"Name": "kept", "Dest": "/named"}],
            "mounts": [{"type": "bind", "source": "/srv", "destination": "/host", "options": options}],
            "log_configuration": {"driver": "k8s-file", "size": 3_000_000},
            "restart_policy": "unless-stopped", "stop_timeout": 30,
        });
        assert_eq!(written, expected);
    };
    check(false, json!(["rbind", "rw"]));
    check(true, json!(["rbind", "rw", "z"]));
}

#[test]
fn only_requested_hardening_is_sent() {
    let hardening = Hardening {
        no_new_privileges: true,
        dropped_capabilities: ["NET_RAW".to_owned()].into(),
        pids_max: Some(100),
        memory_bytes_max: Some(1 << 29),
    };
    let all = ContainerSpec { hardening, ..spec() };
    let sent = |spec: &ContainerSpec| serde_json::to_value(generator(spec, false).expect("Podman can")).expect("JSON");
    let (none, all) = (sent(&spec()), sent(&all));
    for name in ["no_new_privileges", "cap_drop", "resource_limits"] {
        assert!(none.get(name).is_none(), "{name}");
    }
    let limits = json!({"memory": {"limit": 1 << 29}, "pids": {"limit": 100}});
    assert_eq!(
        (&all["no_new_privileges"], &all["cap_drop"], &all["resource_limits"]),
        (&json!(true), &json!(["NET_RAW"]), &limits)
    );
}

#[test]
fn secrets_stay_out_of_debug() {
    let spec = spec();
    assert!(!format!("{:?}", generator(&spec, false).expect("Podman can")).contains("hunter2"));
}

#[test]
fn states_are_mapped_and_unknown_ones_are_kept() {
    let check = |word: &str, expected: ContainerState| assert_eq!(state(word, Some(3)), expected, "{word}");
    for word in ["created", "configured", "initialized"] {
        check(word, ContainerState::Created);
    }
    check("running", ContainerState::Running);
    check("stopping", ContainerState::Running);
    check("paused", ContainerState::Paused);
    check("exited", ContainerState::Exited { code: Some(3) });
    check("stopped", ContainerState::Exited { code: Some(3) });
    check("removing", ContainerState::Removing);
    check("levitating", ContainerState::Unknown("levitating".to_owned()));
    check("", ContainerState::Unknown(String::new()));
}

#[test]
fn a_list_item_with_invalid_fields_still_parses() {
    let odd = json!({"Id": "x", "Names": null, "Labels": "none", "State": 7, "Networks": {}, "StartedAt": "soon"});
    let item: ListItem = serde_json::from_value(odd).expect("tolerant");
    let found = convert::container(item, Origin::Labelled, None);
    assert_eq!((found.id, found.state), (ContainerId("x".to_owned()), ContainerState::Unknown(String::new())));
    let inspect = json!({"State": {"Status": "running", "StartedAt": "2026-11-22T21:55:54.572312187Z", "Health": 1}});
    let inspect: Inspect = serde_json::from_value(inspect).expect("tolerant");
    let found = convert::container(
        ListItem { state: "exited".to_owned(), ..ListItem::default() },
        Origin::Legacy,
        Some(inspect),
    );
    assert_eq!(found.state, ContainerState::Running);
    assert_eq!(found.started_at, Some(datetime!(2026-11-22 21:55:54.572312187 UTC)));
}

#[test]
fn engine_times_are_parsed() {
    assert_eq!(stamp("0001-01-01T00:00:00Z"), None);
    assert_eq!(stamp("invalid"), None);
    assert_eq!(stamp("2026-01-01T01:00:00.5+01:00"), Some(datetime!(2026-01-01 00:00:00.5 UTC)));
    for (millis, seconds) in [(0, 0), (1, 1), (1_000, 1), (1_001, 2)] {
        assert_eq!(whole_seconds(Duration::from_millis(millis)), seconds);
    }
    let since = logs::path(&ContainerId("x".to_owned()), Some(datetime!(2026-01-01 00:00:01 UTC)));
    assert!(since.ends_with("&since=2026-01-01T00%3A00%3A00.999999999Z"), "{since}");
}

/// The texts are those of Podman 4.3.1 and 5.4.2, shortened.
#[test]
fn failures_are_recognised_by_their_text() {
    let check = |status: u16, text: &str, kind: ErrorKind| {
        let error = Context { operation: "try", subject: "it" }.fault(status, text);
        assert_eq!(error.kind(), kind, "{text}");
        assert!(std::error::Error::source(&error).expect("a source").to_string().contains(text));
    };
    check(
        500,
        "the container name \"a\" is already in use by 3c: that name is already in use",
        ErrorKind::AlreadyExists,
    );
    check(409, "name b already in use, cannot rename container 38: container already exists", ErrorKind::AlreadyExists);
    check(500, "updating container: UNIQUE constraint failed: ContainerConfig.Name", ErrorKind::AlreadyExists);
    check(409, "network name n already used: network already exists", ErrorKind::AlreadyExists);
    check(500, "localhost/nope:x: image not known", ErrorKind::NotFound);
    check(404, "no such image: localhost/nope:x: image not known", ErrorKind::NotFound);
    check(500, "unable to find network with name or ID n: network not found", ErrorKind::NotFound);
    check(404, "no container with name or ID \"x\" found: no such container", ErrorKind::NotFound);
    check(404, "Not Found", ErrorKind::NotFound);
    check(500, "listen tcp4 0.0.0.0:80: bind: address already in use", ErrorKind::Conflict);
    check(409, "image used by 38: image is in use by a container: consider …", ErrorKind::Conflict);
    check(500, "unable to delete image by ID with more than one tag: please force removal", ErrorKind::Conflict);
    check(500, "must be in Created or Stopped state: container state improper", ErrorKind::Conflict);
    let privileged = "rootlessport cannot expose privileged port 80, you can add … or choose a larger port number";
    check(500, privileged, ErrorKind::Refused);
    check(500, "names must match [a-zA-Z0-9][a-zA-Z0-9_.-]*: invalid argument", ErrorKind::Refused);
    check(500, "statfs /none: no such file or directory", ErrorKind::Refused);
    check(500, "something new", ErrorKind::Other);
}

#[test]
fn pull_failures_are_recognised_by_their_text() {
    let check = |text: &str, kind: ErrorKind| assert_eq!(pull_error_kind(text), kind, "{text}");
    check("reading manifest two in 127.0.0.1/n: unauthorized: authentication required", ErrorKind::Unauthorized);
    check("unable to retrieve auth token: invalid username/password: unauthorized", ErrorKind::Unauthorized);
    check("denied: Your authorization token has expired. Reauthenticate and try again.", ErrorKind::Unauthorized);
    check("requesting bearer token: invalid status code from registry 403 (Forbidden)", ErrorKind::Unauthorized);
    check("reading manifest two in 127.0.0.1/n: manifest unknown: manifest unknown", ErrorKind::NotFound);
    check("name unknown: The repository with name 'x' does not exist in the registry", ErrorKind::NotFound);
    check("toomanyrequests: Rate exceeded", ErrorKind::Throttled);
    check("pinging container registry: received unexpected HTTP status: 429 Too Many Requests", ErrorKind::Throttled);
    check("pinging container registry: dial tcp 127.0.0.1:1: connect: connection refused", ErrorKind::Other);
}

#[test]
fn tls_is_skipped_only_on_loopback_addresses() {
    for registry in ["localhost", "localhost:5000", "127.0.0.1:1", "127.9.9.9", "[::1]:5000"] {
        assert!(is_loopback(registry), "{registry}");
    }
    for registry in ["public.ecr.aws", "localhost.evil.example", "127.0.0.1.nip.example", "10.0.0.1:5000", "128.0.0.1"]
    {
        assert!(!is_loopback(registry), "{registry}");
    }
}

#[test]
fn credentials_are_sent_in_url_safe_base64() {
    let credentials = RegistryCredentials { username: "AWS".to_owned(), password: "~~??>>ö".into() };
    let encoded = registry_auth(&credentials);
    assert!(encoded.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'=')), "{encoded}");
}

#[test]
fn endpoints_and_paths_are_built() {
    let system = "unix:///run/podman/podman.sock";
    assert_eq!(default_endpoints(None), [system]);
    assert_eq!(default_endpoints(Some("")), [system]);
    assert_eq!(default_endpoints(Some("/run/user/7/")), ["unix:///run/user/7/podman/podman.sock", system]);
    assert_eq!(encode("a b/ä@x:1"), "a%20b%2F%C3%A4%40x%3A1");
}

#[test]
fn relevant_events_become_actions() {
    let check = |kind: &str, word: &str, action: Option<Action>| {
        let event = json!({"Type": kind, "Action": word, "Actor": {"ID": "x", "Attributes": {"name": "n", "containerExitCode": "3"}}, "timeNano": 1});
        let event = convert::event(&serde_json::from_value::<Event>(event).expect("an event"));
        assert_eq!(event.as_ref().map(|event| event.action), action, "{kind} {word}");
        let code = event.and_then(|event| event.exit_code);
        assert_eq!(code, (word == "died").then_some(3), "{word}: other events have a code too, without a meaning");
    };
    for (word, action) in [
        ("create", Action::Created),
        ("start", Action::Started),
        ("died", Action::Died),
        ("pause", Action::Paused),
        ("unpause", Action::Unpaused),
        ("rename", Action::Renamed),
        ("remove", Action::Removed),
        ("oom", Action::OutOfMemory),
        ("kill", Action::Other),
    ] {
        check("container", word, Some(action));
    }
    check("network", "disconnect", Some(Action::Network));
    check("container", "sync", None);
    check("container", "exec_died", None);
    check("image", "remove", None);
}

#[test]
fn ownership_needs_all_labels_or_the_legacy_signs() {
    let owner = Owner { app: "app".to_owned(), tenant: "t".to_owned(), host: "h".to_owned() };
    let item = |labels: &[(&str, &str)], network: &str| ListItem {
        labels: labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect(),
        networks: vec![network.to_owned()],
        ..ListItem::default()
    };
    let ours = ListItem { labels: owner.labels(), ..ListItem::default() };
    assert_eq!(convert::origin(&owner, &ours), Some(Origin::Labelled));
    assert_eq!(convert::origin(&owner, &item(&[("managed_node_type", "x")], "app")), Some(Origin::Legacy));
    assert_eq!(convert::origin(&owner, &item(&[("managed_node_type", "x")], "other")), None);
    assert_eq!(convert::origin(&owner, &item(&[(crate::labels::APP, "app")], "app")), None);
}

/// Feeds `bytes` in chunks of `size` and collects the items.
fn decode<D: Decoder>(bytes: &[u8], size: usize) -> Vec<Result<D::Item, Malformed>> {
    let mut decoder = D::default();
    let mut items = Vec::new();
    for piece in bytes.chunks(size) {
        decoder.push(piece);
        while let Some(item) = decoder.next() {
            let is_end = item.is_err();
            items.push(item);
            if is_end {
                return items;
            }
        }
    }
    items
}

#[test]
fn frames_may_be_split_anywhere() {
    let mut bytes = Vec::new();
    let mut frame = |stream: u8, content: &[u8]| {
        bytes.extend([stream, 0, 0, 0]);
        bytes.extend(u32::try_from(content.len()).expect("short").to_be_bytes());
        bytes.extend(content);
    };
    frame(1, b"2026-11-22T22:00:55Z one\n");
    frame(2, b"2026-11-22T23:00:56+01:00 \xff\0bin");
    frame(1, b"no time here\n");
    for size in 1..=bytes.len() {
        let chunks: Vec<_> = decode::<Frames>(&bytes, size).into_iter().map(|item| item.expect("a frame")).collect();
        let found: Vec<_> = chunks.iter().map(|chunk| (chunk.source, &chunk.bytes[..])).collect();
        let expected: [(LogSource, &[u8]); 3] =
            [(LogSource::Stdout, b"one\n"), (LogSource::Stderr, b"\xff\0bin"), (LogSource::Stdout, b"no time here\n")];
        assert_eq!(found, expected, "pieces of {size}");
        let (first, later) = (datetime!(2026-11-22 22:00:55 UTC), datetime!(2026-11-22 22:00:56 UTC));
        assert_eq!([chunks[0].at, chunks[1].at, chunks[2].at], [first, later, later]);
    }
}

#[test]
fn an_invalid_frame_or_line_ends_the_stream() {
    for bytes in [&b"plain text"[..], b"\x07\0\0\0\0\0\0\x01x", b"\x01\0\0\0\xff\xff\xff\xff"] {
        assert_eq!(decode::<Frames>(bytes, 64), [Err(Malformed::Frame)]);
    }
    assert_eq!(decode::<Lines>(&vec![b'x'; (1 << 20) + 1], 4096), [Err(Malformed::Line)]);
    let lines: Vec<_> = decode::<Lines>(b"a\r\n\n \nb\nc", 1).into_iter().map(|line| line.expect("a line")).collect();
    assert_eq!(lines, ["a\r", "b"]);
}
