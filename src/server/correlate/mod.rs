//! The engine: events in, alerts out.
//!
//! A pure function of what it is given: no clock, no I/O, no randomness. Time comes with the
//! events and ticks, so a replay of the same events gives the same alerts.
//!
//! An event is looked at from three sides (its source, its trap port, its client), each a
//! [history](frequency::History) under a rule. What a rule finds goes into an
//! [incident](incident::Incident). One scanner trips all three, and is reported once: while a
//! source has an incident, its hits raise no alarm about a port or a client of their own, they
//! only add the detector's name to the source's incident; and an alarm about a port or a client
//! of which one source accounts for four fifths is an incident of that source from the start.

pub mod allow;
pub mod clients;
pub mod describe;
pub mod frequency;
pub mod incident;
pub mod incidents;
pub mod silent_client;
pub mod statistics;
pub mod table;
pub mod tally;
pub mod window;

use std::collections::BTreeMap;

use crate::config::server::{Correlation, Detectors, ServerSettings};
use crate::event::{ClientId, Event, Timestamp};
use crate::server::alert::{Alert, Detector, Source, Statistic, Subject};
use crate::server::correlate::allow::AllowList;
use crate::server::correlate::clients::{Client, Clients, Fresh, Room};
use crate::server::correlate::frequency::{History, Rule};
use crate::server::correlate::incident::Memory;
use crate::server::correlate::incidents::{Incidents, Key};
use crate::server::correlate::silent_client::SilentClient;
use crate::server::correlate::table::Table;
use crate::server::correlate::window::Sighting;

/// The correlation table and all rules over it.
#[derive(Debug)]
pub struct Correlator {
    correlation: Correlation,
    rules: Rules,
    allow: AllowList,
    clients: Clients,
    sources: Table<Source, History>,
    by_port: BTreeMap<u16, Views>,
    by_client: Table<ClientId, Views>,
    silent: SilentClient,
    incidents: Incidents,
}

#[derive(Debug)]
struct Rules {
    source: Rule,
    port: Rule,
    client: Rule,
}

impl Rules {
    fn new(detectors: &Detectors) -> Self {
        Self {
            source: Rule::new(Detector::FrequentSource, &detectors.frequent_source),
            port: Rule::new(Detector::FrequentPort, &detectors.frequent_port),
            client: Rule::new(Detector::FrequentClient, &detectors.frequent_client),
        }
    }
}

/// A port's or a client's history, with and without what sources' incidents explain.
#[derive(Debug, Default)]
struct Views {
    all: History,
    unexplained: History,
}

impl Correlator {
    /// An engine that has seen nothing.
    pub fn new(settings: &ServerSettings) -> Self {
        let limits = &settings.limits;
        let room = |bound: u32| usize::try_from(bound).unwrap_or(usize::MAX);
        Self {
            correlation: settings.incidents.correlation,
            rules: Rules::new(&settings.detectors),
            allow: AllowList::new(&settings.allow),
            clients: Clients::new(
                room(limits.clients),
                limits.heartbeat.get().saturating_mul(3),
            ),
            sources: Table::new(room(limits.sources)),
            by_port: BTreeMap::new(),
            by_client: Table::new(room(limits.clients)),
            silent: SilentClient::new(settings.detectors.silent_client, limits.heartbeat.get()),
            incidents: Incidents::new(room(limits.incidents), settings.incidents.quiet.get()),
        }
    }

    /// Takes up other rules, incidents' settings and allow-list. What is remembered stays; a
    /// threshold that was raised may for a while find fewer hits than there were.
    pub fn reload(&mut self, settings: &ServerSettings) {
        self.correlation = settings.incidents.correlation;
        self.rules = Rules::new(&settings.detectors);
        self.allow = AllowList::new(&settings.allow);
        self.silent.reload(settings.detectors.silent_client);
        self.incidents.reload(settings.incidents.quiet.get());
    }

