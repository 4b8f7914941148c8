//! One incident: what has been seen of a subject, and when to speak of it.
//!
//! It is opened at the hit that crosses a threshold, and told of at once. What changes is told
//! again after 4.5 s, then a minute, then ten minutes: first whatever there is, so that
//! the picture of a whole burst is there within 5 s, later only what matters (four times the
//! hits, twice the clients or ports, another detector, a higher severity, another shape). It closes
//! after it has been quiet for a while.

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use ring::digest::{Context, SHA256};

use crate::event::{ClientId, Timestamp};
use crate::server::alert::{Detector, Severity, Shape, Statistic, Subject};
use crate::server::correlate::dormant::Closed;
use crate::server::correlate::incidents::Key;
use crate::server::correlate::severity::{Circumstances, severity_of};
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::tally::{Contacts, Tally};

/// An incident that is open.
#[derive(Clone, Debug)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// Whom or what it is about.
    pub subject: Subject,
    /// The detector that opened it.
    pub opened_by: Detector,
    /// What each detector it tripped had computed then.
    pub statistics: BTreeMap<Detector, Statistic>,
    /// What the gravest of these findings amounts to by itself.
    pub found: Severity,
    /// When its first hit happened.
    pub first_seen: Timestamp,
    /// When its last hit happened.
    pub last_seen: Timestamp,
    /// When the server last got one of its hits.
    pub heard: Timestamp,
    /// Its hits.
    pub hits: u64,
    /// Its hits by client.
    pub clients: Tally<ClientId>,
    /// Its hits by trap port.
    pub ports: Tally<u16>,
    /// Its hits by source address.
    pub sources: Tally<IpAddr>,
    /// Its distinct triples.
    pub contacts: Contacts<(IpAddr, ClientId, u16)>,
    /// How often it has begun anew after it was closed.
    pub recurrence: u32,
    /// How long after they happened its hits have come, at most.
    pub lateness: Duration,
    /// What else bears on how much it matters.
    pub circumstances: Circumstances,
    /// What more there is to say.
    pub remarks: BTreeSet<String>,
    told: Told,
}

/// What the last alert said, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Once {
        at: Timestamp,
        alerts: u32,
        what: Gist,
    },
}

/// What makes another alert worth its line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gist {
    /// Its hits.
    pub hits: u64,
    /// The clients that saw it.
    pub clients: usize,
    /// The ports it touched.
    pub ports: usize,
    /// The detectors it tripped.
    pub detectors: usize,
    /// How much it matters.
    pub severity: Severity,
    /// How clients and ports lie.
    pub shape: Option<Shape>,
}

/// What is known of an incident from before a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Memory {
    /// When it was last told of.
    pub at: Timestamp,
    /// How many alerts there were.
    pub alerts: u32,
    /// What the last one said.
    pub what: Gist,
    /// What it is about.
    pub key: Key,
    /// When its first hit happened, or its silence began.
    pub first_seen: Timestamp,
}

/// Whether there is something to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Say {
    /// The incident was not told of yet.
    Open,
    /// It has changed, and the pause is over.
    Update,
    /// Not now.
    Nothing,
}

/// The pause after the first alert. It leaves room for the tick, so that the second is there within
/// 5 s.
const FIRST_PAUSE: Duration = Duration::from_millis(4500);
/// The pause after the second alert.
const SECOND_PAUSE: Duration = Duration::from_secs(60);
/// The pause after all later alerts.
const PAUSE: Duration = Duration::from_secs(600);

/// Remarks that are kept.
const MAX_REMARKS: usize = 8;

/// The longest quiet an incident waits for.
const LONGEST_QUIET: Duration = Duration::from_secs(7 * 86_400);

