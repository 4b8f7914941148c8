//! Alerts as a line a person reads.
//!
//! ```text
//! 2026-11-24T03:12:09Z HIGH   10.20.0.7  5 hits on 1 client (web-7), ports 22 80 445, over 2s  [frequent-source frequent-client]  #7Q2FK9XM open
//! ```
//!
//! Time, severity, subject, what happened, the detectors it tripped, the incident and what became
//! of it. Names that clients chose have been made printable before they get here.

use crate::server::alert::{Alert, Severity, Subject};

/// The alert as one line, without its end.
pub fn line(alert: &Alert) -> String {
    let detectors: Vec<_> = alert
        .detectors
        .iter()
        .map(|detector| detector.name())
        .collect();
    format!(
        "{} {:<6} {}  {}  [{}]  #{} {}",
        alert.time,
        severity(alert.severity),
        subject(alert),
        alert.title,
        detectors.join(" "),
        alert.incident,
        alert.action.name(),
    )
}

const fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "INFO",
        Severity::Low => "LOW",
        Severity::Medium => "MEDIUM",
        Severity::High => "HIGH",
        Severity::Critical => "CRITICAL",
    }
}

fn subject(alert: &Alert) -> String {
    match (alert.subject, &alert.subject_name) {
        (Subject::Port(port), _) => format!("port {port}"),
        (Subject::Client(_), Some(name)) => format!("client {name}"),
        (Subject::Client(id), None) => format!("client {id}"),
        (Subject::Source(source), Some(name)) => format!("{source} (client {name})"),
        (subject, _) => subject.to_string(),
    }
}
