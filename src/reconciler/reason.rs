//! Why something is done to a node: what was found, in which fields, and which changes may have led to it.

use std::fmt;

use managed_app_runtimes::labels::Difference;

use crate::model::Change;

/// Why an operation is begun. `Display` says it for people, on one line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// What was found.
    pub kind: ReasonKind,
    /// In which fields what is wanted differs from what is there; empty where that is not known or not the point.
    pub differences: Vec<Difference>,
    /// What keeps a better way from being taken.
    pub because: Option<ReasonKind>,
    /// Changes that may have led to it, oldest first.
    pub causes: Vec<Change>,
}

/// The classes of reasons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ReasonKind {
    /// The node has no container.
    Absent,
    /// What the container is made of is not what is wanted.
    SpecChanged,
    /// What the node reads when it starts has changed.
    InputsChanged,
    /// Nobody knows what the node read when it was started.
    InputsUnknown,
    /// The container does not run.
    NotRunning,
    /// The container was paused.
    Paused,
    /// A daemon before this one had made a new container and not removed the old one.
    LeftOver,
    /// A replacement was begun and not finished.
    Begun,
    /// The container has another name than it should.
    Misnamed,
    /// The node was removed from the app.
    NodeRemoved,
    /// The app was removed.
    AppRemoved,
    /// The daemon ends.
    DaemonEnds,
    /// The cloud cannot be asked, so what is there is brought up as it is.
    CloudAway,
    /// The new image cannot be had.
    ImageAway,
    /// The new container did not stay up.
    NotStayingUp,
}

impl ReasonKind {
    /// The class, as shown in metrics and the history.
    pub fn word(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::SpecChanged => "spec_changed",
            Self::InputsChanged => "inputs_changed",
            Self::InputsUnknown => "inputs_unknown",
            Self::NotRunning => "not_running",
            Self::Paused => "paused",
            Self::LeftOver => "left_over",
            Self::Begun => "begun",
            Self::Misnamed => "misnamed",
            Self::NodeRemoved => "node_removed",
            Self::AppRemoved => "app_removed",
            Self::DaemonEnds => "daemon_ends",
            Self::CloudAway => "cloud_away",
            Self::ImageAway => "image_away",
            Self::NotStayingUp => "not_staying_up",
        }
    }

    /// The class in words.
    pub fn text(self) -> &'static str {
        match self {
            Self::Absent => "there is none",
            Self::SpecChanged => "changed",
            Self::InputsChanged => "what it reads has changed",
            Self::InputsUnknown => "what it read is unknown",
            Self::NotRunning => "it was not running",
            Self::Paused => "it was paused",
            Self::LeftOver => "left over from a replacement",
            Self::Begun => "a replacement was begun",
            Self::Misnamed => "it has another name",
            Self::NodeRemoved => "the node was removed",
            Self::AppRemoved => "the app was removed",
            Self::DaemonEnds => "the daemon ends",
            Self::CloudAway => "the cloud cannot be asked",
            Self::ImageAway => "its new image cannot be had",
            Self::NotStayingUp => "its new container did not stay up",
        }
    }
}

impl Reason {
    /// A reason that is all in its class.
    pub fn of(kind: ReasonKind) -> Self {
        Self { kind, differences: Vec::new(), because: None, causes: Vec::new() }
    }

    /// A reason that lies in these fields.
    pub fn in_fields(kind: ReasonKind, differences: Vec<Difference>) -> Self {
        Self { differences, ..Self::of(kind) }
    }

    /// It without the changes that led to it.
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
    fn a_reason_names_fields_what_is_in_the_way_and_the_newest_change() {
        let differences = vec![Difference::of("node config"), Difference::of("edge to b")];
        let reason = Reason::in_fields(ReasonKind::InputsChanged, differences);
        assert_eq!(reason.to_string(), "what it reads has changed: node config, edge to b");
        let causes = vec![Change::App, Change::MessageType("m".to_owned())];
        let reason = Reason { because: Some(ReasonKind::ImageAway), causes, ..reason };
        let text = "what it reads has changed: node config, edge to b, and its new image cannot be had";
        assert_eq!(reason.text(), text);
        assert_eq!(reason.to_string(), format!("{text} (message_type m, and 1 more)"));
        let reason = Reason { causes: vec![Change::Tenant], ..Reason::of(ReasonKind::Paused) };
        assert_eq!(reason.to_string(), "it was paused (tenant)");
    }
}
