//! All open incidents, and the alerts they give rise to.
//!
//! When there is something to say follows from the incidents alone: an update is due when its
//! pause is over, an end when it has been quiet for long enough. A tick only decides when it is
//! said, and what is said is what was known when it was due. So the same events give the same
//! alerts, however often the engine is told the time.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{Hash, Hasher};
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use crate::event::{ClientId, Timestamp};
use crate::server::alert::{Action, Alert, Detector, Statistic, Subject};
use crate::server::correlate::clients::Clients;
use crate::server::correlate::describe::describe;
use crate::server::correlate::dormant::{Closed, Dormant, FOR_EACH_OPEN, Grounds};
use crate::server::correlate::incident::{Incident, Memory, Say};
use crate::server::correlate::severity::{Origin, Witnesses};
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::table::Fast;

/// What an incident is about: its subject, and whether hits, silence, or how vft does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Key {
    /// Hits.
    Scan(Subject),
    /// Silence.
    Silence(Subject),
    /// How vft does.
    Health(Detector, Subject),
}

impl Key {
    /// What an incident that a detector has opened about a subject is found by.
    pub const fn new(detector: Detector, subject: Subject) -> Self {
        match detector {
            Detector::SilentClient => Self::Silence(subject),
            Detector::LyingClient | Detector::ClonedClient | Detector::Degraded => {
                Self::Health(detector, subject)
            }
            _ => Self::Scan(subject),
        }
    }
}

impl Hash for Key {
    /// In one go: this is done several times for each event.
    fn hash<H: Hasher>(&self, state: &mut H) {
        let (kind, subject) = match self {
            Self::Scan(subject) => (0, subject),
            Self::Silence(subject) => (1, subject),
            Self::Health(_, subject) => (2, subject),
        };
        let number = match subject {
            Subject::Source(source) => number(source.address()),
            Subject::Network(network) => number(network.address()) ^ 1,
            Subject::Port(port) => u128::from(*port),
            Subject::Client(client) => u128::from_be_bytes(client.0),
            Subject::Fleet => 1 << 17,
            Subject::Server => 1 << 18,
        };
        state.write_u128(number ^ kind << 20);
    }
}

const fn number(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().to_bits(),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// What leads to an incident.
#[derive(Debug)]
pub struct Finding<'a> {
    /// Whom or what it is about.
    pub subject: Subject,
    /// What was computed.
    pub statistic: Statistic,
    /// What it was computed from, oldest first.
    pub evidence: &'a [Sighting],
    /// Where the source is.
    pub origin: Origin,
    /// When the server got the last piece of evidence.
    pub received: Timestamp,
}

/// The open incidents.
#[derive(Debug)]
pub struct Incidents {
    bound: usize,
    spans: Spans,
    open: HashMap<Key, Box<Open>, Fast>,
    /// How many of them are about hits: those count against the bound.
    scans: usize,
    /// When each of them has to be looked at next, or earlier.
    timers: BTreeSet<(Timestamp, Key)>,
    /// Those that have changed since alerts were last collected.
    touched: Vec<Key>,
    dormant: Dormant,
    doubtful: BTreeSet<ClientId>,
    unopened: u64,
    room_sought: Timestamp,
}

