//! Two replays of the same events under different settings: which incidents are not the same.
//!
//! An incident of one is the same as one of the other if they have the same id, or else if they
//! are about the same subject and overlap in time: with other thresholds an incident begins with
//! another hit, and has another id for it.

use std::collections::{BTreeMap, VecDeque};

use serde_json::{Value, json};

use crate::event::Timestamp;
use crate::replay::summary::counted;
use crate::server::alert::{Alert, Severity, Subject};

/// The most incidents of a replay that are compared.
const MAX_INCIDENTS: usize = 1_000_000;

/// An incident as its last alert had it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    id: String,
    subject: Subject,
    /// The subject's name where it has one beside its id.
    name: Option<String>,
    detectors: Vec<&'static str>,
    severity: Severity,
    first_seen: Timestamp,
    last_seen: Timestamp,
    hits: u64,
    clients: u64,
    ports: u64,
}

/// The incidents of a replay.
#[derive(Debug, Default)]
pub struct Outcomes {
    by_id: BTreeMap<String, Outcome>,
    left_out: u64,
}

/// An incident that is not the same under both settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// There is one under the second settings only.
    Appears(&'a Outcome),
    /// There is one under the first settings only.
    Disappears(&'a Outcome),
    /// There is one under both, and it differs.
    Changes(&'a Outcome, &'a Outcome),
}

/// How two replays differ.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Comparison<'a> {
    /// What differs, in order of time.
    pub changes: Vec<Change<'a>>,
    /// How many incidents are the same.
    pub same: u64,
}

impl Outcomes {
    /// Takes an alert into account.
    pub fn alert(&mut self, alert: &Alert) {
        if self.by_id.len() >= MAX_INCIDENTS && !self.by_id.contains_key(&alert.incident) {
            self.left_out += 1;
            return;
        }
        self.by_id
            .insert(alert.incident.clone(), Outcome::new(alert));
    }

    /// Alerts of incidents beyond the most that are compared.
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

impl<'a> Comparison<'a> {
    /// What is different under the second settings.
    pub fn new(first: &'a Outcomes, second: &'a Outcomes) -> Self {
        let mut comparison = Self::default();
        let mut unmatched = BTreeMap::<Subject, VecDeque<&Outcome>>::new();
        for (id, outcome) in &second.by_id {
            if !first.by_id.contains_key(id) {
                unmatched
                    .entry(outcome.subject)
                    .or_default()
                    .push_back(outcome);
            }
        }
        for outcomes in unmatched.values_mut() {
            outcomes.make_contiguous().sort_by_key(|it| it.first_seen);
        }
        let mut before: Vec<_> = first.by_id.values().collect();
        before.sort_by_key(|outcome| outcome.first_seen);
        for outcome in before {
            let same = second.by_id.get(&outcome.id);
            let partner = same.or_else(|| {
                let others = unmatched.get_mut(&outcome.subject)?;
                partner(outcome, others, &mut comparison.changes)
            });
            comparison.note(outcome, partner);
        }
        let left = unmatched.into_values().flatten().map(Change::Appears);
        comparison.changes.extend(left);
        comparison.changes.sort_by_key(Change::key);
        comparison
    }

    fn note(&mut self, before: &'a Outcome, after: Option<&'a Outcome>) {
        match after {
            Some(after) if before.tells(after) => self.same += 1,
            Some(after) => self.changes.push(Change::Changes(before, after)),
            None => self.changes.push(Change::Disappears(before)),
        }
    }

    /// How many incidents appear, disappear and change.
    pub fn counts(&self) -> (u64, u64, u64) {
        let (mut appear, mut disappear, mut change) = (0, 0, 0);
        for each in &self.changes {
            match each {
                Change::Appears(_) => appear += 1,
                Change::Disappears(_) => disappear += 1,
                Change::Changes(..) => change += 1,
            }
        }
        (appear, disappear, change)
    }
}

/// The first of `others`, which are about the same subject, that overlaps with `outcome`. Those
/// that end before it have no counterpart.
fn partner<'a>(
    outcome: &Outcome,
    others: &mut VecDeque<&'a Outcome>,
    changes: &mut Vec<Change<'a>>,
) -> Option<&'a Outcome> {
    while let Some(other) = others.front() {
        if other.last_seen >= outcome.first_seen {
            break;
        }
        changes.extend(others.pop_front().map(Change::Appears));
    }
    let overlaps = others.front()?.first_seen <= outcome.last_seen;
    if overlaps { others.pop_front() } else { None }
}

