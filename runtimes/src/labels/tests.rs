//! Labels of earlier versions stay readable, with the same meaning.

use secrecy::SecretString;
use serde_json::{Value, json};

use super::*;
use crate::{Mount, Protocol};

/// The label of version 1 for [`spec`].
const VERSION_1: &str = include_str!("fixtures/spec-v1.json");
/// The fields of version 1. Any other field may be absent from a container of that version.
const FIELDS_OF_VERSION_1: &[&str] =
    &["version", "salt", "image", "hostname", "network", "env", "ports", "mounts", "logs", "stop_grace_s"];

fn spec() -> ContainerSpec {
    let port = |host_address: &str, host_port, protocol| PortBinding {
        container_port: 80,
        protocol,
        host_address: host_address.parse().expect("an address"),
        host_port,
    };
    let mount = |source, target: &str| Mount { source, target: target.to_owned() };
    ContainerSpec {
        name: "router".to_owned(),
        hostname: "router".to_owned(),
        image: "registry.test/team/router:1.2".parse().expect("a reference"),
        env: BTreeMap::from([
            ("NODE".to_owned(), EnvValue::Plain("router".to_owned())),
            ("PASSWORD".to_owned(), EnvValue::Secret(SecretString::from("hunter2"))),
        ]),
        labels: BTreeMap::new(),
        network: "plant-7".to_owned(),
        aliases: [].into(),
        ports: vec![port("0.0.0.0", 8080, Protocol::Tcp), port("::1", 53, Protocol::Udp)],
        mounts: vec![
            mount(MountSource::Anonymous, "/cache"),
            mount(MountSource::Volume("data".to_owned()), "/data"),
            mount(MountSource::Bind("/etc/x".to_owned()), "/etc/x"),
        ],
        logs: LogSettings::Awslogs {
            endpoint: None,
            group: "plant/node/router".to_owned(),
            region: "us-east-1".to_owned(),
            stream: "2026/11/22/0".to_owned(),
            multiline_pattern: "^x".to_owned(),
            mode: AwslogsMode::default(),
        },
        stop_grace: std::time::Duration::from_secs(30),
        hardening: Hardening::default(),
    }
}

fn read(text: &str) -> Option<SpecRecord> {
    SpecRecord::from_labels(&BTreeMap::from([(SPEC.to_owned(), text.to_owned())]))
}

fn differences(text: &str, spec: &ContainerSpec) -> Vec<String> {
    read(text).expect("a record").differences(spec).into_iter().map(|difference| difference.field).collect()
}

#[test]
fn a_version_1_record_has_no_differences_today() {
    assert_eq!(differences(VERSION_1, &spec()), [""; 0]);
}

#[test]
fn a_field_of_a_later_version_is_no_difference() {
    for value in [json!(null), json!(true), json!(7), json!("text"), json!(["a"]), json!({"a": {"b": 1}})] {
        let mut record: Value = serde_json::from_str(VERSION_1).expect("JSON");
        record["a_field_of_the_future"] = value;
        assert_eq!(differences(&record.to_string(), &spec()), [""; 0]);
    }
}

#[test]
fn each_field_added_since_version_1_may_be_absent() {
    let today: Value = serde_json::from_str(&SpecRecord::new(&spec(), "salt").to_label()).expect("JSON");
    let fields = today.as_object().expect("an object");
    assert!(FIELDS_OF_VERSION_1.iter().all(|field| fields.contains_key(*field)), "no field is ever dropped");
    let mut without = today.clone();
    for field in fields.keys().filter(|field| !FIELDS_OF_VERSION_1.contains(&field.as_str())) {
        without.as_object_mut().expect("an object").remove(field);
    }
    assert_eq!(differences(&without.to_string(), &spec()), [""; 0]);
}

/// Neither an upgrade to the version that sets it nor a downgrade from it replaces a container.
#[test]
fn the_label_is_the_same_with_and_without_the_name() {
    let mut named = spec();
    named.env.insert("NAME".to_owned(), EnvValue::Plain("router".to_owned()));
    assert_eq!(SpecRecord::new(&named, "salt").to_label(), SpecRecord::new(&spec(), "salt").to_label());
    assert_eq!(differences(VERSION_1, &named), [""; 0]);
    let made_now = SpecRecord::new(&named, "salt").to_label();
    assert_eq!(differences(&made_now, &spec()), [""; 0]);
}

#[test]
fn an_unreadable_record_is_none() {
    let newer = VERSION_1.replace("\"version\":1", "\"version\":2");
    assert_ne!(newer, VERSION_1);
    for text in [newer.as_str(), "", "{}", "[]", "{"] {
        assert_eq!(read(text), None, "{text}");
    }
}

