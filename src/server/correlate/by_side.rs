//! An event from the sides of its trap port and its client: the frequency rules over them.

use std::collections::BTreeMap;
use std::hint::black_box;

use crate::config::server::Correlation;
use crate::event::ClientId;
use crate::server::alert::{Alert, Source, Statistic, Subject};
use crate::server::correlate::Correlator;
use crate::server::correlate::by_source::{Blamed, Case};
use crate::server::correlate::frequency::{History, Rule};
use crate::server::correlate::incidents::{Finding, Incidents, Key};
use crate::server::correlate::lateral_movement::Intruder;
use crate::server::correlate::ports::Ports;
use crate::server::correlate::severity::Origin;
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::table::Table;

/// What is kept of ports and clients.
#[derive(Debug)]
pub struct Sides {
    ports: Ports<Views>,
    clients: Table<ClientId, Client>,
}

#[derive(Debug, Default)]
struct Client {
    views: Views,
    intruder: Intruder,
}

/// A port's or a client's history, with and without what sources' incidents explain.
#[derive(Debug, Default)]
struct Views {
    all: History<Sighting>,
    unexplained: History<Sighting>,
}

/// From which side a sighting is looked at, beside its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Its trap port.
    Port,
    /// Its client.
    Client,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Port, Self::Client];

    /// What a sighting is about from this side.
    pub const fn subject(self, sighting: &Sighting) -> Subject {
        match self {
            Self::Port => Subject::Port(sighting.port),
            Self::Client => Subject::Client(sighting.client),
        }
    }
}

impl Sides {
    /// Room for so many clients.
    pub fn new(clients: usize) -> Self {
        Self {
            ports: Ports::default(),
            clients: Table::new(clients),
        }
    }

    /// Reads what a hit on a client will change.
    pub fn foresee(&self, client: ClientId) {
        if let Some(known) = self.clients.get(&client) {
            known.views.all.foresee();
            known.views.unexplained.foresee();
            black_box(known.intruder);
        }
    }

    /// Who last hit a client.
    pub fn intruder(&self, client: ClientId) -> Intruder {
        let known = self.clients.get(&client);
        known.map(|client| client.intruder).unwrap_or_default()
    }

    fn views(&mut self, side: Side, case: &Case) -> &mut Views {
        let Sighting { port, client, .. } = case.sighting;
        match side {
            Side::Port => self.ports.hit(port, case.witness, case.now),
            Side::Client => &mut self.clients.touch(client).views,
        }
    }
}

impl Correlator {
    /// Looks at an event from the sides of its port and its client.
    pub fn see_sides(&mut self, case: &Case, alerts: &mut Vec<Alert>) {
        for side in Side::ALL {
            match self.correlation {
                Correlation::Merge => self.see_merged(side, case, alerts),
                Correlation::Separate => self.see_separate(side, case, alerts),
            }
        }
        let Sighting {
            source, at, client, ..
        } = case.sighting;
        self.sides.clients.touch(client).intruder.note(source, at);
    }

    fn see_merged(&mut self, side: Side, case: &Case, alerts: &mut Vec<Alert>) {
        let sighting = case.sighting;
        let rule = *self.rule(side);
        let views = self.sides.views(side, case);
        let fired = views.all.add(sighting, &rule);
        let key = Key::Scan(side.subject(&sighting));
        if case.blamed == Blamed::Yes {
            if let (Some(statistic), Some(incident)) = (fired, self.incidents.get_mut(case.key())) {
                incident.trip(statistic);
            }
        } else if let Some(incident) = self.incidents.get_mut(key) {
            incident.receive(&sighting, case.now);
            if let Some(statistic) = fired {
                incident.trip(statistic);
            }
        } else if views.unexplained.add(sighting, &rule).is_some() {
            self.explain(side, case, &rule, alerts);
        }
    }

    /// An alarm about a port or a client: without the hits of sources that have an incident, does
    /// it stand?
    fn explain(&mut self, side: Side, case: &Case, rule: &Rule, alerts: &mut Vec<Alert>) {
        let at = case.sighting.at;
        let explained = explained(self.correlation, &self.incidents);
        let views = self.sides.views(side, case);
        let Some(statistic) = views.unexplained.without(explained, at, rule) else {
            return;
        };
        let evidence = views.unexplained.evidence(at, rule);
        self.attribute(
            side.subject(&case.sighting),
            statistic,
            &evidence,
            case,
            alerts,
        );
    }

    /// An alarm that stands: is it one source's doing?
    pub fn attribute(
        &mut self,
        subject: Subject,
        statistic: Statistic,
        evidence: &[Sighting],
        case: &Case,
        alerts: &mut Vec<Alert>,
    ) {
        let culprit = match self.correlation {
            Correlation::Merge => culprit(evidence),
            Correlation::Separate => None,
        };
        if let Some(culprit) = culprit {
            let zone = self.zone(culprit.source);
            let case = Case {
                sighting: culprit,
                zone,
                ..*case
            };
            let _opened = self.blame(&case, statistic, alerts);
            return;
        }
        let finding = Finding {
            subject,
            statistic,
            evidence,
            origin: Origin::Elsewhere,
            source_since: None,
            received: case.now,
        };
        let _opened = self.incidents.open(&finding, &self.clients, alerts);
    }

    fn see_separate(&mut self, side: Side, case: &Case, alerts: &mut Vec<Alert>) {
        let sighting = case.sighting;
        let subject = side.subject(&sighting);
        let rule = *self.rule(side);
        let history = &mut self.sides.views(side, case).all;
        let fired = history.add(sighting, &rule);
        if let Some(incident) = self.incidents.get_mut(Key::Scan(subject)) {
            incident.receive(&sighting, case.now);
        } else if let Some(statistic) = fired {
            let finding = Finding {
                subject,
                statistic,
                evidence: &history.evidence(sighting.at, &rule),
                origin: Origin::Elsewhere,
                source_since: None,
                received: case.now,
            };
            self.incidents.open(&finding, &self.clients, alerts);
        }
    }

    const fn rule(&self, side: Side) -> &Rule {
        match side {
            Side::Port => &self.rules.port,
            Side::Client => &self.rules.client,
        }
    }
}

/// Whether the source of a sighting has an incident of its own, which explains what it does. If
/// incidents stand alone, nothing is explained.
pub fn explained(correlation: Correlation, incidents: &Incidents) -> impl Fn(&Sighting) -> bool {
    move |kept| {
        let source = Subject::Source(Source::of(kept.source));
        correlation == Correlation::Merge && incidents.is_open(Key::Scan(source))
    }
}

/// The last sighting of the source that accounts for at least four fifths of the hits, if there is
/// one.
fn culprit(evidence: &[Sighting]) -> Option<Sighting> {
    let mut by_source = BTreeMap::<_, (u64, Option<Sighting>)>::new();
    for sighting in evidence {
        let (hits, last) = by_source.entry(Source::of(sighting.source)).or_default();
        *hits += u64::from(sighting.count);
        *last = Some(*sighting);
    }
    let all: u64 = by_source.values().map(|(hits, _)| hits).sum();
    let (most, last) = by_source.into_values().max_by_key(|(hits, _)| *hits)?;
    last.filter(|_| most.saturating_mul(5) >= all.saturating_mul(4))
}
