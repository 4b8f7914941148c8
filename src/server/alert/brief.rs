//! What a valve and a digest need to know of an alert.

use crate::event::Timestamp;
use crate::server::alert::{Action, Alert, Detector, Severity, Zone};

/// An alert in brief.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brief {
    /// When it was said.
    pub time: Timestamp,
    /// What became of the incident.
    pub action: Action,
    /// The incident's id.
    pub incident: String,
    /// The message's id.
    pub message: String,
    /// The detector that opened the incident.
    pub detector: Detector,
    /// How much it matters.
    pub severity: Severity,
    /// Whom or what it is about.
    pub subject: Named,
    /// Where that is.
    pub zone: Option<Zone>,
    /// The whole in half a line.
    pub title: String,
}

/// A subject in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// What kind of subject it is.
    pub kind: String,
    /// Its address, port or id.
    pub value: String,
    /// Its name, if it has one.
    pub name: Option<String>,
}

impl Named {
    /// The subject of an alert.
    pub fn of(alert: &Alert) -> Self {
        Self {
            kind: alert.subject.kind().to_owned(),
            value: alert.subject.to_string(),
            name: alert.subject_name.clone(),
        }
    }
}

impl Brief {
    /// An alert in brief.
    pub fn of(alert: &Alert) -> Self {
        Self {
            time: alert.time,
            action: alert.action,
            incident: alert.incident.clone(),
            message: alert.message_id(),
            detector: alert.detector,
            severity: alert.severity,
            subject: Named::of(alert),
            zone: alert.zone,
            title: alert.title.clone(),
        }
    }
}
