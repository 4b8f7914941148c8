//! Incidents that are closed, for as long as they have a bearing on later ones.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::{Detector, Severity};
use crate::server::correlate::incident::Incident;
use crate::server::correlate::incidents::Key;
use crate::server::correlate::table::Fast;

/// Closed incidents, the latest one of each subject.
#[derive(Debug)]
pub struct Dormant {
    bound: usize,
    closed: HashMap<Key, Closed, Fast>,
    by_time: BTreeSet<(Timestamp, Key)>,
}

/// What is remembered of a closed incident.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    /// Its id.
    pub id: String,
    /// When it was closed.
    pub at: Timestamp,
    /// When its last hit happened.
    pub last_seen: Timestamp,
    /// How much it mattered.
    pub severity: Severity,
    /// What it rested on.
    pub grounds: Grounds,
    /// How often it had begun anew.
    pub recurrence: u32,
    /// How many messages there were about it.
    pub messages: u32,
}

impl Closed {
    /// What is remembered of an incident that was closed at `at`.
    pub fn of(incident: Incident, at: Timestamp) -> Self {
        Self {
            severity: incident.severity(),
            grounds: Grounds::of(incident.statistics.keys().copied()),
            id: incident.id,
            at,
            last_seen: incident.last_seen,
            recurrence: incident.recurrence,
            messages: incident.messages.saturating_add(1),
        }
    }
}

/// What an incident rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grounds {
    /// Numbers that somebody has set were reached.
    Numbers,
    /// Chance does not bring about the like.
    Improbable,
}

impl Grounds {
    /// The grounds of an incident that has tripped these detectors.
    pub fn of(mut detectors: impl Iterator<Item = Detector>) -> Self {
        let improbable = detectors.any(|detector| {
            matches!(
                detector,
                Detector::SlowScan
                    | Detector::SubnetScan
                    | Detector::CoordinatedScan
                    | Detector::LateralMovement
            )
        });
        if improbable {
            Self::Improbable
        } else {
            Self::Numbers
        }
    }
}

/// Closed incidents that are remembered for each one that may be open.
pub const FOR_EACH_OPEN: usize = 16;

/// How long closed incidents are remembered.
pub const MEMORY: Duration = Duration::from_secs(365 * 86_400);

impl Dormant {
    /// Room for `bound` incidents, which are found by these hashes; beyond, the one closed first is
    /// forgotten.
    pub fn new(bound: usize, hashes: Fast) -> Self {
        Self {
            bound,
            closed: HashMap::with_hasher(hashes),
            by_time: BTreeSet::new(),
        }
    }

    /// Remembers an incident that was closed.
    pub fn put(&mut self, key: Key, closed: Closed) {
        self.take(key);
        self.by_time.insert((closed.at, key));
        self.closed.insert(key, closed);
        while let (Some((oldest_at, oldest)), Some((now, _))) =
            (self.by_time.first().copied(), self.by_time.last())
        {
            if self.closed.len() <= self.bound && now.since(oldest_at) <= MEMORY {
                break;
            }
            self.take(oldest);
        }
    }

    /// Takes out what is remembered about `key`.
    pub fn take(&mut self, key: Key) -> Option<Closed> {
        let closed = self.closed.remove(&key)?;
        self.by_time.remove(&(closed.at, key));
        Some(closed)
    }

    /// What is remembered about `key`.
    pub fn get(&self, key: Key) -> Option<&Closed> {
        self.closed.get(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::alert::Subject;

    fn closed(day: u64) -> Closed {
        let at = Timestamp::from_micros(day * 86_400_000_000);
        Closed {
            id: day.to_string(),
            at,
            last_seen: at,
            severity: Severity::Low,
            grounds: Grounds::Numbers,
            recurrence: 0,
            messages: 1,
        }
    }

    #[test]
    fn the_oldest_are_forgotten_when_there_are_too_many_or_after_a_year() {
        let key = |port| Key::Scan(Subject::Port(port));
        let mut dormant = Dormant::new(2, Fast::default());
        (1..=3).for_each(|day| dormant.put(key(day), closed(day.into())));
        assert_eq!(dormant.get(key(1)), None);
        assert_eq!(dormant.get(key(2)), Some(&closed(2)));
        dormant.put(key(3), closed(400));
        assert_eq!(dormant.get(key(2)), None);
        assert_eq!(dormant.take(key(3)), Some(closed(400)));
        assert!(dormant.by_time.is_empty());
    }
}