impl Incident {
    /// An incident that nothing is known of yet. `mark` tells it from the next one about the same
    /// subject: its first event.
    pub fn new(detector: Detector, subject: Subject, mark: &[u8], at: Timestamp) -> Self {
        Self {
            id: id(detector, subject, mark),
            subject,
            opened_by: detector,
            statistics: BTreeMap::new(),
            found: Severity::Low,
            first_seen: at,
            last_seen: at,
            heard: at,
            hits: 0,
            clients: Tally::default(),
            ports: Tally::default(),
            sources: Tally::default(),
            contacts: Contacts::default(),
            recurrence: 0,
            lateness: Duration::ZERO,
            circumstances: Circumstances::default(),
            remarks: BTreeSet::new(),
            told: Told::Nothing,
        }
    }

    /// Reads what a sighting will change.
    pub fn foresee(&self, sighting: &Sighting) {
        black_box((self.first_seen, self.last_seen, self.heard, self.hits));
        black_box((self.lateness, self.found, self.circumstances));
        self.clients.foresee(&sighting.client);
        self.ports.foresee(&sighting.port);
        self.sources.foresee(&sighting.source);
        self.contacts.foresee(&triple(sighting));
    }

    /// Takes in a sighting that has just been received.
    pub fn receive(&mut self, sighting: &Sighting, received: Timestamp) {
        self.heard = self.heard.max(received);
        self.lateness = self.lateness.max(received.since(sighting.at));
        self.add(sighting);
    }

    /// Takes a sighting in.
    pub fn add(&mut self, sighting: &Sighting) {
        let count = u64::from(sighting.count);
        self.first_seen = self.first_seen.min(sighting.at);
        self.last_seen = self.last_seen.max(sighting.at);
        self.hits = self.hits.saturating_add(count);
        self.clients.add(sighting.client, count);
        self.ports.add(sighting.port, count);
        self.sources.add(sighting.source, count);
        self.contacts.add(triple(sighting));
    }

    /// Notes that a detector has tripped; only the first time counts.
    pub fn trip(&mut self, statistic: Statistic) {
        let detector = statistic.detector;
        self.statistics.entry(detector).or_insert(statistic);
        self.found = self.found.max(severity_of(detector));
    }

    /// Notes that it was still so at `now`.
    pub fn went_on(&mut self, now: Timestamp) {
        self.last_seen = self.last_seen.max(now);
        self.heard = self.heard.max(now);
    }

    /// Notes something to say beside the figures, unless there is much already.
    pub fn remark(&mut self, remark: String) {
        if self.remarks.len() < MAX_REMARKS {
            self.remarks.insert(remark);
        }
    }

    /// How many traps it has touched, up to a bound.
    pub fn traps(&self) -> usize {
        let traps = self.contacts.iter().map(|(_, client, port)| (client, port));
        traps.collect::<BTreeSet<_>>().len()
    }

    /// How the touched clients and ports lie: many are three or more.
    pub fn shape(&self) -> Option<Shape> {
        match (self.clients.count(), self.ports.count()) {
            (3.., 3..) => Some(Shape::Block),
            (3.., _) => Some(Shape::Horizontal),
            (_, 3..) => Some(Shape::Vertical),
            _ => None,
        }
    }

    /// Whether there is something to say at `now`.
    pub fn due(&self, now: Timestamp) -> Say {
        let Told::Once { at, alerts, what } = &self.told else {
            return Say::Open;
        };
        // A clock that was set back must not hold anything up.
        let paused = *at <= now && now < at.after(self.pause(*alerts, what));
        if paused || self.next_update().is_none() {
            Say::Nothing
        } else {
            Say::Update
        }
    }

    /// When there will be something to say, as things are.
    pub fn next_update(&self) -> Option<Timestamp> {
        let Told::Once { at, alerts, what } = &self.told else {
            return None;
        };
        let gist = self.gist();
        let worth = match (self.opened_by, *alerts) {
            (Detector::SilentClient, _) => gist.clients != what.clients,
            (_, 0 | 1) => gist != *what,
            (_, _) => gist.matters(what),
        };
        worth.then(|| at.after(self.pause(*alerts, what)))
    }