    /// Takes up a client as it was before a restart.
    pub fn remember(&mut self, client: ClientId, known: &Client) {
        self.clients.remember(client, known);
    }

    /// Takes in an event from before a restart, of which everything was said then.
    pub fn replay(&mut self, event: &Event) {
        self.incidents.settle(event.received);
        self.event(event, &mut Vec::new());
    }

    /// Takes up what is known of open incidents from before a restart, by their ids. The ids of
    /// those that the replayed events do not explain are returned.
    pub fn resume(&mut self, memories: &BTreeMap<String, Memory>, now: Timestamp) -> Vec<String> {
        self.silent
            .resume(memories, &mut self.clients, &mut self.incidents, now);
        self.incidents.resume(memories)
    }

    /// Notes that a client has come; says whether there is room for it.
    pub fn welcome(&mut self, client: ClientId, name: &str, now: Timestamp) -> Room {
        self.clients.welcome(client, name, now)
    }

    /// Notes a sign of life of a client.
    pub fn heard(&mut self, client: ClientId, now: Timestamp) {
        self.clients.heard(client, now);
    }

    /// Notes that a client stops on purpose.
    pub fn farewell(&mut self, client: ClientId) {
        self.clients.farewell(client);
    }

    /// Notes that `count` hits numbered from `first` have come, and says what is new in them.
    pub fn advance(&mut self, client: ClientId, first: u64, count: usize) -> Fresh {
        self.clients.advance(client, first, count)
    }

    /// What people call a client.
    pub fn client_name(&self, client: ClientId) -> String {
        self.clients.name(client)
    }

    /// The allow-list with what it has hidden.
    pub const fn allow_list(&self) -> &AllowList {
        &self.allow
    }

    /// Sources that were forgotten for want of room.
    pub const fn sources_forgotten(&self) -> u64 {
        self.sources.forgotten()
    }

    /// Takes an event in.
    pub fn event(&mut self, event: &Event, alerts: &mut Vec<Alert>) {
        let sighting = Sighting::from(event);
        if !self.allow.is_empty()
            && self
                .allow
                .covers(&sighting, &self.clients.name(sighting.client))
        {
            return;
        }
        let source = Subject::Source(Source::of(sighting.source));
        for subject in [
            source,
            Side::Port.subject(&sighting),
            Side::Client.subject(&sighting),
        ] {
            self.incidents
                .finish(Key::Scan(subject), event.received, &self.clients, alerts);
        }
        self.see_source(sighting);
        for side in [Side::Port, Side::Client] {
            match self.correlation {
                Correlation::Merge => self.see_merged(side, sighting),
                Correlation::Separate => self.see_separate(side, sighting),
            }
        }
        self.incidents
            .collect(event.received, &self.clients, alerts);
    }

    /// Does what is due at `now`: says what was held back, closes what is over, looks for silent
    /// clients. To be called several times a second.
    pub fn tick(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        self.silent
            .tick(now, &mut self.clients, &mut self.incidents, alerts);
        self.incidents.tick(now, &self.clients, alerts);
    }

    /// Says everything that is still unsaid, because the engine stops.
    pub fn flush(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        self.incidents.flush(now, &self.clients, alerts);
    }

    fn see_source(&mut self, sighting: Sighting) {
        let source = Source::of(sighting.source);
        let fired = self.sources.touch(source).add(sighting, &self.rules.source);
        let subject = Subject::Source(source);
        match (self.incidents.get_mut(Key::Scan(subject)), fired) {
            (Some(incident), fired) => {
                incident.add(&sighting);
                if let Some(statistic) = fired {
                    incident.trip(statistic);
                }
            }
            (None, Some(statistic)) => self.blame(source, statistic, sighting.at),
            (None, None) => {}
        }
    }

