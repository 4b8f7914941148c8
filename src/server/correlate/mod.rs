//! The engine: events in, alerts out.
//!
//! A pure function of what it is given: no clock, no I/O, no randomness. Time comes with the
//! events and ticks, so a replay of the same events gives the same alerts.
//!
//! An event is looked at from three sides: its [source](by_source), and its trap port and its
//! client ([`by_side`]). If the source touches this trap for the first time, it is a
//! [first contact](by_contact), which more detectors look at. What they find goes into an
//! [incident](incident::Incident). One scanner trips most of them, and is reported once: while a
//! source has an incident, its hits raise no alarm of their own about a port, a client or a
//! network, they only add the detector's name to the source's incident; and an alarm of which one
//! source accounts for four fifths is an incident of that source from the start.

pub mod allow;
mod by_contact;
mod by_side;
mod by_source;
pub mod chance;
pub mod clients;
pub mod coordinated_scan;
pub mod degraded;
pub mod describe;
pub mod dormant;
pub mod doubt;
pub mod exclusive_networks;
pub mod foresight;
pub mod frequency;
pub mod hammering;
mod health;
pub mod holders;
pub mod incident;
pub mod incidents;
pub mod lateral_movement;
mod lost_findings;
pub mod lying_client;
pub mod new_client;
pub mod persistent_source;
mod ports;
pub mod returning_source;
pub mod roll_call;
pub mod severity;
pub mod sighting;
pub mod silent_client;
pub mod slow_scan;
pub mod sources;
pub mod spools;
pub mod statistics;
pub mod subnet_scan;
pub mod surges;
pub mod table;
pub mod tally;
pub mod testimony;
pub mod window;
mod words;
pub mod zones;

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::config::detectors::Detectors;
use crate::config::server::{Correlation, ServerSettings};
use crate::event::{ClientId, Clocks, Event, Timestamp};
use crate::server::alert::{Alert, Detector, Zone};
use crate::server::correlate::allow::AllowList;
use crate::server::correlate::by_contact::Contacts;
use crate::server::correlate::by_side::Sides;
use crate::server::correlate::by_source::{Blamed, Case};
use crate::server::correlate::chance::Chance;
use crate::server::correlate::clients::{Client, Clients, Fresh, NOBODY, Room};
use crate::server::correlate::dormant::Closed;
use crate::server::correlate::frequency::Rule;
use crate::server::correlate::hammering::Repeats;
use crate::server::correlate::health::Health;
use crate::server::correlate::incident::Memory;
use crate::server::correlate::incidents::{Incidents, Key, Spans, Turnover};
use crate::server::correlate::lateral_movement::Lateral;
use crate::server::correlate::new_client::Newcomers;
use crate::server::correlate::sighting::Sighting;
use crate::server::correlate::silent_client::SilentClient;
use crate::server::correlate::sources::hash::Secret;
use crate::server::correlate::sources::{Novelty, Sources};
use crate::server::correlate::spools::Spools;
use crate::server::correlate::zones::Zones;

/// The correlation tables and all rules over them.
#[derive(Debug)]
pub struct Correlator {
    correlation: Correlation,
    detectors: Detectors,
    rules: Rules,
    allow: AllowList,
    zones: Zones,
    clients: Clients,
    sources: Sources,
    sides: Sides,
    contacts: Contacts,
    repeats: Repeats,
    silent: SilentClient,
    health: Health,
    spools: Spools,
    newcomers: Newcomers,
    incidents: Incidents,
}

/// The rules, as the settings give them and as they have been calibrated.
#[derive(Debug)]
struct Rules {
    source: Rule,
    port: Rule,
    client: Rule,
    slow: Chance,
    lateral: Chance,
    subnet: Chance,
    moves: Lateral,
}