    /// The pause after the last alert, which said this. That an incident has become graver waits no
    /// longer than the rest of a burst does: else it could be held back by reporting the like of it
    /// beforehand.
    fn pause(&self, alerts: u32, told: &Gist) -> Duration {
        let pause = pause(alerts);
        if self.severity() > told.severity {
            pause.min(FIRST_PAUSE)
        } else {
            pause
        }
    }

    /// A time before which there will be nothing to say, and which it does not end before either.
    pub fn not_before(&self, quiet: Duration) -> Timestamp {
        let end = self.heard.after(quiet);
        match &self.told {
            Told::Nothing => end,
            Told::Once { at, alerts, what } => end.min(at.after(self.pause(*alerts, what))),
        }
    }

    /// Goes on with one that was closed at `at` not long ago: that it is there again is said at
    /// once, as an update.
    pub fn go_on(&mut self, closed: &Closed) {
        self.id.clone_from(&closed.id);
        self.recurrence = closed.recurrence;
        self.told = Told::Once {
            at: closed.at,
            alerts: 0,
            what: Gist {
                hits: 0,
                ..self.gist()
            },
        };
    }

    /// Begins one anew that was closed some time ago.
    pub fn recur(&mut self, closed: &Closed) {
        self.id.clone_from(&closed.id);
        self.recurrence = closed.recurrence.saturating_add(1);
    }

    /// Whether something has been left unsaid.
    pub fn has_news(&self) -> bool {
        match &self.told {
            Told::Nothing => true,
            Told::Once { what, .. } => self.gist() != *what,
        }
    }

    /// Takes up what was told before a restart, if the events have not led to the same already:
    /// they know better how often it was told of since it began anew.
    pub fn remember(&mut self, memory: &Memory) {
        let Memory {
            at, alerts, what, ..
        } = *memory;
        // What was told has milliseconds.
        let whole = |time: Timestamp| time.as_micros() / 1000;
        if matches!(self.told, Told::Once { at: told, .. } if whole(told) == whole(at)) {
            return;
        }
        self.told = Told::Once {
            at,
            alerts: if alerts == 0 { 1 } else { alerts },
            what,
        };
    }

    /// Notes that all there is has been said at `now`.
    pub fn told(&mut self, now: Timestamp) {
        let alerts = match &self.told {
            Told::Nothing => 1,
            Told::Once { alerts, .. } => alerts.saturating_add(1),
        };
        self.told = Told::Once {
            at: now,
            alerts,
            what: self.gist(),
        };
    }

    /// When it will have been quiet for so long that it is over: `quiet`, or four times the mean
    /// gap between its hits if that is longer, but no longer than a week. Hits that come late keep
    /// it open for as long as they come.
    pub fn ends(&self, quiet: Duration) -> Timestamp {
        let gaps = u32::try_from(self.hits.saturating_sub(1))
            .unwrap_or(u32::MAX)
            .max(1);
        let mean = self.last_seen.since(self.first_seen) / gaps;
        let by_gaps = self
            .last_seen
            .after(mean.saturating_mul(4).min(LONGEST_QUIET).max(quiet));
        by_gaps.max(self.heard.after(quiet))
    }

    fn gist(&self) -> Gist {
        Gist {
            hits: self.hits,
            clients: self.clients.count(),
            ports: self.ports.count(),
            detectors: self.statistics.len(),
            severity: self.severity(),
            shape: self.shape(),
        }
    }
}

/// A contact as incidents tell it from others.
const fn triple(sighting: &Sighting) -> (IpAddr, ClientId, u16) {
    (sighting.source, sighting.client, sighting.port)
}

/// The pause after so many alerts.
const fn pause(alerts: u32) -> Duration {
    match alerts {
        0 => Duration::ZERO,
        1 => FIRST_PAUSE,
        2 => SECOND_PAUSE,
        _ => PAUSE,
    }
}

