//! Who was found, when, and who was taken for somebody else.
//!
//! An alert is about an attacker if its subject is one of the attacker's sources, or if more than
//! half of the sources that it shows are attackers' and the attacker's is one of them. An incident
//! that opens and is about no attacker is a false alarm; if it is about monitors and cron jobs that
//! somebody has set up wrong, an expected nuisance, because that is how they are noticed.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::time::Duration;

use crate::evaluate::scanner::Campaign;
use crate::evaluate::timeline::Party;
use crate::event::{Event, Timestamp};
use crate::server::alert::{Action, Alert, Detector, Severity, Source, Subject};

/// Knows who is who, and keeps the score of one run.
#[derive(Debug, Default)]
pub struct Judge {
    known: HashMap<Source, Party>,
    figures: Figures,
}

/// What has come of one run, or of several together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// What has become of each attacker.
    pub outcomes: Vec<Outcome>,
    /// For how long the fleets were watched.
    pub watched: Duration,
    /// Events.
    pub events: u32,
    /// Alerts.
    pub alerts: Alerts,
    /// Incidents that are about no attacker.
    pub false_alarms: Alarms,
    /// Incidents about what was set up wrong.
    pub nuisance: Alarms,
    /// The most memory in use at the end of a run, in KiB.
    pub resident: Option<u64>,
}

/// How often each action was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alerts {
    /// Incidents that opened.
    pub opened: u32,
    /// Updates.
    pub updated: u32,
    /// Incidents that closed.
    pub closed: u32,
}

/// Incidents by the detector that opened them and the kind of their subject.
pub type Alarms = BTreeMap<(Detector, &'static str), Alarm>;

/// How many incidents.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Alarm {
    /// In all.
    pub opened: u32,
    /// Of medium severity or more when they opened.
    pub serious: u32,
}

/// What has become of one attacker.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Who it was.
    pub campaign: Campaign,
    /// How far it came.
    pub done: Progress,
    /// How far it had come when it was found.
    pub found: Option<Found>,
    /// How many first contacts it had made when a detector had first tripped.
    pub tripped: BTreeMap<Detector, u32>,
}

/// How far an attacker has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// When it began, if it did.
    pub began: Option<Timestamp>,
    /// Its first contacts.
    pub contacts: u32,
    /// Its hits.
    pub hits: u32,
}

/// How an attacker was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    /// By which detector.
    pub by: Detector,
    /// After how much.
    pub done: Progress,
    /// After how long.
    pub delay: Duration,
}

impl Alerts {
    /// Alerts of all kinds.
    pub const fn all(self) -> u32 {
        self.opened + self.updated + self.closed
    }
}

impl Judge {
    /// Notes who is at an address. Whoever is not known makes mistakes.
    pub fn know(&mut self, address: IpAddr, party: Party) {
        self.known.insert(Source::of(address), party);
    }

    /// Notes an attacker, and says as which party.
    pub fn enlist(&mut self, campaign: Campaign) -> Party {
        let party = Party::Attacker(self.figures.outcomes.len());
        for source in &campaign.sources {
            self.know(*source, party);
        }
        self.figures.outcomes.push(Outcome {
            campaign,
            done: Progress::default(),
            found: None,
            tripped: BTreeMap::new(),
        });
        party
    }

    /// Notes an event. Each of an attacker's is a first contact.
    pub fn event(&mut self, party: Party, event: &Event) {
        self.figures.events = self.figures.events.saturating_add(1);
        let Party::Attacker(number) = party else {
            return;
        };
        if let Some(outcome) = self.figures.outcomes.get_mut(number) {
            let done = &mut outcome.done;
            done.began.get_or_insert(event.at);
            done.contacts = done.contacts.saturating_add(1);
            done.hits = done.hits.saturating_add(event.hit.count.get());
        }
    }

    /// Judges what an engine has said at the time `now`.
    pub fn alerts(&mut self, alerts: &mut Vec<Alert>, now: Timestamp) {
        for alert in alerts.drain(..) {
            self.alert(&alert, now);
        }
    }

    fn alert(&mut self, alert: &Alert, now: Timestamp) {
        let told = &mut self.figures.alerts;
        match alert.action {
            Action::Open => told.opened += 1,
            Action::Update => told.updated += 1,
            Action::Close => {
                told.closed += 1;
                return;
            }
        }
        match (self.blame(alert), alert.action) {
            (Blame::Attackers(attackers), _) => {
                for number in attackers {
                    self.find(number, alert, now);
                }
            }
            (Blame::Routine, Action::Open) => count(&mut self.figures.nuisance, alert),
            (Blame::Nobody, Action::Open) => count(&mut self.figures.false_alarms, alert),
            (Blame::Routine | Blame::Nobody, _) => {}
        }
    }