/// An open incident with its timer.
#[derive(Debug)]
struct Open {
    incident: Incident,
    wake: Option<Timestamp>,
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

/// Of too many incidents, those are closed early that have been quiet for so long.
const CALM: Duration = Duration::from_secs(600);

/// How often such ones are looked for.
const SEEK: Duration = Duration::from_secs(10);

impl Incidents {
    /// Room for `bound` incidents, which are found by these hashes.
    pub fn new(bound: usize, spans: Spans, hashes: Fast) -> Self {
        let bound = bound.max(1);
        Self {
            bound,
            spans,
            open: HashMap::with_hasher(hashes.clone()),
            scans: 0,
            timers: BTreeSet::new(),
            touched: Vec::new(),
            dormant: Dormant::new(bound.saturating_mul(FOR_EACH_OPEN), hashes),
            doubtful: BTreeSet::new(),
            unopened: 0,
            room_sought: Timestamp::default(),
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

    /// Incidents that were not opened because there were too many.
    pub const fn unopened(&self) -> u64 {
        self.unopened
    }

    /// Whether one more could be opened at `now`; those that are calm give way.
    pub fn has_room(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) -> bool {
        let room = self.scans < self.bound || self.make_room(now, clients, alerts);
        if !room {
            self.unopened += 1;
        }
        room
    }

    /// What this client alone reports is not believed from now on.
    pub fn doubt(&mut self, client: ClientId) {
        self.doubtful.insert(client);
    }

    /// Opens an incident, or goes on with one that was closed lately.
    pub fn open(&mut self, finding: &Finding<'_>, clients: &Clients, alerts: &mut Vec<Alert>) {
        let Some(first) = finding.evidence.first() else {
            return;
        };
        if !self.has_room(finding.received, clients, alerts) {
            return;
        }
        let detector = finding.statistic.detector;
        let mut incident = Incident::new(detector, finding.subject, &mark(first), first.at);
        finding.evidence.iter().for_each(|each| incident.add(each));
        incident.heard = incident.heard.max(finding.received);
        if let Some(last) = finding.evidence.last() {
            incident.lateness = finding.received.since(last.at);
        }
        incident.trip(finding.statistic);
        incident.circumstances.origin = finding.origin;
        let key = Key::Scan(finding.subject);
        if let Some(closed) = self.dormant.take(key) {
            let pause = finding.received.since(closed.at);
            if pause <= self.spans.cool_down {
                incident.go_on(&closed);
            } else if pause <= self.spans.recurrence {
                incident.recur(&closed);
            }
        }
        self.put(key, incident);
    }

    /// Puts an incident among the open ones.
    pub fn put(&mut self, key: Key, incident: Incident) {
        let wake = None;
        let open = Box::new(Open { incident, wake });
        let former = self.open.insert(key, open);
        if former.is_none() && matches!(key, Key::Scan(_)) {
            self.scans += 1;
        }
        self.touched.push(key);
    }

    /// The alerts that what has happened since the last call gives rise to.
    pub fn collect(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        let mut touched = std::mem::take(&mut self.touched);
        for key in touched.drain(..) {
            let Some(open) = self.open.get_mut(&key) else {
                continue;
            };
            let incident = &mut open.incident;
            incident.circumstances.fleet = clients.len();
            incident.circumstances.witnesses = witnesses(incident, &self.doubtful);
            tell(incident, now, clients, alerts);
            schedule(key, open, self.spans.quiet, &mut self.timers);
        }
        self.touched = touched;
    }

    /// Says what was due by `now`, in the order in which it was.
    pub fn advance(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        while let Some((due, key)) = self.timers.first().copied().filter(|(due, _)| *due <= now) {
            self.timers.remove(&(due, key));
            let Some(open) = self.open.get_mut(&key) else {
                continue;
            };
            open.wake = None;
            if ends(key, &open.incident, self.spans.quiet).is_some_and(|end| end <= due) {
                self.close(key, due, clients, alerts);
            } else {
                tell(&mut open.incident, due, clients, alerts);
                schedule(key, open, self.spans.quiet, &mut self.timers);
            }
        }
    }

    /// Closes an incident, if it is open.
    pub fn close(&mut self, key: Key, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) {
        if let Some(open) = self.open.remove(&key) {
            let Open { mut incident, wake } = *open;
            if let Some(wake) = wake {
                self.timers.remove(&(wake, key));
            }
            incident.messages = incident.messages.saturating_add(1);
            alerts.push(describe(&incident, Action::Close, now, clients));
            if matches!(key, Key::Scan(_)) {
                self.scans -= 1;
                let severity = incident.severity();
                let grounds = Grounds::of(incident.statistics.keys().copied());
                self.dormant.put(
                    key,
                    Closed {
                        id: incident.id,
                        at: now,
                        last_seen: incident.last_seen,
                        severity,
                        grounds,
                        recurrence: incident.recurrence,
                        messages: incident.messages,
                    },
                );
            }
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
                incident.told(now);
                alerts.push(describe(incident, Action::Update, now, clients));
            }
        }
    }

    /// What is open, in a certain order.
    fn keys(&self) -> Vec<Key> {
        let mut keys: Vec<_> = self.open.keys().copied().collect();
        keys.sort_unstable();
        keys
    }

    /// Takes up what is known from before a restart: what is not in `memories`, by its id or by
    /// what it is about, is not open. The ids of those that are not here are returned.
    pub fn resume(&mut self, memories: &BTreeMap<String, Memory>) -> Vec<String> {
        let mut lost = BTreeMap::new();
        let known: BTreeSet<_> = self.open.values().map(|it| &it.incident.id).collect();
        for (id, memory) in memories.iter().filter(|(id, _)| !known.contains(id)) {
            lost.insert(memory.key, id);
        }
        for key in self.keys() {
            let Some(open) = self.open.get_mut(&key) else {
                continue;
            };
            let Open { incident, wake } = &mut **open;
            *wake = None;
            if !memories.contains_key(&incident.id) {
                if let Some(id) = lost.remove(&key) {
                    incident.id.clone_from(id);
                }
            }
            if let Some(memory) = memories.get(&incident.id) {
                incident.remember(memory);
            } else {
                self.open.remove(&key);
                if matches!(key, Key::Scan(_)) {
                    self.scans -= 1;
                }
            }
        }
        self.touched.clear();
        self.timers.clear();
        for key in self.keys() {
            if let Some(open) = self.open.get_mut(&key) {
                schedule(key, open, self.spans.quiet, &mut self.timers);
            }
        }
        lost.into_values().cloned().collect()
    }

    /// Takes up an incident that was closed before a restart.
    pub fn remember_closed(&mut self, key: Key, closed: Closed) {
        if !self.open.contains_key(&key) {
            self.dormant.put(key, closed);
        }
    }

    /// Closes incidents that have been quiet for a while, if any have; whether there is room now.
    fn make_room(&mut self, now: Timestamp, clients: &Clients, alerts: &mut Vec<Alert>) -> bool {
        if now.since(self.room_sought) < SEEK {
            return false;
        }
        self.room_sought = now;
        let open = self.open.iter().map(|(key, open)| (key, &open.incident));
        let calm = open.filter(|(key, incident)| {
            matches!(key, Key::Scan(_)) && now.since(incident.heard) >= CALM
        });
        let mut calm: Vec<_> = calm.map(|(key, _)| *key).collect();
        calm.sort_unstable();
        for key in calm {
            self.close(key, now, clients, alerts);
        }
        self.scans < self.bound
    }
}

/// Sees to it that an incident is looked at when it has to be.
fn schedule(key: Key, open: &mut Open, quiet: Duration, timers: &mut BTreeSet<(Timestamp, Key)>) {
    let Open { incident, wake } = open;
    // To be woken too early costs little; an end that moves away with each hit stays put.
    if wake.is_some_and(|known| known <= incident.not_before(quiet)) {
        return;
    }
    let end = ends(key, incident, quiet);
    let Some(next) = end.into_iter().chain(incident.next_update()).min() else {
        return;
    };
    if wake.is_some_and(|known| known <= next) {
        return;
    }
    if let Some(known) = wake.replace(next) {
        timers.remove(&(known, key));
    }
    timers.insert((next, key));
}

/// When an incident is over, if that is a matter of time.
fn ends(key: Key, incident: &Incident, quiet: Duration) -> Option<Timestamp> {
    match key {
        Key::Scan(_) | Key::Health(..) => Some(incident.ends(quiet)),
        Key::Silence(_) => None,
    }
}

/// Tells an incident from the next one about the same subject: its first hit.
fn mark(first: &Sighting) -> Vec<u8> {
    [
        &first.client.0[..],
        &first.at.as_micros().to_be_bytes(),
        &first.port.to_be_bytes(),
    ]
    .concat()
}

fn witnesses(incident: &Incident, doubtful: &BTreeSet<ClientId>) -> Witnesses {
    let only = incident.clients.only();
    if only.is_some_and(|client| doubtful.contains(&client)) {
        Witnesses::Doubtful
    } else {
        Witnesses::Credible
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