impl Rules {
    fn new(detectors: &Detectors) -> Self {
        let slow = &detectors.slow_scan;
        Self {
            source: Rule::new(Detector::FrequentSource, &detectors.frequent_source),
            port: Rule::new(Detector::FrequentPort, &detectors.frequent_port),
            client: Rule::new(Detector::FrequentClient, &detectors.frequent_client),
            slow: Chance::new(slow_scan::rule(slow)),
            lateral: Chance::new(lateral_movement::rule(&detectors.lateral_movement, slow)),
            subnet: Chance::new(subnet_scan::rule(&detectors.subnet_scan, slow)),
            moves: Lateral::new(&detectors.lateral_movement),
        }
    }
}

impl Correlator {
    /// An engine that has seen nothing, and whose tables can be foreseen: for replays.
    pub fn new(settings: &ServerSettings) -> Self {
        Self::with_secret(settings, Secret::default())
    }

    /// An engine that has seen nothing. Nobody who does not know the secret can choose addresses
    /// that get in each other's way.
    pub fn with_secret(settings: &ServerSettings, secret: Secret) -> Self {
        let limits = &settings.limits;
        let room = |bound: u32| usize::try_from(bound).unwrap_or(usize::MAX);
        let clients = room(limits.clients);
        let heartbeat = limits.heartbeat.get();
        let mut known = Clients::new(clients, heartbeat.saturating_mul(3));
        known.share(&settings.nat);
        Self {
            correlation: settings.incidents.correlation,
            detectors: settings.detectors.clone(),
            rules: Rules::new(&settings.detectors),
            allow: AllowList::new(&settings.allow),
            zones: Zones::new(&settings.inside),
            clients: known,
            sources: Sources::new(settings.memory.bytes(), secret),
            sides: Sides::new(clients),
            contacts: Contacts::new(clients),
            repeats: Repeats::new(),
            silent: SilentClient::new(settings.detectors.silent_client, heartbeat),
            health: Health::new(secret),
            spools: Spools::default(),
            newcomers: Newcomers::default(),
            incidents: Incidents::new(room(limits.incidents), spans(settings), secret.fast()),
        }
    }

    /// Takes up other rules, incidents' settings, networks and allow-list. What is remembered
    /// stays; a threshold that was raised may for a while find fewer hits than there were.
    pub fn reload(&mut self, settings: &ServerSettings) {
        self.correlation = settings.incidents.correlation;
        self.detectors = settings.detectors.clone();
        self.rules = Rules::new(&settings.detectors);
        self.allow = AllowList::new(&settings.allow);
        self.zones = Zones::new(&settings.inside);
        self.clients.share(&settings.nat);
        self.silent.reload(settings.detectors.silent_client);
        self.incidents.reload(spans(settings));
    }

    /// Takes up a client as it was before a restart.
    pub fn remember(&mut self, client: ClientId, known: &Client) {
        self.newcomers.remember(client, known, &self.clients);
        self.clients.remember(client, known);
    }

    /// Takes in events from before a restart, of which everything was said then.
    pub fn replay(&mut self, events: &[Event]) {
        self.events(events, &mut Vec::new());
    }

    /// Takes up an incident that was closed before a restart.
    pub fn remember_closed(&mut self, key: Key, closed: Closed) {
        self.incidents.remember_closed(key, closed);
    }

    /// Takes up what is known of open incidents from before a restart, by their ids. The ids of
    /// those that the replayed events do not explain are returned.
    pub fn resume(&mut self, memories: &BTreeMap<String, Memory>, now: Timestamp) -> Vec<String> {
        self.silent
            .resume(memories, &mut self.clients, &mut self.incidents, now);
        self.incidents.resume(memories)
    }

    /// Notes that a client has come, by the steady clock; says whether there is room for it.
    pub fn welcome(&mut self, client: ClientId, name: &str, now: Timestamp) -> Room {
        self.clients.welcome(client, name, now)
    }

    /// Forgets clients that came, never reported and are gone. Not for replays, in which nobody shows
    /// signs of life.
    pub fn lapse(&mut self, now: Timestamp) {
        self.clients.lapse(now);
    }

    /// Forgets a client.
    pub fn forget(&mut self, client: ClientId) {
        self.clients.forget(client);
    }

