//! All open incidents, and the alerts they give rise to.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::{Action, Alert, Detector, Statistic, Subject};
use crate::server::correlate::clients::Clients;
use crate::server::correlate::describe::describe;
use crate::server::correlate::incident::{Incident, Memory, Say};
use crate::server::correlate::window::Sighting;

/// What an incident is about: its subject, and whether hits or silence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Hits.
    Scan(Subject),
    /// Silence.
    Silence(Subject),
}

/// The open incidents.
#[derive(Debug)]
pub struct Incidents {
    bound: usize,
    quiet: Duration,
    open: BTreeMap<Key, Incident>,
    /// Those that have changed since alerts were last collected.
    touched: BTreeSet<Key>,
    settled: Timestamp,
}

/// How far apart in time the incidents of a replay are looked through for what is over.
const SETTLE: Duration = Duration::from_secs(10);

impl Incidents {
    /// Room for `bound` incidents, each of which ends after `quiet`.
    pub fn new(bound: usize, quiet: Duration) -> Self {
        Self {
            bound: bound.max(1),
            quiet,
            open: BTreeMap::new(),
            touched: BTreeSet::new(),
            settled: Timestamp::default(),
        }
    }

    /// From now on incidents end after `quiet`.
    pub const fn reload(&mut self, quiet: Duration) {
        self.quiet = quiet;
    }

    /// The incident about `key`, if it is open.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Incident> {
        let incident = self.open.get_mut(&key)?;
        self.touched.insert(key);
        Some(incident)
    }

    /// Whether an incident about `key` is open.
    pub fn is_open(&self, key: Key) -> bool {
        self.open.contains_key(&key)
    }

    /// Opens an incident that `evidence` has led to.
    pub fn open<'a>(
        &mut self,
        detector: Detector,
        subject: Subject,
        statistic: Statistic,
        evidence: impl IntoIterator<Item = &'a Sighting>,
    ) {
        let mut evidence = evidence.into_iter();
        let Some(first) = evidence.next() else { return };
        let mark = [&first.client.0[..], &first.sequence.to_be_bytes()].concat();
        let mut incident = Incident::new(detector, subject, &mark, first.at);
        incident.add(first);
        evidence.for_each(|sighting| incident.add(sighting));
        incident.trip(statistic);
        self.put(Key::Scan(subject), incident);
    }

    /// Puts an incident among the open ones.
    pub fn put(&mut self, key: Key, incident: Incident) {
        self.open.insert(key, incident);
        self.touched.insert(key);
    }

    /// The alerts that what has happened since the last call gives rise to.
    pub fn collect(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        for key in std::mem::take(&mut self.touched) {
            if let Some(incident) = self.open.get_mut(&key) {
                tell(incident, now, clients, alerts);
            }
        }
        self.make_room(now, clients, alerts);
    }

    /// Closes the quietest incidents while there are too many.
    fn make_room(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        while self.open.len() > self.bound {
            let scans = self
                .open
                .iter()
                .filter(|(key, _)| matches!(key, Key::Scan(_)));
            let quietest = scans.min_by_key(|(_, incident)| incident.heard);
            let Some(key) = quietest.map(|(key, _)| *key) else {
                break;
            };
            self.close(key, now, clients, alerts);
        }
    }

    /// Says what was held back for a while, and closes what has been quiet for long enough.
    pub fn tick(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        let mut over = Vec::new();
        for (key, incident) in &mut self.open {
            if matches!(key, Key::Scan(_)) && incident.ends(self.quiet) <= now {
                over.push(*key);
            } else {
                tell(incident, now, clients, alerts);
            }
        }
        for key in over {
            self.close(key, now, clients, alerts);
        }
        self.make_room(now, clients, alerts);
    }

    /// Closes an incident that was over at `now`, before anything else is added to it.
    pub fn finish(&mut self, key: Key, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        if self
            .open
            .get(&key)
            .is_some_and(|incident| incident.ends(self.quiet) <= now)
        {
            self.close(key, now, clients, alerts);
        }
    }

    /// Closes without a word what was over before `now`, every so often.
    pub fn settle(&mut self, now: Timestamp) {
        if now.since(self.settled) < SETTLE {
            return;
        }
        self.settled = now;
        let quiet = self.quiet;
        self.open
            .retain(|key, incident| matches!(key, Key::Silence(_)) || incident.ends(quiet) > now);
        self.touched.clear();
    }

    /// Takes up what is known from before a restart: what is not in `memories`, by its id or by
    /// what it is about, is not open. The ids of those that are not here are returned.
    pub fn resume(&mut self, memories: &BTreeMap<String, Memory>) -> Vec<String> {
        let mut lost = BTreeMap::new();
        let known: BTreeSet<_> = self
            .open
            .values()
            .map(|incident| incident.id.clone())
            .collect();
        for (id, memory) in memories.iter().filter(|(id, _)| !known.contains(*id)) {
            lost.insert(Key::Scan(memory.subject), id);
        }
        self.open.retain(|key, incident| {
            if let Some(id) = lost
                .get(key)
                .filter(|_| !memories.contains_key(&incident.id))
            {
                incident.id.clone_from(*id);
                lost.remove(key);
            }
            let memory = memories.get(&incident.id);
            memory.is_some_and(|memory| {
                incident.remember(memory);
                true
            })
        });
        self.touched.clear();
        lost.into_values().cloned().collect()
    }

    /// Closes an incident, if it is open.
    pub fn close(&mut self, key: Key, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        if let Some(incident) = self.open.remove(&key) {
            alerts.push(describe(&incident, Action::Close, now, clients));
        }
    }

    /// Says everything that is still unsaid.
    pub fn flush(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        for incident in self
            .open
            .values_mut()
            .filter(|incident| incident.has_news())
        {
            incident.told(now);
            alerts.push(describe(incident, Action::Update, now, clients));
        }
    }
}

fn tell(incident: &mut Incident, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
    let action = match incident.due(now) {
        Say::Open => Action::Open,
        Say::Update => Action::Update,
        Say::Nothing => return,
    };
    incident.told(now);
    alerts.push(describe(incident, action, now, clients));
}
