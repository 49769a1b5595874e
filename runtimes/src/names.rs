//! Names that an engine accepts, derived from names of the cloud, which may contain any character.
//!
//! A valid name stays unchanged. Any other name is sanitised and gets the hash of the original name as a suffix, so
//! that two names never collide. A valid name that ends like such a suffix gets one too. The mapping is stable: it is
//! part of every container's identity and must never change.

use std::fmt::Write as _;

use sha2::{Digest, Sha256};

/// Longest name, that of a DNS label, because containers resolve each other by name.
const LENGTH_MAX: usize = 63;
/// Longest name of a log group.
const LOG_GROUP_LENGTH_MAX: usize = 512;
/// Hex digits of the suffix: 40 bits, enough for some thousand names on a host.
const HASH_DIGITS: usize = 10;

/// A container or network name (`[a-zA-Z0-9][a-zA-Z0-9_.-]+`, at most 63 characters) for a name of the cloud.
pub fn container_name(name: &str) -> String {
    let valid = is_container_char;
    if name.len() >= 2 && is_usable(name, valid) { name.to_owned() } else { rewrite(name, valid, LENGTH_MAX) }
}

/// Names that engines do not treat as "a network of this name": network modes (the container then runs in the host's
/// network, in none, or in one that it shares with others), and networks that engines create themselves.
///
/// Measured on Docker 20.10 and 26.1 and on Podman 4.3 and 5.4: at least one of the engines takes each of these names
/// as a mode or rejects it. All compare letter case, so that `Host` is an ordinary network. Modes with an argument,
/// such as `container:web`, contain a colon, which [`container_name`] replaces in any case.
const RESERVED_NETWORKS: [&str; 12] = [
    "bridge",
    "container",
    "default",
    "docker_gwbridge",
    "host",
    "ingress",
    "none",
    "ns",
    "pasta",
    "podman",
    "private",
    "slirp4netns",
];

/// The name of an app's network: as [`container_name`], and a name that selects a network mode is rewritten too.
///
/// Use it for every network name that comes from the cloud: otherwise the name of an app could decide whether its nodes
/// are isolated. The result for other names never changes, because it is recorded in every container's spec.
pub fn network_name(app: &str) -> String {
    if RESERVED_NETWORKS.contains(&app) { rewrite(app, is_container_char, LENGTH_MAX) } else { container_name(app) }
}

fn is_container_char(c: char) -> bool {
    c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-')
}

/// The log group of a node: `<group>/node/<node>` (contract).
///
/// CloudWatch accepts names of at most 512 letters, digits and `_-/.#`. The contract does not define the result for
/// other names: they are rewritten as for containers.
pub fn log_group(group: &str, node: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
    let length_max = LOG_GROUP_LENGTH_MAX.saturating_sub(group.len() + "/node/".len()).max(LENGTH_MAX);
    let is_usable = node.len() <= length_max && node.chars().all(valid) && !has_suffix(node);
    let node = if is_usable { node.to_owned() } else { rewrite(node, valid, length_max) };
    format!("{group}/node/{node}")
}

/// A host name by RFC 1123 (letters, digits and hyphens, at most 63 characters) for a name of the cloud.
pub fn host_name(name: &str) -> String {
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '-';
    if is_usable(name, valid) && !name.ends_with('-') { name.to_owned() } else { rewrite(name, valid, LENGTH_MAX) }
}

fn is_usable(name: &str, valid: impl Fn(char) -> bool) -> bool {
    name.len() <= LENGTH_MAX
        && name.starts_with(|c: char| c.is_ascii_alphanumeric())
        && name.chars().all(valid)
        && !has_suffix(name)
}

/// Whether `name` ends with a suffix like that of [`rewrite`].
fn has_suffix(name: &str) -> bool {
    name.rsplit_once('-').is_some_and(|(_, suffix)| {
        suffix.len() == HASH_DIGITS && suffix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
    })
}

