//! Alerts as a JSON object a line.
//!
//! Fields, all always present unless said otherwise: `time`, `action` (open, update, close),
//! `incident`, `message` (its id: the incident's, and which message about the incident it is; after
//! a kill a message may come again, under the same id), `detector`, `detectors`, `severity`
//! (informational, low, medium, high, critical), `confidence` (0–100), `title`, `subject` {`kind`:
//! source, network, port, client, fleet or server; `value`; `name` for a client, or a source that
//! is one; `zone`, inside or outside, for a source that touches others, or a network},
//! `first_seen`, `last_seen`, `hits`, `first_contacts`, `witnesses` (how many addresses of clients
//! stand behind it: clients at one address are one; at most 256, and 0 if it is not about hits),
//! `clients`, `ports`, `sources` (each {`count`; `exact`, false if the count is a lower bound;
//! `sample`, at most 16}), `shape` (may be null), `recurrence` (how often it has begun anew),
//! `statistics` (by detector; see [`MeasureRecord`]), `attack`, `explain`, `allow_hint` (may be
//! null), `notes`. Times are RFC 3339 in UTC with milliseconds.
//!
//! A digest of alerts that were held is such a line as well, with `action` being `digest`. Its other fields are `time`,
//! `message` (its id: `digest-`, and the id of the first of the alerts), `title` (a sentence), when it was due; `from` and `to`, when the first and the last of the alerts were said; `alerts`, how many there are;
//! `by_reason` (`outside`, or `too-many` within an hour), `by_action`, `by_detector` and `by_severity`, each of which adds
//! up to that; `gravest`, up to five of their incidents, the gravest first (each {`incident`, `action`, `detector`,
//! `severity`, `title`, `subject` as above}); `others`, whether there are more incidents than these; and `see`, the
//! command that shows all.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::event::Timestamp;
use crate::server::alert::brief::{Brief, Named};
use crate::server::alert::digest::{Digest, Others, Reason};
use crate::server::alert::text;
use crate::server::alert::{
    Action, Alert, Detector, Exactness, Measure, Rhythm, Sampled, Severity, Shape, Zone,
};

/// The alert as one line of JSON, without its end.
pub fn line(alert: &Alert) -> Result<String, serde_json::Error> {
    let mut line = Vec::with_capacity(USUAL);
    serde_json::to_writer(&mut line, &Record::new(alert))?;
    String::from_utf8(line).map_err(serde::ser::Error::custom)
}

/// Few lines have more bytes.
const USUAL: usize = 2048;

#[derive(Serialize)]
struct Record<'a> {
    time: String,
    action: &'static str,
    incident: &'a str,
    message: String,
    detector: &'static str,
    detectors: Vec<&'static str>,
    severity: &'static str,
    confidence: u8,
    title: &'a str,
    subject: SubjectRecord<'a>,
    first_seen: String,
    last_seen: String,
    hits: u64,
    first_contacts: u64,
    clients: SampledRecord<ClientRecord<'a>>,
    witnesses: u64,
    ports: SampledRecord<PortRecord>,
    sources: SampledRecord<SourceRecord>,
    shape: Option<&'static str>,
    recurrence: u32,
    statistics: BTreeMap<&'static str, MeasureRecord>,
    attack: &'a [&'static str],
    explain: &'a str,
    allow_hint: Option<&'a str>,
    notes: &'a [String],
}

#[derive(Serialize)]
struct SubjectRecord<'a> {
    kind: &'static str,
    value: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'static str>,
}

#[derive(Serialize)]
struct SampledRecord<T> {
    count: u64,
    exact: bool,
    sample: Vec<T>,
}

#[derive(Serialize)]
struct ClientRecord<'a> {
    id: String,
    name: &'a str,
    hits: u64,
}

#[derive(Serialize)]
struct PortRecord {
    port: u16,
    hits: u64,
}

#[derive(Serialize)]
struct SourceRecord {
    address: String,
    hits: u64,
}