    fn see_merged(&mut self, side: Side, sighting: Sighting) {
        let culprit = Key::Scan(Subject::Source(Source::of(sighting.source)));
        let subject = side.subject(&sighting);
        let rule = *self.rule(side);
        let fired = self.views(side, &sighting).all.add(sighting, &rule);
        if let Some(incident) = self.incidents.get_mut(culprit) {
            if let Some(statistic) = fired {
                incident.trip(statistic);
            }
            return;
        }
        let alarm = self.views(side, &sighting).unexplained.add(sighting, &rule);
        if let Some(incident) = self.incidents.get_mut(Key::Scan(subject)) {
            incident.add(&sighting);
        } else if alarm.is_some() {
            self.explain(side, sighting, &rule);
        }
    }

    /// An alarm about a port or a client: without the hits of sources that have an incident, does
    /// it stand? And if so, is it one source's doing?
    fn explain(&mut self, side: Side, sighting: Sighting, rule: &Rule) {
        let (incidents, views) = match side {
            Side::Port => (
                &self.incidents,
                self.by_port.entry(sighting.port).or_default(),
            ),
            Side::Client => (&self.incidents, self.by_client.touch(sighting.client)),
        };
        let explained = |kept: &Sighting| {
            incidents.is_open(Key::Scan(Subject::Source(Source::of(kept.source))))
        };
        let stands = views.unexplained.without(explained, sighting.at, rule);
        let Some(statistic) = stands else { return };
        let evidence = views.unexplained.evidence(sighting.at, rule);
        if let Some(source) = culprit(&evidence) {
            self.blame(source, statistic, sighting.at);
        } else {
            let subject = side.subject(&sighting);
            self.incidents
                .open(rule.detector(), subject, statistic, &evidence);
        }
    }

    fn see_separate(&mut self, side: Side, sighting: Sighting) {
        let subject = side.subject(&sighting);
        let rule = *self.rule(side);
        let history = &mut self.views(side, &sighting).all;
        let fired = history.add(sighting, &rule);
        let evidence = match fired {
            Some(_) => history.evidence(sighting.at, &rule),
            None => Vec::new(),
        };
        match (self.incidents.get_mut(Key::Scan(subject)), fired) {
            (Some(incident), _) => incident.add(&sighting),
            (None, Some(statistic)) => {
                self.incidents
                    .open(rule.detector(), subject, statistic, &evidence);
            }
            (None, None) => {}
        }
    }

    /// Opens an incident about a source, with all that is remembered of it from around then.
    fn blame(&mut self, source: Source, statistic: Statistic, at: Timestamp) {
        let history = self.sources.get(&source);
        let evidence = history.map_or_else(Vec::new, |it| it.evidence(at, &self.rules.source));
        self.incidents.open(
            statistic.detector,
            Subject::Source(source),
            statistic,
            &evidence,
        );
    }

    const fn rule(&self, side: Side) -> &Rule {
        match side {
            Side::Port => &self.rules.port,
            Side::Client => &self.rules.client,
        }
    }

    fn views(&mut self, side: Side, sighting: &Sighting) -> &mut Views {
        match side {
            Side::Port => self.by_port.entry(sighting.port).or_default(),
            Side::Client => self.by_client.touch(sighting.client),
        }
    }
}

/// From which side a sighting is looked at, beside its source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    Port,
    Client,
}

impl Side {
    const fn subject(self, sighting: &Sighting) -> Subject {
        match self {
            Self::Port => Subject::Port(sighting.port),
            Self::Client => Subject::Client(sighting.client),
        }
    }
}

/// The source that accounts for at least four fifths of the hits, if there is one.
fn culprit(evidence: &[Sighting]) -> Option<Source> {
    let mut by_source = BTreeMap::<_, u64>::new();
    for sighting in evidence {
        *by_source.entry(Source::of(sighting.source)).or_default() += u64::from(sighting.count);
    }
    let all: u64 = by_source.values().sum();
    let (source, most) = by_source.into_iter().max_by_key(|(_, hits)| *hits)?;
    (most.saturating_mul(5) >= all.saturating_mul(4)).then_some(source)
}

#[cfg(test)]
mod tests;
