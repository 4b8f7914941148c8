//! A digest: alerts that were not said one by one, summed up.

use std::collections::BTreeMap;

use crate::event::Timestamp;
use crate::server::alert::brief::Brief;
use crate::server::alert::{Action, Detector, Severity};

/// Alerts that were held, summed up. Each of the counts adds up to `alerts`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digest {
    /// When it was due.
    pub time: Timestamp,
    /// The id of the first of them, which is in no other digest.
    pub first: String,
    /// When the first of them was said.
    pub from: Timestamp,
    /// When the last was.
    pub to: Timestamp,
    /// How many there are.
    pub alerts: u64,
    /// … why they were held.
    pub by_reason: Counts<Reason>,
    /// … what became of their incidents.
    pub by_action: Counts<Action>,
    /// … which detectors opened them.
    pub by_detector: Counts<Detector>,
    /// … how much they matter.
    pub by_severity: Counts<Severity>,
    /// The last word on the gravest of the incidents, the gravest first.
    pub gravest: Vec<Brief>,
    /// Whether there are incidents beside these.
    pub others: Others,
}

/// Whether a digest has incidents that it does not name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Others {
    /// It names all.
    None,
    /// It has.
    Some,
}

/// How many there are of each.
pub type Counts<T> = BTreeMap<T, u64>;

/// Why an alert was held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It is about somebody outside, where strangers are nothing new.
    Outside,
    /// There were too many within an hour.
    TooMany,
}

/// Incidents that a digest names.
const NAMED: usize = 5;

impl Digest {
    /// One with nothing in it yet, for this alert and those that follow.
    pub fn new(first: &Brief) -> Self {
        Self {
            time: first.time,
            first: first.message.clone(),
            from: first.time,
            to: first.time,
            alerts: 0,
            by_reason: Counts::new(),
            by_action: Counts::new(),
            by_detector: Counts::new(),
            by_severity: Counts::new(),
            gravest: Vec::new(),
            others: Others::None,
        }
    }

    /// Takes one more alert in.
    pub fn add(&mut self, brief: &Brief, reason: Reason) {
        self.from = self.from.min(brief.time);
        self.to = self.to.max(brief.time);
        self.alerts += 1;
        *self.by_reason.entry(reason).or_default() += 1;
        *self.by_action.entry(brief.action).or_default() += 1;
        *self.by_detector.entry(brief.detector).or_default() += 1;
        *self.by_severity.entry(brief.severity).or_default() += 1;
        self.gravest.retain(|it| it.incident != brief.incident);
        // Behind those that matter as much and came before.
        let place = self
            .gravest
            .partition_point(|it| it.severity >= brief.severity);
        self.gravest.insert(place, brief.clone());
        if self.gravest.len() > NAMED {
            self.gravest.truncate(NAMED);
            self.others = Others::Some;
        }
    }
}

impl Reason {
    /// The reason's name in digests.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Outside => "outside",
            Self::TooMany => "too-many",
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::server::alert::brief::Named;

    /// An alert of `frequent-source` about 192.0.2.7, of this incident.
    pub fn brief(second: u64, incident: &str, severity: Severity) -> Brief {
        Brief {
            time: Timestamp::from_micros(second * 1_000_000),
            action: Action::Open,
            incident: incident.to_owned(),
            message: format!("{incident}-1"),
            detector: Detector::FrequentSource,
            severity,
            subject: Named {
                kind: "source".to_owned(),
                value: "192.0.2.7".to_owned(),
                name: None,
            },
            zone: None,
            title: "3 hits".to_owned(),
        }
    }

    fn named(digest: &Digest) -> Vec<&str> {
        let ids = digest.gravest.iter().map(|it| it.incident.as_str());
        ids.collect()
    }

    #[test]
    fn the_gravest_are_named_each_once_and_no_more_than_a_few() {
        let mut digest = Digest::new(&brief(0, "a", Severity::Low));
        for (second, incident) in (0..).zip(["a", "b", "c", "d", "a"]) {
            digest.add(&brief(second, incident, Severity::Low), Reason::TooMany);
        }
        assert_eq!(named(&digest), ["b", "c", "d", "a"]);
        assert_eq!(digest.others, Others::None);
        digest.add(&brief(5, "e", Severity::Medium), Reason::TooMany);
        digest.add(&brief(6, "f", Severity::High), Reason::Outside);
        assert_eq!(named(&digest), ["f", "e", "b", "c", "d"]);
        assert_eq!((digest.others, digest.alerts), (Others::Some, 7));
        digest.add(&brief(7, "a", Severity::Low), Reason::TooMany);
        assert_eq!(named(&digest), ["f", "e", "b", "c", "d"]);
        assert_eq!(digest.by_reason[&Reason::TooMany], 7);
    }
}