/// What a detector computed, each with what it was held against: `hits`, `threshold` and
/// `window_seconds`; `once_in_days` and `threshold_days`; `contacts`, `overlaps`,
/// `expected_overlaps`, `p_value` and `threshold`; `days`, `threshold_days` and `within_days`;
/// `silent_seconds`; `repeats`, `capacity`, `mean_gap_seconds` and `regular`; `value` and
/// `threshold`; or nothing, if one touch was enough.
#[derive(Serialize)]
#[serde(untagged)]
enum MeasureRecord {
    Hits {
        hits: u64,
        threshold: u64,
        window_seconds: f64,
    },
    Chance {
        once_in_days: f64,
        threshold_days: f64,
    },
    Overlap {
        contacts: u64,
        overlaps: u64,
        expected_overlaps: f64,
        p_value: f64,
        threshold: f64,
    },
    Days {
        days: u32,
        threshold_days: u32,
        within_days: u32,
    },
    Silence {
        silent_seconds: f64,
    },
    Repeats {
        repeats: u64,
        capacity: u64,
        mean_gap_seconds: f64,
        regular: bool,
    },
    Share {
        value: f64,
        threshold: f64,
    },
    Touch {},
}

impl From<Measure> for MeasureRecord {
    fn from(measure: Measure) -> Self {
        match measure {
            Measure::Hits {
                hits,
                threshold,
                window,
            } => Self::Hits {
                hits,
                threshold,
                window_seconds: window.as_secs_f64(),
            },
            Measure::Chance { days, threshold } => Self::Chance {
                once_in_days: days,
                threshold_days: threshold,
            },
            Measure::Overlap {
                contacts,
                overlaps,
                expected,
                chance,
                threshold,
            } => Self::Overlap {
                contacts,
                overlaps,
                expected_overlaps: expected,
                p_value: chance,
                threshold,
            },
            Measure::Days {
                days,
                threshold,
                within,
            } => Self::Days {
                days,
                threshold_days: threshold,
                within_days: within,
            },
            Measure::Silence(silence) => Self::Silence {
                silent_seconds: silence.as_secs_f64(),
            },
            Measure::Repeats {
                level,
                capacity,
                gap,
                rhythm,
            } => Self::Repeats {
                repeats: level,
                capacity,
                mean_gap_seconds: gap.as_secs_f64(),
                regular: rhythm == Rhythm::Regular,
            },
            Measure::Share { value, threshold } => Self::Share { value, threshold },
            Measure::Touch => Self::Touch {},
        }
    }
}

impl<'a> Record<'a> {
    fn new(alert: &'a Alert) -> Self {
        Self {
            time: alert.time.precise(),
            action: alert.action.name(),
            incident: &alert.incident,
            message: alert.message_id(),
            detector: alert.detector.name(),
            detectors: alert
                .detectors
                .iter()
                .map(|detector| detector.name())
                .collect(),
            severity: alert.severity.name(),
            confidence: alert.confidence,
            title: &alert.title,
            subject: SubjectRecord {
                kind: alert.subject.kind(),
                value: alert.subject.to_string(),
                name: alert.subject_name.as_deref(),
                zone: alert.zone.map(Zone::name),
            },
            first_seen: alert.first_seen.precise(),
            last_seen: alert.last_seen.precise(),
            hits: alert.hits,
            first_contacts: alert.first_contacts,
            clients: sampled(&alert.clients, |client, hits| ClientRecord {
                id: client.id.to_string(),
                name: &client.name,
                hits,
            }),
            witnesses: alert.witnesses,
            ports: sampled(&alert.ports, |&port, hits| PortRecord { port, hits }),
            sources: sampled(&alert.sources, |source, hits| SourceRecord {
                address: source.to_string(),
                hits,
            }),
            shape: alert.shape.map(Shape::name),
            recurrence: alert.recurrence,
            statistics: statistics(alert),
            attack: &alert.attack,
            explain: &alert.explain,
            allow_hint: alert.allow_hint.as_deref(),
            notes: &alert.notes,
        }
    }
}