    fn find(&mut self, number: usize, alert: &Alert, now: Timestamp) {
        let Some(outcome) = self.figures.outcomes.get_mut(number) else {
            return;
        };
        let done = outcome.done;
        for detector in &alert.detectors {
            outcome.tripped.entry(*detector).or_insert(done.contacts);
        }
        outcome.found.get_or_insert_with(|| Found {
            by: alert.detector,
            done,
            delay: now.since(done.began.unwrap_or(now)),
        });
    }

    fn blame(&self, alert: &Alert) -> Blame {
        match alert.subject {
            Subject::Source(source) => self.majority(&[source]),
            Subject::Port(_)
            | Subject::Client(_)
            | Subject::Network(_)
            | Subject::Fleet
            | Subject::Server => {
                let shown = alert.sources.sample.iter();
                let sources: Vec<_> = shown.map(|(address, _)| Source::of(*address)).collect();
                self.majority(&sources)
            }
        }
    }

    fn majority(&self, sources: &[Source]) -> Blame {
        let (mut attackers, mut routine) = (Vec::new(), Vec::new());
        for source in sources {
            match self.known.get(source) {
                Some(Party::Attacker(number)) => attackers.push(*number),
                Some(Party::Monitor | Party::CronJob) => routine.push(source),
                Some(Party::Noise | Party::Allowed) | None => {}
            }
        }
        if attackers.len() * 2 > sources.len() {
            Blame::Attackers(attackers)
        } else if routine.len() * 2 > sources.len() {
            Blame::Routine
        } else {
            Blame::Nobody
        }
    }

    /// The score, when the run is over.
    pub fn finish(self, watched: Duration, resident: Option<u64>) -> Figures {
        Figures {
            watched,
            resident,
            ..self.figures
        }
    }
}

enum Blame {
    Attackers(Vec<usize>),
    Routine,
    Nobody,
}

