//! What a replay came to.
//!
//! As JSON it is one object: `files`, `lines`, `bad_lines`, `late_lines` (all null for a store),
//! `events`, `hits` (events by their count), `first` and `last` (when the earliest and the latest
//! event happened; null if there was none), `days` between them, `clients` and `sources` (each
//! {`count`; `exact`, false if there were more}), `incidents`, `incidents_a_day` (null in less than
//! an hour), `alerts`, `events_an_alert` (null without alerts), `by_action` and `by_detector` (of
//! alerts; the latter by severity), `held` and `digests` (how many alerts the valve held, for how many digests), `seconds` it took, `events_a_second`, and `digest`: the SHA-256
//! of all alerts as lines of JSON with line feeds. Replays with the same digest have said the same.

use std::collections::{BTreeMap, HashSet};
use std::hash::Hash;
use std::hint::black_box;
use std::time::Duration;

use foldhash::quality::RandomState;
use ring::digest::{Context, SHA256};
use serde_json::{Value, json};

use crate::config::server::Limits;
use crate::event::{ClientId, Event, Timestamp};
use crate::replay::merge::Read;
use crate::server::alert::digest::Digest;
use crate::server::alert::{Action, Alert, Exactness, Source};

/// What has come and what was said.
#[derive(Debug)]
pub struct Tally {
    events: u64,
    hits: u64,
    first: Option<Timestamp>,
    last: Timestamp,
    clients: Distinct<ClientId>,
    sources: Distinct<Source>,
    alerts: u64,
    incidents: u64,
    by_action: BTreeMap<&'static str, u64>,
    by_detector: BTreeMap<&'static str, BTreeMap<&'static str, u64>>,
    digest: DigestContext,
}

/// Sources that are told apart in the summary: so few that its memory stays small beside the
/// engine's.
const MOST_SOURCES: u32 = 1 << 20;

/// A hash that is not complete yet.
struct DigestContext(Context);

impl std::fmt::Debug for DigestContext {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DigestContext")
    }
}

impl Tally {
    /// Nothing yet. Clients are counted up to their limit.
    pub fn new(limits: &Limits) -> Self {
        Self {
            events: 0,
            hits: 0,
            first: None,
            last: Timestamp::default(),
            clients: Distinct::new(limits.clients),
            sources: Distinct::new(MOST_SOURCES),
            alerts: 0,
            incidents: 0,
            by_action: BTreeMap::new(),
            by_detector: BTreeMap::new(),
            digest: DigestContext(Context::new(&SHA256)),
        }
    }

    /// Reads what an event will change.
    pub fn foresee(&self, event: &Event) {
        black_box(self.sources.seen.contains(&Source::of(event.hit.source)));
    }

    /// Counts an event.
    pub fn event(&mut self, event: &Event) {
        self.events += 1;
        self.hits = self.hits.saturating_add(event.hit.count.get().into());
        self.first = Some(self.first.map_or(event.at, |first| first.min(event.at)));
        self.last = self.last.max(event.at);
        self.clients.add(event.client);
        self.sources.add(Source::of(event.hit.source));
    }

    /// Counts an alert, whose line of JSON this is.
    pub fn alert(&mut self, alert: &Alert, line: &str) {
        self.alerts += 1;
        if alert.action == Action::Open {
            self.incidents += 1;
        }
        *self.by_action.entry(alert.action.name()).or_default() += 1;
        let severities = self.by_detector.entry(alert.detector.name()).or_default();
        *severities.entry(alert.severity.name()).or_default() += 1;
        self.digest.0.update(line.as_bytes());
        self.digest.0.update(b"\n");
    }

    fn span(&self) -> Duration {
        self.first
            .map_or(Duration::ZERO, |first| self.last.since(first))
    }

    /// Days from the first event to the last.
    fn days(&self) -> f64 {
        self.span().as_secs_f64() / 86_400.0
    }

    /// Incidents a day; `None` if there was too little time for the figure to mean anything.
    fn incidents_a_day(&self) -> Option<f64> {
        let enough = self.span() >= Duration::from_secs(3600);
        enough.then(|| float(self.incidents) / self.days())
    }

