//! The engine's responses about containers, reduced to the used fields, and their conversion. Pure: makes no calls.
//!
//! Tolerant where bollard's own types are not: every field may be missing, and a state is a string, not an enum.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::Deserialize;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{
    Container, ContainerId, ContainerState, EngineHost, EngineInfo, EngineKind, ImageId, Origin, Owner, ProcessExit,
};

/// One element of `GET /containers/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Listed {
    pub(super) id: String,
    names: Option<Vec<String>>,
    #[serde(rename = "ImageID")]
    pub(super) image_id: String,
    labels: Option<BTreeMap<String, String>>,
    state: Option<String>,
    network_settings: Networks,
}

/// `GET /containers/{id}/json`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Inspected {
    pub(super) name: Option<String>,
    restart_count: Option<u64>,
    state: State,
    config: Config,
    network_settings: Networks,
    id: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct State {
    status: Option<String>,
    exit_code: Option<i64>,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    started_at: Option<String>,
    finished_at: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Networks {
    networks: Option<BTreeMap<String, serde_json::Value>>,
}

/// A network of a container, as an inspection reports it.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Endpoint {
    #[serde(rename = "NetworkID")]
    network_id: Option<String>,
    aliases: Option<Vec<String>>,
}

impl Networks {
    fn names(&self) -> Vec<String> {
        self.networks.iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    fn endpoints(&self) -> impl Iterator<Item = (&String, Endpoint)> {
        let read = |value: &serde_json::Value| Endpoint::deserialize(value).unwrap_or_default();
        self.networks.iter().flatten().map(move |(name, value)| (name, read(value)))
    }
}

/// `GET /version`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct Version {
    pub(super) version: String,
    pub(super) api_version: String,
}

/// `GET /info`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
pub(super) struct Info {
    plugins: Plugins,
    security_options: Option<Vec<String>>,
    architecture: Option<String>,
    docker_root_dir: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Plugins {
    log: Option<Vec<String>>,
}

/// Exit code of a process that was killed.
const KILLED: i64 = 137;
/// The oldest engine API that is supported: Docker 20.10.
const API_MIN: (u32, u32) = (1, 41);

impl Version {
    /// Whether the engine is new enough.
    pub(super) fn is_supported(&self) -> bool {
        let parts = self.api_version.split_once('.').map(|(major, minor)| (major.parse(), minor.parse()));
        matches!(parts, Some((Ok(major), Ok(minor))) if (major, minor) >= API_MIN)
    }
}

/// Information about the engine.
pub(super) fn engine_info(version: Version, info: &Info, endpoint: String) -> EngineInfo {
    EngineInfo {
        kind: EngineKind::Docker,
        version: version.version,
        endpoint,
        has_awslogs: info.plugins.log.iter().flatten().any(|driver| driver == "awslogs"),
    }
}

/// Information about the engine's host.
pub(super) fn engine_host(info: &Info) -> EngineHost {
    let options = info.security_options.iter().flatten();
    EngineHost {
        rootless: options.into_iter().any(|option| option.split(',').any(|part| part == "name=rootless")),
        architecture: EngineHost::architecture_of(info.architecture.as_deref().unwrap_or_default()).to_owned(),
        data_root: info.docker_root_dir.as_deref().filter(|root| !root.is_empty()).map(PathBuf::from),
    }
}

impl Listed {
    /// Why the container belongs to `owner`, if it does.
    pub(super) fn origin(&self, owner: &Owner) -> Option<Origin> {
        origin(owner, self.labels.as_ref()?, &self.network_settings.names())
    }

    /// The container from the list alone: without the time of its start and without its last exit.
    pub(super) fn into_container(self, origin: Origin) -> Container {
        let names = self.names.unwrap_or_default();
        // A link gives a container further names, `/other/alias`.
        let name = names.iter().map(|name| name.trim_start_matches('/')).find(|name| !name.contains('/'));
        Container {
            name: name.unwrap_or(&self.id).to_owned(),
            id: ContainerId(self.id),
            image_id: image_id(self.image_id),
            networks: self.network_settings.names(),
            labels: self.labels.unwrap_or_default(),
            state: state(self.state.as_deref(), None),
            started_at: None,
            restarts: None,
            last_exit: None,
            origin,
        }
    }
}

impl Inspected {
    /// Whether the container belongs to `owner`.
    pub(super) fn is_of(&self, owner: &Owner) -> bool {
        let labels = self.config.labels.as_ref();
        labels.is_some_and(|labels| origin(owner, labels, &self.network_settings.names()).is_some())
    }