/// A digest as one line of JSON, without its end.
pub fn digest(digest: &Digest) -> Result<String, serde_json::Error> {
    serde_json::to_string(&DigestRecord {
        time: digest.time.precise(),
        action: "digest",
        message: format!("digest-{}", digest.first),
        title: text::digest_title(digest),
        from: digest.from.precise(),
        to: digest.to.precise(),
        alerts: digest.alerts,
        by_reason: named(&digest.by_reason, Reason::name),
        by_action: named(&digest.by_action, Action::name),
        by_detector: named(&digest.by_detector, Detector::name),
        by_severity: named(&digest.by_severity, Severity::name),
        gravest: digest.gravest.iter().map(BriefRecord::of).collect(),
        others: digest.others == Others::Some,
        see: "vft alerts",
    })
}

/// In brief what a line says that [`line()`] wrote; `None` if it did not.
pub fn brief(line: &str) -> Option<Brief> {
    let line: Value = serde_json::from_str(line).ok()?;
    let text = |name: &str| line.get(name)?.as_str();
    let subject = line.get("subject")?;
    let part = |name: &str| subject.get(name)?.as_str();
    let time: jiff::Timestamp = text("time")?.parse().ok()?;
    Some(Brief {
        time: Timestamp::from_micros(u64::try_from(time.as_microsecond()).ok()?),
        action: find(Action::ALL, Action::name, text("action")?)?,
        incident: text("incident")?.to_owned(),
        // Lines of before messages had ids have none.
        message: text("message").or_else(|| text("incident"))?.to_owned(),
        detector: find(Detector::ALL, Detector::name, text("detector")?)?,
        severity: find(Severity::ALL, Severity::name, text("severity")?)?,
        subject: Named {
            kind: part("kind")?.to_owned(),
            value: part("value")?.to_owned(),
            name: part("name").map(str::to_owned),
        },
        zone: part("zone").and_then(|zone| find(Zone::ALL, Zone::name, zone)),
        title: text("title")?.to_owned(),
    })
}

fn find<T: Copy>(
    all: impl IntoIterator<Item = T>,
    name: impl Fn(T) -> &'static str,
    wanted: &str,
) -> Option<T> {
    all.into_iter().find(|it| name(*it) == wanted)
}

fn named<T: Copy>(
    counts: &BTreeMap<T, u64>,
    name: impl Fn(T) -> &'static str,
) -> BTreeMap<&'static str, u64> {
    counts.iter().map(|(each, n)| (name(*each), *n)).collect()
}

#[derive(Serialize)]
struct DigestRecord<'a> {
    time: String,
    action: &'static str,
    message: String,
    title: String,
    from: String,
    to: String,
    alerts: u64,
    by_reason: BTreeMap<&'static str, u64>,
    by_action: BTreeMap<&'static str, u64>,
    by_detector: BTreeMap<&'static str, u64>,
    by_severity: BTreeMap<&'static str, u64>,
    gravest: Vec<BriefRecord<'a>>,
    others: bool,
    see: &'static str,
}

/// An alert in brief, in a digest.
#[derive(Serialize)]
struct BriefRecord<'a> {
    incident: &'a str,
    action: &'static str,
    detector: &'static str,
    severity: &'static str,
    title: &'a str,
    subject: NamedRecord<'a>,
}

/// The same of [`SubjectRecord`], already in words.
#[derive(Serialize)]
struct NamedRecord<'a> {
    kind: &'a str,
    value: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<&'static str>,
}

impl<'a> BriefRecord<'a> {
    fn of(brief: &'a Brief) -> Self {
        Self {
            incident: &brief.incident,
            action: brief.action.name(),
            detector: brief.detector.name(),
            severity: brief.severity.name(),
            title: &brief.title,
            subject: NamedRecord {
                kind: &brief.subject.kind,
                value: &brief.subject.value,
                name: brief.subject.name.as_deref(),
                zone: brief.zone.map(Zone::name),
            },
        }
    }
}

fn sampled<'a, T, R>(
    sampled: &'a Sampled<T>,
    record: impl Fn(&'a T, u64) -> R,
) -> SampledRecord<R> {
    SampledRecord {
        count: sampled.count,
        exact: sampled.exactness == Exactness::Exact,
        sample: sampled
            .sample
            .iter()
            .map(|(item, hits)| record(item, *hits))
            .collect(),
    }
}

fn statistics(alert: &Alert) -> BTreeMap<&'static str, MeasureRecord> {
    alert
        .statistics
        .iter()
        .map(|each| (each.detector.name(), each.measure.into()))
        .collect()
}