fn count(alarms: &mut Alarms, alert: &Alert) {
    let cause = (alert.detector, alert.subject.kind());
    let alarm = alarms.entry(cause).or_default();
    alarm.opened += 1;
    if alert.severity >= Severity::Medium {
        alarm.serious += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::address;
    use crate::evaluate::scanner::{HOURLY, Origin, Shape};
    use crate::evaluate::timeline::BEGIN;
    use crate::event::{ClientId, Hit, Probe};
    use crate::server::alert::{Exactness, Sampled};
    use std::num::NonZeroU32;

    const CRON_JOB: u32 = 7;

    /// A judge who knows two attackers, the second from two addresses, and a cron job.
    fn judge() -> Judge {
        let mut judge = Judge::default();
        for sources in [
            vec![address::attacker(1, 1)],
            vec![address::attacker(2, 1), address::attacker(2, 2)],
        ] {
            judge.enlist(Campaign {
                shape: Shape::Block,
                origin: Origin::One,
                rate: HOURLY,
                probes: 10.0,
                sources,
            });
        }
        judge.know(address::routine(CRON_JOB), Party::CronJob);
        judge
    }

    fn at(seconds: u64) -> Timestamp {
        BEGIN.after(Duration::from_secs(seconds))
    }

    fn event(seconds: u64, count: u32) -> Event {
        Event {
            client: ClientId([0; 16]),
            sequence: 1,
            received: at(seconds),
            at: at(seconds),
            hit: Hit {
                first: at(seconds),
                last: at(seconds),
                source: address::attacker(1, 1),
                source_port: 40_000,
                trap_port: 22,
                probe: Probe::Connect,
                count: NonZeroU32::new(count).unwrap(),
            },
        }
    }

    fn sampled<T>(sample: Vec<(T, u64)>) -> Sampled<T> {
        Sampled {
            count: sample.len().try_into().unwrap(),
            exactness: Exactness::Exact,
            sample,
        }
    }

    fn alert(action: Action, subject: Subject, sources: &[IpAddr]) -> Alert {
        Alert {
            time: BEGIN,
            action,
            incident: "1".to_owned(),
            message: 1,
            detector: Detector::FrequentPort,
            detectors: vec![Detector::FrequentSource, Detector::FrequentPort],
            severity: Severity::Medium,
            confidence: 90,
            title: String::new(),
            subject,
            subject_name: None,
            zone: None,
            first_seen: BEGIN,
            last_seen: BEGIN,
            hits: 1,
            first_contacts: 1,
            witnesses: 1,
            clients: sampled(Vec::new()),
            ports: sampled(Vec::new()),
            sources: sampled(sources.iter().map(|source| (*source, 1)).collect()),
            shape: None,
            recurrence: 0,
            statistics: Vec::new(),
            attack: Vec::new(),
            explain: String::new(),
            allow_hint: None,
            notes: Vec::new(),
        }
    }

    fn about(source: IpAddr) -> Alert {
        alert(Action::Open, Subject::Source(Source::of(source)), &[source])
    }

    /// Who is found by this alert, and how many false alarms and how much nuisance it is.
    fn judged(alert: Alert) -> (Vec<usize>, usize, usize) {
        let mut judge = judge();
        judge.alerts(&mut vec![alert], at(1));
        let figures = judge.finish(Duration::from_secs(1), None);
        let outcomes = figures.outcomes.iter().enumerate();
        let found = outcomes.filter(|(_, outcome)| outcome.found.is_some());
        (
            found.map(|(number, _)| number).collect(),
            figures.false_alarms.len(),
            figures.nuisance.len(),
        )
    }

    #[test]
    fn an_alert_about_a_source_is_about_whoever_it_is() {
        assert_eq!(judged(about(address::attacker(1, 1))), (vec![0], 0, 0));
        assert_eq!(judged(about(address::attacker(2, 2))), (vec![1], 0, 0));
        assert_eq!(judged(about(address::stranger(1))), (vec![], 1, 0));
        assert_eq!(judged(about(address::routine(CRON_JOB))), (vec![], 0, 1));
        // The same /24 is not the same source.
        assert_eq!(judged(about(address::attacker(1, 9))), (vec![], 1, 0));
    }

    #[test]
    fn an_alert_about_a_port_is_about_most_of_those_it_shows() {
        let port = |sources: &[IpAddr]| judged(alert(Action::Open, Subject::Port(22), sources));
        let (first, second) = (address::attacker(1, 1), address::attacker(2, 1));
        let [stranger, other] = [1, 2].map(address::stranger);
        let job = address::routine(CRON_JOB);
        assert_eq!(port(&[first, second, stranger]), (vec![0, 1], 0, 0));
        assert_eq!(port(&[first, stranger]), (vec![], 1, 0));
        assert_eq!(port(&[job, job, stranger]), (vec![], 0, 1));
        assert_eq!(port(&[stranger, other]), (vec![], 1, 0));
        assert_eq!(port(&[]), (vec![], 1, 0));
    }

    #[test]
    fn an_incident_counts_once_and_an_update_can_find_somebody() {
        let subject = Subject::Port(22);
        let stranger = address::stranger(1);
        let update = alert(Action::Update, subject, &[stranger]);
        assert_eq!(judged(update), (vec![], 0, 0));
        let update = alert(Action::Update, subject, &[address::attacker(1, 1)]);
        assert_eq!(judged(update), (vec![0], 0, 0));
        let close = alert(Action::Close, subject, &[address::attacker(1, 1)]);
        assert_eq!(judged(close), (vec![], 0, 0));
    }

    /// The figures of a story in which the first attacker is found at its second contact.
    fn story() -> Figures {
        let mut judge = judge();
        judge.event(Party::Attacker(0), &event(10, 1));
        judge.event(Party::Noise, &event(15, 1));
        judge.event(Party::Attacker(0), &event(20, 2));
        judge.alerts(&mut vec![about(address::attacker(1, 1))], at(25));
        judge.event(Party::Attacker(0), &event(30, 1));
        judge.alerts(&mut vec![about(address::attacker(1, 1))], at(40));
        judge.finish(Duration::from_secs(86_400), None)
    }

    #[test]
    fn delays_run_from_the_first_hit_to_the_first_alert() {
        let figures = story();
        assert_eq!((figures.events, figures.alerts.opened), (4, 2));
        let [first, second] = &figures.outcomes[..] else {
            panic!("{figures:?}");
        };
        let found = first.found.unwrap();
        assert_eq!((found.done.contacts, found.done.hits), (2, 3));
        assert_eq!(found.delay, Duration::from_secs(15));
        assert_eq!(found.by, Detector::FrequentPort);
        assert_eq!(first.done.contacts, 3);
        assert_eq!(first.tripped[&Detector::FrequentSource], 2);
        assert_eq!(second.found, None);
    }

    #[test]
    fn figures_are_of_those_who_have_begun() {
        let figures = story();
        let pool = figures.pool(|_| true);
        assert_eq!((pool.attackers, pool.found), (1, 1));
        assert_eq!(pool.contacts.median, Some(2.0));
        assert_eq!(pool.hits.p95, Some(3.0));
        assert_eq!(pool.probes.median, Some(20.0));
        assert_eq!(pool.seconds.median, Some(15.0));
        assert_eq!(figures.tripped("frequent-source").median, Some(2.0));
        assert_eq!(figures.tripped("frequent-source").p95, None);
        assert_eq!(figures.tripped("frequent-client").median, None);
    }
}
