//! Alerts as a line a person reads.
//!
//! ```text
//! 2026-11-24T03:12:09Z HIGH   10.20.0.7  5 hits on 1 client (web-7), ports 22 80 445, over 2s  [frequent-source frequent-client]  #7Q2FK9XM open
//! ```
//!
//! Time, severity, subject, what happened, the detectors it tripped, the incident and what became
//! of it. Names that clients chose have been made printable before they get here.

use crate::server::alert::brief::{Brief, Named};
use crate::server::alert::digest::{Counts, Digest, Others};
use crate::server::alert::{Alert, Severity};

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
        subject(&Named::of(alert)),
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

/// Whom or what it is about, in a word or three.
fn subject(named: &Named) -> String {
    let Named { kind, value, name } = named;
    match (kind.as_str(), name) {
        ("port", _) => format!("port {value}"),
        ("client", Some(name)) => format!("client {name}"),
        ("client", None) => format!("client {value}"),
        ("source", Some(name)) => format!("{value} (client {name})"),
        _ => value.clone(),
    }
}

/// A digest as one line, without its end.
///
/// ```text
/// 2026-11-24T04:00:00Z DIGEST 57 alerts held since 2026-11-24T03:00:04Z: 12 open, 30 update, 15 close; 2 high, 55 low  [frequent-source 40 slow-scan 17]  #7Q2FK9XM HIGH 203.0.113.9 …  all: vft alerts
/// ```
pub fn digest(digest: &Digest) -> String {
    format!("{} DIGEST {}", digest.time, digest_title(digest))
}

/// What a digest says, without when.
pub fn digest_title(digest: &Digest) -> String {
    let plural = if digest.alerts == 1 { "" } else { "s" };
    let gravest: Vec<_> = digest.gravest.iter().map(gist).collect();
    let more = match digest.others {
        Others::None => "",
        Others::Some => " …",
    };
    let actions = counts(&digest.by_action, |each, n| format!("{n} {}", each.name()));
    let mut severities = counts(&digest.by_severity, |each, n| {
        format!("{n} {}", each.name())
    });
    severities.reverse();
    let detectors = counts(&digest.by_detector, |each, n| {
        format!("{} {n}", each.name())
    });
    format!(
        "{} alert{plural} held since {}: {}; {}  [{}]  {}{more}  all: vft alerts",
        digest.alerts,
        digest.from,
        actions.join(", "),
        severities.join(", "),
        detectors.join(" "),
        gravest.join(", "),
    )
}

fn counts<T>(counts: &Counts<T>, show: impl Fn(&T, u64) -> String) -> Vec<String> {
    counts.iter().map(|(each, n)| show(each, *n)).collect()
}

fn gist(brief: &Brief) -> String {
    format!(
        "#{} {} {}",
        brief.incident,
        severity(brief.severity),
        subject(&brief.subject)
    )
}