    /// The clients that were forgotten since this was last asked.
    pub fn take_forgotten(&mut self) -> Vec<ClientId> {
        self.clients.take_forgotten()
    }

    /// A client, if it is known.
    pub fn client(&self, client: ClientId) -> Option<&Client> {
        self.clients.get(client)
    }

    /// When the fleet's first client came, as far as is known.
    pub const fn founded(&self) -> Option<Timestamp> {
        self.newcomers.founded()
    }

    /// Notes where a client comes from.
    pub fn lives_at(&mut self, client: ClientId, address: IpAddr) {
        self.clients.lives_at(client, address);
    }

    /// Notes on which ports a client holds traps.
    pub fn owns(&mut self, client: ClientId, traps: &[u16]) {
        self.clients.owns(client, traps);
    }

    /// Notes a sign of life of a client, by the steady clock.
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

    /// Sources that lost their place to stronger ones, for want of memory.
    pub const fn sources_displaced(&self) -> u64 {
        self.sources.inside.counts.displaced + self.sources.outside.counts.displaced
    }

    /// What has become of findings.
    pub const fn turnover(&self) -> Turnover {
        self.incidents.turnover()
    }

    /// Takes an event in.
    pub fn event(&mut self, event: &Event, alerts: &mut Vec<Alert>) {
        let now = event.received;
        self.incidents.advance(now, &self.clients, alerts);
        self.look_after_health(now);
        let sighting = Sighting::new(event, self.clients.handle(event.client));
        let name = || self.clients.bare_name(sighting.client);
        if !self.allow.is_empty() && self.allow.hides(&sighting, &name()) {
            return;
        }
        self.calibrate(now);
        let mut case = Case {
            sighting,
            witness: self.clients.witness_of(sighting.handle).unwrap_or(NOBODY),
            proof: event.hit.probe.into(),
            zone: self.zone(sighting.source),
            now,
            blamed: Blamed::No,
        };
        let sight = self.see_source(&mut case, alerts);
        self.see_sides(&case, alerts);
        let alone = self.correlation == Correlation::Separate;
        if sight.novelty == Novelty::First && (alone || case.blamed == Blamed::No) {
            self.see_contact(&case, &sight, alerts);
        }
        self.see_reporter(&case, alerts);
        self.look_for_lost_findings(now);
        self.incidents.collect(now, &self.clients, alerts);
    }

    /// Does what is due at `now`: says what was held back, closes what is over, looks for silent
    /// clients and for what is out of order. To be called several times a second.
    pub fn tick(&mut self, now: impl Into<Clocks>, alerts: &mut Vec<Alert>) {
        let clocks = now.into();
        let now = clocks.wall;
        self.incidents.advance(now, &self.clients, alerts);
        self.silent
            .tick(clocks, &mut self.clients, &mut self.incidents, alerts);
        self.look_after_health(now);
        self.look_after_spools(now, alerts);
        self.incidents.collect(now, &self.clients, alerts);
    }

    /// Says everything that is still unsaid, because the engine stops.
    pub fn flush(&mut self, now: Timestamp, alerts: &mut Vec<Alert>) {
        self.incidents.flush(now, &self.clients, alerts);
    }

    fn zone(&self, source: IpAddr) -> Zone {
        if self.zones.holds(source) || self.clients.is_home(source) {
            Zone::Inside
        } else {
            Zone::Outside
        }
    }

    fn calibrate(&mut self, now: Timestamp) {
        let Rules {
            slow,
            lateral,
            subnet,
            ..
        } = &mut self.rules;
        slow.calibrate(&self.sources.outside, now);
        lateral.calibrate(&self.sources.inside, now);
        subnet.calibrate(&self.sources.networks, now);
    }
}

fn spans(settings: &ServerSettings) -> Spans {
    let incidents = &settings.incidents;
    Spans {
        quiet: incidents.quiet.get(),
        cool_down: incidents.cool_down.get(),
        recurrence: incidents.recurrence.get(),
    }
}

#[cfg(test)]
mod tests;