    /// The owner in its labels.
    pub(super) fn owner(&self) -> Option<Owner> {
        Owner::from_labels(self.config.labels.as_ref()?)
    }

    /// Names of its networks, each with its aliases there. Older engines add the beginning of the id to these by
    /// themselves.
    pub(super) fn endpoints(&self) -> Vec<(String, Vec<String>)> {
        let id = self.id.as_deref().unwrap_or_default();
        let own = |alias: &String| !id.starts_with(alias.as_str());
        let aliases = |found: Endpoint| found.aliases.unwrap_or_default().into_iter().filter(own).collect();
        self.network_settings.endpoints().map(|(name, found)| (name.clone(), aliases(found))).collect()
    }

    /// Whether it is connected to the network with this id.
    pub(super) fn is_connected_to(&self, network: &str) -> bool {
        self.network_settings.endpoints().any(|(_, found)| found.network_id.as_deref() == Some(network))
    }

    /// Adds the details that only an inspection reports to a listed container.
    pub(super) fn complete(self, mut container: Container) -> Container {
        if let Some(name) = self.name {
            container.name = name.trim_start_matches('/').to_owned();
        }
        container.networks = self.network_settings.names();
        container.state = state(self.state.status.as_deref(), self.state.exit_code);
        container.started_at = self.state.started_at.as_deref().and_then(moment);
        container.restarts = self.restart_count;
        container.last_exit = self.state.last_exit(&container.state);
        container
    }
}

impl State {
    /// The engine keeps the time of the last end while the next process runs, and reports 0 as its code. It never
    /// clears the mark of an out-of-memory kill, so that the mark counts only together with the exit code of a kill.
    fn last_exit(&self, state: &ContainerState) -> Option<ProcessExit> {
        let at = self.finished_at.as_deref().and_then(moment)?;
        let has_process = matches!(state, ContainerState::Running | ContainerState::Paused);
        let code = self.exit_code.filter(|_| !has_process);
        Some(ProcessExit { code, is_oom: self.oom_killed && code == Some(KILLED), at: Some(at) })
    }
}

fn origin<S: AsRef<str>>(owner: &Owner, labels: &BTreeMap<String, String>, networks: &[S]) -> Option<Origin> {
    if owner.owns(labels) {
        Some(Origin::Labelled)
    } else {
        owner.owns_legacy(labels, networks).then_some(Origin::Legacy)
    }
}

/// An image id with the prefix that some responses omit.
pub(super) fn image_id(text: String) -> ImageId {
    ImageId(if text.contains(':') { text } else { format!("sha256:{text}") })
}

fn state(status: Option<&str>, exit_code: Option<i64>) -> ContainerState {
    match status.unwrap_or_default() {
        "created" => ContainerState::Created,
        "running" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        "exited" => ContainerState::Exited { code: exit_code },
        "removing" => ContainerState::Removing,
        "dead" => ContainerState::Dead,
        other => ContainerState::Unknown(other.to_owned()),
    }
}

/// The engine writes the year 1 for "never".
fn moment(text: &str) -> Option<OffsetDateTime> {
    OffsetDateTime::parse(text, &Rfc3339).ok().filter(|at| at.year() > 1)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::labels;

    fn owner() -> Owner {
        Owner { app: "app".to_owned(), tenant: "t".to_owned(), host: "h".to_owned() }
    }

    fn listed(labels: serde_json::Value, network: &str) -> Listed {
        serde_json::from_value(json!({
            "Id": "1", "Names": ["/other/alias", "/web"], "ImageID": "ab", "Labels": labels, "State": "exited",
            "NetworkSettings": {"Networks": {network: {}}},
        }))
        .expect("an element of a list")
    }

    #[test]
    fn owned_by_our_labels_or_by_legacy_label_and_network() {
        let ours = json!({labels::APP: "app", labels::TENANT: "t", labels::HOST: "h"});
        let other_host = json!({labels::APP: "app", labels::TENANT: "t", labels::HOST: "x", "managed_node_type": "n"});
        let cases = [
            (listed(ours, "app"), Some(Origin::Labelled)),
            (listed(other_host, "app"), None),
            (listed(json!({"managed_node_type": "n"}), "app"), Some(Origin::Legacy)),
            (listed(json!({"managed_node_type": "n"}), "other"), None),
            (listed(json!({}), "app"), None),
            (listed(json!(null), "app"), None),
        ];
        for (listed, wanted) in cases {
            assert_eq!(listed.origin(&owner()), wanted, "{listed:?}");
        }
    }

    #[test]
    fn an_inspection_completes_a_listed_container() {
        let container = listed(json!({}), "app").into_container(Origin::Labelled);
        assert_eq!(container.name, "web");
        assert_eq!(container.image_id.0, "sha256:ab");
        assert_eq!(container.state, ContainerState::Exited { code: None });
        let inspected = json!({
            "Name": "/renamed",
            "RestartCount": 7,
            "State": {"Status": "exited", "ExitCode": 137, "OOMKilled": true, "StartedAt": "2026-11-22T19:17:00.5Z",
                "FinishedAt": "2026-11-22T19:17:01Z"},
            "NetworkSettings": {"Networks": {"a": {}, "b": {}}},
        });
        let inspected: Inspected = serde_json::from_value(inspected).expect("an inspection");
        let container = inspected.complete(container);
        assert_eq!(container.name, "renamed");
        assert_eq!(container.state, ContainerState::Exited { code: Some(137) });
        assert_eq!(container.networks, ["a", "b"]);
        assert_eq!(container.started_at.map(|at| at.unix_timestamp_nanos()), Some(1_795_375_020_500_000_000));
        assert_eq!(container.restarts, Some(7));
        let at = OffsetDateTime::from_unix_timestamp(1_795_375_021).ok();
        assert_eq!(container.last_exit, Some(ProcessExit { code: Some(137), is_oom: true, at }));
    }

    #[test]
    fn a_running_process_hides_the_code_of_the_last_exit() {
        let exit = |status: &str, code: i64, finished_at: &str| {
            let state = json!({"Status": status, "ExitCode": code, "OOMKilled": true, "FinishedAt": finished_at});
            let inspected: Inspected = serde_json::from_value(json!({ "State": state })).expect("an inspection");
            inspected.complete(listed(json!({}), "app").into_container(Origin::Labelled)).last_exit
        };
        let told = |status, code| exit(status, code, "2026-11-22T19:17:01Z").map(|exit| (exit.code, exit.is_oom));
        assert_eq!(told("running", 0), Some((None, false)));
        assert_eq!(told("restarting", 137), Some((Some(137), true)));
        assert_eq!(told("restarting", 3), Some((Some(3), false)), "the mark is of an earlier end");
        assert_eq!(exit("running", 0, "0001-01-01T00:00:00Z"), None);
    }

    #[test]
    fn an_inspection_reports_the_networks_of_a_container() {
        let inspected = json!({
            "Id": "3fe731ab3ac1aa", "Config": {"Labels": {labels::APP: "app", labels::TENANT: "t", labels::HOST: "h"}},
            "NetworkSettings": {"Networks": {
                "app": {"NetworkID": "n1", "Aliases": ["web", "web-host", "3fe731ab3ac1"]},
                "odd": {"NetworkID": null, "Aliases": null},
                "odder": 7,
            }},
        });
        let inspected: Inspected = serde_json::from_value(inspected).expect("an inspection");
        let own = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let wanted = [("app", own(&["web", "web-host"])), ("odd", own(&[])), ("odder", own(&[]))];
        assert_eq!(inspected.endpoints(), wanted.map(|(name, aliases)| (name.to_owned(), aliases)));
        assert!(inspected.is_connected_to("n1") && !inspected.is_connected_to("n2"));
        assert_eq!(inspected.owner(), Some(owner()));
    }

    #[test]
    fn unknown_states_are_kept_as_text() {
        assert_eq!(state(Some("running"), Some(0)), ContainerState::Running);
        assert_eq!(state(Some("frobnicating"), None), ContainerState::Unknown("frobnicating".to_owned()));
        assert_eq!(state(None, None), ContainerState::Unknown(String::new()));
        assert_eq!(moment("0001-01-01T00:00:00Z"), None);
    }

    #[test]
    fn engines_from_api_1_41_on_are_supported() {
        for (api_version, wanted) in [("1.41", true), ("1.53", true), ("2.0", true), ("1.40", false), ("x", false)] {
            let version = Version { version: String::new(), api_version: api_version.to_owned() };
            assert_eq!(version.is_supported(), wanted, "{api_version}");
        }
    }

    #[test]
    fn the_engines_features_are_read() {
        let version = || Version { version: "1".to_owned(), api_version: "1.41".to_owned() };
        let info = json!({"Plugins": {"Log": ["awslogs"]}, "SecurityOptions": ["name=seccomp,profile=default", "name=rootless"]});
        let info: Info = serde_json::from_value(info).expect("an answer");
        assert!(engine_info(version(), &info, String::new()).has_awslogs && engine_host(&info).rootless);
        let none = Info::default();
        assert!(!engine_info(version(), &none, String::new()).has_awslogs && !engine_host(&none).rootless);
    }
}