impl Gist {
    fn matters(&self, told: &Self) -> bool {
        self.hits >= told.hits.saturating_mul(4)
            || self.clients >= told.clients.saturating_mul(2)
            || self.ports >= told.ports.saturating_mul(2)
            || self.detectors > told.detectors
            || self.severity > told.severity
            || self.shape != told.shape
    }
}

/// Eight characters of Crockford's base 32 (40 bits) of the SHA-256 over detector, subject and
/// mark.
fn id(detector: Detector, subject: Subject, mark: &[u8]) -> String {
    const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
    let mut context = Context::new(&SHA256);
    for part in [
        detector.name().as_bytes(),
        subject.to_string().as_bytes(),
        mark,
    ] {
        context.update(part);
        context.update(&[0]);
    }
    let hash = context.finish();
    let bits = hash
        .as_ref()
        .iter()
        .take(5)
        .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
    let digit = |n: u32| {
        DIGITS
            .get((bits >> (5 * n) & 31) as usize)
            .copied()
            .unwrap_or(b'0')
    };
    (0..8).rev().map(|n| char::from(digit(n))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::correlate::clients::Handle;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::from_micros(seconds * 1_000_000)
    }

    fn sighting(seconds: u64, client: u8, port: u16) -> Sighting {
        Sighting {
            at: at(seconds),
            source: [192, 0, 2, 1].into(),
            client: ClientId([client; 16]),
            port,
            count: 1,
            handle: Handle(1),
        }
    }

    fn incident() -> Incident {
        let subject = Subject::Port(22);
        Incident::new(Detector::FrequentPort, subject, b"mark", at(0))
    }

    #[test]
    fn a_burst_is_told_at_once_and_whole_after_five_seconds_and_then_ever_more_sparsely() {
        let mut incident = incident();
        let mut told = Vec::new();
        for second in 0..7200 {
            incident.add(&sighting(second, 1, 22));
            if incident.due(at(second)) != Say::Nothing {
                told.push((second, incident.hits));
                incident.told(at(second));
            }
        }
        assert_eq!(told, [(0, 1), (5, 6), (65, 66), (665, 666), (2663, 2664)]);
    }

    #[test]
    fn that_it_has_become_graver_is_said_within_five_seconds_however_often_it_was_told_of() {
        let mut incident = incident();
        for second in 0..3000 {
            incident.add(&sighting(second, 1, 22));
            if incident.due(at(second)) != Say::Nothing {
                incident.told(at(second));
            }
        }
        assert_eq!(incident.severity(), Severity::Low);
        incident.add(&sighting(3000, 2, 22));
        assert_eq!(incident.severity(), Severity::High);
        assert_eq!(incident.next_update(), Some(at(2663).after(FIRST_PAUSE)));
        assert_eq!(incident.due(at(3000)), Say::Update);
        incident.told(at(3000));
        incident.add(&sighting(3001, 2, 23));
        assert_eq!(incident.due(at(3590)), Say::Nothing, "it is no graver");
    }

    #[test]
    fn slow_incidents_stay_open_longer_but_not_for_ever() {
        let quiet = Duration::from_secs(3600);
        let mut fast = incident();
        fast.add(&sighting(0, 1, 22));
        fast.add(&sighting(10, 1, 22));
        assert_eq!(fast.ends(quiet), at(3610));
        let mut slow = fast.clone();
        slow.add(&sighting(7210, 1, 22));
        assert_eq!(slow.ends(quiet), at(7210 + 3605 * 4));
        let mut slowest = fast;
        slowest.add(&sighting(90 * 86_400, 1, 22));
        assert_eq!(slowest.ends(quiet), at(97 * 86_400));
    }

    #[test]
    fn an_id_follows_from_detector_subject_and_first_event() {
        let id = |mark: &[u8]| id(Detector::FrequentPort, Subject::Port(22), mark);
        assert_eq!(id(b"a"), id(b"a"));
        assert_ne!(id(b"a"), id(b"b"));
        assert_eq!(id(b"a").len(), 8);
    }
}
