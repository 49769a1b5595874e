//! Invariants of all responses of the cloud, for fuzzing.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use managed_app_runtimes::labels::SpecRecord;
use managed_app_runtimes::{MountSource, Owner};

use super::cognito;
use super::decode;
use super::operations::get_app;
use crate::model::{App, Snapshot};
use crate::reconciler::{AppInputs, NodeLogSettings, Policy, Settings};

/// Longest reason why a node is refused, bytes.
const REASON_BYTES_MAX: usize = 16 * 1024;

/// Each snapshot has valid nodes, and each node becomes a container or is refused with a reason.
pub(crate) fn snapshot(data: &[u8]) {
    let Ok(response) = serde_json::from_slice::<get_app::ResponseData>(data) else { return };
    if let Ok(Snapshot::App(app)) = decode::snapshot(response, "my app", "tenant") {
        check(&app);
    }
}

fn check(app: &App) {
    let settings = settings();
    let app_inputs = AppInputs::of(app);
    for (name, reason) in &app.invalid_nodes {
        assert!(!app.nodes.contains_key(name) && is_line(reason), "{reason:?}");
    }
    for node in app.nodes.values() {
        assert!(node.ports.iter().all(|port| port.host_port > 0 && port.container_port > 0));
        match settings.desired(app, node, &app_inputs) {
            Err(reason) => assert!(is_line(&reason), "{reason:?}"),
            Ok(desired) => {
                let spec = &desired.target.spec;
                assert!((2..=63).contains(&spec.name.len()) && (1..=63).contains(&spec.hostname.len()));
                let is_sane = |path: &str| path.starts_with('/') && !path.contains(char::is_control);
                let is_bounded = |source: &MountSource| match source {
                    MountSource::Bind(path) => is_sane(path) && !path.split('/').any(|part| part == ".."),
                    MountSource::Volume(name) => !name.contains('/'),
                    MountSource::Anonymous => true,
                };
                assert!(spec.mounts.iter().all(|mount| is_sane(&mount.target) && is_bounded(&mount.source)));
                assert!(SpecRecord::new(spec, "salt").differences(spec).is_empty());
            }
        }
    }
}

fn is_line(text: &str) -> bool {
    text.len() < REASON_BYTES_MAX && !text.contains(char::is_control)
}

fn settings() -> Settings {
    Settings {
        owner: Owner { app: "my app".to_owned(), tenant: "tenant".to_owned(), host: "host".to_owned() },
        env: BTreeMap::new(),
        logs: NodeLogSettings::Engine { file_bytes_max: 1, files_max: 1 },
        kept_logs: None,
        stop_grace: Duration::from_secs(30),
        resync: Duration::from_secs(300),
        overlap: false,
        remove_nodes_with_app: false,
        policy: Policy::default(),
        hardening: Default::default(),
    }
}

/// Four lines: the parameters of a challenge. A challenge that counts as valid must be valid input for the arithmetic.
pub(crate) fn challenge(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let names = ["SALT", "SRP_B", "SECRET_BLOCK", "USER_ID_FOR_SRP"].map(str::to_owned);
    let parameters: HashMap<String, String> = names.into_iter().zip(text.lines().map(str::to_owned)).collect();
    if !cognito::is_valid_challenge(&parameters) {
        return;
    }
    for (name, digits_max) in [("SALT", 1_024), ("SRP_B", 768)] {
        let digits = parameters[name].trim_start_matches('0');
        assert!((1..=digits_max).contains(&digits.len()) && digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
    }
    let digits = parameters["SRP_B"].trim_start_matches('0').to_ascii_lowercase();
    assert!(digits.len() < 768 || digits.as_str() < PRIME, "{digits} is not below the prime");
    assert!(STANDARD.decode(&parameters["SECRET_BLOCK"]).is_ok());
}

/// The first digits of the prime of the group.
const PRIME: &str = "ffffffffffffffffc90fdaa2";

/// Any numbers as the parameters of a valid challenge: the first byte is the length of the salt, the second that of the
/// user's name. Takes some hundredths of a second, so it is separate from the faster [`challenge`].
pub(crate) fn proof(data: &[u8]) {
    let mut rest = data;
    let mut take = |count: usize| {
        let (taken, after) = rest.split_at(count.min(rest.len()));
        rest = after;
        taken
    };
    let length = |byte: &[u8]| byte.first().map_or(0, |byte| usize::from(*byte));
    let (salt, name) = (length(take(1)), length(take(1)));
    let (salt, name, b) = (take(salt), String::from_utf8_lossy(take(name)).into_owned(), take(384));
    let block = STANDARD.encode(rest);
    let parameters =
        [("SALT", hex::encode(salt)), ("SRP_B", hex::encode(b)), ("SECRET_BLOCK", block), ("USER_ID_FOR_SRP", name)];
    cognito::prove(&parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect());
}
