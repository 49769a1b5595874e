//! Properties that hold for any external input, one function per format. An ordinary test runs them on the corpora of
//! `fuzz/` and on mutations of these; cargo-fuzz runs them on generated input.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::labels::{SPEC, SpecRecord};
use crate::{ContainerSpec, Hardening, ImageReference, LogSettings, PortBinding, Protocol, docker, podman};

/// The name of a format and of its corpus, and the function that checks bytes. The function panics if they reveal a
/// bug.
pub type Target = (&'static str, fn(&[u8]));

/// The formats of this crate.
pub const TARGETS: [Target; 4] = [
    ("image_reference", image_reference),
    ("label_spec", label_spec),
    ("docker_frame", docker::fuzz_frame),
    ("libpod_frames", podman::fuzz_frames),
];

/// Longest error about a reference: 512 characters of it, escaped.
const ERROR_BYTES_MAX: usize = 8 * 1024;

fn image_reference(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    match text.parse::<ImageReference>() {
        Ok(image) => {
            assert_eq!(image.to_string(), text, "a reference is kept as it was written");
            assert!(text.is_ascii() && !text.contains(|c: char| c.is_ascii_control() || c == ' '), "{text:?}");
            let pulled: ImageReference = image.to_pull().parse().expect("what is pulled is a reference");
            assert_eq!(pulled.name(), image.name());
        }
        Err(error) => assert!(error.to_string().len() < ERROR_BYTES_MAX && !error.to_string().contains('\n')),
    }
}

fn label_spec(data: &[u8]) {
    let read = |label: String| SpecRecord::from_labels(&BTreeMap::from([(SPEC.to_owned(), label)]));
    let Some(record) = read(String::from_utf8_lossy(data).into_owned()) else { return };
    assert_eq!(read(record.to_label()).as_ref(), Some(&record), "a record is read as it was written");
    let port =
        PortBinding { container_port: 80, protocol: Protocol::Tcp, host_address: [0, 0, 0, 0].into(), host_port: 8080 };
    let spec = spec(port);
    record.differences(&spec);
    record.publishes(&spec.ports[0]);
}

fn spec(port: PortBinding) -> ContainerSpec {
    ContainerSpec {
        name: "router".to_owned(),
        hostname: "router".to_owned(),
        image: "registry.test/team/router:1.2".parse().expect("a reference"),
        env: BTreeMap::new(),
        labels: BTreeMap::new(),
        network: "plant-7".to_owned(),
        aliases: [].into(),
        ports: vec![port],
        mounts: Vec::new(),
        logs: LogSettings::Engine { file_bytes_max: 1, files_max: 1 },
        stop_grace: Duration::from_secs(30),
        hardening: Hardening::default(),
    }
}
