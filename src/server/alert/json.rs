//! Alerts as a JSON object a line.
//!
//! Fields, all always present unless said otherwise: `time`, `action` (open, update, close),
//! `incident`, `detector`, `detectors`, `severity` (informational, low, medium, high),
//! `confidence` (0–100), `title`, `subject` {`kind`: source, port, client or fleet; `value`;
//! `name` for a client}, `first_seen`, `last_seen`, `hits`, `first_contacts`, `clients`, `ports`,
//! `sources` (each {`count`; `exact`, false if the count is a lower bound; `sample`, at most 16}),
//! `shape` (may be null), `statistics` (by detector: `hits`, `threshold`, `window_seconds`),
//! `attack`, `explain`, `allow_hint` (may be null), `notes`. Times are RFC 3339 in UTC with
//! milliseconds.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::server::alert::{Alert, Exactness, Sampled, Shape, Statistic};

/// The alert as one line of JSON, without its end.
pub fn line(alert: &Alert) -> Result<String, serde_json::Error> {
    serde_json::to_string(&Record::new(alert))
}

#[derive(Serialize)]
struct Record<'a> {
    time: String,
    action: &'static str,
    incident: &'a str,
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
    ports: SampledRecord<PortRecord>,
    sources: SampledRecord<SourceRecord>,
    shape: Option<&'static str>,
    statistics: BTreeMap<&'static str, StatisticRecord>,
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

#[derive(Serialize)]
struct StatisticRecord {
    hits: u64,
    threshold: u64,
    window_seconds: f64,
}

impl<'a> Record<'a> {
    fn new(alert: &'a Alert) -> Self {
        Self {
            time: alert.time.precise(),
            action: alert.action.name(),
            incident: &alert.incident,
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
            ports: sampled(&alert.ports, |&port, hits| PortRecord { port, hits }),
            sources: sampled(&alert.sources, |source, hits| SourceRecord {
                address: source.to_string(),
                hits,
            }),
            shape: alert.shape.map(Shape::name),
            statistics: statistics(alert),
            attack: &alert.attack,
            explain: &alert.explain,
            allow_hint: alert.allow_hint.as_deref(),
            notes: &alert.notes,
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

fn statistics(alert: &Alert) -> BTreeMap<&'static str, StatisticRecord> {
    let record = |statistic: &Statistic| StatisticRecord {
        hits: statistic.hits,
        threshold: statistic.threshold,
        window_seconds: statistic.window.as_secs_f64(),
    };
    alert
        .statistics
        .iter()
        .map(|each| (each.detector.name(), record(each)))
        .collect()
}
