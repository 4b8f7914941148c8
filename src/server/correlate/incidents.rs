//! All open incidents, and the alerts they give rise to.
//!
//! When there is something to say follows from the incidents alone: an update is due when its
//! pause is over, an end when it has been quiet for long enough. A tick only decides when it is
//! said, and what is said is what was known when it was due. So the same events give the same
//! alerts, however often the engine is told the time.

mod finding;
mod key;
mod opening;
pub mod places;
mod resume;
mod timers;

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Duration;

use crate::event::Timestamp;
use crate::server::alert::{Action, Alert, Detector};
use crate::server::correlate::clients::{Clients, Witness};
use crate::server::correlate::describe::describe;
use crate::server::correlate::dormant::{Closed, Dormant, FOR_EACH_OPEN};
use crate::server::correlate::doubt::{Doubt, Doubts};
use crate::server::correlate::incident::{Incident, Say};
pub use crate::server::correlate::incidents::finding::Finding;
pub use crate::server::correlate::incidents::key::Key;
pub use crate::server::correlate::incidents::opening::Turnover;
use crate::server::correlate::incidents::places::{Place, Places};
use crate::server::correlate::incidents::timers::{Timers, ends};
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::table::Fast;

/// The open incidents.
#[derive(Debug)]
pub struct Incidents {
    spans: Spans,
    open: HashMap<Key, Box<Open>, Fast>,
    /// Those about hits need a place.
    places: Places,
    timers: Timers,
    /// Those that have changed since alerts were last collected.
    touched: Vec<Key>,
    dormant: Dormant,
    doubtful: Doubts,
    turnover: Turnover,
}

/// An open incident with its timer and its place.
#[derive(Debug)]
struct Open {
    incident: Incident,
    wake: Option<Timestamp>,
    place: Option<Place>,
}

/// How incidents hang together over time.
#[derive(Clone, Copy, Debug)]
pub struct Spans {
    /// They close after so long without a hit.
    pub quiet: Duration,
    /// What comes again so soon after the end goes on.
    pub cool_down: Duration,
    /// What comes again within this bears the same id.
    pub recurrence: Duration,
}

impl Incidents {
    /// Room for `bound` incidents, which are found by these hashes.
    pub fn new(bound: usize, spans: Spans, hashes: Fast) -> Self {
        let bound = bound.max(1);
        Self {
            spans,
            open: HashMap::with_hasher(hashes.clone()),
            places: Places::new(bound),
            timers: Timers::default(),
            touched: Vec::new(),
            dormant: Dormant::new(bound.saturating_mul(FOR_EACH_OPEN), hashes),
            doubtful: Doubts::default(),
            turnover: Turnover::default(),
        }
    }

    /// Takes up other spans.
    pub const fn reload(&mut self, spans: Spans) {
        self.spans = spans;
    }

    /// The incident about `key`, if it is open.
    pub fn get_mut(&mut self, key: Key) -> Option<&mut Incident> {
        let open = self.open.get_mut(&key)?;
        if !self.touched.contains(&key) {
            self.touched.push(key);
        }
        Some(&mut open.incident)
    }

    /// The incident about `key`, if it is open, to look at only.
    pub fn get(&self, key: Key) -> Option<&Incident> {
        self.open.get(&key).map(|open| &open.incident)
    }

    /// Reads what a sighting will change in the incident about `key`, if it is open.
    pub fn foresee(&self, key: Key, sighting: &Sighting) {
        if let Some(open) = self.open.get(&key) {
            black_box(open.wake);
            open.incident.foresee(sighting);
        }
    }

    /// Whether an incident about `key` is open.
    pub fn is_open(&self, key: Key) -> bool {
        self.open.contains_key(&key)
    }

    /// Whether an incident about `key` is open that a detector has tripped.
    pub fn has_tripped(&self, key: Key, detector: Detector) -> bool {
        let open = self.open.get(&key);
        open.is_some_and(|open| open.incident.statistics.contains_key(&detector))
    }

    /// The last closed incident about `key`.
    pub fn closed(&self, key: Key) -> Option<&Closed> {
        self.dormant.get(key)
    }

    /// What has become of findings.
    pub const fn turnover(&self) -> Turnover {
        self.turnover
    }

    /// Who holds the places.
    pub const fn places(&self) -> &Places {
        &self.places
    }