fn rewrite(name: &str, valid: impl Fn(char) -> bool, length_max: usize) -> String {
    let mut text = String::with_capacity(LENGTH_MAX);
    for c in name.chars() {
        let c = if valid(c) { c } else { '-' };
        let is_repeated = c == '-' && text.ends_with('-');
        let is_bad_start = text.is_empty() && !c.is_ascii_alphanumeric();
        if !is_repeated && !is_bad_start {
            text.push(c);
        }
        if text.len() == length_max - HASH_DIGITS - 1 {
            break;
        }
    }
    let kept = text.trim_end_matches(['-', '.', '_']).len();
    text.truncate(kept);
    if text.is_empty() {
        text.push_str("node");
    }
    let _ = write!(text, "-{}", &hex::encode(Sha256::digest(name.as_bytes()))[..HASH_DIGITS]);
    text
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn valid_names_stay_as_they_are() {
        for name in ["web", "my-node_1.2", "A9"] {
            assert_eq!(container_name(name), name);
        }
        assert_eq!(host_name("my-node"), "my-node");
        assert_eq!(host_name("a"), "a");
    }

    #[test]
    fn generated_names_are_valid_distinct_and_stable() {
        let long = "x".repeat(200);
        let names = ["a b", "a:b", "a-b", "a  b", "ä", "", "-", "a", ".x", &long, "日本", "a b ", "A b"];
        let made: BTreeSet<String> = names.iter().map(|name| container_name(name)).collect();
        assert_eq!(made.len(), names.len());
        for name in names.iter().copied() {
            for made in [container_name(name), host_name(name)] {
                assert!((1..=63).contains(&made.len()), "{made}");
                assert!(made.starts_with(|c: char| c.is_ascii_alphanumeric()), "{made}");
                assert!(made.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c)), "{made}");
            }
        }
        assert_eq!(container_name("my app:node"), "my-app-node-ee27e98073");
        assert_eq!(host_name("a_b").split_once('-').map(|(start, _)| start), Some("a"));
    }

    #[test]
    fn no_network_has_the_name_of_a_network_mode() {
        let modes =
            ["host", "none", "bridge", "default", "podman", "private", "slirp4netns", "pasta", "container", "ns"];
        let own = ["ingress", "docker_gwbridge"];
        let with_argument =
            ["container:web", "container:", "ns:/proc/1/ns/net", "slirp4netns:mtu=1", "pasta:-t,auto", ":host"];
        for app in modes.iter().chain(&own).chain(&with_argument) {
            let network = network_name(app);
            assert!(!RESERVED_NETWORKS.contains(&network.as_str()) && !network.contains(':'), "{app} -> {network}");
            assert!(has_suffix(&network), "{app} -> {network}");
            assert!(network_name(&network) != network, "another app could claim {network}");
        }
        assert_eq!(network_name("host"), "host-4740ae6347");
        // A name that is sanitised never becomes a reserved one.
        for app in ["host ", " host", "-host", "ho st", "host\n", "none:", "h\u{f6}st"] {
            assert!(has_suffix(&network_name(app)), "{app:?}");
        }
    }

    #[test]
    fn the_networks_of_all_other_apps_keep_their_names() {
        let apps = [
            "my-app",
            "Host",
            "HOST",
            "None",
            "Bridge",
            "hosts",
            "host2",
            "my.host",
            "podman-app",
            "nat",
            "ab",
            "0a1b",
        ];
        for app in apps {
            assert_eq!(network_name(app), app);
        }
        for app in ["my app", "a", "x-0123456789", "container:x"] {
            assert_eq!(network_name(app), container_name(app));
        }
    }

    #[test]
    fn log_groups_contain_the_original_or_sanitised_node_name() {
        for node in ["web", "a/b", "A_9.x#-"] {
            assert_eq!(log_group("/plant", node), format!("/plant/node/{node}"));
        }
        assert_eq!(log_group("/plant", "my app:node"), "/plant/node/my-app-node-ee27e98073");
        let long = "x".repeat(600);
        let names = ["a b", "a:b", "ä", ".", "", "a b ", &long, "a-ee27e98073"];
        let made: BTreeSet<String> = names.iter().map(|node| log_group("/plant", node)).collect();
        assert_eq!(made.len(), names.len());
        let valid = |c: char| c.is_ascii_alphanumeric() || "_-/.#".contains(c);
        assert!(made.iter().all(|name| name.len() <= 512 && name.chars().all(valid)), "{made:?}");
        assert_ne!(log_group("/plant", "a-ee27e98073"), "/plant/node/a-ee27e98073", "it looks like a generated name");
    }

    #[test]
    fn a_generated_name_cannot_be_claimed_by_another_node() {
        let made = container_name("a b");
        assert_ne!(container_name(&made), made);
    }
}
