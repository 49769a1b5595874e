//! The destination of the output of nodes, and its reason. Pure: the caller examines dockerd.

use managed_app_runtimes::EngineInfo;

use super::dockerd::DockerdCredentials;
use crate::config::NodeLogs;

/// The destination of the output of new containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeLogsChoice {
    /// The destination.
    pub way: NodeLogs,
    /// Whether it is the default. Containers with another destination then keep it.
    pub is_default: bool,
    /// The reason, for people.
    pub reason: String,
    /// Whether the engine has Docker's `awslogs` driver.
    pub has_awslogs: bool,
}

impl NodeLogsChoice {
    /// Whether containers may exist whose output the daemon ships.
    pub fn ships(&self) -> bool {
        self.way == NodeLogs::Agent || self.is_default
    }
}

/// MANAGED_APP_NODE_LOGS decides. The default is `awslogs` only if dockerd is known to have AWS credentials of its own.
/// Without credentials, the driver loses the output in its mode `non-blocking` and prevents nodes from starting in
/// `blocking`, while the daemon can always ship output with its own credentials. Unknown credentials therefore count as
/// none.
///
/// Fails with a remedy if the engine does not support the configured destination.
pub fn choose_node_logs(
    chosen: Option<NodeLogs>,
    info: &EngineInfo,
    dockerd: &DockerdCredentials,
) -> Result<NodeLogsChoice, String> {
    let has_awslogs = info.has_awslogs;
    let choice = |way, is_default, reason| Ok(NodeLogsChoice { way, is_default, reason, has_awslogs });
    match (chosen, dockerd) {
        (Some(NodeLogs::Awslogs), _) if !has_awslogs => {
            Err(format!("{} has no awslogs log driver: set MANAGED_APP_NODE_LOGS=agent, or remove it", info.kind))
        }
        (Some(way), _) => choice(way, false, "MANAGED_APP_NODE_LOGS is set".to_owned()),
        (None, _) if !has_awslogs => choice(NodeLogs::Agent, true, format!("{} has no awslogs log driver", info.kind)),
        (None, DockerdCredentials::Found(what)) => {
            choice(NodeLogs::Awslogs, true, format!("dockerd has AWS credentials of its own: {what}"))
        }
        (None, DockerdCredentials::Absent(why)) => choice(
            NodeLogs::Agent,
            true,
            format!("dockerd has no AWS credentials of its own that do not expire: {why}"),
        ),
        (None, DockerdCredentials::Unknown(why)) => {
            choice(NodeLogs::Agent, true, format!("dockerd's own AWS credentials are unknown: {why}"))
        }
    }
}

#[cfg(test)]
mod tests {
    use managed_app_runtimes::EngineKind;

    use super::*;

    fn info(has_awslogs: bool) -> EngineInfo {
        let kind = if has_awslogs { EngineKind::Docker } else { EngineKind::Podman };
        EngineInfo { kind, version: "1".to_owned(), endpoint: "unix:///x".to_owned(), has_awslogs }
    }

    #[test]
    fn awslogs_is_the_default_only_where_dockerd_has_credentials() {
        use DockerdCredentials::{Absent, Found, Unknown};
        use NodeLogs::{Agent, Awslogs, Engine};
        let check = |chosen, has_awslogs, dockerd: &DockerdCredentials, expected: Option<(NodeLogs, bool, bool)>| {
            let choice = choose_node_logs(chosen, &info(has_awslogs), dockerd);
            let choice = choice.map(|choice| (choice.way, choice.is_default, choice.ships())).ok();
            assert_eq!(choice, expected, "{chosen:?} {has_awslogs} {dockerd:?}");
        };
        let (found, absent, unknown) = (Found("x".to_owned()), Absent("x".to_owned()), Unknown("x".to_owned()));
        check(None, true, &found, Some((Awslogs, true, true)));
        check(None, true, &absent, Some((Agent, true, true)));
        check(None, true, &unknown, Some((Agent, true, true)));
        for dockerd in [found, absent, unknown] {
            check(None, false, &dockerd, Some((Agent, true, true)));
            check(Some(Awslogs), true, &dockerd, Some((Awslogs, false, false)));
            check(Some(Awslogs), false, &dockerd, None);
            check(Some(Agent), true, &dockerd, Some((Agent, false, true)));
            check(Some(Engine), true, &dockerd, Some((Engine, false, false)));
        }
    }
}