impl Outcome {
    fn new(alert: &Alert) -> Self {
        Self {
            id: alert.incident.clone(),
            subject: alert.subject,
            name: alert.subject_name.clone(),
            detectors: alert.detectors.iter().map(|it| it.name()).collect(),
            severity: alert.severity,
            first_seen: alert.first_seen,
            last_seen: alert.last_seen,
            hits: alert.hits,
            clients: alert.clients.count,
            ports: alert.ports.count,
        }
    }

    /// Whether the other one tells the same; its id does not matter.
    fn tells(&self, other: &Self) -> bool {
        let id = self.id.clone();
        *self
            == Self {
                id,
                ..other.clone()
            }
    }

    fn json(&self) -> Value {
        json!({
            "incident": self.id,
            "subject": { "kind": self.subject.kind(), "value": self.subject.to_string() },
            "name": self.name,
            "detectors": self.detectors,
            "severity": self.severity.name(),
            "first_seen": self.first_seen.exact(),
            "last_seen": self.last_seen.exact(),
            "hits": self.hits,
            "clients": self.clients,
            "ports": self.ports,
        })
    }

    fn subject(&self) -> String {
        let value = self
            .name
            .clone()
            .unwrap_or_else(|| self.subject.to_string());
        format!("{} {value}", self.subject.kind())
    }

    fn text(&self) -> String {
        format!(
            "{} {:<6} {}  {}, {}, {}  [{}]  #{}",
            self.first_seen,
            self.severity.name(),
            self.subject(),
            counted(self.hits, "hit"),
            counted(self.clients, "client"),
            counted(self.ports, "port"),
            self.detectors.join(" "),
            self.id,
        )
    }
}

impl Change<'_> {
    fn key(&self) -> (Timestamp, Subject) {
        match self {
            Self::Appears(it) | Self::Disappears(it) | Self::Changes(it, _) => {
                (it.first_seen, it.subject)
            }
        }
    }

    /// As a line for people.
    pub fn text(&self) -> String {
        match self {
            Self::Appears(after) => format!("+ {}", after.text()),
            Self::Disappears(before) => format!("- {}", before.text()),
            Self::Changes(before, after) => format!(
                "~ {} {}  {}  #{}",
                before.first_seen,
                before.subject(),
                differences(before, after),
                before.id,
            ),
        }
    }

    /// As an object: `change` (appears, disappears, changes), and the incident `before` and `after`,
    /// of which one may be null.
    pub fn json(&self) -> Value {
        let (change, before, after) = match self {
            Self::Appears(after) => ("appears", None, Some(after)),
            Self::Disappears(before) => ("disappears", Some(before), None),
            Self::Changes(before, after) => ("changes", Some(before), Some(after)),
        };
        json!({
            "change": change,
            "before": before.map(|it| it.json()),
            "after": after.map(|it| it.json()),
        })
    }
}

