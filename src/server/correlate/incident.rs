//! One incident: what has been seen of a subject, and when to speak of it.
//!
//! It is opened at the hit that crosses a threshold, and told of at once. What changes is told
//! again after 4.5 s, then a minute, then ten minutes: first whatever there is, so that
//! the picture of a whole burst is there within 5 s, later only what matters (four times the
//! hits, twice the clients or ports, another detector, a higher severity, another shape). It closes
//! after it has been quiet for a while.

mod gist;

use std::collections::{BTreeMap, BTreeSet};
use std::hint::black_box;
use std::net::IpAddr;
use std::time::Duration;

use ring::digest::{Context, SHA256};

use crate::event::{ClientId, Timestamp};
use crate::server::alert::{Detector, Measure, Severity, Shape, Statistic, Subject};
use crate::server::correlate::dormant::Closed;
pub use crate::server::correlate::incident::gist::Gist;
use crate::server::correlate::incidents::Key;
use crate::server::correlate::roll_call::RollCall;
use crate::server::correlate::severity::{Circumstances, severity_of};
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::tally::{Contacts, Tally};
use crate::server::correlate::testimony::Testimony;

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
    /// On whose word it rests.
    pub testimony: Testimony,
    /// The clients that are silent together, if it is about the fleet's silence.
    pub roll_call: RollCall,
    /// Its hits by trap port.
    pub ports: Tally<u16>,
    /// Its hits by source address.
    pub sources: Tally<IpAddr>,
    /// Its distinct triples.
    pub contacts: Contacts<(IpAddr, ClientId, u16)>,
    /// How often it has begun anew after it was closed.
    pub recurrence: u32,
    /// How many messages there were about it under this id, however often it was closed.
    pub messages: u32,
    /// How long after they happened its hits have come, at most.
    pub lateness: Duration,
    /// What else bears on how much it matters.
    pub circumstances: Circumstances,
    /// What more there is to say.
    pub remarks: BTreeSet<String>,
    /// How often its only remark was stated anew.
    restated: u64,
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
        restated: u64,
    },
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
            testimony: Testimony::default(),
            roll_call: RollCall::default(),
            ports: Tally::default(),
            sources: Tally::default(),
            contacts: Contacts::default(),
            recurrence: 0,
            messages: 0,
            lateness: Duration::ZERO,
            circumstances: Circumstances::default(),
            remarks: BTreeSet::new(),
            restated: 0,
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
        let reported_by_new = self.clients.add(sighting.client, count);
        self.ports.add(sighting.port, count);
        self.sources.add(sighting.source, count);
        let new = self.contacts.add(triple(sighting));
        if reported_by_new || new {
            self.testimony.add(sighting);
        }
    }

    /// Notes that a detector has tripped; only the first time counts.
    pub fn trip(&mut self, statistic: Statistic) {
        let detector = statistic.detector;
        self.statistics.entry(detector).or_insert(statistic);
        self.found = self.found.max(severity_of(detector));
    }

    /// How many newcomers it is about.
    pub fn newcomers(&self) -> u64 {
        match self.statistics.get(&Detector::NewClient) {
            Some(Statistic {
                measure: Measure::Hits { hits, .. },
                ..
            }) => *hits,
            _ => 0,
        }
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

    /// Says this beside the figures, in place of what there was to say before.
    pub fn restate(&mut self, remark: String) {
        self.remarks = BTreeSet::from([remark]);
        self.restated = self.restated.saturating_add(1);
    }

    /// How many alerts have told of it since it began.
    pub const fn alerts(&self) -> u32 {
        match self.told {
            Told::Nothing => 0,
            Told::Once { alerts, .. } => alerts,
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
        let Told::Once {
            at, alerts, what, ..
        } = &self.told
        else {
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
        let Told::Once {
            at,
            alerts,
            what,
            restated,
        } = &self.told
        else {
            return None;
        };
        let gist = self.gist();
        let worth = self.restated != *restated
            || match (self.opened_by, *alerts) {
                (Detector::SilentClient, _) => {
                    gist.clients != what.clients || self.roll_call.has_news()
                }
                (_, 0 | 1) => gist != *what,
                (Detector::NewClient, _) => gist.newcomers_matter(what),
                (_, _) => gist.matters(what),
            };
        worth.then(|| at.after(self.pause(*alerts, what)))
    }

    /// The pause after the last alert, which said this.
    ///
    /// That an incident has become graver, that a second witness confirms it, or that vft is out of
    /// order for another reason, waits no longer than the rest of a burst does: else it could be held
    /// back by reporting the like of it beforehand.
    fn pause(&self, alerts: u32, told: &Gist) -> Duration {
        let pause = pause(alerts);
        let is_confirmed = self.is_confirmed_since(told);
        let is_graver = self.severity() > told.severity;
        if is_confirmed || is_graver || self.reasons() > told.reasons {
            pause.min(FIRST_PAUSE)
        } else {
            pause
        }
    }

    /// Whether another witness confirms what one alone had said when this was told.
    fn is_confirmed_since(&self, told: &Gist) -> bool {
        told.witnesses == 1 && self.testimony.count() > 1
    }

    /// How many reasons there are why vft is out of order. Of what touches traps the figures tell.
    fn reasons(&self) -> usize {
        if self.opened_by.is_about_health() {
            self.remarks.len()
        } else {
            0
        }
    }

    /// A time before which there will be nothing to say, and which it does not end before either.
    pub fn not_before(&self, quiet: Duration) -> Timestamp {
        let end = self.heard.after(quiet);
        match &self.told {
            Told::Nothing => end,
            Told::Once {
                at, alerts, what, ..
            } => end.min(at.after(self.pause(*alerts, what))),
        }
    }

    /// Goes on with one that was closed at `at` not long ago: that it is there again is said at
    /// once, as an update.
    pub fn go_on(&mut self, closed: &Closed) {
        self.id.clone_from(&closed.id);
        self.recurrence = closed.recurrence;
        self.messages = closed.messages;
        self.told = Told::Once {
            at: closed.at,
            alerts: 0,
            what: Gist {
                hits: 0,
                ..self.gist()
            },
            restated: self.restated,
        };
    }

    /// Begins one anew that was closed some time ago.
    pub fn recur(&mut self, closed: &Closed) {
        self.id.clone_from(&closed.id);
        self.recurrence = closed.recurrence.saturating_add(1);
        self.messages = closed.messages;
    }

    /// Whether something has been left unsaid.
    pub fn has_news(&self) -> bool {
        match &self.told {
            Told::Nothing => true,
            Told::Once { what, restated, .. } => self.gist() != *what || self.restated != *restated,
        }
    }

    /// Takes up what was told before a restart, if the events have not led to the same already:
    /// they know better how often it was told of since it began anew.
    pub fn remember(&mut self, memory: &Memory) {
        let Memory {
            at, alerts, what, ..
        } = *memory;
        self.messages = alerts;
        // What was told has milliseconds.
        let whole = |time: Timestamp| time.as_micros() / 1000;
        if matches!(self.told, Told::Once { at: told, .. } if whole(told) == whole(at)) {
            return;
        }
        self.told = Told::Once {
            at,
            alerts: if alerts == 0 { 1 } else { alerts },
            what,
            restated: self.restated,
        };
    }

    /// Notes that all there is has been said at `now`.
    pub fn told(&mut self, now: Timestamp) {
        self.messages = self.messages.saturating_add(1);
        let alerts = match &self.told {
            // What others say is a burst of its own, of which the whole is said soon.
            Told::Once {
                alerts: 2.., what, ..
            } if self.is_confirmed_since(what) => 1,
            _ => self.alerts().saturating_add(1),
        };
        self.told = Told::Once {
            at: now,
            alerts,
            what: self.gist(),
            restated: self.restated,
        };
        self.roll_call.told();
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

    /// The clients that saw it, or that are silent, as far as they are told apart.
    fn reporters(&self) -> usize {
        let missed = usize::try_from(self.roll_call.missed()).unwrap_or(usize::MAX);
        self.clients.count().max(missed)
    }

    fn gist(&self) -> Gist {
        Gist {
            hits: self.hits.max(self.newcomers()),
            clients: self.reporters(),
            witnesses: self.testimony.count(),
            ports: self.ports.count(),
            detectors: self.statistics.len(),
            reasons: self.reasons(),
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
mod tests;