    /// Events for each alert.
    fn events_an_alert(&self) -> Option<f64> {
        (self.alerts > 0).then(|| float(self.events) / float(self.alerts))
    }

    /// The SHA-256 over all alerts, in hexadecimal digits.
    pub fn digest(&self) -> String {
        let hash = self.digest.0.clone().finish();
        hash.as_ref().iter().map(|b| format!("{b:02x}")).collect()
    }
}

/// What was not written one by one.
#[derive(Clone, Copy, Debug, Default)]
pub struct Held {
    alerts: u64,
    digests: u64,
}

impl Held {
    /// Counts what a digest sums up.
    pub const fn add(&mut self, digest: &Digest) {
        self.alerts += digest.alerts;
        self.digests += 1;
    }
}

/// A replay that is over.
#[derive(Debug)]
pub struct Summary<'a> {
    /// What was read of files; `None` for a store.
    pub read: Option<&'a Read>,
    /// What came of it.
    pub tally: &'a Tally,
    /// What the valve held.
    pub held: Held,
    /// How long it took.
    pub took: Duration,
}

impl Summary<'_> {
    fn events_a_second(&self) -> f64 {
        float(self.tally.events) / self.took.as_secs_f64().max(1e-6)
    }

    /// In lines for people.
    pub fn text(&self) -> String {
        let tally = self.tally;
        let mut lines = Vec::new();
        if let Some(read) = self.read {
            lines.push(format!(
                "read       {} of {}; {} were bad, {} came later than the buffer",
                counted(read.lines, "line"),
                counted(read.files, "file"),
                grouped(read.bad),
                grouped(read.late),
            ));
        }
        lines.push(format!(
            "events     {} with {}, from {}, on {}",
            grouped(tally.events),
            counted(tally.hits, "hit"),
            tally.sources.text("source"),
            tally.clients.text("client"),
        ));
        if let Some(first) = tally.first {
            let (last, days) = (tally.last, tally.days());
            lines.push(format!("time       {first} to {last}, {days:.1} days"));
        }
        let a_day = tally.incidents_a_day();
        lines.push(format!(
            "incidents  {}{}",
            grouped(tally.incidents),
            a_day.map_or(String::new(), |a_day| format!(", {a_day:.1} a day")),
        ));
        let each = tally.events_an_alert();
        lines.push(format!(
            "alerts     {}{}{}",
            grouped(tally.alerts),
            list(&tally.by_action),
            each.map_or(String::new(), |each| format!("; {each:.1} events each")),
        ));
        for (detector, severities) in &tally.by_detector {
            let all = severities.values().sum();
            lines.push(format!(
                "           {detector} {}{}",
                grouped(all),
                list(severities)
            ));
        }
        if self.held.digests > 0 {
            lines.push(format!(
                "held       {} for {}; the others were written one by one",
                counted(self.held.alerts, "alert"),
                counted(self.held.digests, "digest"),
            ));
        }
        lines.push(format!(
            "took       {:.2} s, {:.0} events a second",
            self.took.as_secs_f64(),
            self.events_a_second()
        ));
        lines.push(format!("digest     {}", tally.digest()));
        lines.into_iter().map(|line| line + "\n").collect()
    }

    /// As one object.
    pub fn json(&self) -> Value {
        let tally = self.tally;
        let read = self.read;
        json!({
            "files": read.map(|read| read.files),
            "lines": read.map(|read| read.lines),
            "bad_lines": read.map(|read| read.bad),
            "late_lines": read.map(|read| read.late),
            "events": tally.events,
            "hits": tally.hits,
            "first": tally.first.map(Timestamp::exact),
            "last": tally.first.map(|_| tally.last.exact()),
            "days": tally.days(),
            "clients": tally.clients.json(),
            "sources": tally.sources.json(),
            "incidents": tally.incidents,
            "incidents_a_day": tally.incidents_a_day(),
            "alerts": tally.alerts,
            "events_an_alert": tally.events_an_alert(),
            "by_action": tally.by_action,
            "by_detector": tally.by_detector,
            "held": self.held.alerts,
            "digests": self.held.digests,
            "seconds": self.took.as_secs_f64(),
            "events_a_second": self.events_a_second(),
            "digest": tally.digest(),
        })
    }
}

