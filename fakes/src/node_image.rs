//! The image of the test node, built in memory: no registry, no base image, no build.
//!
//! Owns the archive format (`docker save`) and the settings in it. It never contacts an engine; pass the bytes to
//! `docker load`, `podman load` or an engine's load call.

use std::time::Duration;

use serde_json::json;
use sha2::{Digest, Sha256};

/// The static program that `build.rs` compiles from `node/main.rs`.
const NODE: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/node"));

/// Behaviour of the test node. By default it runs without output until SIGTERM and then ends at once with code 0.
///
/// To configure one container instead of the image, set the same keys in its environment: `NODE_EXIT_AFTER_MS=100`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// Ignore SIGTERM, so that only a kill ends it.
    pub ignore_sigterm: bool,
    /// End by itself after this time.
    pub exit_after: Option<Duration>,
    /// The exit code for `exit_after`.
    pub exit_code: u8,
    /// Allocate this many megabytes of memory after the start.
    pub fill_memory_mb: Option<u32>,
    /// Write this many lines `node <NODE> line <n>`, counted from 1, after the start.
    pub print_lines: u32,
    /// The pause after each of these lines.
    pub print_interval: Duration,
    /// Count up to this number, one per line; see `fakes/node/main.rs`.
    pub numbers: Option<u32>,
    /// The pause after each hundred of these lines.
    pub numbers_pause: Duration,
    /// The file in which the node stores its count; on a mount, so that another container can continue.
    pub numbers_file: String,
    /// Answer every TCP connection to this port with `hello from <NODE> version <version>` and a line feed, then close
    /// it.
    pub listen: Option<u16>,
}

/// An image archive tagged `reference` (fully qualified, with a tag) of a quiet node.
///
/// The bytes depend only on the arguments; another `version` gives another image id.
#[must_use]
pub fn archive(reference: &str, version: &str) -> Vec<u8> {
    archive_with(reference, version, &Options::default())
}

/// As [`archive`], with the given behaviour.
#[must_use]
pub fn archive_with(reference: &str, version: &str, options: &Options) -> Vec<u8> {
    let layer = layer(version, options);
    let layer_path = format!("{}/layer.tar", digest(&layer));
    let config = config(&layer);
    let config_path = format!("{}.json", digest(&config));
    let manifest = json!([{ "Config": config_path, "RepoTags": [reference], "Layers": [layer_path] }]);
    pack(&[
        (&config_path, 0o644, &config),
        (&layer_path, 0o644, &layer),
        ("manifest.json", 0o644, manifest.to_string().as_bytes()),
    ])
}

/// The id that engines give the image, as `sha256:` and 64 hex digits: the digest of its config.
#[must_use]
pub fn image_id(version: &str, options: &Options) -> String {
    format!("sha256:{}", digest(&config(&layer(version, options))))
}

/// The file system of the image: the program and its settings.
fn layer(version: &str, options: &Options) -> Vec<u8> {
    pack(&[("node", 0o755, NODE), ("node.conf", 0o644, settings(version, options).as_bytes())])
}

/// The text of `/node.conf`; `node/main.rs` documents the keys.
fn settings(version: &str, options: &Options) -> String {
    let milliseconds = |duration: Duration| duration.as_millis().to_string();
    let lines = [
        ("version", version.to_owned()),
        ("ignore_sigterm", options.ignore_sigterm.to_string()),
        ("exit_after_ms", options.exit_after.map(milliseconds).unwrap_or_default()),
        ("exit_code", options.exit_code.to_string()),
        ("fill_memory_mb", options.fill_memory_mb.map(|megabytes| megabytes.to_string()).unwrap_or_default()),
        ("print_lines", options.print_lines.to_string()),
        ("print_interval_ms", milliseconds(options.print_interval)),
        ("numbers", options.numbers.map(|last| last.to_string()).unwrap_or_default()),
        ("numbers_pause_ms", milliseconds(options.numbers_pause)),
        ("numbers_file", options.numbers_file.clone()),
        ("listen", options.listen.map(|port| port.to_string()).unwrap_or_default()),
    ];
    lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

/// The image config (OCI image specification 1.0), with a fixed date so that the id is stable.
fn config(layer: &[u8]) -> Vec<u8> {
    let config = json!({
        "architecture": if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" },
        "os": "linux",
        "created": "1970-01-01T00:00:00Z",
        "config": { "Entrypoint": ["/node"] },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{}", digest(layer))] },
        "history": [{ "created": "1970-01-01T00:00:00Z", "created_by": "test node" }],
    });
    config.to_string().into_bytes()
}

/// A tar archive of files owned by root and dated 1970.
fn pack(files: &[(&str, u32, &[u8])]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, mode, content) in files {
        let mut header = tar::Header::new_ustar();
        header.set_size(content.len() as u64);
        header.set_mode(*mode);
        archive.append_data(&mut header, path, *content).expect("short paths and a Vec take every write");
    }
    archive.into_inner().expect("a Vec takes every write")
}

fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    const REFERENCE: &str = "public.ecr.aws/echostream/node:1";

    #[test]
    fn same_arguments_give_the_same_bytes() {
        assert_eq!(archive(REFERENCE, "1"), archive(REFERENCE, "1"));
    }

    #[test]
    fn image_id_depends_on_version_and_behaviour_not_on_the_tag() {
        let quiet = Options::default();
        let deaf = Options { ignore_sigterm: true, ..Options::default() };
        assert_ne!(image_id("1", &quiet), image_id("2", &quiet));
        assert_ne!(image_id("1", &quiet), image_id("1", &deaf));
        let id = image_id("1", &quiet);
        let config_path = format!("{}.json", id.trim_start_matches("sha256:"));
        for reference in [REFERENCE, "public.ecr.aws/echostream/other:7"] {
            assert!(contents(&archive(reference, "1")).contains_key(&config_path));
        }
    }

    #[test]
    fn manifest_names_existing_files() {
        let files = contents(&archive(REFERENCE, "1"));
        let manifest: serde_json::Value = serde_json::from_slice(&files["manifest.json"]).expect("manifest is JSON");
        assert_eq!(manifest[0]["RepoTags"][0], REFERENCE);
        let layer = &files[manifest[0]["Layers"][0].as_str().expect("a path")];
        let config = &files[manifest[0]["Config"].as_str().expect("a path")];
        let config: serde_json::Value = serde_json::from_slice(config).expect("config is JSON");
        assert_eq!(config["rootfs"]["diff_ids"][0], format!("sha256:{}", digest(layer)));
        assert_eq!(contents(layer)["node"], NODE);
    }

    #[test]
    fn program_is_small_and_linked_statically() {
        assert!(NODE.len() < 1_500_000, "{} bytes", NODE.len());
        // A dynamically linked program names its loader in a segment of type PT_INTERP, by an absolute path.
        assert!(!NODE.windows(7).any(|window| window == b"/ld-lin" || window == b"/ld-mus"));
    }

    fn contents(archive: &[u8]) -> std::collections::BTreeMap<String, Vec<u8>> {
        let mut files = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(archive).entries().expect("archive opens") {
            let mut entry = entry.expect("entry reads");
            let path = entry.path().expect("path is text").display().to_string();
            let mut content = Vec::new();
            std::io::copy(&mut entry, &mut content).expect("content reads");
            files.insert(path, content);
        }
        files
    }
}