    /// What this witness alone reports is in doubt from now on, as far as it is a part of the flood:
    /// it gives way to anything else.
    pub fn doubt(&mut self, witness: Witness, doubt: Doubt) {
        if !self.doubtful.insert(witness, doubt) {
            return;
        }
        for key in self.keys() {
            let Some(Open {
                incident, place, ..
            }) = self.open.get_mut(&key).map(|open| &mut **open)
            else {
                continue;
            };
            if let Some(place) = place.as_mut().filter(|place| place.holder == witness) {
                incident.circumstances.credit = self.doubtful.credit(incident);
                let rank = finding::rank(incident, place.rank.conduct);
                self.places.update(key, place, rank, incident.heard);
            }
        }
    }

    /// Puts an incident among the open ones that needs no place: one that is not about hits.
    pub fn put(&mut self, key: Key, incident: Incident) {
        self.insert(key, incident, None);
    }

    fn insert(&mut self, key: Key, incident: Incident, place: Option<Place>) {
        let open = Open {
            incident,
            wake: None,
            place,
        };
        self.open.insert(key, Box::new(open));
        self.touched.push(key);
    }

    /// The alerts that what has happened since the last call gives rise to.
    pub fn collect(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        let mut touched = std::mem::take(&mut self.touched);
        for key in touched.drain(..) {
            let Some(open) = self.open.get_mut(&key) else {
                continue;
            };
            let Open {
                incident,
                wake,
                place,
            } = &mut **open;
            appraise(incident, &self.doubtful, clients);
            if let Some(place) = place {
                let rank = finding::rank(incident, place.rank.conduct);
                self.places.update(key, place, rank, incident.heard);
            }
            tell(incident, now, clients, alerts);
            self.timers.schedule(key, incident, wake, self.spans.quiet);
        }
        self.touched = touched;
    }

    /// Says what was due by `now`, in the order in which it was.
    pub fn advance(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        while let Some((due, key)) = self.timers.pop(now) {
            let Some(open) = self.open.get_mut(&key) else {
                continue;
            };
            open.wake = None;
            if ends(key, &open.incident, self.spans.quiet).is_some_and(|end| end <= due) {
                self.close(key, due, clients, alerts);
            } else {
                tell(&mut open.incident, due, clients, alerts);
                self.timers
                    .schedule(key, &open.incident, &mut open.wake, self.spans.quiet);
            }
        }
    }

    /// Closes an incident, if it is open.
    pub fn close(&mut self, key: Key, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        if let Some(open) = self.take_out(key) {
            self.turnover.closed += u64::from(open.place.is_some());
            self.end(key, open.incident, now, clients, alerts);
        }
    }

    /// Takes an incident from among the open ones, and its place from it.
    fn take_out(&mut self, key: Key) -> Option<Open> {
        let open = *self.open.remove(&key)?;
        self.timers.cancel(key, open.wake);
        if let Some(place) = &open.place {
            self.places.leave(key, place);
        }
        Some(open)
    }

    /// Says that an incident is over, and remembers it.
    fn end(
        &mut self,
        key: Key,
        incident: Incident,
        now: Timestamp,
        clients: &Clients,
        alerts: &mut Vec<Alert>,
    ) {
        alerts.push(describe(&incident, Action::Close, now, clients));
        if matches!(key, Key::Scan(_)) {
            self.dormant.put(key, Closed::of(incident, now));
        }
    }

    /// Says everything that is still unsaid.
    pub fn flush(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        for key in self.keys() {
            let Some(open) = self.open.get_mut(&key) else {
                continue;
            };
            let incident = &mut open.incident;
            if incident.has_news() {
                alerts.push(describe(incident, Action::Update, now, clients));
                incident.told(now);
            }
        }
    }

    /// What is open, in a certain order.
    fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<_> = self.open.keys().copied().collect();
        keys.sort_unstable();
        keys
    }
}

/// Notes what bears on how much an incident matters.
fn appraise(incident: &mut Incident, doubtful: &Doubts, clients: &Clients) {
    incident.testimony.hear(|client| clients.witness(client));
    incident.circumstances.fleet = clients.witnesses();
    incident.circumstances.credit = doubtful.credit(incident);
}

fn tell(incident: &mut Incident, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
    let action = match incident.due(now) {
        Say::Open => Action::Open,
        Say::Update => Action::Update,
        Say::Nothing => return,
    };
    alerts.push(describe(incident, action, now, clients));
    incident.told(now);
}