/// `: 3 high, 2 low`, or nothing.
fn list(counts: &BTreeMap<&'static str, u64>) -> String {
    let each = counts
        .iter()
        .map(|(name, n)| format!("{} {name}", grouped(*n)));
    match each.collect::<Vec<_>>().join(", ") {
        list if list.is_empty() => list,
        list => format!(": {list}"),
    }
}

/// `1 file`, `1,234 files`.
pub fn counted(count: u64, what: &str) -> String {
    format!(
        "{} {what}{}",
        grouped(count),
        if count == 1 { "" } else { "s" }
    )
}

/// A number with its thousands apart: `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a count beyond 2^53 would take a thousand years to come about"
)]
const fn float(count: u64) -> f64 {
    count as f64
}

/// Counts what is distinct, up to a bound.
#[derive(Debug)]
struct Distinct<T> {
    bound: usize,
    seen: HashSet<T, RandomState>,
    exactness: Exactness,
}

impl<T: Eq + Hash> Distinct<T> {
    fn new(bound: u32) -> Self {
        Self {
            bound: usize::try_from(bound).unwrap_or(usize::MAX),
            seen: HashSet::default(),
            exactness: Exactness::Exact,
        }
    }

    fn add(&mut self, item: T) {
        if self.seen.len() < self.bound {
            self.seen.insert(item);
        } else if self.exactness == Exactness::Exact && !self.seen.contains(&item) {
            self.exactness = Exactness::AtLeast;
        }
    }

    fn count(&self) -> u64 {
        u64::try_from(self.seen.len()).unwrap_or(u64::MAX)
    }

    fn text(&self, what: &str) -> String {
        let count = counted(self.count(), what);
        match self.exactness {
            Exactness::Exact => count,
            Exactness::AtLeast => format!("more than {count}"),
        }
    }

    fn json(&self) -> Value {
        json!({ "count": self.count(), "exact": self.exactness == Exactness::Exact })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::server::ServerSettings;
    use crate::replay::player::Player;
    use crate::replay::player::tests::event;
    use crate::server::correlate::sources::hash::Secret;

    #[test]
    fn a_replay_is_summed_up_for_people_and_for_programs() {
        let mut player = Player::new(&ServerSettings::default(), Secret::default());
        let mut said = Vec::new();
        for second in [0, 1, 2, 3600] {
            player.take(&event(86_400 + second, 7, 22), "web-1", &mut said);
        }
        player.finish(&mut said);
        let read = Read {
            files: 1,
            lines: 1234,
            bad: 1230,
            ..Read::default()
        };
        let summary = Summary {
            read: Some(&read),
            tally: player.tally(),
            held: Held::default(),
            took: Duration::from_millis(500),
        };
        let text = summary.text();
        for line in [
            "read       1,234 lines of 1 file; 1,230 were bad, 0 came later than the buffer\n",
            "events     4 with 4 hits, from 1 source, on 1 client\n",
            "time       1970-01-02T00:00:00Z to 1970-01-02T01:00:00Z, 0.0 days\n",
            "incidents  1, 24.0 a day\n",
            "took       0.50 s, 8 events a second\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
        let json = summary.json();
        assert_eq!(
            (&json["events"], &json["incidents"], &json["bad_lines"]),
            (&4.into(), &1.into(), &1230.into())
        );
        assert_eq!(json["sources"], json!({"count": 1, "exact": true}));
        assert_eq!(json["digest"], player.tally().digest());
    }

    #[test]
    fn what_is_distinct_is_counted_up_to_the_bound() {
        let mut distinct = Distinct::new(2);
        for item in [1, 2, 1, 2] {
            distinct.add(item);
        }
        assert_eq!(distinct.text("file"), "2 files");
        distinct.add(3);
        distinct.add(4);
        assert_eq!(distinct.text("file"), "more than 2 files");
    }

    #[test]
    fn thousands_stand_apart() {
        let grouped = [0, 999, 1000, 123_456, 1_234_567].map(grouped);
        assert_eq!(grouped, ["0", "999", "1,000", "123,456", "1,234,567"]);
    }
}
