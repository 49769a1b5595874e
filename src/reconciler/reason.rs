//! The reason of an operation: finding, fields that differ, and changes that may have caused it.

use std::fmt;

use managed_app_runtimes::labels::Difference;

use crate::model::Change;

/// The reason of an operation. `Display` is one line for people.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// The finding.
    pub kind: ReasonKind,
    /// Fields in which desired and observed state differ; empty if unknown or irrelevant.
    pub differences: Vec<Difference>,
    /// Why the preferred operation is not possible.
    pub because: Option<ReasonKind>,
    /// Changes that may have caused it, oldest first.
    pub causes: Vec<Change>,
}

/// The classes of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonKind {
    /// The node has no container.
    Absent,
    /// The spec of the container differs from the desired one.
    SpecChanged,
    /// The startup inputs of the node have changed.
    InputsChanged,
    /// It is unknown what the node read when it was started.
    InputsUnknown,
    /// The container does not run.
    NotRunning,
    /// The container was paused.
    Paused,
    /// A previous daemon created a new container and did not remove the old one.
    LeftOver,
    /// A replacement was started and not finished.
    Unfinished,
    /// The container has a wrong name.
    Misnamed,
    /// The node was removed from the app.
    NodeRemoved,
    /// The app was removed.
    AppRemoved,
    /// The daemon ends.
    DaemonEnds,
    /// The cloud is unavailable, so existing containers are started unchanged.
    CloudAway,
    /// The new image is unavailable.
    ImageAway,
    /// The new container did not stay up.
    NotStayingUp,
}

impl ReasonKind {
    /// The class as an identifier, as in metrics and the history.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::SpecChanged => "spec_changed",
            Self::InputsChanged => "inputs_changed",
            Self::InputsUnknown => "inputs_unknown",
            Self::NotRunning => "not_running",
            Self::Paused => "paused",
            Self::LeftOver => "left_over",
            Self::Unfinished => "begun",
            Self::Misnamed => "misnamed",
            Self::NodeRemoved => "node_removed",
            Self::AppRemoved => "app_removed",
            Self::DaemonEnds => "daemon_ends",
            Self::CloudAway => "cloud_away",
            Self::ImageAway => "image_away",
            Self::NotStayingUp => "not_staying_up",
        }
    }

    /// The class as text.
    pub fn text(self) -> &'static str {
        match self {
            Self::Absent => "it has no container",
            Self::SpecChanged => "changed",
            Self::InputsChanged => "startup inputs changed",
            Self::InputsUnknown => "its startup inputs are unknown",
            Self::NotRunning => "it was not running",
            Self::Paused => "it was paused",
            Self::LeftOver => "left over from a replacement",
            Self::Unfinished => "a replacement was not finished",
            Self::Misnamed => "it has a wrong name",
            Self::NodeRemoved => "the node was removed",
            Self::AppRemoved => "the app was removed",
            Self::DaemonEnds => "the daemon ends",
            Self::CloudAway => "the cloud is unavailable",
            Self::ImageAway => "its new image is unavailable",
            Self::NotStayingUp => "its new container did not stay up",
        }
    }
}

impl Reason {
    /// A reason without fields.
    pub fn of(kind: ReasonKind) -> Self {
        Self { kind, differences: Vec::new(), because: None, causes: Vec::new() }
    }

    /// A reason with the fields that differ.
    pub fn with_differences(kind: ReasonKind, differences: Vec<Difference>) -> Self {
        Self { differences, ..Self::of(kind) }
    }

    /// The text without the changes that caused it.
    pub fn text(&self) -> String {
        let mut text = self.kind.text().to_owned();
        for (index, difference) in self.differences.iter().enumerate() {
            text.push_str(if index == 0 { ": " } else { ", " });
            text.push_str(&difference.field);
        }
        if let Some(because) = self.because {
            text.push_str(", and ");
            text.push_str(because.text());
        }
        text
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())?;
        match self.causes.as_slice() {
            [] => Ok(()),
            [one] => write!(f, " ({one})"),
            [.., newest] => write!(f, " ({newest}, and {} more)", self.causes.len() - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reason_names_fields_the_obstacle_and_the_newest_change() {
        let differences = vec![Difference::of("node config"), Difference::of("edge to b")];
        let reason = Reason::with_differences(ReasonKind::InputsChanged, differences);
        assert_eq!(reason.to_string(), "startup inputs changed: node config, edge to b");
        let causes = vec![Change::App, Change::MessageType("m".to_owned())];
        let reason = Reason { because: Some(ReasonKind::ImageAway), causes, ..reason };
        let text = "startup inputs changed: node config, edge to b, and its new image is unavailable";
        assert_eq!(reason.text(), text);
        assert_eq!(reason.to_string(), format!("{text} (message_type m, and 1 more)"));
        let reason = Reason { causes: vec![Change::Tenant], ..Reason::of(ReasonKind::Paused) };
        assert_eq!(reason.to_string(), "it was paused (tenant)");
    }
}