/// What differs between two incidents, in words.
fn differences(before: &Outcome, after: &Outcome) -> String {
    type Show = fn(&Outcome) -> String;
    let shown: [(&str, Show); 7] = [
        ("severity", |it| it.severity.name().to_owned()),
        ("hits", |it| it.hits.to_string()),
        ("clients", |it| it.clients.to_string()),
        ("ports", |it| it.ports.to_string()),
        ("detectors", |it| it.detectors.join(" ")),
        ("from", |it| it.first_seen.to_string()),
        ("to", |it| it.last_seen.to_string()),
    ];
    let differing = shown.iter().filter_map(|(what, show)| {
        let (before, after) = (show(before), show(after));
        (before != after).then(|| format!("{what} {before} → {after}"))
    });
    differing.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::server::ServerSettings;
    use crate::event::Event;
    use crate::replay::player::Player;
    use crate::replay::player::tests::event;
    use crate::server::correlate::sources::hash::Secret;

    fn outcomes(events: &[Event], settings: &str) -> Outcomes {
        let settings: ServerSettings = toml::from_str(settings).unwrap();
        let mut player = Player::new(&settings, Secret::default());
        let (mut said, mut outcomes) = (Vec::new(), Outcomes::default());
        for event in events {
            player.take(event, "web-1", &mut said);
        }
        player.finish(&mut said);
        for said in said {
            outcomes.alert(&said.alert);
        }
        outcomes
    }

    /// What differs between the defaults and `settings`, as text, and how many are the same.
    fn differ(events: &[Event], settings: &str) -> (Vec<String>, u64) {
        let (first, second) = (outcomes(events, ""), outcomes(events, settings));
        let comparison = Comparison::new(&first, &second);
        let lines = comparison.changes.iter().map(Change::text).collect();
        (lines, comparison.same)
    }

    /// Three quick hits, six quick ones, and three with minutes between them; the three sources
    /// together are a fourth incident, of their network.
    fn story() -> Vec<Event> {
        let quick = (0..3).map(|n| event(1000 + n, 1, 22));
        let more = (0..6).map(|n| event(20_000 + n, 2, 23));
        let slow = (0..3).map(|n| event(40_000 + 140 * n, 3, 24));
        let events: Vec<_> = quick.chain(more).chain(slow).collect();
        events
    }

    #[test]
    fn the_same_settings_change_nothing() {
        assert_eq!(differ(&story(), ""), (vec![], 4));
    }

    #[test]
    fn a_higher_threshold_makes_incidents_disappear() {
        let rules = ["source", "port", "client"]
            .map(|side| format!("[detectors.frequent-{side}]\nthreshold = 5\n"));
        let (changes, same) = differ(&story(), &rules.concat());
        assert_eq!(same, 2);
        assert_eq!(changes.len(), 2, "{changes:?}");
        assert!(
            changes[0].starts_with("- 1970-01-01T00:16:40Z low"),
            "{changes:?}"
        );
        assert!(changes[0].contains("source 192.0.2.1  3 hits, 1 client, 1 port"));
        assert!(changes[1].contains("source 192.0.2.3"), "{changes:?}");
    }

    #[test]
    fn a_detector_that_is_off_changes_what_an_incident_has_tripped() {
        let (changes, same) = differ(&story(), "[detectors.frequent-port]\nenabled = false\n");
        assert_eq!((changes.len(), same), (3, 1));
        let expected = "detectors frequent-source frequent-port frequent-client → frequent-source frequent-client";
        assert!(changes[0].contains(expected), "{changes:?}");
        assert!(changes[0].starts_with("~ "), "{changes:?}");
    }

    #[test]
    fn an_incident_that_begins_with_another_hit_is_still_the_same() {
        let mut events = vec![event(1000, 1, 22), event(1001, 1, 22)];
        events.extend((0..3).map(|n| event(1200 + n, 1, 22)));
        let short = ["source", "port", "client"]
            .map(|side| format!("[detectors.frequent-{side}]\nwindow = \"1m\"\n"));
        let (first, second) = (outcomes(&events, ""), outcomes(&events, &short.concat()));
        assert_ne!(
            first.by_id.keys().collect::<Vec<_>>(),
            second.by_id.keys().collect::<Vec<_>>()
        );
        let comparison = Comparison::new(&first, &second);
        assert_eq!(comparison.counts(), (0, 0, 1));
        let text = comparison.changes[0].text();
        assert!(text.contains("hits 5 → 3"), "{text}");
        let id = first.by_id.keys().next().unwrap();
        assert!(
            text.ends_with(&format!("#{id}")),
            "{text}: the id that there was"
        );
        let json = comparison.changes[0].json();
        assert_eq!(json["change"], "changes");
        assert_eq!(
            (&json["before"]["hits"], &json["after"]["hits"]),
            (&5.into(), &3.into())
        );
    }

    #[test]
    fn incidents_about_one_subject_at_different_times_are_different() {
        let early = [event(1000, 1, 22), event(1001, 1, 22), event(1002, 1, 22)];
        let late = [90_000, 90_001, 90_002].map(|second| event(second, 1, 22));
        let (first, second) = (outcomes(&early, ""), outcomes(&late, ""));
        let comparison = Comparison::new(&first, &second);
        assert_eq!(comparison.counts(), (1, 1, 0));
        let comparison = Comparison::new(&second, &first);
        assert_eq!(comparison.counts(), (1, 1, 0));
    }
}