#[test]
fn each_change_is_named() {
    let changed = |edit: &dyn Fn(&mut ContainerSpec)| {
        let mut spec = spec();
        edit(&mut spec);
        differences(VERSION_1, &spec).join(" ")
    };
    let other = "registry.test/team/router:1.3";
    assert_eq!(changed(&|spec| spec.image = other.parse().expect("a reference")), "image");
    assert_eq!(changed(&|spec| spec.hostname.push('x')), "hostname");
    assert_eq!(changed(&|spec| spec.network.push('x')), "network");
    assert_eq!(changed(&|spec| spec.ports[0].host_port = 8081), "ports");
    assert_eq!(changed(&|spec| spec.ports.reverse()), "", "their order means nothing");
    assert_eq!(changed(&|spec| spec.mounts[1].target.push('x')), "mounts");
    assert_eq!(changed(&|spec| spec.logs = LogSettings::Engine { file_bytes_max: 1, files_max: 1 }), "logs");
    assert_eq!(changed(&|spec| spec.stop_grace *= 2), "stop_grace");
    assert_eq!(changed(&|spec| spec.hardening.no_new_privileges = true), "hardening");
    assert_eq!(changed(&|spec| spec.hardening.dropped_capabilities = ["NET_RAW".to_owned()].into()), "hardening");
    assert_eq!(changed(&|spec| spec.hardening.pids_max = Some(100)), "hardening");
    assert_eq!(changed(&|spec| spec.hardening.memory_bytes_max = Some(1 << 30)), "hardening");
    assert_eq!(changed(&|spec| drop(spec.env.remove("NODE"))), "env.NODE");
    let password = |text: &str| EnvValue::Secret(SecretString::from(text));
    assert_eq!(changed(&|spec| drop(spec.env.insert("PASSWORD".to_owned(), password("hunter3")))), "env.PASSWORD");
}

/// The records of version 1 for containers whose output the engine stored; the default of Podman then.
#[test]
fn log_settings_differ_only_where_the_container_would_differ() {
    let kept = VERSION_1.replace("awslogs:us-east-1:plant/node/router:^x", "engine:10485760x5");
    let with = |logs| ContainerSpec { logs, ..spec() };
    let engine = |file_bytes_max, files_max| with(LogSettings::Engine { file_bytes_max, files_max });
    assert_eq!(differences(&kept, &engine(10 * 1024 * 1024, 5)), [""; 0]);
    assert_eq!(differences(&kept, &engine(10 * 1024 * 1024, 6)), ["logs"]);
    assert_eq!(differences(&kept, &spec()), ["logs"]);
    let record = |text: &str| read(text).expect("a record");
    assert!(record(&kept).keeps_output() && !record(VERSION_1).keeps_output());
    let elsewhere = with(LogSettings::Awslogs {
        group: "plant/node/router".to_owned(),
        region: "us-east-1".to_owned(),
        stream: String::new(),
        endpoint: Some("https://logs-fips.us-east-1.amazonaws.com".to_owned()),
        multiline_pattern: "^x".to_owned(),
        mode: AwslogsMode::default(),
    });
    assert_eq!(differences(VERSION_1, &elsewhere), [""; 0], "an endpoint is chosen when a container is made");
    let awslogs = |wanted| {
        let mut spec = spec();
        if let LogSettings::Awslogs { mode, .. } = &mut spec.logs {
            *mode = wanted;
        }
        spec
    };
    let small = AwslogsMode::NonBlocking { buffer_bytes_max: 1 };
    for mode in [AwslogsMode::Blocking, small] {
        assert_eq!(differences(VERSION_1, &awslogs(mode)), ["logs"]);
        let made = SpecRecord::new(&awslogs(mode), "salt").to_label();
        assert_eq!(differences(&made, &awslogs(mode)), [""; 0]);
        assert_eq!(differences(&made, &spec()), ["logs"]);
    }
}

#[test]
fn secrets_are_digests_with_salt() {
    let label = |salt| SpecRecord::new(&spec(), salt).to_label();
    assert!(!label("1").contains("hunter2") && !VERSION_1.contains("hunter2"));
    let digest = |label: String| {
        let record: Value = serde_json::from_str(&label).expect("JSON");
        record["env"]["PASSWORD"]["sha256"].as_str().expect("a digest").to_owned()
    };
    assert_ne!(digest(label("1")), digest(label("2")));
}

#[test]
fn a_record_knows_its_host_ports() {
    let record = SpecRecord::new(&spec(), "salt");
    let publishes = |address: &str, host_port, protocol| {
        let host_address = address.parse().expect("an address");
        record.publishes(&PortBinding { container_port: 1, protocol, host_address, host_port })
    };
    assert!(publishes("0.0.0.0", 8080, Protocol::Tcp) && publishes("127.0.0.1", 8080, Protocol::Tcp));
    assert!(publishes("::1", 53, Protocol::Udp) && publishes("::", 53, Protocol::Udp));
    assert!(!publishes("0.0.0.0", 8080, Protocol::Udp) && !publishes("0.0.0.0", 8081, Protocol::Tcp));
    assert!(!publishes("::", 8080, Protocol::Tcp) && !publishes("::2", 53, Protocol::Udp));
}

/// Otherwise every container that was created before aliases existed would be replaced.
#[test]
fn aliases_are_not_compared() {
    let record = SpecRecord::new(&spec(), "salt");
    let aliases = ["web".to_owned()].into();
    assert_eq!(record.differences(&ContainerSpec { aliases, ..spec() }), []);
}
